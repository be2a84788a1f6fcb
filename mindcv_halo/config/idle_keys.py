"""Keys of a recipe that nothing comes of beside its other keys; what one factory tells by itself, it says itself."""

from __future__ import annotations

from ..idle_settings import find_idle
from .options import Recipe


def find_idle_keys(recipe: Recipe) -> str:
    """One line about the keys that have no effect, "" where there are none.

    A key for validate.py, or for several ranks, is not meant: the recipe serves these too.
    """
    step, precision, run = recipe.step, recipe.precision, recipe.run
    unclipped = "" if step.clip_grad else "clip_grad is False"
    unvalidated = "" if run.val_while_train else "val_while_train is False"
    halves = precision.amp_cast_list or {precision.amp_level, precision.val_amp_level} != {"O0"}
    level = "" if halves else "amp_level and val_amp_level are O0"
    return find_idle(
        {
            "jit_level": (recipe.system.jit_level, None, "mode 1 compiles nothing" * recipe.system.mode),
            "pretrained": (recipe.model.pretrained, False, "ckpt_path is given" * bool(recipe.model.checkpoint_path)),
            "reset_head": (
                recipe.model.reset_head,
                None,
                ""
                if recipe.model.checkpoint_path or recipe.model.pretrained
                else "there are no weights: give ckpt_path",
            ),
            "aux_factor": (recipe.loss.aux_factor, 0, "no model has an auxiliary head"),
            "amp_level": (precision.amp_level, "O0", "amp_cast_list is given" * bool(precision.amp_cast_list)),
            "amp_dtype": (precision.amp_dtype, "float16", level),
            "drop_overflow_update": (
                precision.drop_overflow_update,
                False,
                "a dynamic loss scale leaves them out anyway" * (precision.loss_scale_type != "fixed"),
            ),
            "clip_value": (step.clip_value, 15.0, unclipped),
            "clip_mode": (step.clip_mode, "norm", unclipped),
            "ema_decay": (step.ema_decay, 0.9999, "" if step.ema else "ema is False"),
            "lr_base_size": (step.lr_base_size, 256, "" if step.lr_scaling else "lr_scaling is None"),
            "val_interval": (run.val_interval, 1, unvalidated),
            "eval_shuffle": (run.eval_shuffle, False, "validation reads in order"),
            "keep_checkpoint_max": (
                run.keep_checkpoint_max,
                10,
                "" if run.ckpt_save_policy else "ckpt_save_policy None keeps all",
            ),
        },
    )
