"""MindSpore's Ascend and GPU backends take halo attention and all losses, and Ascend's a run of train.py.

The whole sweep is `make dry-run`; docs/compiled.md says what it can see.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from dry_run.cases import TOGETHER, list_quick
from dry_run.layer_graphs import LAYERS
from dry_run.programs import list_commands, make_images, run_program
from dry_run.stub_libraries import make_libraries, say_why_not
from dry_run.sweep import compile_cases
from mindcv_halo.models import layers

pytestmark = pytest.mark.skipif(bool(say_why_not()), reason=say_why_not())


@pytest.mark.parametrize("is_thorough", [False, pytest.param(True, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("device", ["Ascend", "GPU"])
def test_graphs_compile_and_counter_examples_do_not(device, is_thorough):
    results = compile_cases(list_quick(device, is_thorough=is_thorough), make_libraries(), num_jobs=1)
    if not all(result.is_right for result in results if result.name == TOGETHER):  # say what it is of all that
        alone = [case for case in list_quick(device, is_thorough=True) if case.name != TOGETHER]
        results += compile_cases(alone, make_libraries(), num_jobs=1)
    assert not [result.describe() for result in results if not result.is_right]
    assert any(result.refused for result in results)  # without these nothing shows that the check can fail
    assert all(result.num_kernels for result in results if not result.refused)


def test_train_py_trains_two_epochs_and_validates(tmp_path):
    images = make_images(tmp_path / "images")
    flags = ("--model", "halonet_test", "--image_resize", "32", "--num_samples", "128")  # two steps an epoch
    recipe = "configs/halonet/halonet_50t_ascend.yaml"
    training = list_commands("Ascend", recipe, images, tmp_path, *flags)[0]
    result = run_program(training, make_libraries())
    assert not result.error, result.error


def test_every_layer_has_a_case():
    assert {name.partition(",")[0] for name in LAYERS} == set(layers.__all__)
