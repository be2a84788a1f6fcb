"""Prediction with a picture of where a query looked, for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..config.options import Recipe
from ..errors import UserError
from ..files.path import make_folder
from ..report.pictures import require_matplotlib
from .explanation_picture import draw_explanation
from .images import list_images, show_progress
from .infer import Prediction, Predictor, check_job
from .labels import ClassNames


def predict_and_explain(
    recipe: Recipe,
    image_path: str | Sequence[str],
    folder: str,
    top_k: int = 5,
    *,
    layer: int | str = -1,
    query: Sequence[int] | None = None,
    class_names: ClassNames | None = None,
    on_error: Callable[[UserError], None] | None = None,
) -> Iterator[Prediction]:
    """As infer.predict, image by image; a picture of each is written into `folder`.

    It has the image's name, with .png after it, and lies as deep in `folder` as the image in the folder that was named.
    layer and query are as for Predictor.explain. Raises UserError, before anything runs, without matplotlib too.
    """
    require_matplotlib("--explain")
    check_job(recipe)
    images = list_images(image_path)
    predictor = Predictor.from_recipe(recipe, class_names=class_names, batch_size=1, top_k=top_k)
    predictor.check(layer, query)
    root = make_folder("explain", folder)
    names = _number_equal_names([name for _, name in images])
    for path, name in zip(show_progress([path for path, _ in images]), names, strict=True):
        try:
            explanation = predictor.explain(path, layer, query)
        except UserError as error:
            if on_error is None or len(images) == 1:
                raise
            on_error(error)
            continue
        picture = root / name
        make_folder("explain", str(picture.parent))
        draw_explanation(explanation, picture)
        yield explanation.prediction


def _number_equal_names(names: Sequence[Path]) -> list[Path]:
    """Names of pictures, all different: a/b.jpg -> a/b.jpg.png, and a second a/b.jpg -> a/b.jpg-2.png."""
    seen: dict[Path, int] = {}
    numbered = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        number = f"-{seen[name]}" if seen[name] > 1 else ""
        numbered.append(name.with_name(f"{name.name}{number}.png"))
    return numbered
