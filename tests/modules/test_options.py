"""Options: each group is the arguments of one factory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest
from mindspore import Parameter, Tensor

from mindcv_halo import (
    create_dataset,
    create_loader,
    create_loss,
    create_model,
    create_optimizer,
    create_scheduler,
    create_transforms,
)
from mindcv_halo.config.options import Recipe, list_options
from mindcv_halo.errors import UserError


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


def make_optimizer(**options) -> object:
    return create_optimizer([Parameter(Tensor([1.0]), name="x")], **options)


# What each option of a model, an optimizer or a loss whose key has another name is complained of with.
COMPLAINTS: dict[str, list[Callable[[], object]]] = {
    "use_nesterov": [
        lambda: make_optimizer(opt="adamw", nesterov=True),
        lambda: make_optimizer(opt="sgd", nesterov=True, momentum=0),
    ],
    "ckpt_path": [],  # which says the file, not the option; see below
    "model": [lambda: create_model("halonet")],
    "loss": [lambda: create_loss("MSE")],
}


def test_errors_name_the_key_that_people_write():
    """And the argument that others write, where it is another word."""
    others = {
        option.key: option.name
        for option in list_options().values()
        if option.group in ("model", "optim", "loss") and option.key != option.name
    }
    assert others.keys() == COMPLAINTS.keys()
    for key, complaints in COMPLAINTS.items():
        for complain in complaints:
            with pytest.raises(UserError, match=key) as caught:
                complain()
            own = others[key]
            assert own in ("name", "model_name") or own in str(caught.value)


def test_errors_about_an_optimizers_file_name_the_key(tmp_path):
    (tmp_path / "junk.ckpt").write_bytes(b"junk")
    for path in (tmp_path / "absent.ckpt", tmp_path / "junk.ckpt"):
        with pytest.raises(UserError, match=rf"{Path(path).name} of resume_opt \(checkpoint_path\)"):
            make_optimizer(opt="adamw", checkpoint_path=str(path))
