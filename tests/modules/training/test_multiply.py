"""Many tensors times one number."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor
from support.ways import compiler_calls

from mindcv_halo.training import multiply
from mindcv_halo.training.multiply import JoinedMultiply, Multiply, make_multiply

SHAPES = ((8,), (3,), (4, 2, 5, 1), (), (16, 1 << 12), (24,))


def make_parameters() -> list[Parameter]:
    arrays = [np.random.standard_normal(shape).astype(np.float32) for shape in SHAPES]
    return [Parameter(Tensor(array), name=str(number)) for number, array in enumerate(arrays)]


@pytest.mark.parametrize("device, most", [("CPU", 128), ("Ascend", 128), ("Ascend", 2)])
def test_every_tensor_is_multiplied(mode, monkeypatch, device, most):
    monkeypatch.setattr(multiply, "get_context", {"device_target": device}.get)
    monkeypatch.setattr(multiply, "MOST_TENSORS", most)
    parameters = make_parameters()
    cell = make_multiply(parameters)
    assert type(cell) is (Multiply if device == "CPU" else JoinedMultiply)
    products = cell(tuple(Tensor(parameter.asnumpy()) for parameter in parameters), Tensor(0.25, ms.float32))
    for product, parameter in zip(products, parameters, strict=True):
        np.testing.assert_array_equal(product.asnumpy(), parameter.asnumpy() / 4)


def test_small_tensors_are_joined(monkeypatch):
    monkeypatch.setattr(multiply, "get_context", {"device_target": "Ascend"}.get)
    assert make_multiply(make_parameters()).joined == ((0, 1, 2, 3, 5),)


def test_one_small_tensor_stays_alone(monkeypatch):
    monkeypatch.setattr(multiply, "get_context", {"device_target": "Ascend"}.get)
    assert type(make_multiply(make_parameters()[3:5])) is Multiply


def test_more_tensors_than_one_split_compiles(graph, monkeypatch):
    """Each part of a split costs MindSpore three calls inside calls, of which it allows a thousand.

    Here a quarter of the tensors may take a quarter of the calls, in a fraction of the time.
    """
    assert 3 * multiply.MOST_TENSORS < 1000 / 2
    monkeypatch.setattr(multiply, "MOST_TENSORS", multiply.MOST_TENSORS // 4)
    monkeypatch.setattr(multiply, "get_context", {"device_target": "Ascend"}.get)
    parameters = [Parameter(Tensor(np.ones(2, np.float32)), name=str(number)) for number in range(75)]
    tensors = tuple(Tensor(np.ones(2, np.float32)) for _ in parameters)
    with compiler_calls(1000 // 4):
        products = make_multiply(parameters)(tensors, Tensor(3.0, ms.float32))
    assert {float(product.asnumpy().sum()) for product in products} == {6.0}
