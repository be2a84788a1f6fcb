"""timm's names (1.0.31): byobnet's stages.S.B.<layer>."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..rules import CONV1D, CONV3D, NORM, Rule, Source, translate_back

_BLOCK = r"stages\.(?P<stage>\d)\.(?P<block>\d+)\."
_OURS = "stages.{stage}.{block}."
_POSITION = {"height_rel": "height_rel", "width_rel": "width_rel"}

_NUMBERED_STEM = (
    Rule(r"stem\.conv(?P<number>\d)\.conv", "stem.conv{number}.conv"),
    Rule(r"stem\.conv(?P<number>\d)\.bn", "stem.conv{number}.norm", NORM),
)
_SINGLE_STEM = (Rule(r"stem\.conv", "stem.conv1.conv"), Rule(r"stem\.bn", "stem.conv1.norm", NORM))
SOURCE = Source(
    name="timm",
    signature=r"stages\.0\.0\.conv1_1x1\.conv\.weight",
    dialect="timm",
    rules=(
        *_NUMBERED_STEM,
        *_SINGLE_STEM,
        Rule(_BLOCK + r"conv1_1x1\.conv", _OURS + "reduce.conv"),
        Rule(_BLOCK + r"conv1_1x1\.bn", _OURS + "reduce.norm", NORM),
        Rule(_BLOCK + r"conv2_kxk\.conv", _OURS + "mix.conv.conv"),
        Rule(_BLOCK + r"conv2_kxk\.bn", _OURS + "mix.conv.norm", NORM),
        Rule(_BLOCK + r"attn\.fc1", _OURS + "mix.gate.reduce"),
        Rule(_BLOCK + r"attn\.fc2", _OURS + "mix.gate.expand"),
        Rule(_BLOCK + r"attn\.conv", _OURS + "mix.gate.conv", layout=CONV1D),
        Rule(_BLOCK + r"self_attn\.(?P<layer>q|kv|qkv)", _OURS + "mix.attention.{layer}"),
        Rule(_BLOCK + r"self_attn\.pos_embed", _OURS + "mix.attention.pos_embed", _POSITION),
        Rule(_BLOCK + r"self_attn\.(?P<layer>norm_q|norm_v)", _OURS + "mix.attention.{layer}", NORM),
        Rule(_BLOCK + r"self_attn\.conv_lambda", _OURS + "mix.attention.position", {"bias": "bias"}),
        Rule(_BLOCK + r"self_attn\.conv_lambda", _OURS + "mix.attention.position", layout=CONV3D),
        Rule(_BLOCK + r"post_attn", _OURS + "mix.norm", NORM),
        Rule(_BLOCK + r"conv3_1x1\.conv", _OURS + "expand.conv"),
        Rule(_BLOCK + r"conv3_1x1\.bn", _OURS + "expand.norm", NORM),
        Rule(_BLOCK + r"shortcut\.conv", _OURS + "shortcut.conv"),
        Rule(_BLOCK + r"shortcut\.bn", _OURS + "shortcut.norm", NORM),
        Rule(r"final_conv\.conv", "final_conv.conv"),
        Rule(r"final_conv\.bn", "final_conv.norm", NORM),
        Rule(r"head\.fc", "classifier"),
    ),
)


def to_timm(ours: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our weights as timm's state dict. What batch norms have counted, which nothing reads, is zero."""
    stem = _NUMBERED_STEM if "stem.conv2.conv.weight" in ours else _SINGLE_STEM
    theirs = translate_back(replace(SOURCE, rules=(*stem, *SOURCE.rules)), ours)
    norms = [name.removesuffix("running_mean") for name in theirs if name.endswith(".running_mean")]
    return theirs | {f"{norm}num_batches_tracked": np.zeros((), np.int64) for norm in norms}
