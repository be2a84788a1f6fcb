"""Parameter counts against the peers', and their parameter lists against ours, one to one."""

from __future__ import annotations

import numpy as np
import pytest
from support.peers import build_network, list_states, read_state

from mindcv_halo import list_models
from mindcv_halo.errors import UserError
from mindcv_halo.models.registry import canonical_name
from mindcv_halo.models.weights import load_weights

# Trainable parameters, and with batch norm's running statistics; timm 1.0.31, Keras models and MindCV, counted there.
COUNTS = {
    ("timm", "halonet26t"): (12_480_288, 12_511_248),
    ("timm", "halonet50ts"): (22_733_280, 22_786_512),
    ("timm", "sehalonet33ts"): (13_691_712, 13_726_768),
    ("timm", "eca_halonext26ts"): (10_756_885, 10_787_845),
    ("timm", "halonet_h1"): (8_100_056, 8_130_008),
    ("timm", "haloregnetz_b"): (11_680_072, 11_729_864),
    ("timm", "lamhalobotnet50ts_256"): (22_569_824, 22_623_440),
    ("timm", "halo2botnet50ts_256"): (22_635_360, 22_688_592),
    ("keras", "HaloNet26T"): (12_480_288, 12_511_248),
    ("keras", "HaloNet50T"): (22_733_280, 22_786_512),
    ("keras", "HaloNetSE33T"): (13_691_712, 13_726_768),
    ("keras", "HaloNextECA26T"): (10_756_885, 10_787_845),
    ("keras", "HaloRegNetZB"): (11_680_072, 11_729_864),
    ("keras", "HaloBotNet50T"): (22_635_360, 22_688_592),
    ("keras", "HaloNetH0"): (5_502_248, 5_522_856),
    ("keras", "HaloNetH1"): (8_101_352, 8_131_304),
    ("keras", "HaloNetH2"): (9_405_608, 9_440_168),
    ("keras", "HaloNetH3"): (11_842_792, 11_884_136),
    ("keras", "HaloNetH4"): (19_103_464, 19_163_752),
    ("keras", "HaloNetH5"): (30_718_952, 30_813_992),
    ("keras", "HaloNetH6"): (43_458_280, 43_578_216),
    ("keras", "HaloNetH7"): (67_434_728, 67_594_728),
    ("mindcv", "halonet_50t"): (22_733_280, 22_786_512),
}


def test_every_list_is_counted():
    assert sorted(COUNTS) == sorted(list_states())
    for (peer, model), counts in COUNTS.items():
        state = read_state(peer, model)
        assert (state.trainable, state.with_statistics) == counts, model


def test_every_model_is_counted():
    """All of ours but the tiny one; timm's H1 is none of ours."""
    ours = {canonical_name(model) for peer, model in COUNTS if (peer, model) != ("timm", "halonet_h1")}
    assert ours == set(list_models()) - {"halonet_test"}


@pytest.mark.parametrize("peer, model", COUNTS)
def test_counts_and_names_are_the_peers(peer, model):
    """As many parameters, and every entry of the peer's list finds one of ours of its shape."""
    network = build_network(peer, model)
    assert sum(parameter.size for parameter in network.trainable_params()) == COUNTS[peer, model][0]
    assert sum(parameter.size for parameter in network.get_parameters()) == COUNTS[peer, model][1]
    # No parameter starts as twos, so that one which is left out shows.
    twos = {name: np.full(shape, 2, np.float32) for name, shape in read_state(peer, model).shapes.items()}
    load_weights(network, twos)
    assert not [parameter.name for parameter in network.get_parameters() if not np.all(parameter.asnumpy() == 2)]


@pytest.mark.parametrize(
    "peer, model, name",
    [
        ("timm", "halonet26t", "stages.2.1.self_attn.pos_embed.height_rel"),
        ("timm", "halonet26t", "stages.0.1.conv3_1x1.bn.running_var"),
        ("keras", "HaloNet26T", "stack3_block2_deep_2_haloquery_conv.weight"),
    ],
)
def test_lists_must_match_both_ways(peer, model, name):
    network = build_network(peer, model)
    weights = {name: np.zeros(shape, np.float32) for name, shape in read_state(peer, model).shapes.items()}
    missing = {key: value for key, value in weights.items() if key != name}
    with pytest.raises(UserError):
        load_weights(network, missing)
    with pytest.raises(UserError, match="surplus"):
        load_weights(network, weights | {"surplus.weight": np.zeros(3, np.float32)})
    with pytest.raises(UserError):
        load_weights(network, weights | {name: np.zeros((*weights[name].shape, 2), np.float32)})
