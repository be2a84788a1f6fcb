"""What a run is made of: the frozen groups of options, with MindCV's keys on the outside.

A group is keyword arguments of one factory (tests/modules/test_options.py keeps it so); `key` is an
option's flat name in YAML and on the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_type_hints


def option(
    default: Any,
    help: str,
    *,
    key: str | None = None,
    unit: str = "",
    choices: Sequence[Any] = (),
    free_on_resume: bool = False,
    idle: Callable[[Recipe], str] = lambda _: "",
) -> Any:
    """A field of an option group.

    key: its name on the outside, by default the field's own.
    free_on_resume: a run that goes on may have another value: it says what the run writes, or where it reads, not what
        its next step is.
    idle: why nothing comes of the value beside the recipe's others, "" where something does. What one factory tells by
        itself, it says itself; for validate.py, or for several ranks, the recipe may have any value.
    """
    facts = {"help": help, "unit": unit, "choices": tuple(choices), "free_on_resume": free_on_resume, "idle": idle}
    return field(default=default, metadata={"key": key, **facts})


@dataclass(frozen=True, kw_only=True)
class SystemOptions:
    """Where and how the run executes: engine.setup."""

    mode: int = option(0, "0: graph mode, 1: PyNative mode", choices=(0, 1))
    distribute: bool = option(False, "data parallel under a launcher", free_on_resume=True)
    device_target: str | None = option(
        None, "default: the first that the machine has", choices=("Ascend", "GPU", "CPU"), free_on_resume=True
    )
    seed: int = option(42, "of weights, data order and augmentation")
    jit_level: str | None = option(
        None,
        "how graph mode compiles; default: MindSpore's own for the device",
        choices=("O0", "O1", "O2"),
        free_on_resume=True,
        idle=lambda recipe: "mode 1 compiles nothing" * recipe.system.mode,
    )
    native_kernels: bool | None = option(
        None, "C++ kernels, compiled on this machine, for a CPU; default: wherever they can be had"
    )


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Which images: data.create_dataset."""

    name: str = option("imagenet", "imagenet: a folder split/class/image; digits: scikit-learn's", key="dataset")
    root: str = option(
        "./",
        "folder that holds the splits (class folders, or MindRecord files), or a zip or tar archive of it",
        key="data_dir",
        free_on_resume=True,
    )
    train_split: str = option("train", "name of the split to train on")
    val_split: str = option("val", "name of the split to validate on")
    shuffle: bool = option(True, "shuffle the training images")
    num_samples: int | None = option(
        None, "train on only so many images an epoch, validate.py counts all; default: all", unit="images"
    )
    download: bool = option(
        False,
        "fetch cifar10, cifar100, mnist or fashion_mnist if it is not there",
        key="dataset_download",
        free_on_resume=True,
    )
    num_aug_repeats: int = option(0, "variants of each image in one epoch; 0 is off", key="aug_repeats", unit="images")
    skip_bad_images: bool = option(
        False, "go on where a file cannot be decoded: another of its class stands in, and validation leaves it out"
    )
    exif: bool = option(False, "turn images as their EXIF orientation says; else all formats come as they are stored")
    num_parallel_workers: int = option(
        8, "per stage of the pipeline, at most one for each processor", unit="threads", free_on_resume=True
    )


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
    hflip: float | None = option(
        None, "probability of a flip left to right; default: 0.5, for mnist 0", unit="probability"
    )
    vflip: float = option(0.0, "probability of a flip upside down", unit="probability")
    color_jitter: float | tuple[float, ...] | None = option(
        0.4, "strength of brightness, contrast and saturation, or each; auto_augment takes its place"
    )
    auto_augment: str | None = option(None, "in timm's notation, such as randaug-m9-n2-mstd0.5-inc1")
    re_prob: float = option(0.0, "probability of erasing a rectangle", unit="probability")
    re_scale: tuple[float, float] = option((0.02, 0.33), "its share of the area", unit="share of the area")
    re_ratio: tuple[float, float] = option((0.3, 3.3), "its height / width")
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
    num_classes: int | None = option(None, "at least as many as the data has, which is the default", unit="classes")
    in_channels: int = option(3, "channels of the images", unit="channels")
    drop_rate: float | None = option(None, "dropout before the classifier", unit="probability")
    drop_path_rate: float | None = option(None, "stochastic depth of the last block", unit="probability")
    pretrained: bool = option(
        False,
        "start from published weights",
        free_on_resume=True,
        idle=lambda recipe: "ckpt_path is given" * bool(recipe.model.checkpoint_path),
    )
    checkpoint_path: str = option("", "weights to start from, or to validate", key="ckpt_path", free_on_resume=True)
    reset_head: bool | None = option(
        None,
        "a new classifier where the file's has another size; default: if num_classes is given",
        free_on_resume=True,
        idle=lambda recipe: (
            "" if recipe.model.checkpoint_path or recipe.model.pretrained else "there are no weights: give ckpt_path"
        ),
    )
    resize_pos: bool = option(False, "fit the weights' position tables to other windows or images", free_on_resume=True)
    dialect: str | None = option(None, "whose reading of the paper; default: that of the weights", free_on_resume=True)
    mask_padding: bool = option(False, "keep pixels outside the map out of the softmax of halo attention")
    conv_stages: tuple[int, ...] = option(
        (), "H models and halonet_mini: stages, from 1, with convolutions in place of attention", unit="stages, from 1"
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
    momentum: float = option(0.9, "of the optimizers that have one")
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
    decay_rate: float = option(0.9, "the factor of the decay, or its power")
    milestones: tuple[int, ...] | None = option(
        None, "epochs at which multi_step_decay decays", key="multi_step_decay_milestones", unit="epochs"
    )
    num_cycles: int = option(1, "of the schedules that have some", unit="cycles")
    cycle_decay: float = option(1.0, "of the highest rate, per cycle")
    lr_epoch_stair: bool = option(False, "one rate per epoch, not per step")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimised: loss.create_loss."""

    name: str = option("CE", "see loss.create_loss", key="loss")
    label_smoothing: float = option(0.0, "in [0, 1)", unit="share")
    aux_factor: float = option(
        0.0, "weight of an auxiliary head's loss", idle=lambda recipe: "no model has an auxiliary head"
    )
    reduction: str = option("mean", "over the batch", choices=("mean", "sum"))


@dataclass(frozen=True, kw_only=True)
class PrecisionOptions:
    """In which precision the network computes, `precision` on a CPU and amp elsewhere: training.amp."""

    precision: str = option(
        "float32",
        "of native kernels; in bfloat16 weights, sums and statistics stay float32",
        choices=("float32", "bfloat16"),
    )
    amp_level: str = option(
        "O0",
        "in training; see training.amp.LEVELS",
        choices=("O0", "O1", "O2", "O3"),
        idle=lambda recipe: "amp_cast_list is given" * bool(recipe.precision.amp_cast_list),
    )
    val_amp_level: str = option("O0", "of validate.py", choices=("O0", "O1", "O2", "O3"), free_on_resume=True)
    amp_dtype: str = option(
        "float16",
        "which half precision",
        choices=("float16", "bfloat16"),
        idle=lambda recipe: "" if recipe.precision.is_half else "amp_level and val_amp_level are O0",
    )
    amp_cast_list: tuple[str, ...] | None = option(None, "cell classes in half precision, in place of a level")
    loss_scale_type: str = option("fixed", "auto: as dynamic", choices=("fixed", "dynamic", "auto"))
    loss_scale: float = option(1.0, "what the loss is multiplied by, at first")
    drop_overflow_update: bool = option(
        False,
        "fixed scale: leave out updates whose gradients are not finite",
        idle=lambda recipe: (
            "a dynamic loss scale leaves them out anyway" * (recipe.precision.loss_scale_type != "fixed")
        ),
    )
    fuse_bn: bool | None = option(
        None,
        "fold batch norms into convolutions: only export does by default, and training cannot",
        free_on_resume=True,
    )

    @property
    def is_half(self) -> bool:
        """Whether any number is to be of half precision, in training or in validation."""
        return bool(self.amp_cast_list) or {self.amp_level, self.val_amp_level} != {"O0"}


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What happens between gradients and weights: training.step."""

    gradient_accumulation_steps: int = option(1, "batches per update", unit="batches")
    frozen_stages: int = option(
        0, "the stem and so many stages stay as they are, running statistics too; 0: all learn", unit="stages"
    )
    clip_grad: bool = option(False, "clip gradients by clip_value")
    clip_value: float = option(
        15.0,
        "the largest norm of all gradients, or the largest value",
        idle=lambda recipe: "" if recipe.step.clip_grad else "clip_grad is False",
    )
    clip_mode: str = option(
        "norm",
        "what clip_value bounds",
        choices=("norm", "value"),
        idle=lambda recipe: "" if recipe.step.clip_grad else "clip_grad is False",
    )
    ema: bool = option(False, "keep a running average of the weights, and validate that")
    ema_decay: float = option(
        0.9999,
        "share of the past in the average; it rises from 0 to this",
        unit="share per update",
        idle=lambda recipe: "" if recipe.step.ema else "ema is False",
    )
    recompute: bool = option(False, "compute attention again in the backward pass, to save memory")
    sync_bn: bool = option(False, "batch norm over the images of all ranks")
    lr_scaling: str | None = option(
        None,
        "multiply all rates by images per update / lr_base_size, or by its square root",
        choices=("linear", "sqrt"),
    )
    lr_base_size: int = option(
        256,
        "images per update for which lr is meant, with lr_scaling",
        unit="images",
        idle=lambda recipe: "" if recipe.step.lr_scaling else "lr_scaling is None",
    )
    dataset_sink_mode: bool = option(
        False, "feed steps from the device's queue; a CPU has none and feeds them one by one"
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How long the run is, and what it writes: engine.train."""

    epoch_size: int = option(90, "epochs", unit="epochs")
    aug_splits: int = option(0, "3: a clean image and two augmented ones, for AugMix with the JSD loss", choices=(0, 3))
    resume: bool | Literal["auto"] = option(
        False, "go on with the run in ckpt_save_dir; auto: if there is one, else start it", free_on_resume=True
    )
    resume_opt: bool = option(
        False, "with ckpt_path: the optimizer's state from optim_{model}.ckpt beside it", free_on_resume=True
    )
    val_while_train: bool = option(
        False, "validate after every val_interval epochs, and after the last", free_on_resume=True
    )
    val_interval: int = option(
        1,
        "epochs",
        unit="epochs",
        free_on_resume=True,
        idle=lambda recipe: "" if recipe.run.val_while_train else "val_while_train is False",
    )
    eval_shuffle: bool = option(
        False,
        "known from MindCV; validation reads in order, which changes no result",
        free_on_resume=True,
        idle=lambda recipe: "validation reads in order",
    )
    data_timeout: float = option(
        300.0,
        "with several ranks: seconds without a batch after which a rank ends the job",
        unit="seconds",
        free_on_resume=True,
    )
    log_interval: int = option(
        100, "steps between lines of the log where there is no terminal", unit="steps", free_on_resume=True
    )
    ckpt_save_dir: str = option("./ckpt", "folder for everything that the run writes", free_on_resume=True)
    ckpt_save_interval: int = option(
        1, "epochs between checkpoints; the last epoch is always saved", unit="epochs", free_on_resume=True
    )
    ckpt_save_policy: str | None = option(
        "latest_k", "which keep_checkpoint_max to keep; None: all", choices=("latest_k", "top_k"), free_on_resume=True
    )
    keep_checkpoint_max: int = option(
        10,
        "checkpoints to keep, besides the last and the best",
        unit="files",
        free_on_resume=True,
        idle=lambda recipe: "" if recipe.run.ckpt_save_policy else "ckpt_save_policy None keeps all",
    )
    tensorboard: bool = option(False, "write events for TensorBoard too", free_on_resume=True)


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
    """One key of a recipe: where it belongs, what values it takes, and what else `option` says of it."""

    key: str
    group: str
    name: str
    annotation: Any
    default: Any
    help: str
    unit: str
    choices: tuple[Any, ...]
    free_on_resume: bool = False
    idle: Callable[[Recipe], str] = lambda _: ""


def list_options() -> dict[str, Option]:
    """Every key of a recipe."""
    return {option.key: option for option in _walk_options()}


def flatten(recipe: Recipe) -> dict[str, Any]:
    """The flat keys and values of a recipe, all of them."""
    return {option.key: getattr(getattr(recipe, option.group), option.name) for option in list_options().values()}


def _walk_options() -> Iterator[Option]:
    for group in fields(Recipe):
        group_class = group.default.__class__
        annotations = get_type_hints(group_class)
        for item in fields(group_class):
            facts = dict(item.metadata)
            key = facts.pop("key") or item.name
            yield Option(key, group.name, item.name, annotations[item.name], item.default, **facts)
