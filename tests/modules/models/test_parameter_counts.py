"""Parameter counts against the peers', and their parameter lists against ours, one to one."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore.nn.utils import no_init_parameters
from support.peers import build_network, list_states, read_state

from mindcv_halo import list_models
from mindcv_halo.errors import UserError
from mindcv_halo.models.registry import canonical_name
from mindcv_halo.models.weights import load_weights

STATES = list_states()


def test_every_model_is_counted():
    """All of ours but the tiny one; timm's H1 is none of ours."""
    ours = {canonical_name(model) for peer, model in STATES if (peer, model) != ("timm", "halonet_h1")}
    assert ours == set(list_models()) - {"halonet_test"}


@pytest.mark.parametrize("peer, model", STATES)
def test_counts_and_names_are_the_peers(peer, model):
    """As many parameters as were counted there, and every entry of the peer's list finds one of ours of its shape."""
    with no_init_parameters():  # H7's would take seconds to draw
        network = build_network(peer, model)
    state = read_state(peer, model)
    assert sum(parameter.size for parameter in network.trainable_params()) == state.trainable
    assert sum(parameter.size for parameter in network.get_parameters()) == state.with_statistics
    # No parameter starts as twos, so that one which is left out shows.
    twos = {name: np.full(shape, 2, np.float32) for name, shape in state.shapes.items()}
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
    with no_init_parameters():
        network = build_network(peer, model)
    weights = {name: np.zeros(shape, np.float32) for name, shape in read_state(peer, model).shapes.items()}
    missing = {key: value for key, value in weights.items() if key != name}
    with pytest.raises(UserError):
        load_weights(network, missing)
    with pytest.raises(UserError, match="surplus"):
        load_weights(network, weights | {"surplus.weight": np.zeros(3, np.float32)})
    with pytest.raises(UserError):
        load_weights(network, weights | {name: np.zeros((*weights[name].shape, 2), np.float32)})
