"""From an optimizer's name and the settings of a recipe to the cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real

from mindspore import Parameter, nn

from ..errors import UserError, unknown_name
from ..idle_settings import find_defaults, warn_of_idle
from ..registration import import_modules
from .param_groups import group_names, layer_scales
from .rate_window import RateWindow
from .registry import OPTIMIZERS, RegisteredOptimizer
from .state import load_optimizer_state

import_modules(__package__)


def create_optimizer(
    model_or_params: nn.Cell | Sequence[Parameter] | Sequence[dict],
    opt: str = "adam",
    lr: float | Sequence[float] | RateWindow = 1e-3,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay_filter: str = "disable",
    layer_decay: float | None = None,
    loss_scale: float = 1.0,
    schedule_decay: float = 4e-3,
    checkpoint_path: str = "",
    eps: float | None = None,
    beta1: float | None = None,
    beta2: float | None = None,
) -> nn.Optimizer:
    """An optimizer for the trainable parameters of a model, for a list of parameters, or for MindSpore's group dicts.

    `opt`, in any case, is the name of an optimizer in this package; docs/configuration.md lists them with the options
    that each of them has, and what None means for these. `momentum` and `schedule_decay` have no effect with others,
    which is warned of.
    `lr` is one rate, or a list with the rate of every step, or a RateWindow on such a list. `weight_decay_filter`: see
    param_groups.group_names. `layer_decay` scales the rate of every layer, the head's by 1 and each layer before it by
    this factor once more; it needs layer_ids() -> {parameter name: layer} of the model.
    Group dicts are MindSpore's ("params", "lr", "weight_decay", "order_params", ...) and pass unchanged, but for
    empty ones, which are left out; `lr` and `weight_decay` serve the groups without their own. The filters "disable"
    and "auto" leave them alone, as in MindCV.
    `loss_scale` is what the loss was multiplied by: gradients are divided by it.
    `checkpoint_path`: see state.load_optimizer_state.

    Raises UserError for an unknown name, a value out of range, or a setting that this optimizer cannot honour.
    """
    name = opt.lower()
    if name not in OPTIMIZERS:
        raise unknown_name("optimizer (opt)", name, OPTIMIZERS)
    choice = OPTIMIZERS[name]
    lr = _checked_rates(lr)
    _check_numbers(weight_decay, momentum, loss_scale)
    # These differ from their default only where somebody asked for them.
    asked = {"eps": eps, "beta1": beta1, "beta2": beta2, "nesterov": nesterov or None}
    asked = {option: value for option, value in asked.items() if value is not None}
    _check_asked(name, choice, asked)
    if momentum == 0 and (nesterov or "nesterov" in choice.implied):
        raise UserError(
            f"momentum {momentum}: Nesterov's (use_nesterov, nesterov) must be above 0; set momentum to 0.9"
        )

    able, defaults = choice.keywords, find_defaults(create_optimizer)
    why = {option: "" if option in able else "it has none" for option in ("momentum", "schedule_decay")}
    warn_of_idle(
        f"optimizer {name}",
        {
            "momentum": (momentum, defaults["momentum"], why["momentum"]),
            "schedule_decay": (schedule_decay, defaults["schedule_decay"], why["schedule_decay"]),
            "weight_decay_filter": (
                "disable" if weight_decay_filter == "auto" else weight_decay_filter,  # the default here, or a recipe's
                "disable",
                "" if weight_decay or layer_decay else "weight_decay is 0",
            ),
        },
    )
    options = {"momentum": float(momentum), "schedule_decay": schedule_decay, **asked}
    optimizer = choice.cell(
        _parameters(model_or_params, lr, weight_decay, weight_decay_filter, layer_decay),
        learning_rate=lr,
        weight_decay=float(weight_decay),
        loss_scale=float(loss_scale),
        **{choice.keywords[option]: value for option, value in options.items() if option in choice.keywords},
        **choice.implied,
    )
    if checkpoint_path:
        load_optimizer_state(optimizer, checkpoint_path)
    return optimizer


def _parameters(
    model_or_params: nn.Cell | Iterable[Parameter] | Iterable[dict],
    lr: float | list[float] | RateWindow,
    weight_decay: float,
    weight_decay_filter: str,
    layer_decay: float | None,
) -> list[dict]:
    """MindSpore's group dicts. Always groups: given a bare list, nn.Optimizer never decays a `beta` or `gamma`."""
    is_model = isinstance(model_or_params, nn.Cell)
    items = list(model_or_params.trainable_params() if is_model else model_or_params)
    if not items:
        raise UserError("the optimizer got no parameters; at least one must have requires_grad=True")
    if all(isinstance(item, dict) for item in items):
        if weight_decay_filter not in ("disable", "auto") or layer_decay is not None:
            raise UserError(
                "parameter groups say themselves what decays and how fast it learns; "
                "set weight_decay_filter to disable or auto and leave layer_decay out, or pass the model"
            )
        return [group for group in items if "params" not in group or list(group["params"])]

    by_name = {parameter.name: parameter for parameter in items}
    scales = None
    if layer_decay is not None:
        if not hasattr(model_or_params, "layer_ids"):
            raise UserError("layer_decay needs a model with a layer_ids() method; pass such a model, or leave it out")
        scales = layer_scales(list(by_name), model_or_params.layer_ids(), layer_decay)
    axes = {name: parameter.ndim for name, parameter in by_name.items()}
    groups: list[dict] = []
    for group in group_names(axes, float(weight_decay), weight_decay_filter, scales):
        entry = {"params": [by_name[name] for name in group.names], "weight_decay": group.weight_decay}
        if scales is not None:
            entry["lr"] = _scaled(lr, group.lr_scale, f"learning_rate_group_{len(groups)}")
        groups.append(entry)
    return [*groups, {"order_params": items}]


def _scaled(lr: float | list[float] | RateWindow, factor: float, name: str) -> float | list[float] | RateWindow:
    if isinstance(lr, RateWindow):
        return lr.scaled(factor, name)
    return [rate * factor for rate in lr] if isinstance(lr, list) else lr * factor


def _checked_rates(lr: float | Sequence[float] | RateWindow) -> float | list[float] | RateWindow:
    if isinstance(lr, RateWindow):
        return lr
    rates = [float(lr)] if isinstance(lr, Real) else [float(rate) for rate in lr]
    if not rates:
        raise UserError("lr is an empty list; it needs a value for every step")
    for rate in rates:
        if not 0 <= rate < math.inf:
            raise UserError(f"lr {rate!r} must be a number of at least 0, or a list of them")
    return rates[0] if isinstance(lr, Real) else rates


def _check_numbers(weight_decay: float, momentum: float, loss_scale: float) -> None:
    """Written as `not (a <= b)` so that a NaN fails too."""
    if not 0 <= weight_decay < math.inf:
        raise UserError(f"weight_decay {weight_decay!r} must be a number of at least 0")
    if not 0 <= momentum < 1:
        raise UserError(f"momentum {momentum!r} must be at least 0 and below 1")
    if not 0 < loss_scale < math.inf:
        raise UserError(f"loss_scale {loss_scale!r} must be a number above 0")


def _check_asked(name: str, choice: RegisteredOptimizer, asked: Mapping[str, object]) -> None:
    for option, value in asked.items():
        if option not in choice.keywords and option not in choice.implied:
            able = ", ".join(sorted(other for other, entry in OPTIMIZERS.items() if option in entry.keywords))
            key = "use_nesterov (nesterov)" if option == "nesterov" else option  # in a recipe, and here
            raise UserError(f"optimizer {name} has no {key} (got {value}); leave it out, or use one of {able}")
    for option in ("beta1", "beta2"):
        if option in asked and not 0 < asked[option] < 1:
            raise UserError(f"{option} {asked[option]!r} must lie between 0 and 1")
    if "eps" in asked and not asked["eps"] > 0:
        raise UserError(f"eps {asked['eps']!r} must be above 0")
