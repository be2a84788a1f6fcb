"""Which models there are: MindCV's registry functions, with the peers' names as aliases.

A model function is registered under its own name, and its module's `default_cfgs` describes it. `NAME.TAG` there
describes other published weights of the same model; everything here that takes a name takes that too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from ..errors import unknown_name

_entrypoints: dict[str, Callable] = {}
_aliases: dict[str, str] = {}


def register_model(fn: Callable) -> Callable:
    """Decorator: `create_model(fn.__name__)` calls `fn`. The module's `default_cfgs` must describe it."""
    _entrypoints[fn.__name__] = fn
    return fn


def register_aliases(aliases: dict[str, str]) -> None:
    """Other libraries' names for registered models."""
    _aliases.update(aliases)


def list_aliases(model_name: str) -> list[str]:
    """What other libraries call a model, in the order in which they were registered."""
    name = canonical_name(model_name)
    return [alias for alias, target in _aliases.items() if target.partition(".")[0] == name]


def canonical_name(model_name: str) -> str:
    """Our name, without a tag, for a model that may be called by a peer's name.

    Raises UnknownNameError with the nearest names.
    """
    return _resolve(model_name).partition(".")[0]


def is_model(model_name: str) -> bool:
    """Whether `create_model` knows the name, aliases and tags included."""
    return model_name in _entrypoints or model_name in _aliases or model_name in _tagged_names()


def model_entrypoint(model_name: str) -> Callable:
    """The function that builds the model."""
    return _entrypoints[canonical_name(model_name)]


def list_models(
    filter: str = "", module: str = "", pretrained: bool = False, exclude_filters: str | Iterable[str] = ""
) -> list[str]:
    """Sorted names of the models, without aliases.

    `filter` and `exclude_filters` are wildcards such as "halonet_h*"; `module` is the file's name, such as "halonet";
    `pretrained=True` leaves only models with published weights, and adds the tagged names of further ones.
    """
    excluded = [exclude_filters] if isinstance(exclude_filters, str) else list(exclude_filters)
    return sorted(
        name
        for name in [*_entrypoints, *(_tagged_names() if pretrained else ())]
        if (not filter or fnmatchcase(name, filter))
        and (not module or _module_of(name) == module)
        and (not pretrained or is_model_pretrained(name))
        and not any(pattern and fnmatchcase(name, pattern) for pattern in excluded)
    )


def list_modules() -> list[str]:
    """Names of the files that define models."""
    return sorted({_module_of(name) for name in _entrypoints})


def is_model_in_modules(model_name: str, module_names: str | Iterable[str]) -> bool:
    """Whether the model is defined in one of these files."""
    names = [module_names] if isinstance(module_names, str) else module_names
    return is_model(model_name) and _module_of(canonical_name(model_name)) in names


def is_model_pretrained(model_name: str) -> bool:
    """Whether weights of the model have been published."""
    return is_model(model_name) and bool(get_pretrained_cfg(model_name)["url"])


def get_pretrained_cfg(model_name: str) -> dict[str, Any]:
    """A copy of the model's default_cfg: input size, normalisation, published weights and accuracy."""
    name = _resolve(model_name)
    return dict(_cfgs_beside(name)[name])


def has_pretrained_cfg_key(model_name: str, cfg_key: str) -> bool:
    """Whether the model's default_cfg has this key."""
    return is_model(model_name) and cfg_key in get_pretrained_cfg(model_name)


def get_pretrained_cfg_value(model_name: str, cfg_key: str) -> Any:
    """One value of the default_cfg, None where it has no such key."""
    return get_pretrained_cfg(model_name).get(cfg_key)


def _resolve(model_name: str) -> str:
    """Our name for a model, with its tag if it has one."""
    name = _aliases.get(model_name, model_name) if isinstance(model_name, str) else str(model_name)
    tagged = _tagged_names()
    if name not in _entrypoints and name not in tagged:
        raise unknown_name("model", model_name, [*_entrypoints, *_aliases, *tagged])
    return name


def _tagged_names() -> list[str]:
    return sorted({tagged for name in _entrypoints for tagged in _cfgs_beside(name) if "." in tagged})


def _cfgs_beside(name: str) -> dict[str, dict[str, Any]]:
    return sys.modules[_entrypoints[name.partition(".")[0]].__module__].default_cfgs


def _module_of(name: str) -> str:
    return _entrypoints[name.partition(".")[0]].__module__.rpartition(".")[2]
