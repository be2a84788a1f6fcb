"""From a YAML recipe and the command line to a frozen `Recipe`; both pass through the same checks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import yaml

from .errors import UserError, unknown_name
from .option_types import convert_value, takes_many, type_name
from .options import Recipe, flatten, list_options

BASE = "base"  # the key that names a recipe, relative to this one, whose values hold where this one has none
RECIPES = "configs"  # the folder of the recipes that come with the package, or with the checkout around it


def parse_recipe(argv: Sequence[str], description: str = "") -> Recipe:
    """The recipe that a command line asks for: the defaults, then the YAML file after -c or --config, then the flags.

    Raises UserError with one line for unknown keys and flags (with the nearest), and for values of a wrong type.
    """
    recipe, _ = parse_command(argv, description, {})
    return recipe


def parse_command(
    argv: Sequence[str],
    description: str,
    extra: Mapping[str, str | tuple[tuple[str, ...], str]],
    operands: tuple[str, str] | None = None,
) -> tuple[Recipe, dict[str, Any]]:
    """As parse_recipe, for a script that has flags of its own: `extra` is their names and help, all values are text.

    A flag that takes several values has (their names, help) there, and gives a list. One with the name of a recipe's
    key takes the place of that key's flag. `operands` is a name and help for arguments without a flag, which come back
    as a list under that name.
    """
    options = list_options()
    parser = _Parser(description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-c", "--config", metavar="FILE", help="YAML recipe; flags go before its values")
    if operands:
        parser.add_argument(operands[0], nargs="*", help=operands[1])
    for name, text in extra.items():
        names, text = (None, text) if isinstance(text, str) else text
        parser.add_argument(f"--{name}", nargs=names and len(names), metavar=names, help=text)
        options.pop(name, None)
    groups = {group.name: parser.add_argument_group(group.name, group.default.__doc__) for group in fields(Recipe)}
    for option in options.values():
        groups[option.group].add_argument(
            f"--{option.key}",
            nargs="*" if takes_many(option.annotation) else None,
            metavar=type_name(option.annotation),
            help=option.help,
        )
    found, unknown = parser.parse_known_intermixed_args(argv) if operands else parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].removeprefix("--").partition("=")[0]
        if unknown[0].startswith("--"):
            raise unknown_name("flag", name, [*options, *extra, "config"])
        raise UserError(f"argument {unknown[0]!r} belongs to no flag; flags are written --name value")
    values = vars(found)
    config = values.pop("config", None)
    extras: dict[str, Any] = {name: values.pop(name, None) for name in extra}
    if operands:
        extras[operands[0]] = values.pop(operands[0], [])
    from_file = {} if config is None else read_recipe(config)
    from_flags = {key: convert_value(f"--{key}", text, options[key]) for key, text in values.items()}
    return make_recipe({**from_file, **from_flags}), extras


def parse_words(
    argv: Sequence[str], description: str, operands: Mapping[str, str], flags: Mapping[str, str]
) -> dict[str, str | None]:
    """The arguments of a command without a recipe: `operands` must be there, `flags` may; both are names and help."""
    parser = _Parser(description=description, allow_abbrev=False)
    for name, text in operands.items():
        parser.add_argument(name, help=text)
    for name, text in flags.items():
        parser.add_argument(f"--{name}", help=text)
    return vars(parser.parse_args(argv))


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe of flat keys and values, as in `make_recipe({"model": "halonet_26t", "lr": 0.1})`."""
    options = list_options()
    groups: dict[str, dict[str, Any]] = {group.name: {} for group in fields(Recipe)}
    for key, value in values.items():
        if key not in options:
            raise unknown_name("recipe key", key, options)
        groups[options[key].group][options[key].name] = convert_value(key, value, options[key])
    return Recipe(**{group.name: group.default.__class__(**groups[group.name]) for group in fields(Recipe)})


def read_recipe(path: str | Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The flat keys and values of a YAML file, on top of those of its `base`; `above` are the files based on it.

    A relative path that leads nowhere may name a recipe that comes with the package: `halonet/halonet_26t_cpu.yaml`.
    """
    path = _find_recipe(Path(path), Path(path))
    if path.resolve() in above:
        raise UserError(f"recipe {path} is its own base; take one of the `{BASE}` lines away")
    values = _read_yaml(path)
    base = values.pop(BASE, None)
    if not isinstance(base, str | None):
        raise UserError(f"{path}: {BASE}: {base!r} is not the path of a recipe")
    options = list_options()
    for key, value in values.items():
        if key not in options:
            raise unknown_name(f"key in {path}:", key, [*options, BASE])
        values[key] = convert_value(f"{path}: {key}", value, options[key])
    if not base:
        return values
    return {**read_recipe(_find_recipe(path.parent / base, Path(base)), (*above, path.resolve())), **values}


def _find_recipe(path: Path, name: Path) -> Path:
    """The file, or the recipe of that name out of those that come with us; `configs/` before the name is no matter."""
    if path.is_file() or name.is_absolute():
        return path
    inside = Path(*name.parts[1:]) if name.parts[:1] == (RECIPES,) else name
    package = Path(__file__).parent
    installed = package / RECIPES
    shipped = (installed if installed.is_dir() else package.parent / RECIPES) / inside
    return shipped if shipped.is_file() else path


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write all keys as YAML; reading it gives the same recipe."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(recipe).items()}
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets a later key overwrite an earlier one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise UserError(f"{self.name}: the key {key!r} stands there twice; keep one of them")
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, _UniqueKeyLoader)
    except OSError as error:
        raise UserError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a number of thousands of digits
        raise UserError(f"recipe {path} is no YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"recipe {path} must be lines of `key: value`, not a {type(content).__name__}")
    return content
