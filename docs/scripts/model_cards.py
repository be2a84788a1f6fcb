"""A page for each model, and one that lists them, from the registry, the specifications and the benchmark."""

from __future__ import annotations

from typing import Any

from mindcv_halo import HaloNet, get_pretrained_cfg, list_models
from mindcv_halo.models.halonet import default_cfgs
from mindcv_halo.models.registry import list_aliases


def write_index(facts: dict[str, tuple[int, int]]) -> str:
    """The page that lists all models: parameters, and multiply-accumulates of one image at each model's own size."""
    rows = ["| model | parameters | GMAC | size | published top-1 |", "| --- | --- | --- | --- | --- |"]
    for name in list_models():
        cfg = get_pretrained_cfg(name)
        rows.append(
            f"| [{name}]({name}.md) | {facts[name][0]:,} | {facts[name][1] / 1e9:.2f} | "
            f"{cfg['input_size'][1]} | {cfg['top1'] or ''} |"
        )
    return (
        "# Models\n\nParameters are the trainable ones; GMAC are 10^9 multiply-accumulates of one image at the given "
        "size (`mindcv_halo.models.macs.count_macs`). Accuracy is ImageNet-1k top-1 in percent, as published with the "
        "weights and not measured by us.\n\n" + "\n".join(rows) + "\n"
    )


def write_card(network: HaloNet, macs: int, results: dict[str, Any]) -> str:
    """A model's page; `results` are those of benchmarks/RESULTS.json."""
    name = network.spec.name
    cfg = get_pretrained_cfg(name)
    parts = [
        f"# {name}",
        " ".join((getattr(_functions(), name).__doc__ or "").split("Options as")[0].split("Other options")[0].split()),
        f"![The blocks of {name}](../pictures/{name}.png)",
        _facts(network, macs, cfg),
        f"## Blocks\n\n{_stages(network)}",
        f"## Weights\n\n{_weights(name)}",
        f"## Speed\n\n{_speed(name, results)}",
        "## Use\n\n```python\nfrom mindcv_halo import create_model\n\n"
        f'network = create_model("{name}", num_classes=10)\n'
        f"print(network.spec.name, network.num_features)  # {name} {network.num_features}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def count_parameters(network: HaloNet) -> int:
    return sum(parameter.size for parameter in network.trainable_params())


def _functions() -> Any:
    import mindcv_halo.models.halonet

    return mindcv_halo.models.halonet


def _facts(network: HaloNet, macs: int, cfg: dict[str, Any]) -> str:
    name, spec = network.spec.name, network.spec
    others = ", ".join(f"`{alias}`" for alias in list_aliases(name))
    size = cfg["input_size"][1]
    rows = [
        ("parameters", f"{count_parameters(network):,}"),
        ("multiply-accumulates", f"{macs / 1e9:.2f} * 10^9 for one image of {size} x {size}"),
        (
            "image size",
            f"{size} x {size}" + ("; fixed when it is built" if spec.fixed_size else "; any other works too"),
        ),
        ("features", f"{network.num_features} numbers before the classifier"),
        (
            "preprocessing",
            f"{cfg['interpolation']}, crop {cfg['crop_pct']}, mean {_numbers(cfg['mean'])}, std {_numbers(cfg['std'])}",
        ),
        ("other names", others or "none"),
    ]
    if cfg["top1"]:
        rows.append(("accuracy", f"top-1 {cfg['top1']} %, top-5 {cfg['top5']} % ({cfg['source']}; not measured by us)"))
    return _table(("", ""), rows)


def _stages(network: HaloNet) -> str:
    spec = network.spec
    kinds = {"C": "3x3 convolution", "A": "halo attention", "L": "lambda layer", "T": "bottleneck attention"}
    rows = []
    for number, (stage, stride) in enumerate(zip(spec.stages, spec.strides[1:], strict=True), 1):
        attends = set(stage.pattern) - {"C"}
        heads = str(stage.num_heads) if attends else "-"
        blocks = ", ".join(kinds[letter] for letter in dict.fromkeys(stage.pattern))
        rows.append((str(number), f"`{stage.pattern}`", blocks, str(stage.width), heads, str(stride)))
    table = _table(("stage", "blocks", "of", "width", "heads", "stride of the map"), rows)
    halo = spec.halo
    return f"{table}\n\nHalo attention: blocks of {halo.block_size} pixels, halo of {halo.halo_size}."


def _weights(name: str) -> str:
    rows = []
    for entry, cfg in default_cfgs.items():
        if entry.partition(".")[0] != name or not cfg["url"]:
            continue
        checksum = "content: names, shapes, and the format's own checks"
        if cfg["sha256"]:
            checksum = f"SHA-256 {cfg['sha256'][:8]}..."
        rows.append((f"`{entry}`", f"`{cfg['file']}`", checksum))
        if cfg.get("release_sha256"):
            rows.append(("", f"`{cfg['release_url'].rpartition('/')[2]}`", f"SHA-256 {cfg['release_sha256']}..."))
    if not rows:
        return "None have been published; `configs/halonet` has a recipe." if name != "halonet_test" else "None."
    return _table(("`pretrained=True` of", "file", "checked by"), rows)


def _speed(name: str, results: dict[str, Any]) -> str:
    rows = []
    for row in results["rows"]:
        if row["model"] != name:
            continue
        ours, best = next(iter(row["sides"].values())), row["sides"][row["best"]]
        rows.append(
            (
                f"{row['work']}, {row['precision']}",
                str(row["batch_size"]),
                f"{ours['images_per_s']:.1f}",
                f"{best['images_per_s']:.1f} ({row['best']})",
                f"{row['ratio']:.2f}",
                f"{ours['peak_gb']:.2f}",
            )
        )
    if not rows:
        return "Not in the benchmark."
    machine = results["machine"]
    table = _table(("work", "batch", "images/s", "fastest peer", "ratio", "GB"), rows)
    return (
        f"{table}\n\nOne run of `make bench` on {machine['cores']} cores of {machine['processor'].partition(',')[0]}, "
        f"{results['image_size']} x {results['image_size']}; [all of it](../../benchmarks/RESULTS.md)."
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows))


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
