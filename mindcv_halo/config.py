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


RECIPES = "configs"  # the folder of the recipes that come with the package, or with the checkout around it


def option(default: Any, help: str, *, key: str | None = None, unit: str = "", choices: Sequence[Any] = ()) -> Any:
    """A field of an option group; `key` is its name on the outside, by default the field's own."""
    return field(default=default, metadata={"help": help, "key": key, "unit": unit, "choices": tuple(choices)})


@dataclass(frozen=True, kw_only=True)
class SystemOptions:
    """Where and how the run executes."""

    mode: int = option(0, "0: graph mode, 1: PyNative mode", choices=(0, 1))
    distribute: bool = option(False, "data parallel under a launcher")
    device_target: str | None = option(
        None, "default: the first that the machine has", choices=("Ascend", "GPU", "CPU")
    )
    seed: int = option(42, "of weights, data order and augmentation")
    jit_level: str | None = option(
        None, "how graph mode compiles; default: MindSpore's own for the device", choices=("O0", "O1", "O2")
    )
    native_kernels: bool | None = option(
        None, "C++ kernels, compiled on this machine, for a CPU in float32; default: wherever they can be had"
    )


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Which images: data.create_dataset."""

    name: str = option("imagenet", "imagenet: a folder split/class/image; digits: scikit-learn's", key="dataset")
    root: str = option("./", "folder that holds the splits", key="data_dir")
    train_split: str = option("train", "name of the split to train on")
    val_split: str = option("val", "name of the split to validate on")
    shuffle: bool = option(True, "shuffle the training images")
    num_samples: int | None = option(None, "train on only so many images an epoch; default: all", unit="images")
    download: bool = option(False, "fetch cifar10, cifar100 or mnist if it is not there", key="dataset_download")
    num_aug_repeats: int = option(0, "variants of each image in one epoch; 0 is off", key="aug_repeats", unit="images")
    skip_bad_images: bool = option(False, "leave out files that cannot be decoded, and say how many")
    num_parallel_workers: int = option(8, "per stage of the pipeline, at most one for each processor", unit="threads")


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How images become batches: data.create_loader."""

    batch_size: int = option(128, "images per step and device", unit="images")
    drop_remainder: bool = option(True, "leave out a training epoch's last batch if it is not full")
    mixup: float = option(0.0, "alpha of mixup; 0 is off")
    cutmix: float = option(0.0, "alpha of cutmix; 0 is off")
    cutmix_prob: float = option(1.0, "probability that a batch is mixed, by either", unit="probability")


@dataclass(frozen=True, kw_only=True)
class TransformOptions:
    """How an image is augmented and normalised: data.create_transforms. Defaults of None are the model's own."""

    image_resize: int | None = option(None, "side of the images, in pixels", unit="pixels")
    scale: tuple[float, float] = option(
        (0.08, 1.0), "share of the area that a random crop keeps", unit="share of the area"
    )
    ratio: tuple[float, float] = option((0.75, 1.333), "width / height of a random crop")
    hflip: float = option(0.5, "probability of a flip left to right", unit="probability")
    vflip: float = option(0.0, "probability of a flip upside down", unit="probability")
    color_jitter: float | tuple[float, ...] | None = option(
        0.4, "strength of brightness, contrast and saturation, or each; auto_augment takes its place"
    )
    auto_augment: str | None = option(None, "in timm's notation, such as randaug-m9-n2-mstd0.5-inc1")
    re_prob: float = option(0.0, "probability of erasing a rectangle", unit="probability")
    re_scale: tuple[float, float] = option((0.02, 0.33), "its share of the area", unit="share of the area")
    re_ratio: tuple[float, float] = option((0.3, 3.3), "its width / height")
    re_value: float | tuple[float, ...] | str = option(
        0.0, "what it holds after normalisation, or random", unit="standard deviations"
    )
    re_max_attempts: int = option(10, "tries to fit it in", unit="tries")
    interpolation: str | None = option(None, "nearest, bilinear, bicubic or area")
    crop_pct: float | None = option(None, "share of the short side that validation keeps", unit="share of the side")
    mean: tuple[float, ...] | None = option(
        None, "of each channel, for pixels of 0 to 255", unit="pixel values, 0 to 255"
    )
    std: tuple[float, ...] | None = option(
        None, "of each channel, for pixels of 0 to 255", unit="pixel values, 0 to 255"
    )


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which network, and the weights that it starts from: models.create_model."""

    model_name: str = option("halonet_50t", "see mindcv_halo.list_models()", key="model")
    num_classes: int | None = option(None, "default: as many as the data has", unit="classes")
    in_channels: int = option(3, "channels of the images", unit="channels")
    drop_rate: float | None = option(None, "dropout before the classifier", unit="probability")
    drop_path_rate: float | None = option(None, "stochastic depth of the last block", unit="probability")
    pretrained: bool = option(False, "start from published weights")
    checkpoint_path: str = option("", "weights to start from, or to validate", key="ckpt_path")
    reset_head: bool | None = option(
        None, "a new classifier where the file's has another size; default: if num_classes is given"
    )
    resize_pos: bool = option(False, "fit the weights' position tables to other windows or images")
    dialect: str | None = option(None, "whose reading of the paper; default: that of the weights")
    mask_padding: bool = option(False, "keep pixels outside the map out of the softmax of halo attention")
    conv_stages: tuple[int, ...] = option(
        (), "H models: stages, from 1, with convolutions in place of attention", unit="stages, from 1"
    )
    block_size: int | None = option(
        None, "side of a block of halo attention, in pixels; default: the model's", unit="pixels of the map"
    )
    halo_size: int | None = option(
        None, "pixels by which a window reaches beyond its block; default: the model's", unit="pixels of the map"
    )


@dataclass(frozen=True, kw_only=True)
class OptimOptions:
    """How gradients change the weights: optim.create_optimizer."""

    opt: str = option("adamw", "see optim.create_optimizer")
    momentum: float = option(0.9, "of sgd, momentum and rmsprop")
    nesterov: bool = option(False, "Nesterov's momentum", key="use_nesterov")
    weight_decay: float = option(0.05, "see weight_decay_filter", unit="per unit of lr")
    weight_decay_filter: str = option(
        "auto",
        "auto: no decay of norms, biases and position tables; disable: decay of all",
        choices=("disable", "auto", "norm_and_bias"),
    )
    eps: float | None = option(None, "default: the optimizer's own")
    layer_decay: float | None = option(None, "scale of the rate from each layer to the one before it")


@dataclass(frozen=True, kw_only=True)
class SchedulerOptions:
    """The learning rate of each step: scheduler.create_scheduler."""

    scheduler: str = option("cosine_decay", "see scheduler.create_scheduler")
    lr: float = option(0.001, "the highest learning rate", unit="per step")
    min_lr: float = option(1e-6, "the lowest after the decay", unit="per step")
    warmup_epochs: int = option(3, "epochs until lr is reached", unit="epochs")
    warmup_factor: float = option(0.0, "share of lr to start with", unit="share of lr")
    decay_epochs: int | None = option(
        None, "epochs from lr to min_lr; default: all that the warm-up leaves", unit="epochs"
    )
    decay_rate: float = option(0.9, "of exponential, step and polynomial decay")
    milestones: tuple[int, ...] | None = option(
        None, "epochs at which multi_step_decay decays", key="multi_step_decay_milestones", unit="epochs"
    )
    num_cycles: int = option(1, "of cosine decay", unit="cycles")
    cycle_decay: float = option(1.0, "of the highest rate, per cycle")
    lr_epoch_stair: bool = option(False, "one rate per epoch, not per step")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimised: loss.create_loss."""

    name: str = option("CE", "see loss.create_loss", key="loss")
    label_smoothing: float = option(0.0, "in [0, 1)", unit="share")
    aux_factor: float = option(0.0, "weight of an auxiliary head's loss")
    reduction: str = option("mean", "over the batch", choices=("mean", "sum"))


@dataclass(frozen=True, kw_only=True)
class PrecisionOptions:
    """In which precision the network computes: utils.amp."""

    amp_level: str = option("O0", "in training; see utils.amp.LEVELS", choices=("O0", "O1", "O2", "O3"))
    val_amp_level: str = option("O0", "of validate.py", choices=("O0", "O1", "O2", "O3"))
    amp_dtype: str = option("float16", "which half precision", choices=("float16", "bfloat16"))
    amp_cast_list: tuple[str, ...] | None = option(None, "cell classes in half precision, in place of a level")
    loss_scale_type: str = option("fixed", "auto: as dynamic", choices=("fixed", "dynamic", "auto"))
    loss_scale: float = option(1.0, "what the loss is multiplied by, at first")
    drop_overflow_update: bool = option(False, "fixed scale: leave out updates whose gradients are not finite")
    fuse_bn: bool | None = option(
        None, "fold batch norms into convolutions: only export does by default, and training cannot"
    )


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What happens between gradients and weights: utils.train_step."""

    gradient_accumulation_steps: int = option(1, "batches per update", unit="batches")
    clip_grad: bool = option(False, "clip gradients by clip_value")
    clip_value: float = option(15.0, "the largest norm of all gradients, or the largest value")
    clip_mode: str = option("norm", "what clip_value bounds", choices=("norm", "value"))
    ema: bool = option(False, "keep a running average of the weights, and validate that")
    ema_decay: float = option(
        0.9999, "share of the past in the average; it rises from 0 to this", unit="share per update"
    )
    recompute: bool = option(False, "compute attention again in the backward pass, to save memory")
    sync_bn: bool = option(False, "batch norm over the images of all ranks")
    lr_scaling: str | None = option(
        None,
        "multiply all rates by images per update / lr_base_size, or by its square root",
        choices=("linear", "sqrt"),
    )
    lr_base_size: int = option(256, "images per update for which lr is meant, with lr_scaling", unit="images")
    dataset_sink_mode: bool = option(
        False, "feed steps from the device's queue; a CPU has none and feeds them one by one"
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How long the run is, and what it writes."""

    epoch_size: int = option(90, "epochs", unit="epochs")
    aug_splits: int = option(0, "3: a clean image and two augmented ones, for AugMix with the JSD loss", choices=(0, 3))
    resume: bool = option(False, "go on with the run in ckpt_save_dir")
    resume_opt: bool = option(False, "with ckpt_path: the optimizer's state from optim_{model}.ckpt beside it")
    val_while_train: bool = option(False, "validate after every val_interval epochs, and after the last")
    val_interval: int = option(1, "epochs", unit="epochs")
    eval_shuffle: bool = option(False, "known from MindCV; validation reads in order, which changes no result")
    data_timeout: float = option(
        45.0, "with several ranks: seconds without a batch after which a rank ends the job", unit="seconds"
    )
    log_interval: int = option(100, "steps between lines of the log where there is no terminal", unit="steps")
    ckpt_save_dir: str = option("./ckpt", "folder for everything that the run writes")
    ckpt_save_interval: int = option(1, "epochs between checkpoints; the last epoch is always saved", unit="epochs")
    ckpt_save_policy: str | None = option(
        "latest_k", "which keep_checkpoint_max to keep; None: all", choices=("latest_k", "top_k")
    )
    keep_checkpoint_max: int = option(10, "checkpoints to keep, besides the last and the best", unit="files")
    tensorboard: bool = option(False, "write events for TensorBoard too")


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
    precision: PrecisionOptions = PrecisionOptions()
    step: StepOptions = StepOptions()
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
    unit: str
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
            nargs="*" if _takes_many(option.annotation) else None,
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
    from_file = read_recipe(config) if config else {}
    from_flags = {key: _convert(f"--{key}", text, options[key]) for key, text in values.items()}
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
        groups[options[key].group][options[key].name] = _convert(key, value, options[key])
    return Recipe(**{group.name: group.default.__class__(**groups[group.name]) for group in fields(Recipe)})


def read_recipe(path: str | Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The flat keys and values of a YAML file, on top of those of its `base`; `above` are the files based on it.

    A relative path that leads nowhere may name a recipe that comes with the package: `halonet/halonet_26t_cpu.yaml`.
    """
    path = _find_recipe(Path(path))
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
        values[key] = _convert(f"{path}: {key}", value, options[key])
    return {**read_recipe(path.parent / base, (*above, path.resolve())), **values} if base else values


def _find_recipe(path: Path) -> Path:
    """The file, or the recipe of that name out of those that come with us; `configs/` before the name is no matter."""
    if path.is_absolute() or path.exists():
        return path
    name = Path(*path.parts[1:]) if path.parts[0] == RECIPES else path
    package = Path(__file__).parent
    shipped = (folder / RECIPES / name for folder in (package, package.parent))
    return next((found for found in shipped if found.is_file()), path)


def flatten(recipe: Recipe) -> dict[str, Any]:
    """The flat keys and values of a recipe, all of them."""
    return {option.key: getattr(getattr(recipe, option.group), option.name) for option in list_options().values()}


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write all keys as YAML; reading it gives the same recipe."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(recipe).items()}
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _walk_options() -> Iterator[Option]:
    for group in fields(Recipe):
        group_class = group.default.__class__
        annotations = get_type_hints(group_class)
        for item in fields(group_class):
            meta = item.metadata
            key = meta["key"] or item.name
            facts = (meta["help"], meta["unit"], meta["choices"])
            yield Option(key, group.name, item.name, annotations[item.name], item.default, *facts)


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


def _convert(where: str, value: Any, option: Option) -> Any:
    """`value`, from YAML or as the text of a flag, as the option's type. Raises UserError that says `where`."""
    result = _as_type(value, option.annotation)
    if result is _Mismatch:
        raise UserError(f"{where}: {value!r} is not {type_name(option.annotation)}")
    if option.choices and result is not None and result not in option.choices:
        raise UserError(f"{where}: {value!r} is none of {', '.join(map(str, option.choices))}")
    return result


_NONE = ("None", "null", "")


class _Mismatch:
    """What _as_type returns for a value of another type; None is a value."""


def _as_type(value: Any, annotation: Any) -> Any:
    members = _members(annotation)
    if NoneType in members and (value is None or value in _NONE or value in [[text] for text in _NONE]):
        return None  # a flag that may have several values gives a list
    for member in members:
        result = _as_tuple(value, get_args(member)) if get_origin(member) is tuple else _as_scalar(value, member)
        if result is not _Mismatch:
            return result
    return _Mismatch


def _as_scalar(value: Any, kind: type) -> Any:
    if isinstance(value, list) and len(value) == 1:  # a flag that may have several values
        value = value[0]
    if kind is bool:
        named = {"true": True, "false": False}
        return value if isinstance(value, bool) else named.get(str(value).lower(), _Mismatch)
    if kind is str:
        return value if isinstance(value, str) else _Mismatch
    if kind not in (int, float) or isinstance(value, bool) or not isinstance(value, str | int | float):
        return _Mismatch
    if kind is int and isinstance(value, float):
        return _Mismatch
    try:
        number = kind(value)  # YAML 1.1 takes 1e-3 for text
    except (ValueError, OverflowError):
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


def _members(annotation: Any) -> tuple[Any, ...]:
    """`float | None` -> (float, NoneType); `int` -> (int,)."""
    return get_args(annotation) if get_origin(annotation) in (UnionType, Union) else (annotation,)


def _takes_many(annotation: Any) -> bool:
    return any(get_origin(member) is tuple for member in _members(annotation))


def type_name(annotation: Any) -> str:
    """An option's type in words, such as `a number or None`."""
    return " or ".join(_member_name(member) for member in _members(annotation))


def _member_name(member: Any) -> str:
    if get_origin(member) is tuple:
        items = get_args(member)
        count = "a list of" if items[-1] is Ellipsis else f"{len(items)}"
        return f"{count} { {int: 'whole numbers', float: 'numbers', str: 'names'}[items[0]] }"
    return {bool: "True or False", int: "a whole number", float: "a number", str: "text", NoneType: "None"}[member]
