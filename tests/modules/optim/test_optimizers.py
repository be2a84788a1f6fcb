"""Every optimizer's first five steps against a float64 reference written here, and resuming bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from support.table import check_all

from mindcv_halo.errors import UserError
from mindcv_halo.optim import create_optimizer, load_optimizer_state, optimizer_state
from mindcv_halo.optim.registry import OPTIMIZERS

# A warning of Python's would reach the user with the path of a source file.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")

SHAPES = {"stem.weight": (3, 4), "stem.norm.gamma": (4,), "head.bias": (2,)}
STEPS = 5
DYNAMIC = [0.01, 0.03, 0.02, 0.01, 0.005]


def normal(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


START = normal(0)
GRADIENTS = [normal(step + 1) for step in range(STEPS)]


class Scalars(nn.Cell):
    """A network whose gradients are its inputs, times `scale`."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.weight = Parameter(Tensor(START["stem.weight"]), name="stem.weight")
        self.gamma = Parameter(Tensor(START["stem.norm.gamma"]), name="stem.norm.gamma")
        self.bias = Parameter(Tensor(START["head.bias"]), name="head.bias")

    def construct(self, x, y, z):
        return ((self.weight * x).sum() + (self.gamma * y).sum() + (self.bias * z).sum()) * self.scale

    def layer_ids(self) -> dict[str, int]:
        return {"stem.weight": 0, "stem.norm.gamma": 0, "head.bias": 2}


class Step(nn.Cell):
    """The training step as a recipe runs it: gradients and update in one graph."""

    def __init__(self, network: nn.Cell, optimizer: nn.Optimizer):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.differentiate = ms.value_and_grad(network, None, optimizer.parameters)

    def construct(self, x, y, z):
        loss, gradients = self.differentiate(x, y, z)
        return ops.depend(loss, self.optimizer(gradients))


class Steps(nn.Cell):
    """Many steps in one graph: compiling is what takes long, and most of it is the same for one as for many."""

    def __init__(self, steps: list[Step]):
        super().__init__()
        self.steps = nn.CellList(steps)

    def construct(self, x, y, z):
        losses = ()
        for step in self.steps:
            losses += (step(x, y, z),)
        return losses


def train(network: nn.Cell, optimizer: nn.Optimizer, gradients: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    step = Step(network, optimizer)
    for gradient in gradients:
        step(*(Tensor(value) for value in gradient.values()))
    return {parameter.name: parameter.asnumpy() for parameter in optimizer.parameters}


# A reference is update(p, g, s, t, lr, decay) -> new p; s is a dict of its own, t counts from 1.


def sgd(p, g, s, t, lr, decay, nesterov=False):
    g = g + decay * p
    s["a"] = 0.9 * s.get("a", 0) + g
    return p - lr * (g + 0.9 * s["a"] if nesterov else s["a"])


def averages(g, s, beta1, beta2):
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    return s["m"], s["v"]


def adam(p, g, s, t, lr, decay, nesterov=False, eps=1e-8):
    g = g + decay * p
    m, v = averages(g, s, 0.9, 0.999)
    ahead = 0.9 * m + 0.1 * g if nesterov else m
    return p - lr * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * ahead / (np.sqrt(v) + eps)


def adamw(p, g, s, t, lr, decay, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = averages(g, s, beta1, beta2)
    return p - lr * (m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps) + decay * p)


def lamb(p, g, s, t, lr, decay, eps=1e-6):
    m, v = averages(g, s, 0.9, 0.999)
    u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + eps) + decay * p
    return p - lr * np.linalg.norm(p) / np.linalg.norm(u) * u


def lion(p, g, s, t, lr, decay):
    m = s.get("m", 0)
    s["m"] = 0.99 * m + 0.01 * g
    return p - lr * (np.sign(0.9 * m + 0.1 * g) + decay * p)


def nadam(p, g, s, t, lr, decay, eps=1e-8, psi=0.004):
    g = g + decay * p
    m, v = averages(g, s, 0.9, 0.999)
    mu = [0.9 * (1 - 0.5 * 0.96 ** (psi * i)) for i in range(1, t + 2)]
    ahead = mu[t] * m / (1 - np.prod(mu)) + (1 - mu[t - 1]) * g / (1 - np.prod(mu[:t]))
    return p - lr * ahead / (np.sqrt(v / (1 - 0.999**t)) + eps)


def adan(p, g, s, t, lr, decay, eps=1e-8):
    d = g - s.get("g", g)
    s["g"] = g
    s["m"] = 0.98 * s.get("m", 0) + 0.02 * g
    s["v"] = 0.92 * s.get("v", 0) + 0.08 * d
    s["n"] = 0.99 * s.get("n", 0) + 0.01 * (g + 0.92 * d) ** 2
    u = s["m"] / (1 - 0.98**t) + 0.92 * s["v"] / (1 - 0.92**t)
    return (p - lr * u / (np.sqrt(s["n"] / (1 - 0.99**t)) + eps)) / (1 + lr * decay)


def rmsprop(p, g, s, t, lr, decay, eps=1e-10):
    g = g + decay * p
    s["v"] = 0.9 * s.get("v", 1) + 0.1 * g * g
    s["a"] = 0.9 * s.get("a", 0) + lr * g / np.sqrt(s["v"] + eps)
    return p - s["a"]


def adagrad(p, g, s, t, lr, decay):
    g = g + decay * p
    s["v"] = s.get("v", 0.1) + g * g
    return p - lr * g / np.sqrt(s["v"])


REFERENCES = {
    "sgd": sgd,
    "momentum": sgd,
    "nesterov": lambda *a: sgd(*a, nesterov=True),
    "adam": adam,
    "adamw": adamw,
    "lion": lion,
    "nadam": nadam,
    "adan": adan,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "lamb": lamb,
}


def test_every_optimizer_has_a_reference():
    assert REFERENCES.keys() == OPTIMIZERS.keys()


def expected(update, lr, decays: dict[str, float], lr_scales: dict[str, float] | None = None) -> dict[str, np.ndarray]:
    values = {name: value.astype(np.float64) for name, value in START.items()}
    for name in SHAPES:
        state: dict = {}
        for t, gradient in enumerate(GRADIENTS, start=1):
            rate = (lr[t - 1] if isinstance(lr, list) else lr) * (lr_scales[name] if lr_scales else 1)
            values[name] = update(values[name], gradient[name].astype(np.float64), state, t, rate, decays[name])
    return values


def check(actual: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """The moves, not the values, must agree: five float32 steps of about 0.01 on values of about 1, each to one ulp."""
    for name, start in START.items():
        assert np.abs(wanted[name] - start).max() > 1e-3
        np.testing.assert_allclose(actual[name] - start, wanted[name] - start, atol=1e-6, err_msg=name)


ALL = dict.fromkeys(SHAPES, 0.1)
NONE = dict.fromkeys(SHAPES, 0.0)
WEIGHTS_ONLY = {**NONE, "stem.weight": 0.1}


class Case(NamedTuple):
    """What an optimizer is made with, and what its five steps should be."""

    opt: str
    settings: dict[str, Any]
    update: Callable
    decays: dict[str, float] = NONE
    lr_scales: dict[str, float] | None = None
    scale: float = 1.0  # of the gradients that it is given

    def make(self) -> tuple[Scalars, nn.Optimizer]:
        network = Scalars(self.scale)
        return network, create_optimizer(network, self.opt, **self.settings)

    def expect(self) -> dict[str, np.ndarray]:
        return expected(self.update, self.settings["lr"], self.decays, self.lr_scales)


GROUPS = {"lr": DYNAMIC, "weight_decay": 0.1, "weight_decay_filter": "norm_and_bias"}
LAYERS = {"lr": DYNAMIC, "weight_decay": 0.1, "weight_decay_filter": "auto", "layer_decay": 0.5, "loss_scale": 64}
LAYER_SCALES = {"stem.weight": 0.25, "stem.norm.gamma": 0.25, "head.bias": 1.0}
UNGROUPED = {
    f"{opt}, decay": Case(opt, {"lr": 0.01, "weight_decay": 0.1}, update, ALL) for opt, update in REFERENCES.items()
}
IN_GROUPS = {opt: Case(opt, GROUPS, update, WEIGHTS_ONLY) for opt, update in REFERENCES.items()}
CASES = {  # but for IN_GROUPS, whose five steps test_three_steps_and_two_are_five has
    **{f"{opt}, plain": Case(opt, {"lr": 0.01}, update) for opt, update in REFERENCES.items()},
    **UNGROUPED,
    **{
        f"{opt}, layer decay and loss scale": Case(opt, LAYERS, REFERENCES[opt], WEIGHTS_ONLY, LAYER_SCALES, scale=64)
        for opt in ("momentum", "adamw", "lion", "nadam", "adan", "lamb")
    },
    **{
        f"{opt}, {settings}": Case(opt, {"lr": 0.01, **settings}, update)
        for opt, settings, update in (
            ("adamw", {"eps": 0.5}, lambda *a: adamw(*a, eps=0.5)),
            ("adamw", {"beta1": 0.5, "beta2": 0.8}, lambda *a: adamw(*a, 0.5, 0.8)),
            ("rmsprop", {"eps": 0.5}, lambda *a: rmsprop(*a, eps=0.5)),
            ("sgd", {"nesterov": True}, REFERENCES["nesterov"]),
            ("nesterov", {"nesterov": True}, REFERENCES["nesterov"]),
            ("adam", {"nesterov": True}, lambda *a: adam(*a, nesterov=True)),
            ("adam", {"eps": 0.5}, lambda *a: adam(*a, eps=0.5)),
            ("adan", {"eps": 0.5}, lambda *a: adan(*a, eps=0.5)),
            ("lamb", {"eps": 0.5}, lambda *a: lamb(*a, eps=0.5)),
            ("nadam", {"eps": 0.5, "schedule_decay": 1.0}, lambda *a: nadam(*a, eps=0.5, psi=1.0)),
        )
    },
}


class Trained:
    """The cases' optimizers, taking their steps together."""

    def __init__(self, cases: dict[str, Case]):
        made = {name: case.make() for name, case in cases.items()}
        self.networks = {name: network for name, (network, _) in made.items()}
        self.states = {name: optimizer_state(optimizer) for name, (_, optimizer) in made.items()}
        self.step = Steps([Step(*pair) for pair in made.values()])  # gives the parameters longer names

    def take(self, gradients: list[dict[str, np.ndarray]]) -> None:
        for gradient in gradients:
            self.step(*(Tensor(value) for value in gradient.values()))

    def return_to(self, weights: dict[str, dict[str, np.ndarray]], states: dict[str, dict[str, np.ndarray]]) -> None:
        for name, network in self.networks.items():
            for parameter, key in zip((network.weight, network.gamma, network.bias), SHAPES, strict=True):
                parameter.set_data(Tensor(weights[name][key]))
            for key, parameter in self.states[name].items():
                parameter.set_data(Tensor(states[name][key]))

    def weights_of(self, name: str) -> dict[str, np.ndarray]:
        network = self.networks[name]
        values = (parameter.asnumpy().copy() for parameter in (network.weight, network.gamma, network.bias))
        return dict(zip(SHAPES, values, strict=True))


def test_five_steps(pynative):
    """Given the gradients: each network's are its inputs, times a scale."""

    def check_case(name: str, case: Case) -> None:
        network, optimizer = case.make()
        parameters = dict(zip(SHAPES, (network.weight, network.gamma, network.bias), strict=True))
        order = [next(key for key in SHAPES if parameters[key] is each) for each in optimizer.parameters]
        for gradient in GRADIENTS:
            optimizer(tuple(Tensor(gradient[key] * np.float32(case.scale)) for key in order))
        check({key: parameter.asnumpy() for key, parameter in parameters.items()}, case.expect())

    check_all(CASES, check_case)


# Without groups an update goes another way through MindSpore's base class, which is the same for all.
COMPILED = IN_GROUPS | {name: UNGROUPED[name] for name in ("adamw, decay", "lion, decay")}


@pytest.mark.parametrize(
    "mode, cases",
    [
        *(("pynative", IN_GROUPS), ("graph", COMPILED)),
        pytest.param("graph", IN_GROUPS | UNGROUPED, marks=pytest.mark.thorough),
    ],
    indirect=["mode"],
    ids=["pynative", "graph", "graph, all"],
)
def test_three_steps_and_two_are_five(mode, cases):
    """Bitwise: everything that an update depends on is among the parameters. And the five are right in either mode.

    New optimizers go on from the three; in graph mode the compiled ones return to them.
    """
    whole = Trained(cases)
    whole.take(GRADIENTS[:3])
    weights = {name: whole.weights_of(name) for name in cases}
    states = {
        name: {key: parameter.asnumpy().copy() for key, parameter in state.items()}
        for name, state in whole.states.items()
    }
    whole.take(GRADIENTS[3:])
    five = {name: whole.weights_of(name) for name in cases}
    check_all(cases, lambda name, case: check(five[name], case.expect()))

    resumed = whole if mode == "graph" else Trained(cases)
    resumed.return_to(weights, states)
    resumed.take(GRADIENTS[3:])
    check_all(cases, lambda name, _: np.testing.assert_equal(resumed.weights_of(name), five[name]))


def test_bias_correction_over_a_whole_run(mode):
    """A step against a constant gradient is lr from the first to the millionth: only rounding may show."""
    parameter = Parameter(Tensor(np.zeros(4, np.float32)), name="weight")
    optimizer = create_optimizer([parameter], "adamw", 1.0)
    for step in (0, 1, 2, 9, 99, 9_999, 999_999):
        optimizer.global_step.set_data(Tensor([step], ms.int32))
        optimizer.moments1[0].set_data(Tensor(np.full(4, 1 - 0.9**step, np.float32)))
        # the kernel averages with float32(0.999), which is 1.3e-8 more than 0.999
        optimizer.moments2[0].set_data(Tensor(np.full(4, 1 - float(np.float32(0.999)) ** step, np.float32)))
        parameter.set_data(Tensor(np.zeros(4, np.float32)))
        optimizer((Tensor(np.ones(4, np.float32)),))
        np.testing.assert_allclose(parameter.asnumpy(), -1, atol=1e-6, err_msg=f"step {step}")


def test_clip(mode):
    """clip=True scales the gradients to a global norm of 5: Adam's step cannot tell, its averages can."""
    from mindcv_halo.optim import AdamW, Lion

    for cell in (AdamW, Lion):
        network = Scalars()
        optimizer = cell(network.trainable_params(), 0.01, clip=True)
        gradient = {name: 100 * value for name, value in GRADIENTS[0].items()}
        train(network, optimizer, [gradient])
        norm = np.sqrt(sum((value**2).sum() for value in gradient.values()))
        moment = optimizer_state(optimizer)[("adamw" if cell is AdamW else "lion") + "_m.head.bias"].asnumpy()
        share = 0.1 if cell is AdamW else 0.01
        np.testing.assert_allclose(moment, share * gradient["head.bias"] * 5 / norm, rtol=1e-5)


def saved_after_three_steps(path, opt: str = "adamw") -> dict[str, np.ndarray]:
    network = Scalars()
    optimizer = create_optimizer(network, opt, DYNAMIC, 0.1)
    train(network, optimizer, GRADIENTS[:3])
    ms.save_checkpoint(optimizer, str(path))
    return {name: parameter.asnumpy() for name, parameter in optimizer_state(optimizer).items()}


def test_checkpoint_restores_the_state_and_no_setting(tmp_path):
    path = tmp_path / "optimizer.ckpt"
    state = saved_after_three_steps(path)
    longer = [2 * rate for rate in DYNAMIC] * 2
    optimizer = create_optimizer(Scalars(), "adamw", longer, 0.1, checkpoint_path=str(path))
    for name, parameter in optimizer_state(optimizer).items():
        np.testing.assert_array_equal(parameter.asnumpy(), state[name])
    assert optimizer.global_step.asnumpy() == [3]
    np.testing.assert_array_equal(optimizer.parameters[0].asnumpy(), START["stem.weight"])
    assert float(optimizer.get_lr().asnumpy()) == pytest.approx(longer[3])


def test_checkpoint_of_another_optimizer(tmp_path):
    path = tmp_path / "optimizer.ckpt"
    saved_after_three_steps(path, "momentum")
    message = r"6 missing \(adamw_m.head.bias, .* and 1 more\); 6 unknown \(accum.head.bias, "
    with pytest.raises(UserError, match=message):
        create_optimizer(Scalars(), "adamw", checkpoint_path=str(path))


def test_checkpoint_of_another_shape(tmp_path):
    path = tmp_path / "optimizer.ckpt"
    saved_after_three_steps(path)
    network = Scalars()
    network.bias.set_data(Tensor(np.zeros(7, np.float32)), slice_shape=True)
    optimizer = create_optimizer(network, "adamw")
    with pytest.raises(UserError, match=r"adamw_m.head.bias has shape \(2,\), this model needs \(7,\)"):
        load_optimizer_state(optimizer, path)
    assert optimizer.global_step.asnumpy() == [0]


def test_checkpoint_missing_or_damaged(tmp_path):
    path = tmp_path / "optimizer.ckpt"
    with pytest.raises(UserError, match="does not exist"):
        create_optimizer(Scalars(), checkpoint_path=str(path))
    path.write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="cannot be read"):
        create_optimizer(Scalars(), checkpoint_path=str(path))
