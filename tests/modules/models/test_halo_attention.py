"""Halo attention against the loop oracle, and the properties that make it halo attention."""

from __future__ import annotations

import re
from math import ceil

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from support.differentiate import differentiate, weighted_sum
from support.oracle import halo_attention, oracle_name
from support.table import check_all
from support.together import run_together
from support.ways import take

from mindcv_halo.models.layers import HaloAttention
from mindcv_halo.models.layers.halo_attention import OUTSIDE_LOGIT
from mindcv_halo.models.layers.window_reader import GatheringWindowReader

# Values are of order one and float32 keeps 6e-8 of them; the longest sums (256 keys, 24 channels) leave about 1e-6.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

PLAIN = {"dim": 16, "num_heads": 2, "block_size": 4, "halo_size": 1}

# name: (arguments, map height and width)
CASES = {
    "plain": (PLAIN, (8, 8)),
    "wide": (PLAIN, (4, 12)),
    "tall": (PLAIN, (12, 4)),
    "one block": (PLAIN, (4, 4)),
    "no halo": (PLAIN | {"halo_size": 0}, (8, 8)),
    "halo beyond the block": (PLAIN | {"block_size": 2, "halo_size": 3}, (6, 4)),
    "halo beyond the map": (PLAIN | {"halo_size": 5}, (4, 4)),
    "blocks of one pixel": (PLAIN | {"block_size": 1, "halo_size": 2}, (3, 5)),
    "itself alone": (PLAIN | {"block_size": 1, "halo_size": 0}, (3, 5)),
    "as in 50t": (PLAIN | {"num_heads": 4, "block_size": 8, "halo_size": 3}, (8, 16)),
    "wider out": (PLAIN | {"dim_out": 24}, (8, 4)),
    "wider values": (PLAIN | {"dim_out": 40, "num_heads": 4, "dim_head": 4}, (8, 4)),
    "narrow keys": (PLAIN | {"dim": 32, "qk_ratio": 0.33}, (4, 8)),
    "bias": (PLAIN | {"qkv_bias": True}, (8, 4)),
    "scaled position": (PLAIN | {"scale_pos_embed": True}, (8, 4)),
    "masked": (PLAIN | {"mask_padding": True}, (8, 8)),
    "stride 2": (PLAIN | {"stride": 2}, (8, 12)),
    "stride 2, wider values": (PLAIN | {"stride": 2, "dim_out": 40, "num_heads": 4, "dim_head": 4}, (8, 8)),
    "stride 2, blocks of two": (PLAIN | {"stride": 2, "block_size": 2}, (4, 6)),
    "stride 2, scaled position": (PLAIN | {"stride": 2, "scale_pos_embed": True}, (8, 4)),
    "stride 2, masked": (PLAIN | {"stride": 2, "mask_padding": True}, (8, 8)),
    "pooled, odd block": (PLAIN | {"stride": 2, "block_size": 3}, (6, 12)),
    "pooled, odd map": (PLAIN | {"stride": 2, "block_size": 3}, (9, 6)),
    "pooled, blocks of one pixel": (PLAIN | {"stride": 2, "block_size": 1}, (4, 5)),
    "pooled on request": (PLAIN | {"stride": 2, "avg_down": True}, (8, 4)),
    "average asked for, nothing to shrink": (PLAIN | {"avg_down": True}, (4, 4)),
    "ragged": (PLAIN, (7, 10)),
    "ragged in one direction": (PLAIN, (8, 9)),
    "smaller than a block": (PLAIN | {"block_size": 8, "halo_size": 3}, (3, 2)),
    "one pixel": (PLAIN, (1, 1)),
    "as in H7": (PLAIN | {"block_size": 10, "halo_size": 3}, (15, 15)),
    "ragged, bias": (PLAIN | {"qkv_bias": True}, (5, 6)),
    "ragged, masked": (PLAIN | {"mask_padding": True, "qkv_bias": True}, (7, 10)),
    "ragged, stride 2": (PLAIN | {"stride": 2}, (7, 10)),
    "ragged, stride 2, masked": (PLAIN | {"stride": 2, "mask_padding": True}, (5, 9)),
    "ragged, pooled": (PLAIN | {"stride": 2, "block_size": 3, "qkv_bias": True}, (7, 8)),
    "ragged, pooled, masked": (PLAIN | {"stride": 2, "block_size": 3, "mask_padding": True}, (7, 4)),
    "ragged, pooled on request": (PLAIN | {"stride": 2, "avg_down": True}, (5, 6)),
}
# What a graph is compiled of: each of construct's turns, and padding of both kinds. The others differ in numbers.
COMPILED = (
    *("plain", "no halo", "bias", "scaled position", "masked", "stride 2, masked", "pooled, odd map"),
    *("pooled on request", "smaller than a block", "ragged, masked", "ragged, stride 2", "ragged, pooled, masked"),
)
DIFFERENTIATED = (
    "scaled position",
    "masked",
    "ragged, bias",
    "ragged, masked",
    "ragged, stride 2",
    "ragged, pooled",
    "ragged, pooled, masked",
)


def random_map(dim: int, height: int, width: int, batch: int = 2) -> np.ndarray:
    return np.random.standard_normal((batch, dim, height, width)).astype(np.float32)


def random_attention(**arguments) -> HaloAttention:
    """An attention whose projections keep the variance and whose positions matter as much as its contents."""
    attention = HaloAttention(**arguments)
    for name, parameter in attention.parameters_and_names():
        fan_in = parameter.shape[1] if len(parameter.shape) > 1 else 1
        scale = 0.5 if name.endswith("bias") else fan_in**-0.5
        parameter.set_data(Tensor(scale * np.random.standard_normal(parameter.shape), ms.float32))
    return attention


def values_of(attention: HaloAttention) -> dict[str, np.ndarray]:
    return {oracle_name(name): parameter.asnumpy() for name, parameter in attention.parameters_and_names()}


def expected(arguments: dict, image: np.ndarray, parameters: dict[str, np.ndarray]) -> np.ndarray:
    """The oracle's output; the widths are read off the parameters."""
    derived = ("dim", "dim_out", "dim_head", "qk_ratio", "qkv_bias")
    return halo_attention(image, parameters, **{k: v for k, v in arguments.items() if k not in derived})


@pytest.mark.parametrize(
    "way, names",
    [
        *(("graph", COMPILED), ("pynative", tuple(CASES)), ("native", tuple(CASES))),
        pytest.param("graph", tuple(CASES), marks=pytest.mark.thorough),
    ],
    indirect=["way"],
    ids=["graph", "pynative", "native", "graph, all"],
)
def test_matches_loops(way, names):
    cases = {name: CASES[name] for name in names}
    attentions = {name: random_attention(**arguments) for name, (arguments, _) in cases.items()}
    images = {name: random_map(arguments["dim"], *size) for name, (arguments, size) in cases.items()}
    parameters = {name: values_of(attention) for name, attention in attentions.items()}
    outputs = run_together({name: take(way, attention) for name, attention in attentions.items()}, images)

    def check(name: str, case: tuple) -> None:
        np.testing.assert_allclose(outputs[name], expected(case[0], images[name], parameters[name]), **TOLERANCE)

    check_all(cases, check)


# Compiled, what test_matches_loops has compiled forwards goes backwards with these three.
GRADIENTS_COMPILED = ("ragged, masked", "ragged, stride 2", "ragged, pooled, masked")


@pytest.mark.parametrize(
    "way, case",
    [
        *(("graph", case) for case in GRADIENTS_COMPILED),
        *((way, case) for way in ("pynative", "native") for case in DIFFERENTIATED),
        *(
            pytest.param("graph", case, marks=pytest.mark.thorough)
            for case in DIFFERENTIATED
            if case not in GRADIENTS_COMPILED
        ),
    ],
    indirect=["way"],
)
def test_gradients_match_the_slope_of_the_loops(way, case):
    """Along a random direction, the gradient of each array is the oracle's central difference."""
    arguments, (height, width) = CASES[case]
    attention, image = random_attention(**arguments), random_map(arguments["dim"], height, width)
    parameters = values_of(attention)
    cotangent = np.random.standard_normal(expected(arguments, image, parameters).shape).astype(np.float32)
    result = differentiate(take(way, attention), weighted_sum, image, cotangent)
    arrays = parameters | {"image": image}
    gradients = {oracle_name(name): gradient for name, gradient in result.of_parameters.items()}
    for name, gradient in (gradients | {"image": result.of_input}).items():
        direction = np.random.standard_normal(gradient.shape)
        direction /= np.linalg.norm(direction)
        step = 1e-5  # the error is about its square times the third derivative: far below float32
        ends = [arrays | {name: arrays[name] + sign * step * direction} for sign in (-1, 1)]
        low, high = ((expected(arguments, end["image"], end) * cotangent).sum() for end in ends)
        # The gradient carries about 1e-6 of its own length in float32.
        allowed = 2e-5 * np.linalg.norm(gradient)
        np.testing.assert_allclose((gradient * direction).sum(), (high - low) / (2 * step), atol=allowed, err_msg=name)


@pytest.mark.parametrize(
    "case", ("as in 50t", "halo beyond the block", "halo beyond the map", "ragged", "itself alone")
)
def test_gradients_are_the_same_when_they_are_gathered(pynative, case):
    """A device gathers them, a CPU scatters them."""
    compare_gathered_with_scattered(case)


def test_gathered_gradients_in_a_graph(graph):
    compare_gathered_with_scattered("ragged")


def compare_gathered_with_scattered(case: str) -> None:
    arguments, (height, width) = CASES[case]
    x, weights = np.random.standard_normal((2, 2, 16, height, width)).astype(np.float32)
    cell = HaloAttention(**arguments)
    scattered = differentiate(cell, weighted_sum, x, weights)
    cell.read_windows = GatheringWindowReader()
    gathered = differentiate(cell, weighted_sum, x, weights)
    np.testing.assert_array_equal(gathered.output, scattered.output)
    np.testing.assert_allclose(gathered.of_input, scattered.of_input, **TOLERANCE)
    for name, gradient in scattered.of_parameters.items():
        np.testing.assert_allclose(gathered.of_parameters[name], gradient, **TOLERANCE, err_msg=name)


def test_widths_follow_from_the_arguments():
    attention = HaloAttention(96, 120, num_heads=4, qk_ratio=0.33, block_size=4, halo_size=1, qkv_bias=True)
    head_dim = 10  # 120 * 0.33 = 39.6, rounded to 40, over 4 heads
    window = 4 + 2 * 1
    shapes = {name: tuple(parameter.shape) for name, parameter in attention.parameters_and_names()}
    assert shapes == {
        "q.weight": (4 * head_dim, 96, 1, 1),
        "q.bias": (4 * head_dim,),
        "kv.weight": (4 * head_dim + 120, 96, 1, 1),
        "kv.bias": (4 * head_dim + 120,),
        "pos_embed.height_rel": (2 * window - 1, head_dim),
        "pos_embed.width_rel": (2 * window - 1, head_dim),
    }


def test_defaults_are_the_documented_ones():
    shapes = {name: tuple(parameter.shape) for name, parameter in HaloAttention(64).parameters_and_names()}
    assert shapes == {
        "q.weight": (64, 64, 1, 1),
        "kv.weight": (128, 64, 1, 1),
        "pos_embed.height_rel": (27, 8),
        "pos_embed.width_rel": (27, 8),
    }


def block_at(start: int, stride: int):
    """The outputs of the block of 4 pixels a side whose first row and column are `start`."""
    side = slice(start // stride, (start + 4) // stride)
    return np.s_[:, :, side, side]


@pytest.mark.parametrize("stride", (1, 2))
def test_block_sees_its_halo_and_nothing_beyond(pynative, stride):
    """The block of rows and columns 4 to 7, with a halo of 2, and pixels at its halo's edge."""
    attention = random_attention(dim=8, num_heads=2, block_size=4, halo_size=2, stride=stride)
    image, block = random_map(8, 12, 12, batch=1), block_at(4, stride)
    before = attention(Tensor(image)).asnumpy()[block]
    for pixel, seen in (
        ((2, 6), True),
        ((9, 9), True),
        ((6, 2), True),
        ((1, 6), False),
        ((10, 6), False),
        ((6, 1), False),
        ((6, 10), False),
    ):
        nudged = image.copy()
        nudged[:, :, pixel[0], pixel[1]] += 1
        changed = np.any(attention(Tensor(nudged)).asnumpy()[block] != before, axis=(0, 1))
        assert changed.all() if seen else not changed.any(), pixel


@pytest.mark.parametrize("arguments", [{}, {"stride": 2}, {"mask_padding": True}], ids=str)
def test_shift_by_a_block_shifts_the_inner_blocks(pynative, arguments):
    attention = random_attention(dim=8, num_heads=2, block_size=4, halo_size=2, **arguments)
    image = random_map(8, 16, 16)
    shifted = np.roll(image, (4, 4), axis=(2, 3))
    first, second = (block_at(start, arguments.get("stride", 1)) for start in (4, 8))
    np.testing.assert_allclose(
        attention(Tensor(shifted)).asnumpy()[second], attention(Tensor(image)).asnumpy()[first], rtol=0, atol=1e-6
    )


def test_one_block_without_halo_is_global_attention(pynative):
    size, head_dim = 5, 8
    attention = random_attention(dim=16, num_heads=2, block_size=size, halo_size=0)
    image, parameters = random_map(16, size, size), values_of(attention)
    q, kv = (np.einsum("oc,bchw->bohw", parameters[f"{name}.weight"][:, :, 0, 0], image) for name in ("q", "kv"))
    q, kv = q.reshape(2, 2, head_dim, size, size), kv.reshape(2, 2, 2 * head_dim, size, size)
    k, v = kv[:, :, :head_dim], kv[:, :, head_dim:]
    offsets = np.arange(size)[None, :] - np.arange(size)[:, None] + size - 1  # key minus query, from the middle row
    logits = np.einsum("bnduw,bndpr->bnuwpr", q, k) * head_dim**-0.5
    logits += np.einsum("bnduw,upd->bnuwp", q, parameters["height_rel"][offsets])[..., None]
    logits += np.einsum("bnduw,wrd->bnuwr", q, parameters["width_rel"][offsets])[..., None, :]
    weights = np.exp(logits)
    weights /= weights.sum((-2, -1), keepdims=True)
    output = np.einsum("bnuwpr,bndpr->bnduw", weights, v).reshape(image.shape)
    np.testing.assert_allclose(attention(Tensor(image)).asnumpy(), output, **TOLERANCE)


def test_samples_do_not_meet(pynative):
    """A change of one sample stays in it, wherever it is in the batch."""
    attention, image = random_attention(**PLAIN), random_map(16, 7, 8, batch=3)
    output = attention(Tensor(image)).asnumpy()
    changed = image.copy()
    changed[1] = random_map(16, 7, 8, batch=1)[0]
    np.testing.assert_array_equal(attention(Tensor(changed)).asnumpy()[[0, 2]], output[[0, 2]])
    order = [2, 0, 1]
    np.testing.assert_allclose(attention(Tensor(image[order])).asnumpy(), output[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "arguments", [{}, {"stride": 2}, {"stride": 2, "avg_down": True}, {"mask_padding": True}], ids=str
)
def test_gradient_reaches_what_is_used_and_nothing_else(pynative, arguments):
    attention = random_attention(**PLAIN, qkv_bias=True, **arguments)
    image = random_map(16, 8, 8)
    cotangent = np.random.standard_normal(attention(Tensor(image)).shape).astype(np.float32)
    result = differentiate(attention, weighted_sum, image, cotangent)
    assert np.all(result.of_input != 0)
    window, queries = 6, 2 if arguments == {"stride": 2} else 4
    for name, gradient in result.of_parameters.items():
        if name.endswith(("height_rel", "width_rel")):
            # No key of a window lies further before a query than the query's own place in the block.
            assert np.all(gradient[: window - queries] == 0), name
            gradient = gradient[window - queries :]
        assert np.all(gradient.reshape(len(gradient), -1).any(axis=1)), name


def attention_to_ones(**arguments) -> HaloAttention:
    """An attention with values of one wherever there is a pixel: its output is the weight that pixels get."""
    attention = random_attention(**PLAIN, qkv_bias=True, **arguments)
    weight, bias = attention.kv.weight.asnumpy().reshape(2, 16, 16, 1, 1), attention.kv.bias.asnumpy().reshape(2, 16)
    weight[:, 8:], bias[:, 8:] = 0, 1  # per head: 8 key channels, then 8 value channels
    attention.kv.weight.set_data(Tensor(weight.reshape(32, 16, 1, 1)))
    attention.kv.bias.set_data(Tensor(bias.reshape(32)))
    return attention


@pytest.mark.parametrize("size", ((12, 12), (10, 11), (3, 2)))
def test_masked_padding_gets_no_weight(pynative, size):
    output = attention_to_ones(mask_padding=True)(Tensor(random_map(16, *size))).asnumpy()
    np.testing.assert_allclose(output, 1, rtol=0, atol=1e-6)


def test_masking_overflows_no_half_precision():
    """Not even of a logit that is masked: an Ascend 910A marks that, and a loss scale would leave the update out."""
    masked = np.float16(OUTSIDE_LOGIT) + np.array([-1000, 0, 1000], np.float16)
    assert np.isfinite(masked).all() and not np.exp(masked).any()


def test_padding_takes_weight_at_the_border_only(pynative):
    output = attention_to_ones()(Tensor(random_map(16, 12, 12))).asnumpy()
    inner = np.zeros((12, 12), dtype=bool)
    inner[4:8, 4:8] = True  # the only block whose window is inside the map
    np.testing.assert_allclose(output[:, :, inner], 1, rtol=0, atol=1e-6)
    assert np.all((output[:, :, ~inner] > 0) & (output[:, :, ~inner] < 1))


@pytest.mark.parametrize("case", [name for name, (arguments, _) in CASES.items() if "stride" in arguments])
def test_the_oracle_halves_the_map(case):
    """The rule of the sizes, apart from the loops; `test_matches_loops` ties the layer to it."""
    arguments, (height, width) = CASES[case]
    if case in ("pooled, odd map", "pooled, blocks of one pixel"):
        size = (height // 2, width // 2)  # the map divides into blocks and is odd: its last row or column goes
    else:
        size = (ceil(height / 2), ceil(width / 2))
    output = expected(arguments, random_map(16, height, width), values_of(HaloAttention(**arguments)))
    assert output.shape == (2, arguments.get("dim_out", 16), *size)


def naming(*words: object) -> str:
    """A pattern for a text that holds each of `words`, in any order."""
    return "(?s)" + "".join(rf"(?=.*{re.escape(str(word))})" for word in words)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"dim": 16, "dim_out": 20, "num_heads": 8}, ("dim_out", 20, "num_heads", 8)),
        ({"dim": 16, "num_heads": 3}, ("16", "num_heads", 3)),
        ({"dim": 16, "num_heads": 2, "stride": 3}, ("stride", 3, "1 or 2")),
        ({"dim": 16, "num_heads": 2, "stride": 0}, ("stride", 0, "1 or 2")),
        ({"dim": 16, "num_heads": 2, "block_size": 0}, ("block_size", 0)),
        ({"dim": 16, "num_heads": 2, "halo_size": -1}, ("halo_size", -1)),
    ],
    ids=str,
)
def test_refuses_arguments(arguments, words):
    with pytest.raises(ValueError, match=naming("HaloAttention", *words)):
        HaloAttention(**arguments)


@pytest.mark.parametrize("shape", ((16, 8, 8), (2, 12, 8, 8), (2, 16, 64)), ids=str)
def test_refuses_inputs(mode, shape):
    attention = random_attention(**PLAIN)
    with pytest.raises(ValueError, match=naming("HaloAttention", 16, *shape)):
        attention(Tensor(np.zeros(shape, np.float32)))
