"""Halo attention against timm's: outputs and gradients of seven configurations."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from support.differentiate import differentiate, weighted_sum
from support.oracle import halo_attention, oracle_name
from support.ways import WAYS, take

from mindcv_halo.models.layers import HaloAttention

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("op_*.npz"))
ARGUMENTS = ("dim", "dim_out", "num_heads", "block_size", "halo_size", "stride", "dim_head", "qkv_bias")

# Of the largest entry. float32 against float64: gradients of the tables sum over every query of every block, up to
# 1,000 terms of either sign, which costs about 30 roundings of 6e-8.
TOLERANCE = 1e-5


def load(path: Path) -> tuple[dict, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The constructor's arguments, the arrays of the file, and the parameters under the oracle's names."""
    with np.load(path) as file:
        arrays = dict(file)
    arguments = json.loads(str(arrays["cfg"]))
    parameters = {oracle_name(name[2:]): value for name, value in arrays.items() if name.startswith("p/")}
    return {name: arguments[name] for name in ARGUMENTS if name in arguments}, arrays, parameters


def assert_near(actual: np.ndarray, golden: np.ndarray, name: str, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(actual, golden, rtol=0, atol=tolerance * np.abs(golden).max(), err_msg=name)


def test_there_are_files():
    assert len(GOLDEN) == 7


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_oracle(path):
    """Both are float64, but the file keeps float32."""
    arguments, arrays, parameters = load(path)
    names = ("num_heads", "block_size", "halo_size", "stride")
    output = halo_attention(arrays["x"], parameters, **{name: arguments[name] for name in names if name in arguments})
    assert_near(output, arrays["y"], "y", tolerance=1e-6)


# Compiled are these; test_halo_attention.py compiles all else that is in them, and compares it with the oracle.
COMPILED = ("op_avgpool_odd_block", "op_rv_value_expand")


@pytest.mark.parametrize(
    "way, path",
    [
        pytest.param(way, path, marks=[pytest.mark.thorough] if way == "graph" and path.stem not in COMPILED else [])
        for way in WAYS
        for path in GOLDEN
    ],
    indirect=["way"],
    ids=lambda value: getattr(value, "stem", value),
)
def test_output_and_gradients(way, path):
    arguments, arrays, parameters = load(path)
    attention = HaloAttention(**arguments)
    own = {oracle_name(name): parameter for name, parameter in attention.parameters_and_names()}
    assert {name: tuple(p.shape) for name, p in own.items()} == {name: p.shape for name, p in parameters.items()}
    for name, parameter in own.items():
        parameter.set_data(Tensor(parameters[name], ms.float32))
    result = differentiate(take(way, attention), weighted_sum, arrays["x"], arrays["g"])
    assert_near(result.output, arrays["y"], "y")
    assert_near(result.of_input, arrays["dx"], "dx")
    gradients = {oracle_name(name): gradient for name, gradient in result.of_parameters.items()}
    for name in (name for name in arrays if name.startswith("dp/")):
        assert_near(gradients[oracle_name(name[3:])], arrays[name], name)
