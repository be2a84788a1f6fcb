"""From a YAML recipe and the command line to a frozen `Recipe`; both pass through the same checks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import yaml

from ..errors import UserError, unknown_name
from .options import Option, Recipe, flatten, list_options
from .types import NO_VALUE, PlainText, convert_value, may_stand_alone, read_boolean, takes_many, type_name

BASE = "base"  # the key that names a recipe, relative to this one, whose values hold where this one has none
_BASE_OPTION = Option(BASE, "", BASE, str, "", "the recipe below this one", "", ())
RECIPES = "configs"  # the folder of the recipes that come with the package, or with the checkout around it


@dataclass(frozen=True)
class Switch:
    """A boolean flag of a script, which may stand alone as a recipe's may; without it the value is False."""

    help: str


@dataclass(frozen=True)
class Command:
    """What a command line asks for."""

    recipe: Recipe
    extras: dict[str, Any]  # the values of the script's own flags
    given: dict[str, Any]  # those of the recipe's flags
    config: str | None  # the YAML file after -c


def parse_recipe(argv: Sequence[str], description: str = "") -> Recipe:
    """The recipe that a command line asks for, as parse_command reads it."""
    return parse_command(argv, description, {}).recipe


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """As parse_recipe, as a namespace of flat keys, which MindCV's scripts read; by default of this process's argv."""
    return argparse.Namespace(**flatten(parse_recipe(sys.argv[1:] if argv is None else argv)))


def create_parser() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Parsers of -c alone and of all flags, as MindCV has them. They give texts; parse_args reads what these say."""
    return _make_parser("", {}, {}), _make_parser("", list_options(), {})


def parse_command(
    argv: Sequence[str],
    description: str,
    extra: Mapping[str, str | Switch | tuple[tuple[str, ...], str]],
    operands: tuple[str, str] | None = None,
) -> Command:
    """What a command line asks for.

    The recipe is made of the defaults, then the YAML file after -c or --config, then the flags: the last word counts.
    `extra` is names and help of the script's own flags, whose values are text. One that takes several values has (their
    names, help) there, and gives a list; a Switch gives a boolean. One with the name of a recipe's key takes the place
    of that key's flag. `operands` is a name and help for arguments without a flag, which come back as a list under that
    name.

    Raises UserError with one line for unknown keys and flags (with the nearest), and for values of a wrong type.
    """
    options = {key: option for key, option in list_options().items() if key not in extra}
    parser = _make_parser(description, options, extra)
    switches = {name for name, about in extra.items() if isinstance(about, Switch)}
    alone = switches | {key for key, option in options.items() if may_stand_alone(option.annotation)}
    last: list[str] = []  # operands, whatever they look like
    if operands:
        parser.add_argument(operands[0], nargs="*", help=operands[1])
        end = list(argv).index("--") if "--" in argv else len(argv)
        argv, last = argv[:end], list(argv[end + 1 :])
    argv = _complete_booleans(argv, alone, partial(_is_value, options=options) if operands else None)
    found, unknown = parser.parse_known_intermixed_args(argv) if operands else parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].removeprefix("--").partition("=")[0]
        if unknown[0].startswith("--"):
            raise unknown_name("flag", name, [*options, *extra, "config"])
        raise UserError(f"argument {unknown[0]!r} belongs to no flag; flags are written --name value")
    values = vars(found)
    config = values.pop("config", None)
    extras: dict[str, Any] = {name: _read_flag(name, values.pop(name, None), about) for name, about in extra.items()}
    if operands:
        extras[operands[0]] = [*values.pop(operands[0], []), *last]
    from_file = {} if config is None else read_recipe(config)
    from_flags = {key: convert_value(f"--{key}", _as_written(text), options[key]) for key, text in values.items()}
    return Command(_assemble({**from_file, **from_flags}), extras, from_flags, config)


def _make_parser(
    description: str, options: Mapping[str, Option], extra: Mapping[str, str | Switch | tuple[tuple[str, ...], str]]
) -> argparse.ArgumentParser:
    """A parser that gives the texts of the flags that are there: -c, those of a script, and the keys of a recipe."""
    parser = _Parser(description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-c", "--config", metavar="FILE", help="YAML recipe; flags go before its values")
    for name, about in extra.items():
        if isinstance(about, tuple):
            parser.add_argument(f"--{name}", nargs=len(about[0]), metavar=about[0], help=about[1])
        else:
            _add_flag(parser, name, about)
    groups = {group.name: parser.add_argument_group(group.name, group.default.__doc__) for group in fields(Recipe)}
    for option in options.values():
        count = "*" if takes_many(option.annotation) else "?" if may_stand_alone(option.annotation) else None
        groups[option.group].add_argument(
            f"--{option.key}", nargs=count, metavar=type_name(option.annotation), help=option.help
        )
    return parser


def parse_words(
    argv: Sequence[str],
    description: str,
    operands: Mapping[str, str],
    flags: Mapping[str, str | Switch],
    optional: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The arguments of a command without a recipe: `operands` must be there, `flags` and `optional` operands may.

    All are names and help. A Switch gives a boolean, the rest gives text, or None for what is not there.
    """
    parser = _Parser(description=description, allow_abbrev=False)
    for name, text in operands.items():
        parser.add_argument(name, help=text)
    for name, text in optional.items():
        parser.add_argument(name, nargs="?", help=text)
    for name, about in flags.items():
        _add_flag(parser, name, about)
    alone = {name for name, about in flags.items() if isinstance(about, Switch)}
    values = vars(parser.parse_args(_complete_booleans(argv, alone, partial(_is_value, options={}))))
    return {**values, **{name: _read_flag(name, values[name], about) for name, about in flags.items()}}


def _add_flag(parser: argparse.ArgumentParser, name: str, about: str | Switch) -> None:
    if isinstance(about, Switch):
        parser.add_argument(f"--{name}", nargs="?", metavar=type_name(bool), help=about.help)
    else:
        parser.add_argument(f"--{name}", help=about)


def _read_flag(name: str, text: Any, about: str | Switch | tuple[tuple[str, ...], str]) -> Any:
    if not isinstance(about, Switch):
        return text
    return text is not None and read_boolean(f"--{name}", text)


def _complete_booleans(
    argv: Sequence[str], alone: Collection[str], is_value: Callable[[str, str], bool] | None
) -> list[str]:
    """`argv` with a value for each flag of `alone` that stands alone: --ema becomes --ema=True.

    What follows such a flag is its value, unless it begins with a dash. Where it may be an operand just as well,
    `is_value(name, text)` tells: `--pretrained cat.jpg` names an image.
    """
    result: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*result, word, *rest]
        name = word.removeprefix("--")
        if word.startswith("--") and name in alone:
            takes_next = bool(rest) and not rest[0].startswith("-") and (is_value is None or is_value(name, rest[0]))
            word = f"{word}={rest.pop(0) if takes_next else True}"
        result.append(word)
    return result


def _is_value(name: str, text: str, options: Mapping[str, Option]) -> bool:
    """Whether `text` is a value of the flag, a switch where it is no option."""
    try:
        if name in options:
            convert_value(name, PlainText(text), options[name])
        else:
            read_boolean(name, text)
    except UserError:
        return False
    return True


def _as_written(value: str | list[str]) -> PlainText | list[PlainText]:
    return [PlainText(text) for text in value] if isinstance(value, list) else PlainText(value)


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe of flat keys and values, as in `make_recipe({"model": "halonet_26t", "lr": 0.1})`."""
    options = list_options()
    for key in values:
        if key not in options:
            raise unknown_name("recipe key", key, options)
    return _assemble({key: convert_value(key, value, options[key]) for key, value in values.items()})


def _assemble(values: Mapping[str, Any]) -> Recipe:
    """The recipe of values that are of their keys' types already."""
    options = list_options()
    groups: dict[str, dict[str, Any]] = {group.name: {} for group in fields(Recipe)}
    for key, value in values.items():
        groups[options[key].group][options[key].name] = value
    return Recipe(**{group.name: group.default.__class__(**groups[group.name]) for group in fields(Recipe)})


def read_recipe(path: str | Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The flat keys and values of a YAML file, on top of those of its `base`; `above` are the files based on it.

    A relative path that leads nowhere may name a recipe that comes with the package: `halonet/halonet_26t_cpu.yaml`.
    """
    path = _find_recipe(Path(path), Path(path))
    if path.resolve() in above:
        raise UserError(f"recipe {path} is its own base; take one of the `{BASE}` lines away")
    values = _read_yaml(path)
    options = {**list_options(), BASE: _BASE_OPTION}
    for key, value in values.items():
        if key not in options:
            raise unknown_name(f"key in {path}:", key, options)
        values[key] = convert_value(f"{path}: {key}", value, options[key])
    base = values.pop(BASE, "")
    if not base:
        return values
    return {**read_recipe(_find_recipe(path.parent / base, Path(base)), (*above, path.resolve())), **values}


def _find_recipe(path: Path, name: Path) -> Path:
    """The file, or the recipe of that name out of those that come with us; `configs/` before the name is no matter."""
    if path.is_file() or name.is_absolute():
        return path
    inside = Path(*name.parts[1:]) if name.parts[:1] == (RECIPES,) else name
    package = Path(__file__).parents[1]
    installed = package / RECIPES
    shipped = (installed if installed.is_dir() else package.parent / RECIPES) / inside
    return shipped if shipped.is_file() else path


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write all keys as YAML; reading it gives the same recipe."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(recipe).items()}
    path.write_text(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True), encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    """Quotes texts that would be read as no value."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if text.lower() in NO_VALUE else None)


_Dumper.add_representer(str, _represent_text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


class _TextLoader(yaml.SafeLoader):
    """Scalars are the text that stands there, PlainText without quotes, and a key that stands there twice is an error.

    YAML 1.1 reads 010 as 8, 1:30 as 90, 2024-01-01 as a date and no as False, and lets the later of two keys win.
    """

    def construct_text(self, node: yaml.Node) -> str:
        text = self.construct_scalar(node)
        return PlainText(text) if node.style is None else text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise UserError(f"{self.name}: the key {key!r} stands there twice; keep one of them")
        return super().construct_mapping(node, deep)


for _kind in ("str", "int", "float", "bool", "null", "timestamp", "binary", "merge", "value"):
    _TextLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _TextLoader.construct_text)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, _TextLoader)
    except OSError as error:
        raise UserError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8
        raise UserError(f"recipe {path} is no YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise UserError(f"recipe {path} is no YAML of a recipe: it is nested too deeply") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = "text" if isinstance(content, str) else f"a {type(content).__name__}"
        raise UserError(f"recipe {path} must be lines of `key: value`, not {kind}")
    return {str(key): value for key, value in content.items()}
