"""What an optimizer must remember between two steps, and how to take it from a file."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
from mindspore import Parameter, nn

from ..errors import UserError


def optimizer_state(optimizer: nn.Optimizer) -> dict[str, Parameter]:
    """The step counter and the moving averages, by name.

    All of an optimizer's own parameters but its settings: the learning rates and the momentum are the recipe's.
    """
    weights = {id(parameter) for parameter in optimizer.parameters}
    return {
        parameter.name: parameter
        for parameter in optimizer.get_parameters()
        if id(parameter) not in weights and not is_setting(parameter.name)
    }


def load_optimizer_state(optimizer: nn.Optimizer, checkpoint_path: str | Path) -> None:
    """Set the optimizer's state to that in a .ckpt which was saved from an optimizer of the same kind and model.

    Such a file also holds weights, learning rates and the momentum; these stay as they are: weights come from the
    model's checkpoint, settings from the recipe.

    Raises UserError when the file is missing or unreadable, when names are missing or unknown, or a shape differs; the
    optimizer is then unchanged.
    """
    path = Path(checkpoint_path)
    origin = f"optimizer checkpoint {path} of resume_opt (checkpoint_path)"
    if not path.is_file():
        raise UserError(f"{origin} does not exist; give an existing file, or leave it out")
    try:
        saved = ms.load_checkpoint(str(path))
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{origin} cannot be read; it may be cut off or no checkpoint") from error
    state = optimizer_state(optimizer)
    weights = {parameter.name for parameter in optimizer.parameters}
    missing = sorted(state.keys() - saved.keys())
    unknown = sorted(name for name in saved.keys() - state.keys() - weights if not is_setting(name))
    if missing or unknown:
        raise UserError(
            f"{origin} is not from this optimizer and model: "
            f"{_shorten('missing', missing)}; {_shorten('unknown', unknown)}"
        )
    for name, parameter in state.items():
        if saved[name].shape != parameter.shape:
            raise UserError(f"{origin}: {name} has shape {saved[name].shape}, this model needs {parameter.shape}")
    for name, parameter in state.items():
        parameter.set_data(saved[name])


def is_setting(name: str) -> bool:
    """Whether an optimizer's parameter of this name is what a recipe says: the learning rates, and the momentum."""
    return name == "momentum" or name.startswith("learning_rate")


def _shorten(kind: str, names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)} {kind}" + (f" ({', '.join(names[:limit])}{more})" if names else "")
