"""Which models there are: MindCV's registry functions, with the peers' names as aliases.

A model function is registered under its own name, with what its images and weights are. `NAME.TAG` are other published
weights of the same model, and everything here that takes a name takes that too. A table `default_cfgs` in the scope
that the function is written in, as MindCV's modules have it, is understood as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from inspect import isfunction, signature, unwrap
from typing import Any, TypeVar, overload

from ..errors import UserError, unknown_name
from .default_cfg import ASSUMED
from .layers.checks import check_flag, check_positive, check_whole, check_wholes, is_number

_Function = TypeVar("_Function", bound=Callable)


@dataclass(frozen=True)
class _Model:
    """What was registered under one name."""

    fn: Callable
    cfgs: Mapping[str, Mapping[str, Any]]  # of NAME and every NAME.TAG
    aliases: tuple[str, ...]


_models: dict[str, _Model] = {}
_logger = logging.getLogger("mindcv_halo")


@overload
def register_model(fn: _Function) -> _Function: ...


@overload
def register_model(
    *,
    cfg: Mapping[str, Any] | None = None,
    tags: Mapping[str, Mapping[str, Any]] | None = None,
    aliases: Iterable[str] = (),
) -> Callable[[_Function], _Function]: ...


def register_model(
    fn: Callable | None = None,
    *,
    cfg: Mapping[str, Any] | None = None,
    tags: Mapping[str, Mapping[str, Any]] | None = None,
    aliases: Iterable[str] = (),
) -> Callable:
    """Decorator: `create_model(fn.__name__)` calls `fn(pretrained=..., num_classes=..., in_channels=..., ...)`.

    `fn` is a function or a class, from a package, a script or a notebook; it is called with those of the arguments that
    it takes. A second model of the same name takes the place of the first; the log says so if it is of another module.

    Args:
        cfg: what its images and weights are, with MindCV's keys: `input_size`, `mean`, `std`, `crop_pct`,
            `interpolation`, `num_classes`, `url`; what it leaves out is MindCV's.
        tags: the same of other published weights for it, which go by NAME.TAG.
        aliases: other names for it, such as another library's.

    Raises UserError for what has no name, or none that can be part of a file's, and for what does not tell its
    arguments.
    """
    if fn is None and (cfg is not None or tags or aliases):
        return lambda function: _register(function, cfg, tags or {}, tuple(aliases))
    return _register(fn, cfg, tags or {}, tuple(aliases))


def _register(
    fn: Callable, cfg: Mapping[str, Any] | None, tags: Mapping[str, Mapping[str, Any]], aliases: tuple[str, ...]
) -> Callable:
    name = getattr(fn, "__name__", None)
    if not callable(fn) or not isinstance(name, str) or not name or name == "<lambda>":
        raise UserError(f"register_model: {fn!r} must be a function or a class with a name, which is the model's")
    if not name.isprintable() or name != name.strip() or set(name) & set("/\\"):
        raise UserError(
            f"register_model: the name {name!r} becomes that of files; take out spaces around it, slashes and what "
            "cannot be printed"
        )
    try:
        signature(fn)
    except ValueError as error:  # some that Python itself brings
        raise UserError(
            f"register_model: {name} does not tell its arguments; wrap it in a function of your own"
        ) from error
    earlier = _models.get(name)
    if earlier is not None and _module_of(earlier.fn) != _module_of(fn):
        _logger.warning(f"register_model: {name} of {_module_of(earlier.fn)} gives way to that of {_module_of(fn)}")
    cfgs = ({} if cfg is None else {name: cfg}) | {f"{name}.{tag}": other for tag, other in tags.items()}
    _models[name] = _Model(fn, cfgs, aliases)
    exported = _scope_of(fn).get("__all__")
    if isinstance(exported, list) and name not in exported:
        exported.append(name)  # as in MindCV, where `from my_models import *` brings the models
    return fn


def list_aliases(model_name: str) -> list[str]:
    """What other libraries call a model, and its published weights."""
    name = canonical_name(model_name)
    return [alias for alias, target in _aliases().items() if _tagged_names().get(target, target) == name]


def list_cfgs(module: str) -> dict[str, Mapping[str, Any]]:
    """What the models of a module were registered with, by name or NAME.TAG, in the module's order."""
    models = (model for model in _models.values() if _module_of(model.fn) == module)
    return {name: cfg for model in models for name, cfg in model.cfgs.items()}


def canonical_name(model_name: str) -> str:
    """Our name, without a tag, for a model that may be called by a peer's name.

    Raises UnknownNameError with the nearest names.
    """
    name = _resolve(model_name)
    return name if name in _models else _tagged_names()[name]


def is_model(model_name: str) -> bool:
    """Whether `create_model` knows the name, aliases and tags included."""
    return isinstance(model_name, str) and (
        model_name in _models or model_name in _aliases() or model_name in _tagged_names()
    )


def model_entrypoint(model_name: str) -> Callable:
    """The function that builds the model."""
    return _models[canonical_name(model_name)].fn


def is_own_model(model_name: str) -> bool:
    """Whether a model was registered from outside this package."""
    return not _module_of(model_entrypoint(model_name)).startswith(f"{__package__}.")


def list_models(
    filter: str | Iterable[str] = "",
    module: str = "",
    pretrained: bool = False,
    exclude_filters: str | Iterable[str] = "",
) -> list[str]:
    """Sorted names of the models, without aliases.

    `filter` and `exclude_filters` are wildcards such as "halonet_h*", or several; `module` is the file's name, such as
    "halonet"; `pretrained=True` leaves only models with published weights, and adds the tagged names of further ones.
    Raises UserError for what is no text.
    """
    included = [pattern for pattern in _as_list(filter) if pattern]
    excluded = [pattern for pattern in _as_list(exclude_filters) if pattern]
    return sorted(
        name
        for name in [*_models, *(_tagged_names() if pretrained else ())]
        if (not included or any(fnmatchcase(name, pattern) for pattern in included))
        and (not module or _file_of(name) == module)
        and (not pretrained or is_model_pretrained(name))
        and not any(fnmatchcase(name, pattern) for pattern in excluded)
    )


def list_modules() -> list[str]:
    """Names of the files that define models; `__main__` for a script or a notebook."""
    return sorted({_file_of(name) for name in _models})


def is_model_in_modules(model_name: str, module_names: str | Iterable[str]) -> bool:
    """Whether the model is defined in one of these files."""
    return is_model(model_name) and _file_of(model_name) in _as_list(module_names)


def is_model_pretrained(model_name: str) -> bool:
    """Whether weights of the model have been published."""
    url = get_pretrained_cfg(model_name).get("url") if is_model(model_name) else None
    return isinstance(url, str) and bool(url)


def get_pretrained_cfg(model_name: str) -> dict[str, Any]:
    """A copy of the model's default_cfg: input size, normalisation, published weights and accuracy.

    Empty for a model of your own that was registered without.
    """
    name = _resolve(model_name)
    return deepcopy(_cfgs_of(canonical_name(name)).get(name, {}))


def complete_cfg(model_name: str) -> dict[str, Any]:
    """get_pretrained_cfg, with MindCV's usual values for what it leaves out.

    Raises UserError for an input size or a normalisation that cannot be meant.
    """
    cfg = {**ASSUMED, **get_pretrained_cfg(model_name)}
    thing = f"{model_name}, its default_cfg"
    size = cfg["input_size"]
    if not isinstance(size, tuple | list) or len(size) != 3:
        raise UserError(f"{model_name}: input_size {size!r} in its default_cfg must be (channels, height, width)")
    check_wholes(thing, "input_size", size)
    check_whole(thing, "num_classes", cfg["num_classes"], 0)
    check_flag(thing, "fixed_input_size", cfg["fixed_input_size"])
    if check_positive(thing, "crop_pct", cfg["crop_pct"]) > 1:
        raise UserError(f"{thing}: crop_pct {cfg['crop_pct']!r} must be at most 1")
    for name in ("url", "interpolation"):
        if not isinstance(cfg[name], str) and not (name == "url" and cfg[name] is None):  # which says: none
            raise UserError(f"{thing}: {name} {cfg[name]!r} must be a text")
    for name in ("mean", "std"):
        values = cfg[name]
        if not isinstance(values, tuple | list) or not values or not all(map(is_number, values)):
            raise UserError(f"{thing}: {name} {values!r} must be a number for each channel")
    if len(cfg["mean"]) != len(cfg["std"]):
        raise UserError(f"{thing}: mean {cfg['mean']!r} must have as many numbers as std {cfg['std']!r}")
    if any(value < 1 for value in cfg["std"]):
        raise UserError(
            f"{model_name}: std {tuple(cfg['std'])} in its default_cfg must be for pixels of 0 to 255; multiply mean "
            "and std by 255"
        )
    return cfg


def has_pretrained_cfg_key(model_name: str, cfg_key: str) -> bool:
    """Whether the model's default_cfg has this key."""
    return is_model(model_name) and cfg_key in get_pretrained_cfg(model_name)


def get_pretrained_cfg_value(model_name: str, cfg_key: str) -> Any:
    """One value of the default_cfg, None where it has no such key."""
    return get_pretrained_cfg(model_name).get(cfg_key)


def _resolve(model_name: str) -> str:
    """Our name for a model, with its tag if it has one. A model's own name goes before a peer's for another."""
    name = model_name if isinstance(model_name, str) else str(model_name)
    if name in _models:
        return name
    aliases, tagged = _aliases(), _tagged_names()
    name = aliases.get(name, name)
    if name not in _models and name not in tagged:
        raise unknown_name("model", model_name, [*_models, *aliases, *tagged])
    return name


def _aliases() -> dict[str, str]:
    """Every other name, and the model, or NAME.TAG, that it is for: timm calls weights by their name on its hub."""
    aliases = {alias: name for name, model in _models.items() for alias in model.aliases}
    for name in _models:
        for entry, cfg in _cfgs_of(name).items():
            owner, _, published = str(cfg.get("hub_id", "")).partition("/")
            if owner == "timm":
                aliases[published] = entry
    return aliases


def _tagged_names() -> dict[str, str]:
    """Every NAME.TAG, and the model that it is of."""
    return {tagged: name for name in _models for tagged in _cfgs_of(name) if tagged != name and tagged not in _models}


def _cfgs_of(name: str) -> dict[str, Mapping[str, Any]]:
    """The cfgs of NAME and every NAME.TAG: as registered, and then what a MindCV-style table says of it."""
    table = _scope_of(_models[name].fn).get("default_cfgs")
    beside = table if isinstance(table, Mapping) else {}
    cfgs = {**_models[name].cfgs, **{key: beside[key] for key in beside if _is_of(name, key)}}
    return {key: cfg for key, cfg in cfgs.items() if isinstance(cfg, Mapping)}


def _is_of(name: str, key: object) -> bool:
    return isinstance(key, str) and (key == name or key.startswith(f"{name}."))


def _scope_of(fn: Callable) -> dict[str, Any]:
    """The names of the module, script or notebook that a function, or a method of a class, is written in."""
    fn = unwrap(fn)
    functions = [fn, *(part for part in vars(fn).values() if isfunction(part) and part.__module__ == fn.__module__)]
    return next((part.__globals__ for part in functions if isfunction(part)), {})


def _module_of(fn: Callable) -> str:
    return getattr(fn, "__module__", None) or ""


def _file_of(name: str) -> str:
    return _module_of(model_entrypoint(name)).rpartition(".")[2]


def _as_list(names: str | Iterable[str] | None) -> list[str]:
    listed = [names] if isinstance(names, str) or not isinstance(names, Iterable | None) else list(names or ())
    if not all(isinstance(name, str) for name in listed):
        raise UserError(f"{names!r} must be a text, or several")
    return listed
