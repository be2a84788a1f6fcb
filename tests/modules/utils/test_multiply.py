"""Many tensors times one number."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from mindcv_halo.utils import multiply
from mindcv_halo.utils.multiply import JoinedMultiply, Multiply, make_multiply

SHAPES = ((8,), (3,), (4, 2, 5, 1), (), (16, 1 << 12), (24,))


def make_parameters() -> list[Parameter]:
    arrays = [np.random.standard_normal(shape).astype(np.float32) for shape in SHAPES]
    return [Parameter(Tensor(array), name=str(number)) for number, array in enumerate(arrays)]


@pytest.mark.parametrize("device", ("CPU", "Ascend"))
def test_every_tensor_is_multiplied(mode, monkeypatch, device):
    monkeypatch.setattr(multiply, "get_context", {"device_target": device}.get)
    parameters = make_parameters()
    cell = make_multiply(parameters)
    assert type(cell) is (Multiply if device == "CPU" else JoinedMultiply)
    products = cell(tuple(Tensor(parameter.asnumpy()) for parameter in parameters), Tensor(0.25, ms.float32))
    for product, parameter in zip(products, parameters, strict=True):
        np.testing.assert_array_equal(product.asnumpy(), parameter.asnumpy() / 4)


def test_small_tensors_are_joined(monkeypatch):
    monkeypatch.setattr(multiply, "get_context", {"device_target": "Ascend"}.get)
    assert make_multiply(make_parameters()).joined == (0, 1, 2, 3, 5)


def test_one_small_tensor_stays_alone(monkeypatch):
    monkeypatch.setattr(multiply, "get_context", {"device_target": "Ascend"}.get)
    assert type(make_multiply(make_parameters()[3:5])) is Multiply
