"""Every cell of the models in ONNX, run by onnxruntime, beside the cell itself."""

from __future__ import annotations

from dataclasses import replace

import mindspore as ms
import numpy as np
import onnx
import pytest
from mindspore import Tensor, nn
from support.drawn_norms import draw_norms
from support.small_networks import SMALL

from mindcv_halo import FeatureExtractor, HaloNet, create_model, fuse_batchnorm
from mindcv_halo.deploy import run_onnx, write_onnx
from mindcv_halo.models.layers import (
    AttentionMix,
    Bottleneck,
    BottleneckAttention,
    ConvMix,
    ConvNormAct,
    Dropout,
    EfficientChannelAttention,
    HaloAttention,
    LambdaLayer,
    SqueezeExcite,
    StemPool,
)
from mindcv_halo.models.specs import DIALECTS, ChannelAttention, Halo, Stage

pytestmark = pytest.mark.usefixtures("pynative")

# Of the largest output: float32 in another order, and MindSpore's sigmoid on a CPU errs by 1e-7 itself.
TOLERANCE = 2e-6


def compare(
    folder, cell: nn.Cell, channels: int, size: tuple[int, int], tolerance: float = TOLERANCE
) -> onnx.ModelProto:
    """Run one file with a batch of 1 and of 3, and return it."""
    cell = draw_norms(cell)
    file = folder / "cell.onnx"
    write_onnx(file, cell, (None, channels, *size), {})
    images = np.random.default_rng(0).standard_normal((3, channels, *size)).astype(np.float32)
    images -= 1  # so that a border of zeros shows in a maximum
    expected = cell(Tensor(images))
    expected = [output.asnumpy() for output in (expected if isinstance(expected, tuple | list) else [expected])]
    for batch in (1, 3):
        outputs = run_onnx(file, images[:batch])
        assert len(outputs) == len(expected)
        for ours, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(ours, theirs[:batch], rtol=0, atol=tolerance * np.abs(theirs).max())
    return onnx.load(file)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (9, 5)])
@pytest.mark.parametrize(
    "make",
    [
        lambda: ConvNormAct(6, 8, 3, act="silu"),
        lambda: ConvNormAct(6, 9, 7, stride=2, groups=3, act="relu"),
        lambda: ConvNormAct(6, 8, stride=2, act=None),
        lambda: fuse_batchnorm(draw_norms(ConvNormAct(6, 8, 3, stride=2, groups=2))),
        lambda: StemPool(),
        lambda: StemPool(zero_border=True),
        lambda: SqueezeExcite(6, ratio=0.5),
        lambda: SqueezeExcite(6, act="silu"),
        lambda: EfficientChannelAttention(6),
        lambda: LambdaLayer(6, num_heads=2, dim_key=4, reach=5),
        lambda: fuse_batchnorm(draw_norms(LambdaLayer(6, num_heads=2, dim_key=4, reach=5))),
        lambda: Dropout(0.5),
        lambda: nn.SiLU(),
    ],
)  # fmt: skip
def test_layers(tmp_path, make, size):
    compare(tmp_path, make(), 6, size)


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_bottleneck_attention(tmp_path, size):
    compare(tmp_path, BottleneckAttention(8, map_size=size, num_heads=2), 8, size)


@pytest.mark.parametrize("size", [(8, 8), (12, 4), (7, 10)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"dim_out": 12, "dim_head": 3, "halo_size": 2},
        {"block_size": 3, "stride": 2},
        {"stride": 2, "avg_down": True},
        {"qkv_bias": True, "scale_pos_embed": True},
        {"mask_padding": True},
        {"scrambled_windows": True},
        {"scrambled_windows": True, "stride": 2, "mask_padding": True},
        {"halo_size": 0},
    ],
)
def test_halo_attention(tmp_path, options, size):
    attention = HaloAttention(8, **{"num_heads": 2, "block_size": 4, "halo_size": 1, **options})
    if "qkv_bias" in options:
        for projection in (attention.q, attention.kv):
            projection.bias.set_data(
                Tensor(np.random.default_rng(2).standard_normal(projection.bias.shape), ms.float32)
            )
    compare(tmp_path, attention, 8, size)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gate": ChannelAttention("se"), "act": "relu", "group_width": 8, "head_width": 40},
        {"gate": ChannelAttention("eca"), "conv_shortcut": False, "act_after_sum": False},
        {
            "stages": (Stage("CL", 32, 16, stride=1, num_heads=2), Stage("AT", 48, 24, num_heads=2)),
            "halo": Halo(3, 1, value_expansion=2.0),
        },
    ],
    ids=["halo", "se", "eca", "lambda-bottleneck"],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_networks(tmp_path, changes, fuse, dialect):
    """Of every kind of mixer, with norms folded and not."""
    spec = replace(SMALL, **changes)
    network = draw_norms(
        HaloNet(spec, 5, dialect=DIALECTS[dialect], drop_rate=0.1, drop_path_rate=0.1, image_size=(40, 52))
    )
    compare(tmp_path, fuse_batchnorm(network) if fuse else network, 3, (40, 52))


def test_names(tmp_path):
    network = create_model("halonet_test", num_classes=5)
    model = compare(tmp_path, network, 3, (32, 32))
    weights = {weight.name for weight in model.graph.initializer}
    assert {"stem.conv1.conv.weight", "stages.1.1.mix.attention.kv.weight", "classifier.bias"} <= weights
    assert [output.name for output in model.graph.output] == ["logits"]
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["batch", 3, 32, 32], ["batch", 5]]


def test_no_classifier(tmp_path):
    model = compare(tmp_path, create_model("halonet_test", num_classes=0), 3, (32, 32))
    assert [output.name for output in model.graph.output] == ["features"]


def test_maps(tmp_path):
    network = create_model("halonet_test", features_only=True, out_indices=(0, 2, 4))
    assert isinstance(network, FeatureExtractor)
    model = compare(tmp_path, network, 3, (32, 48))
    assert [output.name for output in model.graph.output] == ["map_0", "map_2", "map_4"]


def test_a_fixed_batch(tmp_path):
    network = create_model("halonet_test", num_classes=5).set_train(False)
    write_onnx(tmp_path / "two.onnx", network, (2, 3, 32, 32), {})
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    assert run_onnx(tmp_path / "two.onnx", images[:2])[0].shape == (2, 5)
    with pytest.raises(Exception, match="Got: 3 Expected: 2"):
        run_onnx(tmp_path / "two.onnx", images)


def test_a_cell_that_is_not_ours(tmp_path):
    block = Bottleneck(
        ConvMix(nn.Conv3d(4, 4, 1), nn.Identity()),
        in_channels=4,
        inner=4,
        mixed=4,
        out_channels=4,
        stride=1,
        act="relu",
    )
    with pytest.raises(TypeError, match=r"Conv3d conv: no function in deploy/onnx_cells.py writes such a cell"):
        write_onnx(tmp_path / "x.onnx", block, (1, 4, 8, 8), {})
    with pytest.raises(TypeError, match="GELU"):
        write_onnx(tmp_path / "x.onnx", AttentionMix(nn.GELU(), 4, act="relu"), (1, 4, 8, 8), {})
    assert not (tmp_path / "x.onnx").exists()
