"""Prediction: the likeliest classes of images, with the preprocessing that the model was validated with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor
from mindspore.dataset import vision
from PIL import Image

from ..config.options import Recipe, list_options
from ..config.parse import make_recipe
from ..config.resolve import FITTING_WEIGHTS, resolve
from ..data.batch_finish import split_normalisation
from ..data.quiet_pillow import quiet_pillow
from ..errors import UserError
from ..models.attention_maps import AttentionMap, AttentionProbe, check_query
from ..runtime import to_array, use_device
from .images import ImageLike, list_images, read_pixels, show_progress
from .labels import ClassNames, find_class_names
from .setup import build_network, find_place, make_transforms, set_jit_level
from .used_keys import PREDICTION
from .validate import predict_logits


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, best first, with their probabilities."""

    path: Path | None  # None for an image that was given as pixels
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """A prediction, and where one query of one layer looked for it."""

    prediction: Prediction
    view: np.ndarray  # what the network saw of the image: uint8, (height, width, 3 or 1)
    attention: AttentionMap


_one_at_a_time = Lock()  # of all predictors: MindSpore's mode and its compiler belong to the process


class Predictor:
    """`Predictor("halonet_50t", checkpoint_path=...)(image)`: the likeliest classes, as validation would see the image.

    An image is a path, a Pillow image, or a uint8 array (height, width, 3) or (height, width). One image gives one
    Prediction, a list or tuple a list of them. Size, interpolation, crop and normalisation are the model's own unless
    options say otherwise. Threads may share a predictor; they take turns.

    Args:
        model_name: a model of list_models(), or a peer's name for it.
        checkpoint_path: its weights. Without them, and without `pretrained`, UserError.
        class_names: names in the order of the labels, a mapping, or a file of them (data.read_class_file). By default
            those that the checkpoint holds, or class_names.txt beside it; those of a training split in data_dir that
            has as many classes; ImageNet's for 1000 classes; else numbers.
        batch_size: images in one pass of the network, when there are several.
        top_k: classes in a prediction.
        options: any other key of a recipe that prediction has a use for, such as image_resize, crop_pct, exif, dialect
            or device_target. With `mode` 0, the default, the network is compiled for each shape at its first use, which
            takes seconds.

    Raises UserError for settings that cannot be, weights that do not fit, and images that cannot be read.
    """

    def __init__(
        self,
        model_name: str = "halonet_50t",
        *,
        checkpoint_path: str | os.PathLike = "",
        pretrained: bool = False,
        class_names: ClassNames | None = None,
        batch_size: int = 8,
        top_k: int = 5,
        **options: Any,
    ):
        idle = next((key for key in options if key in list_options() and key not in PREDICTION), None)
        if idle is not None:
            raise UserError(f"Predictor: {idle} {options[idle]} is of no use in prediction; leave it out")
        own = {"model": model_name, "ckpt_path": str(checkpoint_path), "pretrained": pretrained}
        self._build(make_recipe({**own, "batch_size": batch_size, **options}), class_names, top_k)

    def _build(self, recipe: Recipe, class_names: ClassNames | None, top_k: int) -> None:
        _check_recipe(recipe)
        if top_k < 1:
            raise UserError(f"top_k {top_k} must be at least 1")
        self.class_names = find_class_names(recipe, class_names)
        self.recipe = recipe
        self.model_name = recipe.model.model_name
        self.batch_size = recipe.loader.batch_size
        self.top_k = top_k

        use_device(recipe.system.device_target)
        set_jit_level(recipe.system)
        transforms = [op for op in make_transforms(recipe, is_training=False) if not isinstance(op, vision.Decode)]
        self._resize, self._normalise = split_normalisation(transforms)
        with _one_at_a_time:
            self._network = build_network(recipe, len(self.class_names), is_training=False).set_train(False)
        self._run = self._compiled()
        self._probe: AttentionProbe | None = None
        self.image_size = self._view(np.zeros((8, 8, 3), np.uint8)).shape[:2]  # height and width that the network sees

    @classmethod
    def from_recipe(
        cls,
        recipe: Recipe,
        *,
        class_names: ClassNames | None = None,
        batch_size: int | None = None,
        top_k: int = 5,
    ) -> Predictor:
        """The predictor for a recipe's model, weights and preprocessing; `batch_size` replaces the recipe's.

        The recipe may be that of a training run whose head was new: the weights must fit as they are.
        """
        facts = FITTING_WEIGHTS if batch_size is None else {**FITTING_WEIGHTS, "batch_size": batch_size}
        predictor = cls.__new__(cls)
        predictor._build(resolve(recipe, facts), class_names, top_k)
        return predictor

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Prediction | list[Prediction]:
        if not isinstance(images, list | tuple):
            return self._rank(images, self.logits([images])[0])
        return list(self.stream(images))

    def logits(self, images: Sequence[ImageLike]) -> np.ndarray:
        """What the network gives for each image: float32, (images, classes)."""
        batch_size = 1 if len(images) == 1 else self.batch_size
        parts = [
            self._predict([self._read(image) for image in images[start : start + batch_size]], batch_size)
            for start in range(0, len(images), batch_size)
        ]
        return np.concatenate([np.empty((0, len(self.class_names)), np.float32), *parts])

    def stream(
        self, images: Iterable[ImageLike], on_error: Callable[[UserError], None] | None = None
    ) -> Iterator[Prediction]:
        """Predictions of many images, read as they are needed, always in batches of the same size.

        An image that cannot be read is left out, and its error handed to `on_error`; without that it is raised.
        """
        batch: list[tuple[ImageLike, np.ndarray]] = []
        for image in images:
            try:
                batch.append((image, self._read(image)))
            except UserError as error:
                if on_error is None:
                    raise
                on_error(error)
            if len(batch) == self.batch_size:
                yield from self._rank_batch(batch)
                batch = []
        if batch:
            yield from self._rank_batch(batch)

    def explain(self, image: ImageLike, layer: int | str = -1, query: Sequence[int] | None = None) -> Explanation:
        """The prediction of an image, and where the query at a pixel looked, in one pass of the network.

        It compiles nothing, so that the first explanation comes at once.

        layer: one of `attention_layers`, or its place there. query: (y, x) in the image as the network sees it, which
        has the size `image_size`; by default its middle. Raises UserError for those that do not exist, and for a model
        without halo attention.
        """
        self.check(layer, query)
        view = self._read(image)
        with _one_at_a_time:
            logits, *maps = self._probe(Tensor(self._normalise(view[None])))
            attention = self._probe.read(maps[self._probe.find(layer)], self.image_size, layer, query)
        return Explanation(self._rank(image, to_array(logits)[0]), view, attention)

    def check(self, layer: int | str, query: Sequence[int] | None) -> None:
        """Raises UserError where `explain` would for any image."""
        self._find_probe().find(layer)
        check_query(query, self.image_size)

    @property
    def attention_layers(self) -> tuple[str, ...]:
        """Names of the layers that `explain` can look at."""
        return self._find_probe().layers

    def _find_probe(self) -> AttentionProbe:
        with _one_at_a_time:
            if self._probe is None:
                self._probe = AttentionProbe(self._network)
            return self._probe

    def _compiled(self) -> Callable[[Tensor], Tensor]:
        """The network, compiled whatever mode MindSpore is in; that mode is the caller's, and stays as it is."""
        network, compiles = self._network, self.recipe.system.mode == mindspore.GRAPH_MODE
        if not compiles or mindspore.get_context("mode") == mindspore.GRAPH_MODE:
            return network

        @mindspore.jit
        def run(images: Tensor):
            return network(images)

        return run

    @quiet_pillow()
    def _read(self, image: ImageLike) -> np.ndarray:
        return self._view(read_pixels(image, self.recipe.dataset.exif))

    def _view(self, pixels: np.ndarray) -> np.ndarray:
        """What the network sees of an image: uint8, (height, width, channels)."""
        if self.recipe.model.in_channels == 1:
            pixels = np.array(Image.fromarray(pixels).convert("L"))[..., None]
        for transform in self._resize:
            pixels = transform(pixels)
        return pixels if pixels.ndim == 3 else pixels[..., None]

    def _predict(self, views: list[np.ndarray], batch_size: int) -> np.ndarray:
        images = self._normalise(np.stack(views))
        with _one_at_a_time:
            return predict_logits(self._run, images, batch_size)

    def _rank_batch(self, batch: list[tuple[ImageLike, np.ndarray]]) -> Iterator[Prediction]:
        images, views = zip(*batch, strict=True)
        for image, logits in zip(images, self._predict(list(views), self.batch_size), strict=True):
            yield self._rank(image, logits)

    def _rank(self, image: ImageLike, logits: np.ndarray) -> Prediction:
        with np.errstate(invalid="ignore"):  # of logits that are not finite nothing can be said, and that is shown
            shares = np.exp(logits.astype(np.float64) - logits.max())
            shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[: self.top_k].tolist()
        return Prediction(
            path=Path(image) if isinstance(image, str | os.PathLike) else None,
            labels=tuple(best),
            class_names=tuple(self.class_names[label] for label in best),
            probabilities=tuple(float(shares[label]) for label in best),
        )


def predict(
    recipe: Recipe,
    image_path: str | Sequence[str],
    top_k: int = 5,
    *,
    class_names: ClassNames | None = None,
    on_error: Callable[[UserError], None] | None = None,
) -> Iterator[Prediction]:
    """Predict image files, and all that lie in folders and below them, in the order of their paths.

    Names of the classes are as for Predictor. Of several images, one that cannot be read is left out, and its error
    handed to `on_error`, if that is given. On a terminal a bar shows how far it is.
    Raises UserError for a missing checkpoint, and a path without images.
    """
    check_job(recipe)
    paths = [path for path, _ in list_images(image_path)]
    batch_size = min(recipe.loader.batch_size, len(paths))
    predictor = Predictor.from_recipe(recipe, class_names=class_names, batch_size=batch_size, top_k=top_k)
    yield from predictor.stream(show_progress(paths), on_error if len(paths) > 1 else None)


def check_job(recipe: Recipe) -> None:
    """Raises UserError for a recipe that cannot predict, and where this is one of several processes."""
    _check_recipe(recipe)
    topology = find_place(recipe.system, needs_launcher=False)
    if topology.size > 1:
        raise UserError(f"prediction runs in one process; start it without {topology.launcher}")


def _check_recipe(recipe: Recipe) -> None:
    if not recipe.model.checkpoint_path and not recipe.model.pretrained:
        raise UserError("prediction needs weights: give --ckpt_path FILE, in Python checkpoint_path=FILE")
    if recipe.loader.batch_size < 1:
        raise UserError(f"batch_size {recipe.loader.batch_size} must be at least 1")
