"""MindCV's names for its halonet_50t. Its stages count from 1, its windows are scrambled: see specs.Dialect."""

from __future__ import annotations

from ..rules import Rule, Source

_NORM = {name: name for name in ("gamma", "beta", "moving_mean", "moving_variance")}
_POSITION = {"rel_height": "height_rel", "rel_width": "width_rel"}
_BLOCK = r"stage(?P<stage_from_1>\d)\.blocks\.(?P<block>\d+)\."
_OURS = "stages.{stage}.{block}."

SOURCE = Source(
    name="MindCV",
    signature=r"stage1\.blocks\.0\.conv1_1x1\.conv\.weight",
    dialect="mindcv",
    rules=(
        Rule(r"stem\.conv(?P<number>\d)\.conv", "stem.conv{number}.conv"),
        Rule(r"stem\.conv(?P<number>\d)\.bn", "stem.conv{number}.norm", _NORM),
        Rule(_BLOCK + r"conv1_1x1\.conv", _OURS + "reduce.conv"),
        Rule(_BLOCK + r"conv1_1x1\.bn", _OURS + "reduce.norm", _NORM),
        Rule(_BLOCK + r"conv2_kxk\.conv", _OURS + "mix.conv.conv"),
        Rule(_BLOCK + r"conv2_kxk\.bn", _OURS + "mix.conv.norm", _NORM),
        Rule(_BLOCK + r"self_attn\.(?P<layer>q|kv)", _OURS + "mix.attention.{layer}"),
        Rule(_BLOCK + r"self_attn\.pos_embed", _OURS + "mix.attention.pos_embed", _POSITION),
        Rule(_BLOCK + r"post_attn\.bn", _OURS + "mix.norm", _NORM),
        Rule(_BLOCK + r"conv3_1x1\.conv", _OURS + "expand.conv"),
        Rule(_BLOCK + r"conv3_1x1\.bn", _OURS + "expand.norm", _NORM),
        Rule(_BLOCK + r"creat_shortcut\.conv", _OURS + "shortcut.conv"),
        Rule(_BLOCK + r"creat_shortcut\.bn", _OURS + "shortcut.norm", _NORM),
        Rule(r"classifier\.1", "classifier"),
    ),
)
