"""Names of keras_cv_attention_models on its torch backend, with torch's layouts. Everything there counts from one.

foreign_worker.py gives the entries of a Keras .h5 these names and layouts.
"""

from __future__ import annotations

from ..rules import CONV1D, NORM, TRANSPOSED, Rule, Source

_BLOCK = r"stack(?P<stage_from_1>\d)_block(?P<block_from_1>\d+)_"
_OURS = "stages.{stage}.{block}."
_POSITION = {"pos_emb_h": "height_rel", "pos_emb_w": "width_rel"}

SOURCE = Source(
    name="Keras",
    signature=r"stack1_block1_deep_1_conv\.weight",
    dialect="keras",
    rules=(
        Rule(r"stem_conv", "stem.conv1.conv"),
        Rule(r"stem_(?P<number>\d)_conv", "stem.conv{number}.conv"),
        Rule(r"stem_(?P<number>\d)_bn", "stem.conv{number}.norm", NORM),
        Rule(r"stem_bn", ("stem.conv3.norm", "stem.conv1.norm"), NORM),  # of the last convolution
        Rule(_BLOCK + r"deep_1_conv", _OURS + "reduce.conv"),
        Rule(_BLOCK + r"deep_1_bn", _OURS + "reduce.norm", NORM),
        Rule(_BLOCK + r"deep_2_(GC_)?conv", _OURS + "mix.conv.conv"),
        Rule(_BLOCK + r"deep_2_bn", (_OURS + "mix.conv.norm", _OURS + "mix.norm"), NORM),
        Rule(_BLOCK + r"deep_2_se_1_conv", _OURS + "mix.gate.reduce"),
        Rule(_BLOCK + r"deep_2_se_2_conv", _OURS + "mix.gate.expand"),
        Rule(_BLOCK + r"deep_2_eca_conv1d", _OURS + "mix.gate.conv", layout=CONV1D),
        Rule(_BLOCK + r"deep_2_haloquery_conv", _OURS + "mix.attention.q"),
        Rule(_BLOCK + r"deep_2_halokey_value_conv", _OURS + "mix.attention.kv"),
        Rule(_BLOCK + r"deep_2_mhsa_qkv_conv", _OURS + "mix.attention.qkv"),
        Rule(_BLOCK + r"deep_2_(halo|mhsa_)pos_emb", _OURS + "mix.attention.pos_embed", _POSITION, layout=TRANSPOSED),
        Rule(_BLOCK + r"deep_3_conv", _OURS + "expand.conv"),
        Rule(_BLOCK + r"3_bn", _OURS + "expand.norm", NORM),
        Rule(_BLOCK + r"shortcut_conv", _OURS + "shortcut.conv"),
        Rule(_BLOCK + r"shortcut_bn", _OURS + "shortcut.norm", NORM),
        Rule(r"features_conv", "final_conv.conv"),
        Rule(r"features_bn", "final_conv.norm", NORM),
        Rule(r"predictions", "classifier"),
    ),
)
