"""What errors about losses, optimizers and schedules say to do, tried."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn
from support.remedies import Case, try_all

from mindcv_halo import create_loss, create_optimizer, create_scheduler
from mindcv_halo.loss import JSDCrossEntropy
from mindcv_halo.optim.registry import OPTIMIZERS

ELSEWHERE = {
    "is not from this optimizer and model": "names no way out",
    "it may be cut off or no checkpoint": "names no way out",
    "{} has shape {}, this model needs {}": "names no way out",
}


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.head = nn.Dense(2, 2)

    def layer_ids(self) -> dict[str, int]:
        return {"head.weight": 0, "head.bias": 0}


def optimize(opt: str = "sgd", **options) -> nn.Optimizer:
    return create_optimizer([Parameter(Tensor([1.0]), name="x")], opt, **options)


def groups() -> list[dict]:
    return [{"params": [Parameter(Tensor([1.0]), name="x")]}]


def plan(scheduler: str, *, steps: int = 4, epochs: int = 4, **options) -> list[float]:
    return create_scheduler(steps, scheduler, **{"num_epochs": epochs, "warmup_epochs": 0, "lr": 0.1, **options})


def loss_of(loss: nn.LossBase, images: int = 3) -> np.ndarray:
    logits = Tensor(np.zeros((images, 2), np.float32))
    return loss.set_train()(logits, Tensor(np.zeros(images, np.int32))).asnumpy()


def save_state(folder: Path) -> str:
    ms.save_checkpoint(optimize("adamw"), str(folder / "optim.ckpt"))
    return str(folder / "optim.ckpt")


WEIGHT = Tensor([1.0, 2.0])
CASES = [
    # ---- loss
    Case(r"unknown loss 'cee'; nearest: ce", lambda b: create_loss("CEE"), lambda b: create_loss("ce")),
    Case(
        r"unknown reduction 'means'; nearest: mean",
        lambda b: create_loss(reduction="means"),
        lambda b: create_loss(reduction="mean"),
    ),
    Case(
        r"set label_smoothing to 0, or",
        lambda b: create_loss("asl_multi_label", label_smoothing=0.1),
        lambda b: create_loss("asl_multi_label", label_smoothing=0),
    ),
    Case(
        r"or use one of .*, BCE, CE,",
        lambda b: create_loss("asl_multi_label", label_smoothing=0.1),
        lambda b: create_loss("BCE", label_smoothing=0.1),
    ),
    Case(
        r"leave weight out, or",
        lambda b: create_loss("asl_single_label", weight=WEIGHT),
        lambda b: create_loss("asl_single_label"),
    ),
    Case(
        r"or use one of BCE, CE,",
        lambda b: create_loss("asl_single_label", weight=WEIGHT),
        lambda b: [create_loss(name, weight=WEIGHT) for name in ("CE", "BCE")],
    ),
    Case(
        r"set aux_factor to 0",
        lambda b: loss_of(create_loss(aux_factor=0.5)),
        lambda b: loss_of(create_loss(aux_factor=0)),
    ),
    Case(
        r"a batch of 4 .* 3 splits; give that many copies of the images, which aug_splits 3 \(separate\) makes, or",
        lambda b: loss_of(create_loss("JSD"), 4),
        lambda b: loss_of(create_loss("JSD"), 12),
    ),
    Case(
        r"or set num_splits to match",
        lambda b: loss_of(JSDCrossEntropy(), 4),
        lambda b: loss_of(JSDCrossEntropy(num_splits=2), 4),
    ),
    # ---- optimizers
    Case(r"unknown optimizer \(opt\) 'adm'; nearest: adam,", lambda b: optimize("adm"), lambda b: optimize("adam")),
    Case(
        r"momentum 0: .* set momentum to 0.9",
        lambda b: optimize(nesterov=True, momentum=0),
        lambda b: optimize(nesterov=True, momentum=0.9),
    ),
    Case(
        r"no parameters; at least one must have requires_grad=True",
        lambda b: create_optimizer([]),
        lambda b: create_optimizer(Net()),
    ),
    Case(
        r"set weight_decay_filter to disable or auto and leave layer_decay out, or",
        lambda b: create_optimizer(groups(), weight_decay_filter="norm_and_bias", layer_decay=0.5),
        lambda b: [create_optimizer(groups(), weight_decay_filter=name) for name in ("disable", "auto")],
    ),
    Case(
        r"or pass the model$",
        lambda b: create_optimizer(groups(), weight_decay=0.1, weight_decay_filter="norm_and_bias"),
        lambda b: create_optimizer(Net(), weight_decay_filter="norm_and_bias", weight_decay=0.1, layer_decay=0.5),
    ),
    Case(
        r"a layer_ids\(\) method; pass such a model, or",
        lambda b: optimize(layer_decay=0.5),
        lambda b: create_optimizer(Net(), layer_decay=0.5),
    ),
    Case(r"such a model, or leave it out", lambda b: optimize(layer_decay=0.5), lambda b: optimize()),
    Case(
        r"unknown weight_decay_filter 'norms'; nearest: norm_and_bias",
        lambda b: optimize(weight_decay=0.1, weight_decay_filter="norms"),
        lambda b: optimize(weight_decay=0.1, weight_decay_filter="norm_and_bias"),
    ),
    Case(r"optimizer sgd has no eps \(got 0.1\); leave it out, or", lambda b: optimize(eps=0.1), lambda b: optimize()),
    *(
        Case(
            rf"optimizer {without} has no .*{option}.*; leave it out, or use one of {', '.join(sorted(able))}$",
            lambda b, without=without, given=(option, value): optimize(without, **dict([given])),
            lambda b, able=able, given=(option, value): [optimize(opt, **dict([given])) for opt in able],
        )
        for option, value, without in (("eps", 0.1, "sgd"), ("beta1", 0.5, "sgd"), ("nesterov", True, "lion"))
        for able in [[name for name, entry in OPTIMIZERS.items() if option in entry.keywords]]
    ),
    Case(r"lr is an empty list; it needs a value", lambda b: optimize(lr=[]), lambda b: optimize(lr=[0.1])),
    Case(
        r"does not exist; give an existing file, or",
        lambda b: optimize("adamw", checkpoint_path=str(b / "absent.ckpt")),
        lambda b: optimize("adamw", checkpoint_path=save_state(b)),
    ),
    Case(
        r"or leave it out$",
        lambda b: optimize("adamw", checkpoint_path=str(b / "absent.ckpt")),
        lambda b: optimize("adamw"),
    ),
    # ---- schedules
    Case(
        r"unknown scheduler 'cosine'; nearest: .*cosine_decay", lambda b: plan("cosine"), lambda b: plan("cosine_decay")
    ),
    Case(r"step_decay needs decay_epochs", lambda b: plan("step_decay"), lambda b: plan("step_decay", decay_epochs=2)),
    Case(
        r"num_cycles 9 leaves .* use at most 8$",
        lambda b: plan("cyclic", num_cycles=9),
        lambda b: plan("cyclic", num_cycles=8),
    ),
    Case(
        r"num_cycles 1 leaves .* use more epochs$",
        lambda b: plan("cyclic", steps=1, epochs=1),
        lambda b: plan("cyclic", steps=1, epochs=2),
    ),
    Case(
        r"multi_step_decay needs multi_step_decay_milestones \(milestones\)",
        lambda b: plan("multi_step_decay"),
        lambda b: plan("multi_step_decay", milestones=(1,)),
    ),
    Case(
        r"min_lr 0.5 must lie between 0 and lr \(0.1\); lower min_lr or",
        lambda b: plan("cosine_decay", min_lr=0.5),
        lambda b: plan("cosine_decay", min_lr=0.05),
    ),
    Case(r"or raise lr", lambda b: plan("cosine_decay", min_lr=0.5), lambda b: plan("cosine_decay", min_lr=0.5, lr=1)),
]


def test_every_remedy_about_steps_works(tmp_path, pynative):
    try_all(CASES, tmp_path, "steps", ELSEWHERE)
