"""What the cases compile. Each function runs in a process of its own, whose device is set, and lets graphs run once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn, ops

from mindcv_halo import create_loss, create_optimizer, create_scheduler
from mindcv_halo.config import make_recipe, read_recipe
from mindcv_halo.config.options import Recipe
from mindcv_halo.engine.setup import build_network, make_step, resolve_transform
from mindcv_halo.loss.registry import LOSSES
from mindcv_halo.models.layers import ConvNormAct, GlobalAvgPooling, HaloAttention, SqueezeExcite, StemPool
from mindcv_halo.models.registry import complete_cfg
from mindcv_halo.optim import RateWindow
from mindcv_halo.scheduler.registry import SCHEDULES
from mindcv_halo.training.amp import auto_mixed_precision, to_float32
from mindcv_halo.training.ema import EMA
from mindcv_halo.training.grad_scaler import GradScaler
from mindcv_halo.training.step import TrainStep

CONFIGS = Path(__file__).parents[1] / "configs" / "halonet"
NUM_CLASSES = 5  # of the small network


def open_recipe(file: str, **values: Any) -> Recipe:
    """A recipe that ships, with other values for some keys."""
    return make_recipe({**read_recipe(CONFIGS / file), **values})


def step_of_recipe(file: str, num_ranks: int, **values: Any) -> None:
    """One training step as train.py builds it: forward, backward, optimizer, and what the recipe adds to them."""
    recipe = open_recipe(file, **values)
    step = make_step(recipe, build_network(recipe, recipe.model.num_classes), [1e-3] * 4, 4, num_ranks)
    images = _make_images(recipe)
    if recipe.loader.mixup or recipe.loader.cutmix:
        labels = np.zeros((len(images), recipe.model.num_classes), np.float32)
    else:
        labels = np.zeros(len(images), np.int32)
    step(Tensor(images), Tensor(labels)).asnumpy()


def evaluation_of_recipe(file: str, **values: Any) -> None:
    """A batch as validate.py and infer.py compute it."""
    recipe = open_recipe(file, **values)
    network = build_network(recipe, recipe.model.num_classes, is_training=False)
    network.set_train(False)
    network(Tensor(_make_images(recipe))).asnumpy()


def _make_images(recipe: Recipe) -> np.ndarray:
    size = resolve_transform(recipe)["image_resize"]
    return np.zeros((recipe.loader.batch_size, recipe.model.in_channels, size, size), np.float32)


class SmallNetwork(nn.Cell):
    """Convolution, batch norm, halo attention, classifier: (B, 3, 4, 4) -> (B, NUM_CLASSES).

    `num_heads` classifiers give a tuple of logits. `attention` False leaves the attention out, where only what comes
    after the network matters.
    """

    def __init__(self, *, attention: bool = False, num_heads: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.attention = HaloAttention(8, num_heads=2, block_size=2, halo_size=1) if attention else nn.Identity()
        self.classifiers = nn.CellList([nn.Dense(8 * 16, NUM_CLASSES) for _ in range(num_heads)])

    def construct(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        features = ops.flatten(self.attention(ops.relu(self.norm(self.conv(x)))))
        logits = [classifier(features) for classifier in self.classifiers]
        return logits[0] if len(logits) == 1 else tuple(logits)


def small_step(
    loss: str = "CE",
    *,
    soft_labels: bool = False,
    label_type: str = "int32",
    label_smoothing: float = 0.0,
    class_weights: bool = False,
    reduction: str = "mean",
    num_heads: int = 1,
    attention: bool = False,
    opt: str = "adamw",
    rates: Sequence[float] = (0.1, 0.2),
    optimizer: dict[str, Any] | None = None,
    amp_level: str = "O0",
    amp_dtype: str = "float16",
    loss_scale: Callable[[], GradScaler] | None = None,
    average: bool = False,
    **step: Any,
) -> None:
    """Two steps of a small network with one thing of many changed; `step` are arguments of TrainStep."""
    network = auto_mixed_precision(SmallNetwork(attention=attention, num_heads=num_heads), amp_level, None, amp_dtype)
    weight = Tensor(np.ones(NUM_CLASSES, np.float32)) if class_weights else None
    criterion = create_loss(loss, weight, reduction, label_smoothing, 0.4 if num_heads > 1 else 0.0)
    cell = TrainStep(
        network,
        criterion,
        create_optimizer(network, opt, RateWindow(rates, length=len(rates)), weight_decay=0.05, **(optimizer or {})),
        grad_scaler=loss_scale() if loss_scale else None,
        ema=EMA(network) if average else None,
        **step,
    )
    images = Tensor(np.zeros((6, 3, 4, 4), np.float32))
    labels = np.full((6, NUM_CLASSES), 1 / NUM_CLASSES, np.float32) if soft_labels else np.zeros(6, label_type)
    for _ in range(2):
        cell(images, Tensor(labels)).asnumpy()


class _Layers(nn.Cell):
    """What models have beside convolutions and halo attention: (B, 3, 4, 4) -> (B, NUM_CLASSES)."""

    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell(
            ConvNormAct(3, 8, 3, act="silu"), StemPool(), SqueezeExcite(8), GlobalAvgPooling(), nn.Dense(8, NUM_CLASSES)
        )

    def construct(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _NetworksTogether(nn.Cell):
    """The sum of what several networks say of the same images, in float32."""

    def __init__(self, networks: Sequence[nn.Cell]):
        super().__init__()
        self.networks = nn.CellList(networks)

    def construct(self, x: Tensor) -> Tensor:
        total = 0
        for network in self.networks:
            total += to_float32(network(x))
        return total


class _LossesTogether(nn.Cell):
    """The sum of all losses of class numbers, and of cross entropy of probabilities."""

    def __init__(self):
        super().__init__()
        self.of_numbers = nn.CellList([create_loss(name) for name in LOSSES])
        self.of_probabilities = create_loss("CE")

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        total = self.of_probabilities(logits, ops.softmax(logits))
        for loss in self.of_numbers:
            total += loss(logits, labels)
        return total


def step_together(*precisions: dict[str, str], layers: bool) -> None:
    """A step with all losses, on small networks with halo attention at each of these `amp_level`, `amp_dtype`.

    With `layers` on other layers of models too, at O2. Alone each takes most of the time that all take together.
    """
    networks = [
        auto_mixed_precision(SmallNetwork(attention=True), given["amp_level"], None, given.get("amp_dtype", "float16"))
        for given in precisions
    ]
    if layers:
        networks.append(auto_mixed_precision(_Layers(), "O2", None))
    network = _NetworksTogether(networks)
    optimizer = create_optimizer(network, "adamw", RateWindow((0.1, 0.2), length=2), weight_decay=0.05)
    step = TrainStep(network, _LossesTogether(), optimizer)
    images, labels = Tensor(np.zeros((6, 3, 4, 4), np.float32)), Tensor(np.zeros(6, np.int32))
    for _ in range(2):
        step(images, labels).asnumpy()


def step_on_schedule(name: str) -> None:
    """A step with the rates of a schedule."""
    values = {"decay_epochs": 3, "milestones": (1, 2)}
    own = {setting: value for setting, value in values.items() if setting in SCHEDULES[name].uses}
    small_step(rates=create_scheduler(2, scheduler=name, num_epochs=4, warmup_epochs=1, **own))


def loss_alone(loss: str, *, reduction: str, soft_labels: bool) -> None:
    """A loss outside a step, as people call it; reduction "none" has no gradient of its own."""
    cell = create_loss(loss, reduction=reduction)
    cell.set_train(False)
    labels = np.full((6, NUM_CLASSES), 0.2, np.float32) if soft_labels else np.zeros(6, np.int32)
    cell(Tensor(np.zeros((6, NUM_CLASSES), np.float32)), Tensor(labels)).asnumpy()


def step_on_model(model_name: str, num_ranks: int = 1, **values: Any) -> None:
    """A step of a model that needs no recipe of its own, such as the small one, at its own size."""
    size = complete_cfg(model_name)["input_size"][1]
    step_of_recipe(
        "_base_256.yaml", num_ranks, **{"model": model_name, "image_resize": size, "batch_size": 2, **values}
    )


def evaluation_on_model(model_name: str, **values: Any) -> None:
    size = complete_cfg(model_name)["input_size"][1]
    evaluation_of_recipe("_base_256.yaml", **{"model": model_name, "image_resize": size, "batch_size": 2, **values})


class _Operator(nn.Cell):
    """One operator alone, with its settings after its inputs."""

    def __init__(self, function: Callable[..., Tensor], *settings: Any):
        super().__init__()
        self.function = function
        self.settings = settings

    def construct(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs, *self.settings)


def operator_without_kernel(target: str) -> None:
    """Which MindSpore would compute on the host, in silence, if it might."""
    operator = ops.BesselJ0() if target == "Ascend" else ops.Eig(compute_v=False)
    _Operator(operator)(Tensor(np.eye(3, dtype=np.float32)))


def convolution_of_integers() -> None:
    image, weight = (Tensor(np.ones(shape), mindspore.int32) for shape in ((1, 3, 8, 8), (4, 3, 3, 3)))
    _Operator(ops.Conv2D(4, 3))(image, weight)


def pool_of_bfloat16() -> None:
    _Operator(ops.MaxPool(2, 2))(Tensor(np.ones((1, 3, 8, 8)), mindspore.bfloat16))


def one_hot_with_integers() -> None:
    """What Ascend does not take, and no CPU minds: int32 labels beside the integers 1 and 0 that are the default."""
    _Operator(ops.one_hot, NUM_CLASSES)(Tensor(np.zeros(3, np.int32)))
