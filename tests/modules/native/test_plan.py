"""What a frozen network runs: kernels in order, on maps that do not get in each other's way."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from math import prod

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor
from mindspore.nn.utils import no_init_parameters
from support.small_networks import SMALL
from support.table import check_all
from support.ways import has_kernels

from mindcv_halo import accelerate, create_model, fuse_batchnorm
from mindcv_halo.models.halonet import SPECS
from mindcv_halo.models.network import HaloNet
from mindcv_halo.models.specs import DIALECTS, Spec
from mindcv_halo.native.operators import Convolution, MeanPixels, MoveChannels, make_plan_runner
from mindcv_halo.native.plan import Plan, View

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")


def run(plan: Plan, result, images: np.ndarray) -> np.ndarray:
    runner = make_plan_runner(result.shape[1])
    return runner(Tensor(images), *plan.parameters, Tensor(plan.write(result))).asnumpy()


def test_steps_run_in_order(mode):
    images = np.random.standard_normal((2, 3, 5, 4)).astype(np.float32)
    plan = Plan(images.shape)
    maps = plan.add(MoveChannels("last"), plan.images)
    result = plan.add(MeanPixels(), maps.reshape(2, 20, 1, 3))
    assert (maps.shape, result.shape) == ((2, 5, 4, 3), (2, 3))
    np.testing.assert_allclose(run(plan, result, images), images.mean((2, 3)), rtol=1e-5)


def test_parameters_are_read_when_it_runs(mode):
    plan = Plan((1, 1, 1, 4))
    table = Parameter(np.zeros((2, 8), np.float32))
    result = plan.add(MeanPixels(), View(table, (1, 4, 1, 4)))
    table.set_data(Tensor(np.ones((2, 8), np.float32)))
    np.testing.assert_array_equal(run(plan, result, np.zeros((1, 1, 1, 4), np.float32)), np.ones((1, 4), np.float32))


def test_a_map_that_is_still_needed_keeps_its_place():
    plan = Plan((1, 4, 2, 2))
    weight, bias = Parameter(np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)), Parameter(np.zeros(4, np.float32))
    maps = plan.add(MoveChannels("last"), plan.images)
    kernel = Convolution(has_bias=True, adds=True)
    doubled = plan.add(kernel, maps, weight, bias, maps, onto=maps)
    result = plan.add(MeanPixels(), plan.add(kernel, doubled, weight, bias, maps, onto=maps))
    images = np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2)
    np.testing.assert_allclose(run(plan, result, images), 3 * images.mean((2, 3)))


def find_lives(plan: Plan, offsets: dict[int, int]) -> dict[int, tuple[float, float]]:
    """The first and the last step of each map; one in whose place a step writes lives no longer than until then."""
    lives = {}
    for index, step in enumerate(plan._steps):
        for argument in (*step.arguments, *step.results):
            if hasattr(argument, "number"):
                first, _ = lives.get(argument.number, (index, index))
                lives[argument.number] = (first, index)
        made, onto = step.results[0], step.onto
        if onto is not None and offsets.get(made.number) == offsets.get(onto.number):
            lives[onto.number] = (lives[onto.number][0], index - 0.5)
    return lives


def count_lines(made) -> int:
    """Lines of the cache that a map takes."""
    return -(-prod(made.shape) * {ms.float32: 4, ms.bfloat16: 2}[made.dtype] // 64)


def test_parts_of_parameters():
    """Rows of a table, and one that ends beyond it."""
    plan = Plan((1, 1, 1, 4))
    table = View(Parameter(np.arange(24, dtype=np.float32).reshape(6, 4)), (6, 4))
    part = table.rows(1, 5).rows(1, 3)
    result = plan.add(MeanPixels(), replace(part, shape=(1, 2, 1, 4)))
    images = np.zeros((1, 1, 1, 4), np.float32)
    np.testing.assert_array_equal(run(plan, result, images), [[10, 11, 12, 13]])
    beyond = plan.add(MeanPixels(), replace(table.rows(5, 7), shape=(1, 2, 1, 4)))
    with pytest.raises(RuntimeError):
        run(plan, beyond, images)


def test_every_model_runs_as_one_operator():
    """With a block of each kind in a stage, of H0 to H7 the first, and a small one in every dialect."""

    def check(name: str, case: tuple[Spec, str]) -> None:
        spec, dialect = case
        stages = tuple(replace(stage, pattern="".join(dict.fromkeys(stage.pattern))) for stage in spec.stages)
        with no_init_parameters():
            network = HaloNet(replace(spec, stages=stages), 3, dialect=dialect, image_size=64).set_train(False)
        network = accelerate(network, frozen=True)
        assert network.has_plan and network.plans_head
        _, logits = network.plan((1, 3, *network.built_size))
        assert logits.shape == (1, 3)

    models = {name: (spec, "timm") for name, spec in SPECS.items() if not re.search("_h[1-7]$", name)}
    check_all({**models, **{dialect: (SMALL, dialect) for dialect in DIALECTS}}, check)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("halonet_test", "float32"),
        ("halonet_test", "bfloat16"),
        ("halonet_eca26t", "float32"),
        ("halonet_h0", "float32"),
    ],
)
def test_maps_that_live_at_once_do_not_overlap(name, precision):
    network = accelerate(fuse_batchnorm(create_model(name).set_train(False)), frozen=True, precision=precision)
    plan, result = network.plan((2, 3, 64, 64))
    offsets, size = plan._place(result)
    lives = find_lives(plan, offsets)
    sizes = {made.number: count_lines(made) for step in plan._steps for made in step.results}
    assert set(offsets) == set(sizes) - {result.number}
    assert max(offsets[number] + sizes[number] for number in offsets) <= size < sum(sizes.values()) / 2
    for one, other in combinations(offsets, 2):
        if lives[one][0] <= lives[other][1] and lives[other][0] <= lives[one][1]:
            first, second = sorted((one, other), key=offsets.get)
            assert offsets[first] + sizes[first] <= offsets[second], (one, other)
    in_place = [step for step in plan._steps if step.onto is not None]
    assert in_place and all(offsets[step.results[0].number] == offsets[step.onto.number] for step in in_place)
