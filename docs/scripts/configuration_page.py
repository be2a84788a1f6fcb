"""Every key of a recipe, from the option groups of mindcv_halo/config/options.py."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from mindcv_halo.config.options import Option, Recipe, list_options
from mindcv_halo.config.types import type_name

HEAD = """# Configuration

A recipe is a YAML file of the keys below; what it leaves out has its default. Every key is also a flag of `train.py`,
`validate.py`, `infer.py` and `export.py`, and of the command `mindcv-halo`, and a flag wins over the recipe.
`base: FILE` in a recipe takes over another one's values. Unknown keys, values of another type and values that are no
choice stop the command before any work, with the nearest key. A flag with several values takes them one after the other
(`--scale 0.08 1.0`).

Recipes and flags are read by the same rules. `True` and `False` are also yes and no, on and off, 1 and 0, y, n, t and
f, in any case, and a flag may stand alone: `--val_while_train`. (Before an image of `infer.py` it may too; an image
with such a name is `./yes`.) A number is written in decimal digits, such as 42 or 1e-3: what YAML would read as
another number, such as `010`, which is 8, or `1:30`, which is 90, is an error. A text is what stands there, so that
`data_dir: 2024` is the folder 2024 and `train_split: on` the split on. `None`, `null`, `~` and nothing at all stand for
no value.

A value that nothing comes of beside the others is said when training begins, in one line: `no effect: clip_value 5.0
(clip_grad is False)`. Defaults are not meant, so that a recipe may hold all keys. Factories that are called in Python
warn of such arguments (`IdleSettingWarning`), and `create_model` refuses them. The other commands say on standard error
which of the flags that they are given they have no use for: `no effect: --lr 1.0 (it is for training)`.

This page is written by `make pages` from the option groups in `mindcv_halo/config/options.py`: each group is the
arguments of one factory.
"""


def write_configuration() -> str:
    """The page's text."""
    options = list_options().values()
    parts = [HEAD]
    for group in fields(Recipe):
        about = " ".join(group.default.__doc__.split())
        rows = [_row(option) for option in options if option.group == group.name]
        table = "\n".join(
            ["| key | type | default | unit or choices | meaning |", "| --- | --- | --- | --- | --- |", *rows]
        )
        parts.append(f"## {group.name}\n\n{_linked(about)}\n\n{table}\n")
    return "\n".join(parts)


def _row(option: Option) -> str:
    unit = ", ".join(f"`{choice}`" for choice in option.choices) or option.unit
    key = f"`{option.key}`" + (f" (argument `{option.name}`)" if option.name != option.key else "")
    return f"| {key} | {type_name(option.annotation)} | `{_shown(option.default)}` | {unit} | {option.help} |"


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "()" if isinstance(value, tuple) else repr(value)


def _linked(about: str) -> str:
    """A group's docstring, which names where the group acts after a colon."""
    text, place, rest = re.fullmatch(r"(.*?): ([\w.]+)\.(.*)", about).groups()
    return f"{text}.{rest} It acts in `mindcv_halo.{place}`."
