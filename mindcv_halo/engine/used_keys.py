"""Which keys of a recipe each command has a use for: a recipe holds all of them, but a flag is given for an effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config.options import Recipe, list_options
from ..idle_settings import find_idle

_OPTIONS = list_options()
# Of these groups all keys count but the idle ones, and of the others those that are named.
_GROUPS = ("system", "model", "precision")
_IDLE = {
    *("seed", "drop_rate", "drop_path_rate", "reset_head"),
    *("amp_level", "loss_scale_type", "loss_scale", "drop_overflow_update"),
}
PREDICTION = frozenset(key for key, option in _OPTIONS.items() if option.group in _GROUPS and key not in _IDLE) | {
    *("dataset", "data_dir", "train_split", "exif", "batch_size", "ema"),
    *("image_resize", "interpolation", "crop_pct", "mean", "std"),
}
USED: dict[str, frozenset[str]] = {
    "train": frozenset(_OPTIONS),  # whose log says what has no effect
    "validate": PREDICTION
    | {"val_split", "dataset_download", "skip_bad_images", "num_parallel_workers", "data_timeout"},
    "infer": PREDICTION,
    "serve": PREDICTION,
    "export": PREDICTION - {"exif", "batch_size", "native_kernels", "precision", "amp_dtype"},
}
# Where somebody might expect something of a flag all the same.
_REASONS = {
    ("validate", "amp_level"): "--val_amp_level is for it",
    ("validate", "drop_remainder"): "every image counts",
    ("infer", "amp_level"): "--val_amp_level is for it",
    ("serve", "amp_level"): "--val_amp_level is for it",
    ("export", "native_kernels"): "a file runs without them",
    ("export", "precision"): "a file computes in float32",
    ("export", "amp_dtype"): "a file computes in float32",
}


def find_idle_flags(command: str, recipe: Recipe, flags: Mapping[str, Any]) -> str:
    """One line about the flags, of these keys and values, that the command has no use for; "" where there are none.

    One that no value gives an effect is said with its default too, since somebody wrote it.
    """
    if command == "train":
        return ""
    beside = _find_idle_beside(recipe)
    idle = {}
    for key, value in flags.items():
        if key not in USED[command]:
            wider = "validation" if key in USED["validate"] else "training"
            idle[f"--{key}"] = (value, object(), _REASONS.get((command, key), f"it is for {wider}"))
        elif key in beside:
            idle[f"--{key}"] = (value, _OPTIONS[key].default, beside[key])
    return find_idle(idle)


def _find_idle_beside(recipe: Recipe) -> dict[str, str]:
    """For keys of `PREDICTION`: why they have no effect beside the others, or ""."""
    precision, model = recipe.precision, recipe.model
    halves = precision.amp_cast_list or precision.val_amp_level != "O0"
    return {
        **{key: _OPTIONS[key].idle(recipe) for key in ("jit_level", "pretrained")},
        "ema": "" if model.checkpoint_path else "published weights hold no averages",
        "val_amp_level": "amp_cast_list is given" * bool(precision.amp_cast_list),
        "amp_dtype": "" if halves else "val_amp_level is O0",
    }
