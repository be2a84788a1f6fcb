"""create_model: a model by name, with weights if wanted."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import UserError, unknown_name
from .features import FeatureExtractor
from .network import HaloNet
from .registry import canonical_name, get_pretrained_cfg, model_entrypoint
from .specs import DIALECTS
from .weights import fetch_pretrained, load_weights, open_weights


def create_model(
    model_name: str,
    num_classes: int | None = None,
    pretrained: bool = False,
    in_channels: int = 3,
    checkpoint_path: str = "",
    ema: bool = False,
    auto_mapping: bool = False,
    *,
    features_only: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3, 4),
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    dialect: str | None = None,
    mask_padding: bool = False,
    image_size: int | tuple[int, int] | None = None,
    conv_stages: Iterable[int] = (),
    block_size: int | None = None,
    halo_size: int | None = None,
    reset_head: bool | None = None,
    resize_pos: bool = False,
    **unknown: Any,
) -> HaloNet | FeatureExtractor:
    """The model that is registered as `model_name`, or under that name in timm or Keras.

    Args:
        num_classes: classes of the head; 0 for pooled features. None is 1000.
        pretrained: published weights, from the cache or the network. `halonet_50t.mindcv` are MindCV's.
        in_channels: channels of the images. Weights for 3 are adapted to other numbers.
        checkpoint_path: a file of weights whose names are ours, timm's, MindCV's or Keras's: .ckpt, .safetensors, and
            with the extra `convert` .pth, .pt, .bin and .h5. Replaces `pretrained`.
        ema: take the averaged weights (`ema.*`) of a training checkpoint.
        auto_mapping: ignore a prefix that all names of the file share, as wrappers such as data parallelism add.
        features_only: return a FeatureExtractor for `out_indices`.
        drop_rate: dropout before the classifier; None is 0.
        drop_path_rate: stochastic depth of the last block; None is 0.
        dialect: "timm", "keras" or "mindcv"; None takes that of the weights, and timm's without any.
        mask_padding: keep pixels outside the map out of the softmax of halo attention.
        image_size: side, or (height, width), of the images, for models with bottleneck attention; None is the model's
            own.
        conv_stages: H models: stages, from 1, with convolutions in place of attention.
        block_size: side of the blocks of halo attention, in pixels of the map; None is the model's own.
        halo_size: width of the rim around a block, likewise.
        reset_head: leave out the file's classifier where its size is not ours, for fine-tuning on other classes; the
            log says so. None does that where `num_classes` is given.
        resize_pos: interpolate position tables of another window or image size, for fine-tuning with these.

    Raises UserError for unknown names (with the nearest), impossible settings, and weights that do not fit.
    """
    if unknown:
        parameters = inspect.signature(create_model).parameters
        raise unknown_name("create_model option", next(iter(unknown)), parameters.keys() - {"unknown"})
    name = canonical_name(model_name)
    options = {"drop_rate": drop_rate or 0.0, "drop_path_rate": drop_path_rate or 0.0, "mask_padding": mask_padding}
    options |= {k: v for k, v in {"block_size": block_size, "halo_size": halo_size}.items() if v is not None}
    options["image_size"] = _image_size(name, image_size)
    entrypoint = model_entrypoint(name)
    if conv_stages:
        if "conv_stages" not in inspect.signature(entrypoint).parameters:
            raise UserError(f"{name}: conv_stages {conv_stages} is for the H models only; leave it out")
        options["conv_stages"] = conv_stages
    if not isinstance(mask_padding, bool):
        raise UserError(f"{name}: mask_padding {mask_padding!r} must be True or False")
    if dialect is not None and (not isinstance(dialect, str) or dialect not in DIALECTS):
        raise unknown_name("dialect", dialect, DIALECTS)

    if pretrained and not checkpoint_path:
        checkpoint_path = str(fetch_pretrained(model_name, get_pretrained_cfg(model_name)))
    file = open_weights(checkpoint_path, ema=ema, strip_prefix=auto_mapping) if checkpoint_path else None
    classes = 1000 if num_classes is None else num_classes
    network = entrypoint(
        num_classes=0 if features_only else classes,
        in_channels=in_channels,
        dialect=DIALECTS[dialect or (file.dialect if file else "timm")],
        **options,
    )
    if file is not None:
        if file.mask_padding and not mask_padding:
            raise UserError(f"{file.origin}: its weights were trained with mask_padding True; set mask_padding to True")
        load_weights(
            network,
            file.arrays,
            origin=file.origin,
            reset_head=num_classes is not None if reset_head is None else reset_head,
            resize_pos=resize_pos,
            halo=file.halo,
        )
    return FeatureExtractor(network, out_indices) if features_only else network


def _image_size(name: str, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
    if image_size is None:
        return get_pretrained_cfg(name)["input_size"][1:]
    size = tuple(image_size) if isinstance(image_size, Iterable) else (image_size, image_size)
    if len(size) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in size):
        raise UserError(f"{name}: image_size {image_size!r} must be a side or (height, width) in pixels, at least 1")
    return size
