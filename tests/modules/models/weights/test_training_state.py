"""What MindSpore, MindCV and wrappers write beside a network's weights, and before their names."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from mindspore.dataset import NumpySlicesDataset
from mindspore.train import CheckpointConfig, Model, ModelCheckpoint
from support.weight_files import NUM_CLASSES, arrays_of

from mindcv_halo import create_loss, create_model, create_optimizer
from mindcv_halo.engine import convert
from mindcv_halo.errors import UserError
from mindcv_halo.models.helpers import auto_map, load_model_checkpoint
from mindcv_halo.models.weights import load_weights, open_weights
from mindcv_halo.models.weights.training_state import _STATE
from mindcv_halo.optim.registry import OPTIMIZERS
from mindcv_halo.training.amp import auto_mixed_precision
from mindcv_halo.training.ema import EMA
from mindcv_halo.training.grad_scaler import GradScaler
from mindcv_halo.training.step import TrainStep

# A warning of Python's would reach the user with the path of a source file.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")

APPENDED = {
    **{"epoch_num": 3, "step_num": 7, "lr": 0.5, "best": True, "who": "me", "classes": Tensor(np.ones(4, np.float32))},
    **{"metrics.top1": 81.5, "run.name": "first"},
}


class Wrapper(nn.Cell):
    """A cell of the user's around the network, under one of the usual names."""

    def __init__(self, network: nn.Cell, name: str):
        super().__init__()
        setattr(self, name, network)

    def construct(self, x):
        return x


def step_of(network: nn.Cell, opt: str = "adamw", **options) -> nn.Cell:
    optimizer = create_optimizer(network, opt, lr=[0.1, 0.2], weight_decay=0.1, **options)
    return nn.TrainOneStepCell(nn.WithLossCell(network, create_loss()), optimizer)


def as_entries(cell: nn.Cell) -> list[dict]:
    """Under the names of the cells, which mixed precision changes, and not of the parameters."""
    return [{"name": name, "data": parameter} for name, parameter in cell.parameters_and_names()]


def averaging_step(network: nn.Cell) -> nn.Cell:
    optimizer = create_optimizer(network, "adamw", lr=[0.1, 0.2])
    return TrainStep(
        network,
        create_loss(),
        optimizer,
        accumulation_steps=2,
        grad_scaler=GradScaler(8.0, dynamic=True),
        ema=EMA(network),
    )


def fits(path: Path, weights: dict[str, np.ndarray], **options) -> None:
    """The file gives just these weights."""
    found = open_weights(str(path), **options).arrays
    assert found.keys() == weights.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, weights[name], name)


@pytest.fixture
def network() -> nn.Cell:
    return create_model("halonet_test", num_classes=NUM_CLASSES)


def test_every_optimizers_state(network, tmp_path):
    weights, path = arrays_of(network), tmp_path / "x.ckpt"
    for opt in OPTIMIZERS:
        ms.save_checkpoint(step_of(network, opt), str(path), append_dict=APPENDED)
        assert len(ms.load_checkpoint(str(path))) > len(weights) + len(APPENDED)
        fits(path, weights)


def test_the_ways_to_load(network, tmp_path):
    weights, path = arrays_of(network), tmp_path / "x.ckpt"
    ms.save_checkpoint(step_of(Wrapper(network, "network")), str(path), append_dict=APPENDED)
    loaded = create_model("halonet_test", num_classes=NUM_CLASSES)
    load_model_checkpoint(loaded, str(path))
    for again in (create_model("halonet_test", num_classes=NUM_CLASSES, checkpoint_path=path), loaded):
        for name, value in arrays_of(again).items():
            np.testing.assert_array_equal(value, weights[name], name)


WAYS = {
    "the network": lambda network: network,
    "groups of rates": lambda network: step_of(network, layer_decay=0.5),
    "a training cell of ours": averaging_step,
    "network.": lambda network: Wrapper(network, "network"),
    "_backbone.": lambda network: Wrapper(network, "_backbone"),
    "network._backbone.": lambda network: Wrapper(Wrapper(network, "_backbone"), "network"),
    "module.model.": lambda network: Wrapper(Wrapper(network, "model"), "module"),
    "a prefix and a state": lambda network: step_of(Wrapper(Wrapper(network, "net"), "network")),
    "mixed precision O1": lambda network: step_of(auto_mixed_precision(network, "O1")),
    "mixed precision O2": lambda network: step_of(auto_mixed_precision(network, "O2")),
    "MindSpore's O2": lambda network: as_entries(ms.amp.auto_mixed_precision(network, "O2")),
    "MindSpore's O3": lambda network: as_entries(ms.amp.auto_mixed_precision(network, "O3")),
    "MindSpore's O3 in a step": lambda network: step_of(ms.amp.auto_mixed_precision(network, "O3")),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_save(network, way, tmp_path):
    weights = arrays_of(network)
    cell = WAYS[way](network)
    for suffix, appended in (("ckpt", APPENDED), ("safetensors", {})):
        path = tmp_path / f"x.{suffix}"
        ms.save_checkpoint(cell, str(path), append_dict=appended, format=suffix)
        fits(path, weights)


def test_averages_among_everything_else(network, tmp_path):
    weights, path = arrays_of(network), tmp_path / "x.ckpt"
    step = averaging_step(Wrapper(network, "network"))
    for average in step.ema.averages:
        average.set_data(Tensor(average.asnumpy() + 1))
    ms.save_checkpoint(step, str(path), append_dict=APPENDED)
    fits(path, weights)
    fits(path, {name: value + 1 for name, value in weights.items()}, ema=True)


def test_what_mindspores_training_writes(pynative, network, tmp_path):
    images = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    data = NumpySlicesDataset((images, np.array([0, 1], np.int32)), shuffle=False).batch(2)
    model = Model(
        network,
        create_loss(),
        nn.Momentum(network.trainable_params(), 0.1, 0.9),
        amp_level="O2",
        loss_scale_manager=None,
    )
    notes = ["epoch_num", "step_num", {"lr": 0.1, "who": "me"}]
    writer = ModelCheckpoint("x", str(tmp_path), CheckpointConfig(save_checkpoint_steps=1, append_info=notes))
    model.train(1, data, callbacks=[writer], dataset_sink_mode=False)
    (path,) = tmp_path.glob("*.ckpt")
    assert "epoch_num" in ms.load_checkpoint(str(path))
    fits(path, arrays_of(network))


def test_other_prefixes_are_cut_off(network, tmp_path):
    weights, path = arrays_of(network), tmp_path / "x.ckpt"
    ms.save_checkpoint(step_of(Wrapper(Wrapper(network, "net"), "encoder")), str(path), append_dict=APPENDED)
    fits(path, weights)
    fits(path, weights, strip_prefix=True)
    assert convert(str(path), str(tmp_path / "y.ckpt")).startswith(
        f"{tmp_path / 'y.ckpt'}: halonet_test from mindcv_halo"
    )
    fits(tmp_path / "y.ckpt", weights)
    mapped = auto_map(
        create_model("halonet_test", num_classes=NUM_CLASSES),
        {name: value for name, value in ms.load_checkpoint(str(path)).items() if isinstance(value, Parameter)},
    )
    assert mapped.keys() == weights.keys() and all(isinstance(value, Parameter) for value in mapped.values())


def test_what_is_no_state_is_still_refused(network, tmp_path):
    for extra in ("head.weight", "stages.1.1.mix.attention.q.extra", "other.stem.weight"):
        weights = {**arrays_of(network), extra: np.ones(3, np.float32)}
        with pytest.raises(UserError, match=rf"1 unknown to the model \({extra}\)"):
            load_weights(network, weights)
    ms.save_checkpoint(create_optimizer(network, "adamw"), str(tmp_path / "x.ckpt"))  # which lacks the statistics
    with pytest.raises(UserError, match=r"missing in the file \(\S+moving_mean"):
        create_model("halonet_test", num_classes=NUM_CLASSES, checkpoint_path=tmp_path / "x.ckpt")


def test_an_own_networks_checkpoint(tmp_path):
    """Names without dots, and one network's weights inside another's names."""

    class Plain(nn.Cell):
        def __init__(self):
            super().__init__()
            self.scale = Parameter(Tensor(np.float32(2)), name="scale")
            self.first = nn.Dense(2, 2)
            self.inner = nn.SequentialCell([nn.Dense(2, 2)])

        def construct(self, x):
            return self.first(x) * self.scale

    network = Plain()
    weights = arrays_of(network)
    ms.save_checkpoint(step_of(Wrapper(network, "network"), "adam"), str(tmp_path / "x.ckpt"), append_dict=APPENDED)
    again = Plain()
    again.first.weight.set_data(Tensor(np.zeros((2, 2), np.float32)))
    load_model_checkpoint(again, str(tmp_path / "x.ckpt"))
    for name, value in arrays_of(again).items():
        np.testing.assert_array_equal(value, weights[name])


def test_an_own_networks_prefix_is_none_of_an_optimizers(tmp_path):
    """Without batch norm, what an optimizer keeps has the names of all weights."""
    network = nn.Dense(2, 2)
    names = set(arrays_of(network))
    for prefix, is_state in {"enc.": False, "lit.inner.": False, "moments.": True, "adam_v.": True}.items():
        ms.save_checkpoint([{"name": f"{prefix}{name}", "data": p} for name, p in network.parameters_dict().items()],
                           str(tmp_path / "x.ckpt"))  # fmt: skip
        if is_state:
            for auto_mapping in (False, True):
                with pytest.raises(UserError, match=r"2 missing in the file"):
                    load_model_checkpoint(network, str(tmp_path / "x.ckpt"), auto_mapping=auto_mapping)
        else:
            load_model_checkpoint(network, str(tmp_path / "x.ckpt"))
    for opt in OPTIMIZERS:
        state = [p.name for p in create_optimizer(network, opt, lr=[0.1, 0.2]).get_parameters() if p.name not in names]
        ends = tuple(f".{name}" for name in names)
        assert all(_STATE.match(name) for name in state if name.endswith(ends)), (opt, state)
