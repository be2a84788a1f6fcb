"""A loss, an optimizer or a schedule is a file of its own: it registers itself, and the factories find it."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from mindcv_halo import create_loss, create_optimizer, create_scheduler
from mindcv_halo.errors import UserError
from mindcv_halo.idle_settings import IdleSettingWarning
from mindcv_halo.loss.common import ClassificationLoss
from mindcv_halo.loss.registry import LOSSES, register_loss
from mindcv_halo.optim.registry import OPTIMIZERS, register_optimizer
from mindcv_halo.registration import import_modules
from mindcv_halo.scheduler.registry import SCHEDULES, Curve, Plan, register_schedule


@pytest.fixture(autouse=True)
def keep_tables():
    """What a test registers is gone after it."""
    tables = [(table, dict(table)) for table in (LOSSES, OPTIMIZERS, SCHEDULES)]
    yield
    for table, before in tables:
        table.clear()
        table.update(before)


def test_every_module_of_a_package_is_imported(tmp_path, monkeypatch):
    folder = tmp_path / "package_of_two"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name in ("first", "second"):
        (folder / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    import_modules("package_of_two")
    for name in ("first", "second", ""):
        assert sys.modules.pop(f"package_of_two.{name}".strip("."))


def test_a_loss_tells_its_settings_by_its_constructor():
    @register_loss("Zero")
    class Zero(ClassificationLoss):
        def __init__(self, reduction: str = "mean"):
            super().__init__(reduction=reduction)

    loss = create_loss("zero", reduction="sum")
    assert type(loss) is Zero and loss.reduction == "sum"
    with pytest.raises(UserError, match="loss Zero has no label smoothing; set label_smoothing to 0, or use one of"):
        create_loss("zero", label_smoothing=0.1)
    with pytest.raises(UserError, match="nearest: zero"):
        create_loss("zer")


def test_an_optimizer_tells_its_options_by_its_constructor():
    @register_optimizer("still", implied={"speed": 0})
    class Still(nn.Optimizer):
        def __init__(self, params, learning_rate, speed: int, eps: float = 0.5, weight_decay=0.0, loss_scale=1.0):
            super().__init__(learning_rate, params, weight_decay, loss_scale)
            self.told = (speed, eps)

    def make(**options) -> nn.Optimizer:
        return create_optimizer([Parameter(Tensor(np.ones(2, np.float32)), name="x")], "still", **options)

    assert make().told == (0, 0.5) and make(eps=0.25).told == (0, 0.25)
    with pytest.raises(UserError, match="optimizer still has no beta1"):
        make(beta1=0.5)
    with pytest.warns(IdleSettingWarning, match="momentum 0.5 .it has none"):
        make(momentum=0.5)


def test_a_schedule_says_which_settings_it_uses():
    @register_schedule("half", "halved", uses=("decay_rate",))
    def half(plan: Plan) -> Curve:
        return Curve(plan.lr / 2, [plan.lr * plan.decay_rate] * plan.steps)

    settings = {"scheduler": "halved", "lr": 0.5, "warmup_epochs": 1, "num_epochs": 3, "decay_rate": 0.25}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # for a setting that it has
        assert create_scheduler(1, **settings) == [0.0, 0.125, 0.125]
    with pytest.warns(IdleSettingWarning, match="decay_epochs 2 .halved has none"):
        create_scheduler(1, **settings, decay_epochs=2)
