"""Which cells compute in half precision, and where that is refused. What they then give is in test_train_step."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from mindcv_halo.engine.validate import predict_logits
from mindcv_halo.errors import UserError
from mindcv_halo.models.layers.conv_norm_act import ConvNormAct
from mindcv_halo.models.layers.lambda_layer import LambdaLayer
from mindcv_halo.runtime import pynative_mode, to_array
from mindcv_halo.training import ascend
from mindcv_halo.training.amp import auto_mixed_precision
from mindcv_halo.training.sync_batch_norm import RankBatchNorm

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, RankBatchNorm)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)


class Chip:
    """Stands in for MindSpore's context, which knows the chip."""

    def __init__(self, name: str):
        self.name = name

    def get_instance(self) -> Chip:
        return self

    def get_ascend_soc_version(self) -> str:
        return self.name


@pytest.fixture
def pretend(monkeypatch):
    """To be on a device of MindSpore's, and an Ascend of some generation."""

    def on(device: str, chip: str = "") -> None:
        monkeypatch.setattr(ms, "get_context", {"device_target": device}.__getitem__)
        monkeypatch.setattr(ascend, "MSContext", Chip(chip))

    return on


def make_network() -> nn.SequentialCell:
    """A cell of each kind."""
    norms = [nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.BatchNorm3d(3), nn.SyncBatchNorm(3)]
    pools = [pool() for pool in POOLS]
    return nn.SequentialCell(ConvNormAct(3, 3), *norms, RankBatchNorm(nn.BatchNorm2d(3), 1), *pools, nn.Dense(3, 3))


def precisions(network: nn.Cell) -> tuple[set[str], set[str], set[str]]:
    """Those of batch norms, of pools, and of all other cells; "" where a cell has none of its own."""
    found = (set(), set(), set())
    for _, cell in network.cells_and_names():
        kind = 0 if isinstance(cell, NORMS) else 1 if isinstance(cell, POOLS) else 2
        found[kind].add("".join(flag for flag in ("fp16", "bf16", "fp32") if cell.get_flags().get(flag)))
    return found


@pytest.mark.parametrize(
    "device, dtype, level, norms, pools, others",
    [
        ("Ascend", "float16", "O2", "fp32", "fp16", "fp16"),
        ("Ascend", "float16", "O3", "fp16", "fp16", "fp16"),
        ("Ascend", "bfloat16", "O2", "fp32", "fp32", "bf16"),
        ("Ascend", "bfloat16", "O3", "fp32", "fp32", "bf16"),
        ("GPU", "float16", "O2", "fp32", "fp16", "fp16"),
        ("GPU", "float16", "O3", "fp32", "fp16", "fp16"),
        ("CPU", "float16", "O3", "fp16", "fp16", "fp16"),
    ],
)
def test_what_has_no_kernel_stays_in_float32(pretend, device, dtype, level, norms, pools, others):
    """Batch norms and pools have none for bfloat16; a GPU's batch norm has none for evaluation in float16."""
    pretend(device, "ascend910b")
    network = auto_mixed_precision(make_network(), level, amp_dtype=dtype)
    assert precisions(network) == ({norms}, {pools}, {others})


DEVICES = [("Ascend", "bfloat16", "bf16"), ("GPU", "float16", "fp16")]


@pytest.mark.parametrize("device, dtype, others", DEVICES)
def test_so_it_does_inside_a_cell_of_the_list(pretend, device, dtype, others):
    pretend(device, "ascend910_93")
    network = auto_mixed_precision(make_network(), amp_cast_list=[ConvNormAct], amp_dtype=dtype)
    assert precisions(network[0].cell) == ({"fp32"}, set(), {others})
    assert precisions(network[-1]) == (set(), set(), {""})


@pytest.mark.parametrize("device, dtype, name", [(*each[:2], "BatchNorm2d") for each in DEVICES])
def test_the_list_cannot_name_it(pretend, device, dtype, name):
    pretend(device, "ascend910b")
    network = make_network()
    with pytest.raises(
        UserError, match=rf"^amp_cast_list {name}: .* no such kernel for \w+ on {device}; leave it out$"
    ):
        auto_mixed_precision(network, amp_cast_list=f"[nn.Conv2d, nn.{name}]", amp_dtype=dtype)
    assert precisions(network) == ({""}, {""}, {""})


@pytest.mark.parametrize(
    "options", [{"amp_level": level} for level in ("O1", "O2", "O3")] + [{"amp_cast_list": "Dense"}]
)
@pytest.mark.parametrize(
    "device, chip, reason",
    [
        ("CPU", "", "MindSpore has no such kernels on a CPU"),
        ("GPU", "", "MindSpore has no such kernels on a GPU"),
        ("Ascend", "ascend910", "ascend910 does not compute with it"),
        ("Ascend", "ascend310p", "ascend310p does not compute with it"),
    ],
)
def test_bfloat16_is_refused(pretend, device, chip, reason, options):
    pretend(device, chip)
    network = make_network()
    way_out = "leave amp_cast_list out" if "amp_cast_list" in options else "amp_level O0"
    with pytest.raises(UserError, match=f"^amp_dtype bfloat16: {reason}; use float16, or {way_out}$"):
        auto_mixed_precision(network, **options, amp_dtype="bfloat16")
    assert precisions(network) == ({""}, {""}, {""})
    assert auto_mixed_precision(network, "O0", amp_dtype="bfloat16") is network


@pytest.mark.parametrize(
    "mode, level",
    [
        *(("pynative", level) for level in ("O1", "O2", "O3")),
        ("graph", "O2"),
        *(pytest.param("graph", level, marks=pytest.mark.thorough) for level in ("O1", "O3")),
    ],
    indirect=["mode"],
)
def test_a_lambda_layer_beside_norms_of_another_precision(mode, level):
    """Its products have factors of one type. float16 has 11 bits, and the largest output is a sum of many: 1e-2."""
    x = Tensor(np.random.default_rng(0).standard_normal((2, 8, 4, 4)).astype(np.float32))
    layer, half = (LambdaLayer(8, num_heads=2, dim_key=4, reach=3) for _ in range(2))
    for parameter, same in zip(half.get_parameters(), layer.get_parameters(), strict=True):
        parameter.set_data(same.value())
    with pynative_mode():
        expected = layer(x).asnumpy()
    found = to_array(auto_mixed_precision(half, level)(x))
    np.testing.assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())


@pytest.mark.parametrize(
    "device, chip, mode, expected",
    [
        ("Ascend", "ascend910", "", True),
        ("Ascend", "ascend910b", "", False),
        ("Ascend", "ascend910b", "INFNAN_MODE", False),
        ("Ascend", "ascend910b", "SATURATION_MODE", True),
        ("CPU", "ascend910", "SATURATION_MODE", False),
    ],
)
def test_which_chips_saturate(pretend, monkeypatch, device, chip, mode, expected):
    pretend(device, chip)
    monkeypatch.setenv("MS_ASCEND_CHECK_OVERFLOW_MODE", mode)
    assert ascend.saturates() is expected


class Logits(nn.Cell):
    """A network whose output for any image is this."""

    def __init__(self, value: Tensor):
        super().__init__()
        self.value = value

    def construct(self, images: Tensor) -> Tensor:
        return self.value


@pytest.mark.parametrize("dtype", [ms.float32, ms.float16, ms.bfloat16])
def test_values_become_float32(monkeypatch, pynative, dtype):
    """And NumPy, which has no bfloat16 of its own, sees none."""
    values = Tensor([[1.5, -2.0, 0.0]], dtype)
    asked = []
    as_numpy = Tensor.asnumpy
    monkeypatch.setattr(Tensor, "asnumpy", lambda self: asked.append(self.dtype) or as_numpy(self))
    for found in (to_array(values), predict_logits(Logits(values), np.zeros((1, 3, 2, 2), np.float32), 1)):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, [[1.5, -2.0, 0.0]])
    assert len(asked) == 2 and ms.bfloat16 not in asked
