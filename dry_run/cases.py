"""Everything that is compiled, as data: which graph for which device, in which mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from mindcv_halo.loss.registry import LOSSES
from mindcv_halo.models import list_models
from mindcv_halo.optim.registry import OPTIMIZERS
from mindcv_halo.scheduler.registry import SCHEDULES
from mindcv_halo.training.grad_scaler import GradScaler

from . import graphs
from .devices import DEVICES
from .layer_graphs import LAYERS, layer_alone

SMALL = "halonet_test"
FOR_CPUS = "halonet_mini"  # halonet_26t's blocks, and no recipe for another device
COMPARED = "halonet_50t"  # with MindCV's, at both jit levels
STEP, EVALUATION, EVERYTHING_ON = "training step", "evaluation", "training step with everything on"
REFUSED = "must be refused"
TOGETHER = "all losses and precisions in one graph"
GRAPH_MODES = ("O0", "O1")  # O2 needs the graph engine of CANN itself
PYNATIVE = "PyNative"
# What a recipe may switch on beside what it has, all at once; each alone is a case of the small network.
EVERYTHING = {
    "ema": True,
    "clip_grad": True,
    "gradient_accumulation_steps": 2,
    "recompute": True,
    "sync_bn": True,
    "drop_rate": 0.1,
    "drop_path_rate": 0.1,
}
# The settings of a GPU's recipes for models whose recipe is for Ascend.
ON_GPU = {
    "device_target": "GPU",
    "amp_level": "O2",
    "val_amp_level": "O2",
    "loss_scale_type": "dynamic",
    "loss_scale": 65536,
}


@dataclass(frozen=True)
class Case:
    """A graph for a device.

    group: the row of the table that it counts in.
    name: what is compiled.
    device: one of DEVICES.
    compile: makes the graph and runs it once.
    mode: jit_level of graph mode, or "PyNative".
    refused: words of the error, where the backend must not take it.
    """

    group: str
    name: str
    device: str
    compile: Callable[[], None]
    mode: str = "O0"
    num_ranks: int = 1
    refused: str = ""

    @property
    def key(self) -> str:
        return f"{self.device} | {self.mode} | {self.group} | {self.name}"


def list_cases() -> list[Case]:
    """All of them, the longest first."""
    return [*list_models_at_size(), *list_small(), *list_parts(), *list_layers(), *list_counter_examples()]


def list_quick(device: str, *, is_thorough: bool = False) -> list[Case]:
    """What every run of the tests compiles: all losses and halo attention in each type of numbers, in one graph; and
    the counter-examples.

    The small model is what train.py compiles for Ascend; for a GPU its layers are in that graph. A thorough run has it
    on both devices, and each loss and each amp level alone.
    """
    wanted = {(TOGETHER, TOGETHER)}
    if is_thorough:
        wanted |= {("small model, step", "O2"), ("losses", "ce, probabilities")} | {
            ("losses", f"{loss}, class numbers") for loss in LOSSES
        }
        wanted |= {("parts of a step", f"halo attention{words}") for words in ("", *_PRECISIONS)}
    cases = [case for case in (*list_together(), *list_cases()) if (case.device, case.mode) == (device, "O0")]
    return [case for case in cases if case.group == REFUSED or (case.group, case.name) in wanted]


def list_together() -> Iterator[Case]:
    """For the tests: what list_cases has one by one. Where this is refused, those say for what."""
    for device in DEVICES:
        precisions = [{"amp_level": "O0"}, *_list_precisions(device).values()]
        yield Case(TOGETHER, TOGETHER, device, partial(graphs.step_together, *precisions, layers=device == "GPU"))


def list_modes(device: str) -> tuple[str, ...]:
    """In PyNative mode a GPU's kernels are launched one by one by CUDA's own run-time, which needs a driver."""
    return GRAPH_MODES if device == "GPU" else (*GRAPH_MODES, PYNATIVE)


def list_models_at_size() -> Iterator[Case]:
    """Each model as its recipe trains and validates it; at O1 it trains with everything on."""
    for model in list_models():
        for device in DEVICES:
            if model in (SMALL, FOR_CPUS):
                continue
            file, values = find_recipe(model, device)
            for mode in GRAPH_MODES if model == COMPARED else ("O0",):
                yield Case(STEP, model, device, partial(graphs.step_of_recipe, file, 1, **values), mode)
            for mode in GRAPH_MODES:
                yield Case(EVALUATION, model, device, partial(graphs.evaluation_of_recipe, file, **values), mode)
            num_ranks = 8 if device == "Ascend" else 1
            everything = partial(graphs.step_of_recipe, file, num_ranks, **{**values, **EVERYTHING})
            yield Case(EVERYTHING_ON, model, device, everything, "O1", num_ranks)


def find_recipe(model: str, device: str) -> tuple[str, dict[str, Any]]:
    """The recipe's file, and what else to set."""
    if device == "Ascend":
        return f"{model}_ascend.yaml", {}
    own = f"{model}_gpu.yaml"
    return (own, {}) if (graphs.CONFIGS / own).is_file() else (f"{model}_ascend.yaml", ON_GPU)


def list_small() -> Iterator[Case]:
    """The small model of the zoo, at every amp level and in every mode."""
    for device in DEVICES:
        for mode in list_modes(device):
            for level in ("O0", "O1", "O2", "O3"):
                settings = {"amp_level": level, "val_amp_level": level, "loss_scale": 1024 if level == "O3" else 1}
                step = partial(graphs.step_on_model, SMALL, **settings)
                yield Case("small model, step", level, device, step, mode)
                evaluation = partial(graphs.evaluation_on_model, SMALL, **settings)
                yield Case("small model, evaluation", level, device, evaluation, mode)
        for level in ("O1", "O2", "O3"):
            settings = {"amp_level": level, "val_amp_level": level, "amp_dtype": "bfloat16"}
            step = partial(graphs.step_on_model, SMALL, **settings)
            evaluation = partial(graphs.evaluation_on_model, SMALL, **settings)
            if device == "Ascend":
                yield Case("small model, step", f"{level}, bfloat16", device, step)
                yield Case("small model, evaluation", f"{level}, bfloat16", device, evaluation)
            elif level == "O3":  # by us, before MindSpore would
                yield Case(
                    REFUSED, f"bfloat16, {level}", device, step, refused="MindSpore has no such kernels on a GPU"
                )
        folded = partial(graphs.evaluation_on_model, SMALL, fuse_bn=True)
        yield Case("small model, evaluation", "folded batch norms", device, folded)


def list_parts() -> Iterator[Case]:
    """Losses, optimizers, schedules and what else a step has, each with a small network."""
    for device in DEVICES:
        for mode in list_modes(device):
            yield from _list_losses(device, mode)
            yield from _list_optimizers(device, mode)
            yield from _list_step_options(device, mode)
        for name in SCHEDULES:
            run = partial(graphs.step_on_schedule, name)
            yield Case("schedules", name, device, run)


def _list_losses(device: str, mode: str) -> Iterator[Case]:
    for loss in LOSSES:
        variants: dict[str, dict[str, Any]] = {
            "class numbers": {},
            "class numbers of 64 bits": {"label_type": "int64"},
            "probabilities": {"soft_labels": True},
            "sum": {"reduction": "sum"},
            "two heads": {"num_heads": 2},
        }
        if "label_smoothing" in LOSSES[loss].arguments:
            variants["smoothing"] = {"label_smoothing": 0.1}
        if "weight" in LOSSES[loss].arguments:
            variants["class weights"] = {"class_weights": True}
        for words, options in variants.items():
            yield Case("losses", f"{loss}, {words}", device, partial(graphs.small_step, loss, **options), mode)
        for soft in (False, True):
            alone = partial(graphs.loss_alone, loss, reduction="none", soft_labels=soft)
            words = "probabilities" if soft else "class numbers"
            yield Case("losses", f"{loss}, each image's, {words}", device, alone, mode)


def _list_optimizers(device: str, mode: str) -> Iterator[Case]:
    variants: dict[str, dict[str, Any]] = {name: {} for name in OPTIMIZERS}
    variants |= {f"{name} without momentum": {"momentum": 0.0} for name in ("sgd", "rmsprop")}
    variants |= {f"{name} with Nesterov's": {"nesterov": True} for name in ("sgd", "momentum", "adam")}
    for words, options in variants.items():
        run = partial(graphs.small_step, opt=words.split()[0], optimizer=options)
        yield Case("optimizers", words, device, run, mode)


_PRECISIONS: dict[str, dict[str, Any]] = {
    " at O1": {"amp_level": "O1"},
    " at O2": {"amp_level": "O2"},
    " at O3": {"amp_level": "O3"},
    " in bfloat16": {"amp_level": "O3", "amp_dtype": "bfloat16"},
}


def _list_precisions(device: str) -> dict[str, dict[str, Any]]:
    return {words: options for words, options in _PRECISIONS.items() if device == "Ascend" or "bf" not in words}


def _list_step_options(device: str, mode: str) -> Iterator[Case]:
    variants: dict[str, dict[str, Any]] = {
        "clip norm": {"clip_mode": "norm"},
        "clip value": {"clip_mode": "value"},
        "accumulation": {"accumulation_steps": 2},
        "averages": {"average": True},
        "fixed loss scale": {"loss_scale": partial(GradScaler, 1024.0)},
        "loss scale that leaves out": {"loss_scale": partial(GradScaler, 1024.0, skips=True)},
        "dynamic loss scale": {"loss_scale": partial(GradScaler, 1024.0, dynamic=True)},
        "halo attention": {"attention": True},
    }
    variants["all of these"] = {name: value for options in variants.values() for name, value in options.items()}
    variants |= {
        f"halo attention{words}": {"attention": True, **options} for words, options in _list_precisions(device).items()
    }
    for words, options in variants.items():
        yield Case("parts of a step", words, device, partial(graphs.small_step, **options), mode)


def list_layers() -> Iterator[Case]:
    """Each layer alone, at the precisions that networks have."""
    precisions = {"float32": ("O0", "float16"), "float16": ("O3", "float16"), "bfloat16": ("O3", "bfloat16")}
    for device in DEVICES:
        for mode in list_modes(device):
            for words, (level, number_type) in precisions.items():
                if device == "GPU" and words == "bfloat16":
                    continue
                for name in LAYERS:
                    run = partial(layer_alone, name, level, number_type)
                    yield Case(f"layers, {words}", name, device, run, mode)


def list_counter_examples() -> Iterator[Case]:
    """What must be refused: a check that takes these sees nothing."""
    for device in DEVICES:
        run = partial(graphs.operator_without_kernel, device)
        name = "BesselJ0" if device == "Ascend" else "Eig"
        yield Case(REFUSED, f"{name}, an operator without a kernel", device, run, refused=name)
        yield Case(REFUSED, "convolution of integers", device, graphs.convolution_of_integers, refused="Conv2D")
        if device == "Ascend":
            yield Case(REFUSED, "max pool of bfloat16", device, graphs.pool_of_bfloat16, refused="MaxPool")
            yield Case(REFUSED, "int32 labels with int64 values", device, graphs.one_hot_with_integers, refused="Int64")
