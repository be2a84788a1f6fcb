"""The names that MindCV's users import, under the same names here."""

from __future__ import annotations

import mindcv_halo

FACTORIES = [
    "create_dataset", "create_loader", "create_loss", "create_model", "create_optimizer", "create_scheduler",
    "create_transforms",
]  # fmt: skip
REGISTRY = [
    "get_pretrained_cfg", "get_pretrained_cfg_value", "has_pretrained_cfg_key", "is_model", "is_model_in_modules",
    "is_model_pretrained", "list_models", "list_modules", "model_entrypoint", "register_model",
]  # fmt: skip


def test_names_of_mindcv():
    assert set(FACTORIES + REGISTRY) <= set(mindcv_halo.__all__)


def test_every_public_name_exists_once_and_is_documented():
    assert len(set(mindcv_halo.__all__)) == len(mindcv_halo.__all__)
    for name in mindcv_halo.__all__:
        value = getattr(mindcv_halo, name)
        assert not callable(value) or value.__doc__, f"{name} has no docstring"


def test_models_are_functions_too():
    assert set(mindcv_halo.list_models()) <= set(mindcv_halo.__all__)
