"""Export: a checkpoint's network as a file for other runtimes, which is compared before it is left there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn
from mindspore.dataset import vision

from ..config.options import Recipe
from ..config.resolve import FITTING_WEIGHTS, PLAIN, resolve
from ..deploy import (
    encode_metadata,
    require_ascend,
    require_onnx,
    run_mindir,
    run_onnx,
    write_air,
    write_mindir,
    write_onnx,
)
from ..errors import UserError, unknown_name
from ..files.path import check_file, find_kind, make_folder
from ..files.whole_file import write_whole
from ..models import HaloNet, fuse_batchnorm
from ..version import __version__
from .labels import ClassNames, find_class_names
from .setup import build_network, find_place, make_transforms, resolve_transform, start_device

# Of the largest logit. float32 in two libraries, over up to 100 layers of sums of up to 4,000 products.
TOLERANCE = 1e-4

_FACTS_SUFFIX = ".json"  # of a file beside one that cannot hold them


@dataclass(frozen=True)
class ExportFormat:
    """What writes a kind of file, and what runs it here."""

    write: Callable[[Path, nn.Cell, tuple[int | None, ...], Mapping[str, str]], None]
    run: Callable[[Path, np.ndarray], list[np.ndarray]] | None  # None: nothing here runs it
    check: Callable[[str | None, int | None], None]  # of device_target and batch; raises UserError for what is missing
    holds_metadata: bool = True


EXPORT_FORMATS = {
    "mindir": ExportFormat(write_mindir, run_mindir, lambda *_: None),
    "onnx": ExportFormat(write_onnx, run_onnx, lambda *_: require_onnx("--format onnx")),
    "air": ExportFormat(write_air, None, require_ascend, holds_metadata=False),
}


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how far it is from the network."""

    path: Path
    num_bytes: int
    facts: dict[str, Any]  # what the file tells about itself
    batch_size: int | None  # None: any
    differences: dict[int, float]  # by the batch that was run, of the largest logit; empty where nothing here runs it

    def __str__(self) -> str:
        batch = "any batch" if self.batch_size is None else f"batch {self.batch_size}"
        size = "x".join(map(str, self.facts["input_size"][1:]))
        norms = "folded" if self.facts["folded_batch_norm"] else "not folded"
        compared = ", ".join(f"{value:.1e} for a batch of {count}" for count, value in self.differences.items())
        path = str(self.path).encode(errors="backslashreplace").decode()
        return (
            f"{path}: {self.num_bytes / 1e6:.1f} MB, {self.facts['model']}, {size}, {batch}, batch norms {norms}\n"
            f"largest difference from the checkpoint's network, of its largest logit: {compared or 'not run here'}"
        )


def export(
    recipe: Recipe,
    file_format: str | None = None,
    output: str | None = None,
    *,
    batch_size: int | None = 1,
    class_names: ClassNames | None = None,
) -> Exported:
    """Write the network that the recipe names, with its weights, as a file for other runtimes.

    Args:
        file_format: "mindir", "onnx" or "air"; by default that of the output's name.
        output: the file, in a folder that exists; by default MODEL.FORMAT in the current one.
        batch_size: images per run of the file; None for any number, which AIR cannot.
        class_names: as for Predictor; the file holds them.

    Batch norms are folded unless the recipe's fuse_bn is False. The file is compared with the network before folding,
    on seeded noise, and lies at `output` only if it is near enough.

    Raises UserError for what cannot be, before any work, and where the file computes something else.
    """
    if not recipe.model.checkpoint_path and not recipe.model.pretrained:
        raise UserError("export needs weights: give --ckpt_path FILE")
    if recipe.precision.val_amp_level != "O0" or recipe.precision.amp_cast_list:
        raise UserError("export writes float32; give --val_amp_level O0 --amp_cast_list None")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size {batch_size} must be at least 1")
    name, target = _find_target(recipe.model.model_name, file_format, output)
    kind = EXPORT_FORMATS[name]
    kind.check(recipe.system.device_target, batch_size)
    _check_target(target, recipe.model.checkpoint_path)
    topology = find_place(recipe.system, needs_launcher=False)
    if topology.size > 1:
        raise UserError(f"export runs in one process; start it without {topology.launcher}")
    names = find_class_names(recipe, class_names)

    start_device(recipe.system, topology)
    plain = resolve(recipe, {**FITTING_WEIGHTS, **PLAIN})
    network = build_network(plain, len(names), is_training=False).set_train(False)
    if not isinstance(network, HaloNet):
        raise UserError(
            f"export is for HaloNets, and {recipe.model.model_name} is a {type(network).__name__}; use mindspore.export"
        )
    folds = recipe.precision.fuse_bn is not False
    facts = describe(recipe, network, names, folds)
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"network.{name}"
        exported = fuse_batchnorm(network) if folds else network
        kind.write(file, exported, (batch_size, *facts["input_size"]), encode_metadata(facts))
        differences = {}
        if kind.run is not None:
            batches = (1, 3) if batch_size is None else (batch_size,)
            differences = _compare(network, lambda images: kind.run(file, images), facts["input_size"], batches)
        far = np.max([0.0, *differences.values()])
        if not far <= TOLERANCE:  # not a number is far too
            raise UserError(
                f"{target}: the file's logits are {far:.1e} of the largest away from the network's, more than "
                f"{TOLERANCE:.0e}; it was not written"
            )
        content = file.read_bytes()
    try:
        write_whole(target, content)
        if not kind.holds_metadata:
            write_whole(target.with_name(f"{target.name}{_FACTS_SUFFIX}"), json.dumps(facts, indent=1))
    except OSError as error:
        raise UserError(f"--output {target}: {error.strerror}; choose a place that can be written") from error
    return Exported(target, len(content), facts, batch_size, differences)


def describe(recipe: Recipe, network: HaloNet, class_names: list[str], folds: bool) -> dict[str, Any]:
    """What a user of the file must know: whose network it is, and what it expects of an image."""
    options = resolve_transform(recipe)
    size = options["image_resize"]
    crops = any(isinstance(step, vision.CenterCrop) for step in make_transforms(recipe, is_training=False))
    crop_pct = options["crop_pct"] if crops else 1.0
    facts = {
        "model": network.spec.name,
        "dialect": network.dialect.name,
        "weights": Path(recipe.model.checkpoint_path).name or "published",
        "input_size": (network.in_channels, size, size),
        "layout": "NCHW",
        "channel_order": "RGB" if network.in_channels == 3 else "grey",
        "short_side": floor(size / crop_pct),
        "crop_pct": crop_pct,
        "interpolation": options["interpolation"],
        "pixel_range": (0, 255),
        "mean": options["mean"],
        "std": options["std"],
        "num_classes": network.num_classes,
        "folded_batch_norm": folds,
        "mindcv_halo": __version__,
        "mindspore": mindspore.__version__,
    }
    if class_names != [str(label) for label in range(network.num_classes)]:
        facts["class_names"] = class_names
    return facts


def _find_target(model: str, file_format: str | None, output: str | None) -> tuple[str, Path]:
    """The format and the file, of which one may tell the other."""
    if file_format is None:
        file_format = Path(output or "").suffix.removeprefix(".")
        if file_format not in EXPORT_FORMATS:
            raise UserError(f"give --format {', '.join(EXPORT_FORMATS)}, or --output with such an ending")
    if file_format not in EXPORT_FORMATS:
        raise unknown_name("format", file_format, EXPORT_FORMATS)
    target = Path(output or f"{model}.{file_format}")
    if target.suffix != f".{file_format}":
        raise UserError(f"--output {target}: the name of this format ends in .{file_format}")
    return file_format, target


def _check_target(target: Path, checkpoint: str) -> None:
    if checkpoint:
        check_file(f"checkpoint {checkpoint}", Path(checkpoint))
    if find_kind(target.parent) != "folder":
        raise UserError(f"--output {target}: there is no folder {target.parent}; make it first")
    longest = os.pathconf(target.parent, "PC_NAME_MAX")
    if len(os.fsencode(target.name)) + len(_FACTS_SUFFIX) > longest:
        raise UserError(f"--output {target}: the name has more than {longest - len(_FACTS_SUFFIX)} bytes; shorten it")
    if find_kind(target) == "folder":
        raise UserError(f"--output {target}: it is a folder; give the name of a file")
    make_folder("--output", str(target.parent))


def _compare(
    network: nn.Cell,
    run: Callable[[np.ndarray], list[np.ndarray]],
    input_size: tuple[int, ...],
    batches: tuple[int, ...],
) -> dict[int, float]:
    """The largest difference of the file's logits from the network's for each batch, of the largest logit."""
    images = np.random.default_rng(0).standard_normal((max(batches), *input_size)).astype(np.float32)
    logits = network(Tensor(images)).asnumpy()
    largest = max(np.abs(logits).max(), np.finfo(np.float32).tiny)  # a new head may give nothing but zeros
    return {size: float(np.abs(run(images[:size])[0] - logits[:size]).max() / largest) for size in batches}
