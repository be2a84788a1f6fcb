"""The page of the documentation that a sweep writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from mindcv_halo.engine.setup import resolve_transform

from .cases import EVALUATION, EVERYTHING_ON, GRAPH_MODES, REFUSED, STEP, find_recipe
from .devices import DEVICES
from .graphs import open_recipe
from .peers import PEER, PEERS
from .result import Result

HEAD = """# Compiled for Ascend and GPU

Nothing on this page ran on a device. It says what MindSpore {version}'s own backends make of this library's graphs:
**compiled by MindSpore's Ascend backend without a device (DryRun)**, and by its GPU backend likewise. MindSpore's wheel
holds both plugins; stub libraries in place of the vendor's let them load (`dry_run/`), and MindSpore's documented
`MS_SIMULATION_LEVEL=1` has them check types, run all passes, choose kernels and plan the memory.
`MS_DISABLE_KERNEL_BACKOFF=1` makes an operator without a kernel an error, where MindSpore would else compute it on the
host in silence. `make test` compiles halo attention and all losses for both devices in every run, and runs `train.py`;
`make dry-run` compiles all of it; this page is of a sweep over {counts}.

**What it cannot see.**

- Values: all are zero. Time.
- Whether an `aclnn` kernel (`opapi_kernel`) takes the type that it gets, which CANN checks on the device.
- Which operators CANN runs on its AICPU, as it chooses behind `acl_kernel`.
- The workspaces of kernels: peaks are of tensors alone.
- `jit_level` O2, and files in the format AIR: CANN's own graph engine makes both.
- A GPU's PyNative mode, which launches kernels at once, and a GPU's ranks, which MindSpore joins only under a real
  `mpirun`.
- Which Ascend it is: under DryRun MindSpore never asks, so that nothing tells a 910A from a 910B.
"""


def write_page(path: Path, results: Sequence[Result]) -> None:
    """The whole page from the results of a whole sweep."""
    parts = [
        HEAD.format(version=version("mindspore"), counts=_count(results)),
        *(_write_models(device, results) for device in DEVICES),
        *(_write_operators(device, results) for device in DEVICES),
        _write_peers(results),
        _write_groups(results),
        _write_programs(results),
        _write_refused(results),
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _count(results: Sequence[Result]) -> str:
    wrong = sum(not result.is_right for result in results)
    return f"{len(results)} cases, {wrong or 'none'} of them wrong"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _write_models(device: str, results: Sequence[Result]) -> str:
    """A row for each model: its step and its evaluation."""
    found = {(result.group, result.name, result.mode): result for result in results if result.device == device}
    rows = []
    for model in sorted({name for group, name, _ in found if group == STEP}):
        file, values = find_recipe(model, device)
        recipe = open_recipe(file, **values)
        size = resolve_transform(recipe)["image_resize"]
        plain, everything = found.get((STEP, model, "O0")), found.get((EVERYTHING_ON, model, "O1"))
        evaluation, fused = (found.get((EVALUATION, model, mode)) for mode in GRAPH_MODES)
        rows.append(
            (
                f"`{model}`",
                f"{recipe.loader.batch_size} x {size}², {recipe.precision.amp_level}",
                _kernels(plain),
                _asked_and_run(plain, "Cast"),
                _asked_and_run(plain, "Transpose"),
                _mebibytes(plain),
                _kernels(everything),
                _mebibytes(everything),
                f"{_kernels(evaluation)}, {_kernels(fused)}",
                _mebibytes(evaluation),
            )
        )
    return (
        f"## {device}: models\n\nEach as its recipe has it: batch of one device, size of the images, amp level, loss "
        "scale, optimizer. Casts and transposes: how many the network, its gradient and its precision ask for, and how "
        "many run after the backend's passes. Everything on: averages, clipping, accumulation, recomputation, dropout, "
        "stochastic depth and, on Ascend, 8 ranks and the batch norms of all of them. Peaks are MindSpore's plan in "
        "MiB. What is not said to be O1 is O0.\n\n"
        + _table(
            (
                "model",
                "batch, precision",
                "kernels of a step",
                "casts: asked, run",
                "transposes: asked, run",
                "peak of a step",
                "kernels with everything on (O1)",
                "its peak",
                "kernels of an evaluation, O0 and O1",
                "its peak",
            ),
            rows,
        )
    )


def _kernels(result: Result | None) -> str:
    """A dash stands for what this sweep left out."""
    if result is None:
        return "-"
    return result.error or f"{result.num_kernels}"


def _asked_and_run(result: Result | None, operator: str) -> str:
    return "-" if result is None else f"{result.asked.get(operator, 0)}, {result.kernels.get(operator, 0)}"


def _mebibytes(result: Result | None) -> str:
    return "-" if result is None else f"{result.peak_bytes / 2**20:,.0f}"


def _write_operators(device: str, results: Sequence[Result]) -> str:
    """How many kernels of which operator a step of each model runs, and of what kind they are."""
    steps = [
        result
        for result in results
        if (result.device, result.group, result.mode) == (device, STEP, "O0") and not result.error
    ]
    steps.sort(key=lambda result: result.name)
    total: Counter[str] = Counter()
    kinds: dict[str, set[str]] = {}
    for step in steps:
        total.update(step.kernels)
        for operator, types in step.types.items():
            kinds.setdefault(operator, set()).update(types)
    rows = []
    for operator, _ in total.most_common():
        kind = ", ".join(sorted(kinds.get(operator, ()))) or "-"
        rows.append((operator, kind, *(step.kernels.get(operator, "") for step in steps)))
    names = [f"`{step.name.removeprefix('halonet_')}`" for step in steps]
    return (
        f"## {device}: kernels of a training step (O0)\n\n"
        + (
            "Kinds: `acl_kernel` by CANN's operator library, `opapi_kernel` by its `aclnn` functions, `rt_kernel` by "
            "its run-time, `hccl_kernel` by its collectives.\n\n"
            if device == "Ascend"
            else "All are MindSpore's own kernels for GPU, cuDNN's and cuBLAS's.\n\n"
        )
        + _table(("operator", "kind", *names), rows)
    )


def _write_peers(results: Sequence[Result]) -> str:
    """Steps of MindCV's networks beside ours, at the same batch, size and precision; "" if none was compiled."""
    found = {(result.group, result.name, result.mode): result for result in results if result.device == "Ascend"}
    rows = []
    for mode in GRAPH_MODES:
        for group, name, owner in ((STEP, "halonet_50t", "ours"), *((PEER, name, "MindCV") for name in PEERS)):
            step = found.get((group, name, mode))
            if step is None:
                return ""
            if step.error:
                rows.append((f"`{name}`", owner, mode, step.error, *[""] * 4))
                continue
            counts = (step.kernels.get(operator, 0) for operator in ("Cast", "Transpose", "Reshape"))
            rows.append((f"`{name}`", owner, mode, step.num_kernels, *counts, _mebibytes(step)))
    return (
        "## Beside MindCV, on Ascend\n\nOne training step of 64 images of 256², amp level O3, a fixed loss scale, "
        "AdamW, labels as mixup makes them. MindCV is version 0.3.0; its HaloNet calls `ops.pad` as only MindSpore 1 "
        "had it, and gets that function back here (`dry_run/worker_mindcv.py`).\n\n"
        + _table(("model", "whose", "jit level", "kernels", "casts", "transposes", "reshapes", "peak, MiB"), rows)
    )


def _write_groups(results: Sequence[Result]) -> str:
    """How many cases of each group were compiled, and which were not."""
    skipped = (STEP, EVALUATION, EVERYTHING_ON, REFUSED, PEER, "programs")
    groups = dict.fromkeys((result.group, result.device, result.mode) for result in results)
    rows = []
    for group, device, mode in groups:
        if group in skipped:
            continue
        mine = [result for result in results if (result.group, result.device, result.mode) == (group, device, mode)]
        failed = [f"{result.name}: {result.error}" for result in mine if result.error]
        names = "; ".join(result.name for result in mine) if mode == "O0" else "the same"
        rows.append((group, device, mode, f"{len(mine) - len(failed)} of {len(mine)}", names, "; ".join(failed)))
    return "## Parts, with a small network\n\n" + _table(
        ("what", "device", "mode", "compiled", "cases", "not compiled"), rows
    )


def _write_programs(results: Sequence[Result]) -> str:
    """How the scripts ended; "" if none was run."""
    rows = [
        (result.device, f"`{result.name}`" if " " not in result.name else result.name, result.error or "ran to its end")
        for result in results
        if result.group == "programs"
    ]
    if not rows:
        return ""
    return (
        "## Programs\n\nThe scripts with `halonet_50t_ascend.yaml` and `halonet_50t_gpu.yaml` as they ship, on a "
        "folder of small images, for two epochs with a validation each. Outside the training step other ranks are "
        "simulated (`dry_run/run_program.py`), as DryRun's collectives return zeros. On a GPU MindSpore has no queue "
        "without a device: sink mode compiles there, and feeds nothing.\n\n"
        + _table(("device", "program", "outcome"), rows)
    )


def _write_refused(results: Sequence[Result]) -> str:
    rows = [
        (result.device, result.name, (result.error or "was taken").replace("|", "\\|"))
        for result in results
        if result.group == REFUSED
    ]
    return "## Refused, as it must be\n\nIn every run the check is seen to fail on these.\n\n" + _table(
        ("device", "what", "MindSpore's words"), rows
    )
