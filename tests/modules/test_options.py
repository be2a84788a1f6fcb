"""Options: each group is the arguments of one factory."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature

import pytest

from mindcv_halo import (
    create_dataset,
    create_loader,
    create_loss,
    create_model,
    create_optimizer,
    create_scheduler,
    create_transforms,
)
from mindcv_halo.options import Recipe, list_options


@pytest.mark.parametrize(
    "group, factory, elsewhere",
    [
        ("dataset", create_dataset, {"train_split", "val_split"}),  # both are `split`
        ("loader", create_loader, set()),
        ("transform", create_transforms, set()),
        ("model", create_model, set()),
        ("optim", create_optimizer, set()),
        ("scheduler", create_scheduler, set()),
        ("loss", create_loss, set()),
    ],
)
def test_a_group_is_made_of_a_factorys_arguments(group, factory, elsewhere):
    names = {field.name for field in fields(getattr(Recipe(), group))}
    assert names - elsewhere <= set(signature(factory).parameters)


def test_keys_are_unique():
    assert len(list_options()) == sum(len(fields(group.default)) for group in fields(Recipe))
