"""Every key of a recipe, from the option groups of mindcv_halo/config/options.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from mindcv_halo.config.options import Option, Recipe, list_options
from mindcv_halo.config.types import type_name
from mindcv_halo.loss.registry import LOSSES
from mindcv_halo.optim.registry import OPTIMIZERS
from mindcv_halo.scheduler.registry import SCHEDULES

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
        if group.name in _CHOICES:
            parts.append(_CHOICES[group.name]())
    parts.append(_list_defaults())
    return "\n".join(parts)


def _row(option: Option) -> str:
    unit = ", ".join(f"`{choice}`" for choice in option.choices) or option.unit
    key = f"`{option.key}`" + (f" (argument `{option.name}`)" if option.name != option.key else "")
    return f"| {key} | {type_name(option.annotation)} | `{_shown(option.default)}` | {unit} | {option.help} |"


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "()" if isinstance(value, tuple) else repr(value)


def _list_optimizers() -> str:
    """A row for each `opt`."""
    rows = []
    for name, optimizer in OPTIMIZERS.items():
        is_ours = optimizer.cell.__module__.startswith("mindcv_halo.")
        about = (
            _first_line(import_module(optimizer.cell.__module__))
            if is_ours
            else "MindSpore's own, with weight decay in the gradient."
        )
        own = signature(optimizer.cell.__init__).parameters
        defaults = {option: own[word].default if word in own else None for option, word in optimizer.keywords.items()}
        options = [
            f"`{option}`" if option in _FROM_FACTORY or default is None else f"`{option}` {default:g}"
            for option, default in sorted(defaults.items())
        ]
        rows.append(f"| `{name}` | `{optimizer.cell.__name__}`: {about} | {', '.join(options)} |")
    head = ["The values of `opt`, and the options that each of them has, with what None means:", ""]
    return "\n".join([*head, "| opt | class | options |", "| --- | --- | --- |", *sorted(rows), ""])


def _list_schedules() -> str:
    """A row for each function; some have several names."""
    names: dict[Callable, list[str]] = {}
    for name, schedule in SCHEDULES.items():
        names.setdefault(schedule.build, []).append(f"`{name}`")
    rows = []
    for build, own in names.items():
        uses = next(schedule.uses for schedule in SCHEDULES.values() if schedule.build is build)
        rows.append(f"| {', '.join(own)} | {' '.join(build.__doc__.split())} | {_code(sorted(uses))} |")
    head = ["The values of `scheduler`, after the warm-up, and the arguments that each of them has:", ""]
    return "\n".join([*head, "| scheduler | learning rate | arguments |", "| --- | --- | --- |", *sorted(rows), ""])


def _list_losses() -> str:
    """A row for each `loss`."""
    rows = []
    for loss in LOSSES.values():
        rows.append(f"| `{loss.name}` | `{loss.cell.__name__}` | {_code(sorted(loss.arguments))} |")
    head = ["The values of `loss`, in any case, and the arguments of `create_loss` that each of them has:", ""]
    return "\n".join([*head, "| loss | class | arguments |", "| --- | --- | --- |", *sorted(rows), ""])


_CHOICES = {"optim": _list_optimizers, "scheduler": _list_schedules, "loss": _list_losses}
_FROM_FACTORY = ("momentum", "nesterov", "schedule_decay")  # which create_optimizer hands on, whatever the class has


def _list_defaults() -> str:
    """A row for each argument of a factory that has another default in Python than in a recipe."""
    rows = []
    for group in fields(Recipe):
        place, name = re.search(r": ([\w.]+)\.(\w+)\b", group.default.__doc__).groups()
        if not name.startswith("create_"):
            continue
        factory = getattr(import_module(f"mindcv_halo.{place}"), name)
        arguments = signature(factory).parameters
        for option in (option for option in list_options().values() if option.group == group.name):
            own = arguments[option.name].default if option.name in arguments else option.default
            if own is not Parameter.empty and own != option.default:
                rows.append(f"| `{name}` | `{option.name}` | `{_shown(own)}` | `{_shown(option.default)}` |")
    head = (
        "## Defaults in Python\n\nA factory that is called in Python has the defaults of MindCV's, a recipe those "
        "above. Where they differ:\n"
    )
    return "\n".join([head, "| factory | argument | in Python | in a recipe |", "| --- | --- | --- | --- |", *rows, ""])


def _first_line(module: Any) -> str:
    line = module.__doc__.splitlines()[0]
    return re.sub(r"^\w+: ", "", line)  # without the name again


def _code(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _linked(about: str) -> str:
    """A group's docstring, which names where the group acts after a colon."""
    text, place, rest = re.fullmatch(r"(.*?): ([\w.]+)\.(.*)", about).groups()
    return f"{text}.{rest} It acts in `mindcv_halo.{place}`."
