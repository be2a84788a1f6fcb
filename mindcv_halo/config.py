"""From a YAML recipe and the command line to a frozen `Recipe`, with MindCV's keys and flags on the outside.

A group of options is the keyword arguments of one factory (tests/modules/test_config.py keeps the two equal); `key` is
an option's flat name in YAML and on the command line. Both pass through the same checks.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

import yaml

from .errors import UserError, unknown_name

BASE = "base"  # the key that names a recipe, relative to this one, whose values hold where this one has none


def option(default: Any, help: str, *, key: str | None = None, choices: Sequence[Any] = ()) -> Any:
    """A field of an option group; `key` is its name on the outside, by default the field's own."""
    return field(default=default, metadata={"help": help, "key": key, "choices": tuple(choices)})


@dataclass(frozen=True, kw_only=True)
class SystemOptions:
    """Where and how the run executes."""

    mode: int = option(0, "0: graph mode, 1: PyNative mode", choices=(0, 1))
    distribute: bool = option(False, "data parallel under a launcher")
    device_target: str | None = option(
        None, "default: the first that the machine has", choices=("Ascend", "GPU", "CPU")
    )
    seed: int = option(42, "of weights, data order and augmentation")


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Which images: data.create_dataset."""

    name: str = option("imagenet", "imagenet: a folder split/class/image; digits: scikit-learn's", key="dataset")
    root: str = option("./", "folder that holds the splits", key="data_dir")
    train_split: str = option("train", "name of the split to train on")
    val_split: str = option("val", "name of the split to validate on")
    shuffle: bool = option(True, "shuffle the training images")
    num_samples: int | None = option(None, "use only so many images; default: all")
    num_parallel_workers: int = option(8, "per stage of the pipeline, at most one for each processor")


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How images become batches: data.create_loader."""

    batch_size: int = option(128, "images per step and device")
    drop_remainder: bool = option(True, "leave out a training epoch's last batch if it is not full")


@dataclass(frozen=True, kw_only=True)
class TransformOptions:
    """How an image is augmented and normalised: data.create_transforms. Defaults of None are the model's own."""

    image_resize: int | None = option(None, "side of the images, in pixels")
    scale: tuple[float, float] = option((0.08, 1.0), "share of the area that a random crop keeps")
    ratio: tuple[float, float] = option((0.75, 1.333), "width / height of a random crop")
    hflip: float = option(0.5, "probability of a flip left to right")
    vflip: float = option(0.0, "probability of a flip upside down")
    interpolation: str | None = option(None, "nearest, bilinear, bicubic or area")
    crop_pct: float | None = option(None, "share of the short side that validation keeps")
    mean: tuple[float, ...] | None = option(None, "of each channel, for pixels of 0 to 255")
    std: tuple[float, ...] | None = option(None, "of each channel, for pixels of 0 to 255")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which network, and the weights that it starts from: models.create_model."""

    model_name: str = option("halonet_50t", "see mindcv_halo.list_models()", key="model")
    num_classes: int | None = option(None, "default: as many as the data has")
    in_channels: int = option(3, "channels of the images")
    drop_rate: float | None = option(None, "dropout before the classifier")
    drop_path_rate: float | None = option(None, "stochastic depth of the last block")
    pretrained: bool = option(False, "start from published weights")
    checkpoint_path: str = option("", "weights to start from, or to validate", key="ckpt_path")
    reset_head: bool = option(False, "with ckpt_path: a new classifier where the file's has another size")
    dialect: str | None = option(None, "whose reading of the paper; default: that of the weights")
    mask_padding: bool = option(False, "keep pixels outside the map out of the softmax of halo attention")
    conv_stages: tuple[int, ...] = option((), "H models: stages, from 1, with convolutions in place of attention")


@dataclass(frozen=True, kw_only=True)
class OptimOptions:
    """How gradients change the weights: optim.create_optimizer."""

    opt: str = option("adamw", "see optim.create_optimizer")
    momentum: float = option(0.9, "of sgd, momentum and rmsprop")
    nesterov: bool = option(False, "Nesterov's momentum", key="use_nesterov")
    weight_decay: float = option(0.05, "see weight_decay_filter")
    weight_decay_filter: str = option(
        "auto",
        "auto: no decay of norms, biases and position tables; disable: decay of all",
        choices=("disable", "auto", "norm_and_bias"),
    )
    eps: float | None = option(None, "default: the optimizer's own")


@dataclass(frozen=True, kw_only=True)
class SchedulerOptions:
    """The learning rate of each step: scheduler.create_scheduler."""

    scheduler: str = option("cosine_decay", "see scheduler.create_scheduler")
    lr: float = option(0.001, "the highest learning rate")
    min_lr: float = option(1e-6, "the lowest after the decay")
    warmup_epochs: int = option(3, "epochs until lr is reached")
    warmup_factor: float = option(0.0, "share of lr to start with")
    decay_epochs: int | None = option(None, "epochs from lr to min_lr; default: all that the warm-up leaves")
    decay_rate: float = option(0.9, "of exponential, step and polynomial decay")
    milestones: tuple[int, ...] | None = option(
        None, "epochs at which multi_step_decay decays", key="multi_step_decay_milestones"
    )
    num_cycles: int = option(1, "of cosine decay")
    cycle_decay: float = option(1.0, "of the highest rate, per cycle")
    lr_epoch_stair: bool = option(False, "one rate per epoch, not per step")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimised: loss.create_loss."""

    name: str = option("CE", "see loss.create_loss", key="loss")
    label_smoothing: float = option(0.0, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How long the run is, and what it writes."""

    epoch_size: int = option(90, "epochs")
    val_while_train: bool = option(False, "validate after every val_interval epochs, and after the last")
    val_interval: int = option(1, "epochs")
    log_interval: int = option(100, "steps between lines of the log where there is no terminal")
    ckpt_save_dir: str = option("./ckpt", "folder for everything that the run writes")
    ckpt_save_interval: int = option(1, "epochs between checkpoints; the last epoch is always saved")
    keep_checkpoint_max: int = option(10, "checkpoints to keep, besides the best")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a run is made of."""

    system: SystemOptions = SystemOptions()
    dataset: DatasetOptions = DatasetOptions()
    loader: LoaderOptions = LoaderOptions()
    transform: TransformOptions = TransformOptions()
    model: ModelOptions = ModelOptions()
    optim: OptimOptions = OptimOptions()
    scheduler: SchedulerOptions = SchedulerOptions()
    loss: LossOptions = LossOptions()
    run: RunOptions = RunOptions()


@dataclass(frozen=True)
class Option:
    """One key of a recipe: where it belongs, and what values it takes."""

    key: str
    group: str
    name: str
    annotation: Any
    default: Any
    help: str
    choices: tuple[Any, ...]


def list_options() -> dict[str, Option]:
    """Every key of a recipe."""
    return {option.key: option for option in _walk_options()}


def parse_recipe(argv: Sequence[str], description: str = "") -> Recipe:
    """The recipe that a command line asks for: the defaults, then the YAML file after -c or --config, then the flags.

    Raises UserError with one line for unknown keys and flags (with the nearest), and for values of a wrong type.
    """
    recipe, _ = parse_command(argv, description, {})
    return recipe


def parse_command(
    argv: Sequence[str], description: str, extra: Mapping[str, str]
) -> tuple[Recipe, dict[str, str | None]]:
    """As parse_recipe, for a script that has flags of its own: `extra` is their names and help, all values are text."""
    options = list_options()
    parser = _Parser(description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-c", "--config", metavar="FILE", help="YAML recipe; flags go before its values")
    for name, text in extra.items():
        parser.add_argument(f"--{name}", help=text)
    groups = {group.name: parser.add_argument_group(group.name, group.default.__doc__) for group in fields(Recipe)}
    for option in options.values():
        is_many = _unwrap(option.annotation)[1] is tuple
        groups[option.group].add_argument(
            f"--{option.key}", nargs="*" if is_many else None, metavar=_type_name(option.annotation), help=option.help
        )
    found, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].removeprefix("--").partition("=")[0]
        if unknown[0].startswith("--"):
            raise unknown_name("flag", name, [*options, *extra, "config"])
        raise UserError(f"argument {unknown[0]!r} belongs to no flag; flags are written --name value")
    values = vars(found)
    config = values.pop("config", None)
    extras = {name: values.pop(name, None) for name in extra}
    from_file = read_recipe(config) if config else {}
    from_flags = {key: _convert(f"--{key}", text, options[key]) for key, text in values.items()}
    return make_recipe({**from_file, **from_flags}), extras


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe of flat keys and values, as in `make_recipe({"model": "halonet_26t", "lr": 0.1})`."""
    options = list_options()
    groups: dict[str, dict[str, Any]] = {group.name: {} for group in fields(Recipe)}
    for key, value in values.items():
        if key not in options:
            raise unknown_name("recipe key", key, options)
        groups[options[key].group][options[key].name] = _convert(key, value, options[key])
    return Recipe(**{group.name: group.default.__class__(**groups[group.name]) for group in fields(Recipe)})


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The flat keys and values of a YAML file, on top of those of its `base`."""
    path = Path(path)
    values = _read_yaml(path)
    base = values.pop(BASE, None)
    options = list_options()
    for key, value in values.items():
        if key not in options:
            raise unknown_name(f"key in {path}:", key, [*options, BASE])
        values[key] = _convert(f"{path}: {key}", value, options[key])
    return {**read_recipe(path.parent / base), **values} if base else values


def flatten(recipe: Recipe) -> dict[str, Any]:
    """The flat keys and values of a recipe, all of them."""
    return {option.key: getattr(getattr(recipe, option.group), option.name) for option in list_options().values()}


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write all keys as YAML; reading it gives the same recipe."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(recipe).items()}
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def _walk_options() -> Iterator[Option]:
    for group in fields(Recipe):
        group_class = group.default.__class__
        annotations = get_type_hints(group_class)
        for item in fields(group_class):
            meta = item.metadata
            key = meta["key"] or item.name
            yield Option(
                key, group.name, item.name, annotations[item.name], item.default, meta["help"], meta["choices"]
            )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets a later key overwrite an earlier one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise UserError(f"{self.name}: the key {key!r} stands there twice; keep one of them")
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open() as file:
            content = yaml.load(file, _UniqueKeyLoader)
    except OSError as error:
        raise UserError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path} is no YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"recipe {path} must be lines of `key: value`, not a {type(content).__name__}")
    return content


def _convert(where: str, value: Any, option: Option) -> Any:
    """`value`, from YAML or as the text of a flag, as the option's type. Raises UserError that says `where`."""
    result = _as_type(value, option.annotation)
    if result is _Mismatch:
        raise UserError(f"{where}: {value!r} is not {_type_name(option.annotation)}")
    if option.choices and result is not None and result not in option.choices:
        raise UserError(f"{where}: {value!r} is none of {', '.join(map(str, option.choices))}")
    return result


class _Mismatch:
    """What _as_type returns for a value of another type; None is a value."""


def _as_type(value: Any, annotation: Any) -> Any:
    optional, kind, items = _unwrap(annotation)
    if optional and (value is None or value in ("None", "null", "")):
        return None
    if kind is tuple:
        return _as_tuple(value, items)
    if kind is bool:
        named = {"true": True, "false": False}
        return value if isinstance(value, bool) else named.get(str(value).lower(), _Mismatch)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _Mismatch
    if kind is str:
        return value if isinstance(value, str) else _Mismatch
    if kind is int and isinstance(value, float):
        return _Mismatch
    try:
        number = kind(value)  # YAML 1.1 takes 1e-3 for text
    except ValueError:
        return _Mismatch
    return number if math.isfinite(number) else _Mismatch


def _as_tuple(value: Any, items: tuple[Any, ...]) -> Any:
    if isinstance(value, str) or (isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)):
        text = value if isinstance(value, str) else value[0]
        value = text.strip("()[] ").replace(",", " ").split()
    if not isinstance(value, list | tuple):
        return _Mismatch
    kinds = items[:1] * len(value) if items[-1] is Ellipsis else items
    if len(kinds) != len(value):
        return _Mismatch
    result = tuple(_as_type(item, kind) for item, kind in zip(value, kinds, strict=True))
    return _Mismatch if _Mismatch in result else result


def _unwrap(annotation: Any) -> tuple[bool, type, tuple[Any, ...]]:
    """`tuple[float, ...] | None` -> (True, tuple, (float, ...)); `int` -> (False, int, ())."""
    optional = get_origin(annotation) in (UnionType, Union)
    if optional:
        annotation = next(item for item in get_args(annotation) if item is not NoneType)
    return optional, get_origin(annotation) or annotation, get_args(annotation)


def _type_name(annotation: Any) -> str:
    optional, kind, items = _unwrap(annotation)
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    if kind is tuple:
        count = "a list of" if items[-1] is Ellipsis else f"{len(items)}"
        name = f"{count} {'whole numbers' if items[0] is int else 'numbers'}"
    else:
        name = names[kind]
    return f"{name} or None" if optional else name
