"""A frozen network called past MindSpore computes what MindSpore computes with it, or leaves the call to MindSpore."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import mindspore
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common import initializer
from support.ways import has_bfloat16, has_kernels

from mindcv_halo import accelerate, create_model, fuse_batchnorm
from mindcv_halo.native.direct_call import DirectCall
from mindcv_halo.native.operators import MoveChannels
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
    if precision == "bfloat16" and not has_bfloat16():
        pytest.skip("this processor has no instructions for bfloat16")
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
    after_others = Tensor(np.concatenate([make_images(1), images]))
    np.testing.assert_array_equal(network(after_others[1:]).asnumpy(), expected)
    assert len(calls) == 2


def test_images_that_have_no_numbers_yet(mode, network):
    lazy = Tensor(shape=(2, 3, 64, 64), dtype=mindspore.float32, init=initializer.One())
    ones = np.ones((2, 3, 64, 64), np.float32)
    np.testing.assert_array_equal(network(lazy).asnumpy(), compute_through_mindspore(network, ones))


def test_weights_that_change_are_read_anew(mode, network):
    images = make_images()
    network(Tensor(images))
    weight = next(network.get_parameters())
    changes = {
        "other numbers": lambda: weight.set_data(Tensor(weight.asnumpy() * 2)),
        "an operator's": lambda: ops.assign(weight, weight * 3),
        "others again": lambda: weight.set_data(Tensor(weight.asnumpy() / 4)),
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


def test_weights_stay_where_they_are_while_a_kernel_runs(network):
    """And what comes later lies elsewhere, so that an address tells whether weights are others."""
    weight = next(network.get_parameters())
    images = Tensor(make_images())
    network(images)
    before, numbers = weight.data_ptr(), weight.asnumpy().copy()
    for _ in range(3):
        weight.set_data(Tensor(np.full(weight.shape, 7, np.float32)))
        assert weight.data_ptr() != before
    kept = (ctypes.c_float * numbers.size).from_address(before)
    np.testing.assert_array_equal(np.array(kept), numbers.ravel())


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


@pytest.mark.parametrize("capture", ["ast", "trace", "bytecode"])
def test_inside_a_function_that_is_compiled(pynative, network, capture):
    def twice(x):
        return network(x) * 2

    compiled = mindspore.jit(twice, capture_mode=capture)
    batches = [Tensor(make_images(batch)) + batch for batch in (1, 1, 2)]
    batches[1] = batches[1] * 2
    with ThreadPoolExecutor(1) as thread:  # tracing stumbles over frames without sources, and pytest is run from some
        outputs = list(thread.map(lambda images: compiled(images).asnumpy(), batches))
    for output, images in zip(outputs, batches, strict=True):
        np.testing.assert_array_equal(output, twice(images).asnumpy())


def test_threads_have_operands_of_their_own(network, monkeypatch):
    """Two calls meet between their operands and their kernels."""
    call = network.planned.run_directly
    kernel, both = call._kernel, Barrier(2)
    monkeypatch.setattr(call, "_kernel", lambda *arguments: both.wait(20) and 0 or kernel(*arguments))
    batches = [make_images(1), make_images(2)]
    with ThreadPoolExecutor(2) as threads:
        outputs = list(threads.map(lambda images: network(Tensor(images)).asnumpy(), batches))
    for output, images in zip(outputs, batches, strict=True):
        np.testing.assert_array_equal(output, compute_through_mindspore(network, images))


def test_a_refusal_has_the_kernels_words():
    plan = Plan((1, 3, 4, 4))
    result = plan.add(MoveChannels("last"), plan.images)
    call = DirectCall("run_plan", plan.parameters)
    images = Tensor(np.zeros((1, 3, 5, 4), np.float32))
    with pytest.raises(RuntimeError, match=r"^native kernels: run_plan: argument 0 of \(1, 3, 5, 4\) must hold 48"):
        call(images, plan.write(result), (1, 4, 4, 3))
