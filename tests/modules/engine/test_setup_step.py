"""What the recipe says about rates, with the number of ranks."""

from __future__ import annotations

import pytest

from mindcv_halo.config import make_recipe
from mindcv_halo.engine.setup import check_step_options, find_rate_factor, plan_rates
from mindcv_halo.errors import UserError


@pytest.mark.parametrize(
    "options, num_ranks, factor",
    [
        ({}, 8, 1),
        ({"lr_scaling": "linear"}, 1, 32 / 256),
        ({"lr_scaling": "linear"}, 8, 1),
        ({"lr_scaling": "linear"}, 16, 2),
        ({"lr_scaling": "linear", "gradient_accumulation_steps": 4}, 4, 2),
        ({"lr_scaling": "linear", "lr_base_size": 1024}, 16, 0.5),
        ({"lr_scaling": "sqrt"}, 32, 2),
        ({"lr_scaling": "sqrt"}, 2, 0.5),
    ],
)
def test_rates_grow_with_the_images_of_an_update(options, num_ranks, factor):
    recipe = make_recipe({"batch_size": 32, "epoch_size": 3, "warmup_epochs": 1, **options})
    assert find_rate_factor(recipe, num_ranks) == factor
    plain, remarks = plan_rates(make_recipe({"batch_size": 32, "epoch_size": 3, "warmup_epochs": 1}), 5, num_ranks)
    assert len(plain) == 15 and remarks == []
    assert plan_rates(recipe, 5, num_ranks)[0] == pytest.approx([rate * factor for rate in plain], rel=1e-12)


def test_a_base_size_is_a_count():
    with pytest.raises(UserError, match=r"^lr_base_size 0 must be at least 1$"):
        check_step_options(make_recipe({"lr_base_size": 0}))
    with pytest.raises(UserError, match=r"^lr_scaling: 'cubic' is none of linear, sqrt$"):
        make_recipe({"lr_scaling": "cubic"})


def test_what_there_is_to_say_about_rates():
    """In lines for the log, not as warnings of Python's."""
    rates, remarks = plan_rates(make_recipe({"epoch_size": 1, "warmup_epochs": 3, "decay_epochs": 297}), 5, 1)
    assert len(rates) == 5
    assert remarks == [
        "scheduler cosine_decay: epoch_size (num_epochs) 1 is less than the schedule's 3 epochs of warm-up and 297 of "
        "decay: the run follows its first part"
    ]
