"""A frozen recipe gets facts by its keys, and nothing else of it changes."""

from __future__ import annotations

from importlib import import_module

import pytest

from mindcv_halo.config import make_recipe
from mindcv_halo.config.options import flatten, list_options
from mindcv_halo.config.resolve import resolve

resolving = import_module("mindcv_halo.config.resolve")
FACTS = [name for name in vars(resolving) if name.isupper()]


def test_facts_are_keys_of_several_groups():
    recipe = make_recipe({"lr": 0.1, "model": "halonet_test", "ckpt_path": "a.ckpt"})
    resolved = resolve(recipe, {"ckpt_path": "", "resume_opt": False, "lr": 0.2})
    assert flatten(resolved) == {**flatten(recipe), "ckpt_path": "", "lr": 0.2}
    assert recipe.model.checkpoint_path == "a.ckpt" and resolve(recipe, {}) == recipe


@pytest.mark.parametrize("name", FACTS)
def test_named_facts_are_of_keys_that_there_are(name):
    facts = getattr(resolving, name)
    assert facts and facts.keys() <= list_options().keys()
