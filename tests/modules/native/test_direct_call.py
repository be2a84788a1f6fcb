"""A frozen network called past MindSpore computes what MindSpore computes with it, or leaves the call to MindSpore."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mindspore
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from support.ways import has_kernels

from mindcv_halo import accelerate, create_model, fuse_batchnorm
from mindcv_halo.native.direct_call import DirectCall
from mindcv_halo.native.operators import MoveChannels, make_plan_runner
from mindcv_halo.native.plan import Plan

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")


@pytest.fixture
def network():
    return accelerate(fuse_batchnorm(create_model("halonet_test", num_classes=5).set_train(False)), frozen=True)


def make_images(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, 3, 64, 64)).astype(np.float32)


def compute_through_mindspore(network: nn.Cell, images: np.ndarray) -> np.ndarray:
    return nn.Cell.__call__(network.planned, Tensor(images)).asnumpy()


def count_direct_calls(network: nn.Cell, monkeypatch) -> list:
    calls = []
    run = network.planned.run_directly
    kernel = run._kernel
    monkeypatch.setattr(run, "_kernel", lambda *arguments: calls.append(arguments) or kernel(*arguments))
    return calls


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_same_numbers_as_through_mindspore(mode, precision, monkeypatch):
    portable = fuse_batchnorm(create_model("halonet_test", num_classes=5).set_train(False))
    network = accelerate(portable, frozen=True, precision=precision)
    calls = count_direct_calls(network, monkeypatch)
    for batch in (1, 3, 1):
        np.testing.assert_array_equal(
            network(Tensor(make_images(batch))).asnumpy(), compute_through_mindspore(network, make_images(batch))
        )
    assert len(calls) == 3


def test_images_that_lie_otherwise(pynative, network, monkeypatch):
    calls = count_direct_calls(network, monkeypatch)
    images = make_images()
    expected = compute_through_mindspore(network, images)
    turned = Tensor(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    np.testing.assert_array_equal(network(turned.transpose(0, 3, 1, 2)).asnumpy(), expected)
    assert len(calls) == 1


def test_weights_that_change_are_read_anew(mode, network):
    images = make_images()
    network(Tensor(images))
    weight = next(network.get_parameters())
    changes = {
        "other numbers": lambda: weight.set_data(Tensor(weight.asnumpy() * 2)),
        "an operator's": lambda: ops.assign(weight, weight * 3),
        "numbers that lie otherwise": lambda: weight.set_data(
            Tensor(np.ascontiguousarray(weight.asnumpy().transpose(1, 0, 2, 3))).transpose(1, 0, 2, 3)
        ),
    }
    for change, make in changes.items():
        before = network(Tensor(images)).asnumpy()
        make()
        after = network(Tensor(images)).asnumpy()
        np.testing.assert_array_equal(after, compute_through_mindspore(network, images), err_msg=change)
        assert (after != before).any() == (change != "numbers that lie otherwise"), change


def test_weights_of_another_type_are_left_to_mindspore(mode, network):
    next(network.get_parameters()).set_dtype(mindspore.float16)
    with pytest.raises(RuntimeError):
        network(Tensor(make_images())).asnumpy()


def test_recorded_for_gradients(pynative, network, monkeypatch):
    """Of a teacher's logits nothing is differentiated; where something would have to be, MindSpore says no."""
    calls = count_direct_calls(network, monkeypatch)
    images = Tensor(make_images())
    scale = Parameter(Tensor(2.0))

    def distance():
        return (scale * ops.stop_gradient(network(images))).sum()

    expected = network(images).asnumpy().sum()
    assert len(calls) == 1
    gradient = mindspore.grad(distance, None, [scale])()
    np.testing.assert_allclose(gradient[0].asnumpy(), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(RuntimeError, match="bprop not defined"):
        mindspore.grad(lambda x: network(x).sum())(images)
    assert len(calls) == 1


def test_many_threads(network):
    batches = [make_images(batch) for batch in (1, 2, 3, 4)] * 4
    expected = [network(Tensor(images)).asnumpy() for images in batches]
    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(lambda images: network(Tensor(images)).asnumpy(), batches))
    for output, right in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(output, right)


def test_a_refusal_has_the_kernels_words():
    plan = Plan((1, 3, 4, 4))
    result = plan.add(MoveChannels("last"), plan.images)
    call = DirectCall("run_plan", plan.parameters)
    assert call.can_read_weights()
    images = Tensor(np.zeros((1, 3, 5, 4), np.float32))
    with pytest.raises(RuntimeError, match=r"^native kernels: run_plan: argument 0 of \(1, 3, 5, 4\) must hold 48"):
        call(images, plan.write(result), (1, 4, 4, 3))
    with pytest.raises(RuntimeError):
        make_plan_runner(3)(images, Tensor(plan.write(result))).asnumpy()
