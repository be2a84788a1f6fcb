"""Weight files of any source into ours, and back into timm's."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError, unknown_name
from ..files.path import find_kind
from ..models import create_model, get_pretrained_cfg
from ..models.registry import canonical_name
from ..models.specs import Dialect, Spec
from ..models.weights import (
    describe_classes,
    describe_network,
    find_model,
    find_options,
    fit_weights,
    open_weights,
    to_timm,
    write_weights,
)

TARGETS = ("ours", "timm")


def convert(
    source: str,
    target: str,
    *,
    model: str | None = None,
    to: str = "ours",
    ema: bool = False,
    dialect: str | None = None,
) -> str:
    """Write the weights in the file `source` to `target`, .ckpt or .safetensors, and return a line that says what.

    Args:
        model: whose weights they are; by default the model that has their structure.
        to: "ours", or "timm" for a state dict of timm's (.safetensors).
        ema: take the averaged weights of a training checkpoint.
        dialect: read the weights in another dialect than their own.

    The numbers stay as they are, bit for bit. Raises UserError for weights that do not fit the model, and for a model
    or a dialect that timm does not have.
    """
    path = Path(target)
    _check_output(Path(source), path, to)
    file = open_weights(source, ema=ema, strip_prefix=True)
    if model is None:
        name, options = find_model(file)
    else:
        name = canonical_name(model)
        options = find_options(name, file)
    if file.halo:
        options |= {"block_size": file.halo.block_size, "halo_size": file.halo.halo_size}
    network = create_model(name, dialect=dialect or file.dialect, mask_padding=file.mask_padding, **options)
    arrays = fit_weights(network, file)
    if to == "timm":
        _check_timm(network.spec, network.dialect, network.mask_padding, source)
        arrays, notes = to_timm(arrays), {"format": "pt"}
    else:
        notes = {**describe_network(network), **describe_classes(file.class_names)}
    write_weights(arrays, path, notes)
    return f"{target}: {name} from {file.source.name}'s names, dialect {network.dialect.name}, {len(arrays)} arrays"


def _check_output(source: Path, target: Path, to: str) -> None:
    if to not in TARGETS:
        raise unknown_name("--to", to, TARGETS)
    if to == "timm" and target.suffix != ".safetensors":
        raise UserError(f"{target}: weights for timm are written as .safetensors; choose such a name")
    if find_kind(target.parent) != "folder":
        raise UserError(f"{target}: there is no folder {target.parent}; make it first")
    if find_kind(target) and find_kind(source) and target.samefile(source):
        raise UserError(f"{target} is the file that is read; choose another name")


def _check_timm(spec: Spec, dialect: Dialect, masks: bool, source: str) -> None:
    """Raises UserError where timm's model would compute something else from the weights."""
    if "hub_id" not in get_pretrained_cfg(spec.name):
        raise UserError(f"{source}: timm has no {spec.name}; leave --to out")
    if masks:
        raise UserError(f"{source}: its weights were trained with mask_padding, which timm lacks; leave --to out")
    differences = []
    if dialect.scrambled_windows:
        differences.append("the order of its windows")
    if dialect.zero_pool_border and spec.stem.pool and spec.act != "relu":  # nothing is below zero after a ReLU
        differences.append("the border of its max pool")
    if spec.gate and spec.gate.kind == "se" and spec.gate.act is None and dialect.se_act != "relu":
        differences.append("the activation in its squeeze-and-excitation")
    if differences:
        raise UserError(
            f"{source}: its dialect {dialect.name} differs from timm's in {' and '.join(differences)}, so that timm's "
            "model would give other outputs; --dialect timm converts the numbers all the same"
        )
