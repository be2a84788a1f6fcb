"""From a weight file to a network: what is loaded, what is adapted, what is refused, and with which words."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import replace
from functools import cache

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from mindspore.nn.utils import no_init_parameters
from safetensors.numpy import save_file
from support.small_networks import shorten
from support.weight_files import arrays_of as arrays
from support.weight_files import make_network

from mindcv_halo import create_model
from mindcv_halo.errors import UserError
from mindcv_halo.files.checkpoint_file import write_checkpoint
from mindcv_halo.models.halonet import HALOBOTNET_50T, HALONET_TEST
from mindcv_halo.models.network import HaloNet
from mindcv_halo.models.specs import DIALECTS, Halo, Spec
from mindcv_halo.models.weights import load_weights, open_weights, read_weights, recognise, save_network, to_timm


@pytest.fixture
def lines(monkeypatch) -> list[str]:
    """What the log says."""
    found: list[str] = []
    logger = logging.getLogger("mindcv_halo")
    monkeypatch.setattr(logger, "warning", found.append)
    return found


@cache
def drawn() -> HaloNet:
    return create_model("halonet_test", num_classes=5)


@pytest.fixture
def network():
    return copy.deepcopy(drawn())


@pytest.fixture
def checkpoint(network, tmp_path):
    path = tmp_path / "model.ckpt"
    ms.save_checkpoint(network, str(path))
    return path


def test_a_checkpoint_comes_back(network, checkpoint):
    again = create_model("halonet_test", num_classes=5, checkpoint_path=str(checkpoint))
    for name, value in arrays(network).items():
        np.testing.assert_array_equal(arrays(again)[name], value)


def test_safetensors_come_back(network, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(arrays(network), path)
    again = create_model("halonet_test", num_classes=5, checkpoint_path=str(path))
    np.testing.assert_array_equal(arrays(again)["classifier.weight"], arrays(network)["classifier.weight"])


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "net.", "backbone.", "module._orig_mod.model.", "encoder.inner.", "0."],
)
def test_a_wrappers_prefix(network, tmp_path, prefix):
    """Whatever all names share is none of the weights'."""
    path = tmp_path / "model.safetensors"
    for names in (arrays(network), to_timm(arrays(network))):
        save_file({f"{prefix}{name}": value for name, value in names.items()}, path)
        np.testing.assert_equal(open_weights(str(path)).arrays, names)


@pytest.mark.parametrize("inner", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module._orig_mod"])
def test_wrappers_inside_a_network(network, inner):
    wrapped = {name.replace("stages.1.1.", f"stages.1.{inner}.1.{inner}."): v for name, v in arrays(network).items()}
    assert wrapped.keys() != arrays(network).keys()
    load_weights(create_model("halonet_test", num_classes=5), wrapped)
    name = "stages.1.1.reduce.conv.weight"
    with pytest.raises(UserError, match=rf"{name} is in it with a wrapper's name and without"):
        load_weights(network, {**wrapped, name: wrapped[f"stages.1.{inner}.1.{inner}.reduce.conv.weight"]})


def test_what_is_outside_of_a_prefix(network, tmp_path, lines):
    """It may be anything: it is left out on demand, and the log says so."""
    path = str(tmp_path / "model.safetensors")
    below = {f"lit.{name}": value for name, value in arrays(network).items()}
    save_file({**below, "criterion.weight": np.ones(3, np.float32), "extra.bias": np.ones(3, np.float32)}, path)
    said = "weights are below lit., and 2 entries are not (criterion.weight, extra.bias)"
    with pytest.raises(
        UserError, match=r"; pass auto_mapping=True to create_model to leave them out, or .*convert"
    ) as e:
        create_model("halonet_test", num_classes=5, checkpoint_path=path)
    assert said in str(e.value) and lines == []
    create_model("halonet_test", num_classes=5, checkpoint_path=path, auto_mapping=True)
    assert lines == [f"checkpoint {path}: the {said}; they are left out"]


def test_two_networks_in_one_file(network, tmp_path):
    path = str(tmp_path / "model.safetensors")
    both = {f"{who}.{name}": value for who in ("teacher", "student") for name, value in arrays(network).items()}
    save_file(both, path)
    for auto_mapping in (False, True):
        with pytest.raises(UserError, match=r"the weights of several networks, below student. and teacher.; write"):
            create_model("halonet_test", num_classes=5, checkpoint_path=path, auto_mapping=auto_mapping)
    save_file({name: value for name, value in both.items() if name.startswith("student.")}, path)
    create_model("halonet_test", num_classes=5, checkpoint_path=path)


def test_averaged_weights(network, checkpoint, tmp_path):
    path = tmp_path / "averaged.safetensors"
    values = arrays(network)
    save_file({**values, **{f"ema.{name}": value + 1 for name, value in values.items()}}, path)
    for ema, shift in ((False, 0), (True, 1)):
        again = create_model("halonet_test", num_classes=5, checkpoint_path=str(path), ema=ema)
        np.testing.assert_array_equal(arrays(again)["classifier.bias"], values["classifier.bias"] + shift)
    with pytest.raises(UserError, match=r"holds no averaged weights"):
        create_model("halonet_test", num_classes=5, checkpoint_path=str(checkpoint), ema=True)


def test_the_run_state_is_no_weight(tmp_path):
    path = tmp_path / "dropped.ckpt"
    ms.save_checkpoint(create_model("halonet_test", drop_rate=0.5, drop_path_rate=0.5), str(path))
    create_model("halonet_test", checkpoint_path=str(path))
    create_model("halonet_test", drop_rate=0.1, checkpoint_path=str(path))


def test_a_head_of_another_size(network, checkpoint, lines):
    path = {"checkpoint_path": str(checkpoint)}
    for options in ({}, {"num_classes": 7, "reset_head": False}):
        with pytest.raises(UserError, match=r"its classifier has 5 classes, halonet_test was built for \d+; set num_"):
            create_model("halonet_test", **path, **options)
    assert lines == []
    for options, classes in (({"num_classes": 7}, 7), ({"reset_head": True}, 1000)):
        again = create_model("halonet_test", **path, **options)
        assert again.classifier.weight.shape == (classes, 96)
        assert lines.pop().endswith(
            f"model.ckpt: its classifier of 5 classes is left out; the one for {classes} classes starts anew"
        )
        theirs, own = arrays(network), arrays(again)
        assert all(np.array_equal(own[name], theirs[name]) for name in own if not name.startswith("classifier"))
    create_model("halonet_test", num_classes=5, **path)
    assert lines == []  # nothing was left out


def test_a_head_that_is_missing(network, lines):
    weights = {name: value for name, value in arrays(network).items() if not name.startswith("classifier")}
    with pytest.raises(UserError, match=r"2 missing in the file \(classifier.bias, classifier.weight\)"):
        load_weights(network, weights)
    load_weights(network, weights, reset_head=True)
    assert lines == ["weights: its classifier is missing; the one for 5 classes starts anew"]


def test_another_models_weights(checkpoint):
    message = r"does not fit halonet_26t: \d+ missing in the file .* its structure is that of halonet_test, create that"
    with pytest.raises(UserError, match=message), no_init_parameters():
        create_model("halonet_26t", num_classes=5, checkpoint_path=str(checkpoint))


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_loading_is_strict_both_ways(network, change):
    weights = arrays(network)
    name = "stages.1.1.mix.attention.q.weight"
    if change == "missing":
        del weights[name]
    elif change == "unknown":
        weights["stages.1.1.mix.attention.q.extra"] = np.zeros(3, np.float32)
    else:
        weights[name] = weights[name].transpose(1, 0, 2, 3)[:5]
    before = arrays(network)
    message = {"missing": "1 missing in the file", "unknown": "1 unknown to the model", "shape": "1 of another shape"}
    with pytest.raises(UserError, match=message[change]):
        load_weights(network, weights)
    for key, value in arrays(network).items():  # nothing is half loaded
        np.testing.assert_array_equal(value, before[key])


def test_values_that_are_not_finite(network):
    weights = arrays(network)
    weights["classifier.bias"] = weights["classifier.bias"] * np.nan
    with pytest.raises(UserError, match=r"classifier.bias holds values that are not finite"):
        load_weights(network, weights)


def test_names_of_no_halonet():
    with pytest.raises(UserError, match=r"no HaloNet of Keras, MindCV, mindcv_halo, timm: .* like conv1.weight"):
        recognise({"conv1.weight": np.zeros(1)})


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("absent.ckpt", None, r"there is no such file"),
        ("model.onnx", b"x", r"for a MindSpore checkpoint the name must end in .ckpt$"),
        ("empty.ckpt", b"", r"cannot be read, it may be truncated .* \(it is empty\)"),
        ("junk.ckpt", b"junk" * 100, r"cannot be read, it may be truncated"),
        ("empty.safetensors", b"", r"cannot be read, it may be truncated"),
        ("JUNK.SAFETENSORS", b"junk" * 100, r"its header claims \d+ bytes"),
    ],
)
def test_files_that_are_no_weights(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weights(str(path))


@pytest.mark.parametrize("size", [0x80, 0x0280, 0x0480])
def test_a_header_whose_size_looks_like_a_pickle(tmp_path, size):
    """safetensors files begin with the size of their header."""
    name = "stages.0.0.reduce.conv.weight"
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).ljust(size)
    (tmp_path / "x.safetensors").write_bytes(size.to_bytes(8, "little") + header.encode() + bytes(4))
    assert read_weights(str(tmp_path / "x.safetensors")).keys() == {name}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_checkpoints(checkpoint, share):
    """MindSpore itself loads a file that is cut between two entries without a word."""
    content = checkpoint.read_bytes()
    checkpoint.chmod(0o644)
    checkpoint.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"model.ckpt"):
        create_model("halonet_test", num_classes=5, checkpoint_path=str(checkpoint))


def test_the_dialect_is_that_of_the_weights():
    timm = {"stages.0.0.conv1_1x1.conv.weight": np.zeros(1)}
    keras = {"stack1_block1_deep_1_conv.weight": np.zeros(1)}
    mindcv = {"stage1.blocks.0.conv1_1x1.conv.weight": np.zeros(1)}
    assert [recognise(weights).dialect for weights in (timm, keras, mindcv)] == ["timm", "keras", "mindcv"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_our_files_say_their_dialect(tmp_path, dialect):
    network = make_network(dialect=dialect)
    for suffix in ("ckpt", "safetensors"):
        path = {"num_classes": 5, "checkpoint_path": str(tmp_path / f"model.{suffix}")}
        save_network(network, path["checkpoint_path"])
        with no_init_parameters():
            assert create_model("halonet_test", **path).dialect is DIALECTS[dialect]
            assert create_model("halonet_test", **path, dialect="timm").dialect.name == "timm"


def test_what_a_foreign_file_says_of_itself_does_not_count(network, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(to_timm(arrays(network)), path, {"dialect": "mindcv", "block_size": "4", "halo_size": "1"})
    file = open_weights(str(path))
    assert (file.dialect, file.halo, file.source.name) == ("timm", None, "timm")


def test_a_file_without_weights(network, tmp_path):
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(UserError, match=r"it holds no weights; give another file$"):
        create_model("halonet_test", checkpoint_path=str(tmp_path / "empty.safetensors"))
    save_file({f"ema.{name}": value for name, value in arrays(network).items()}, tmp_path / "ema.safetensors")
    with pytest.raises(UserError, match=r"it holds no weights; set ema to True"):
        create_model("halonet_test", checkpoint_path=str(tmp_path / "ema.safetensors"))


def test_two_entries_for_one_parameter(network):
    names = ("stages.0.0.conv1_1x1.conv.weight", "stem.conv.weight", "stem.conv1.conv.weight")
    weights = {name: np.zeros(1) for name in names}
    with pytest.raises(UserError, match=r"stem.conv1.conv.weight and stem.conv.weight are both stem.conv1.conv.weight"):
        load_weights(network, weights)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_weights_for_colours_take_other_channels(network, lines, channels):
    """A grey image, and one whose channels are all the same, gives what it gave in colour."""
    other = create_model("halonet_test", num_classes=5, in_channels=channels).set_train(False)
    load_weights(other, arrays(network))
    assert lines == [f"weights: its first convolution, for 3 channels, is adapted to {channels}"]
    weight, own = arrays(network)["stem.conv1.conv.weight"], arrays(other)["stem.conv1.conv.weight"]
    if channels == 1:
        np.testing.assert_array_equal(own, weight.sum(axis=1, keepdims=True))
    else:
        expected = np.stack([weight[:, channel % 3] for channel in range(channels)], axis=1) * np.float32(3 / channels)
        np.testing.assert_allclose(own, expected, rtol=1e-7)  # timm's adapt_input_conv
    if channels == 1:
        grey = np.random.default_rng(0).standard_normal((1, 1, 32, 32)).astype(np.float32)
        colour = network.set_train(False)(Tensor(np.repeat(grey, 3, axis=1))).asnumpy()
        np.testing.assert_allclose(other(Tensor(grey)).asnumpy(), colour, rtol=1e-4, atol=1e-5)


def test_weights_for_other_channels_are_not_adapted():
    weights = arrays(make_network(in_channels=4))
    for channels in (1, 3):
        with pytest.raises(
            UserError, match=rf"its images have 4 channels, halonet_test was built for {channels}; set "
        ):
            load_weights(create_model("halonet_test", num_classes=5, in_channels=channels), weights)


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"features_only": True}])
def test_a_model_without_a_head_takes_weights_with_one(checkpoint, options):
    create_model("halonet_test", checkpoint_path=str(checkpoint), **options)


def test_whole_numbers_are_no_weights(network):
    weights = arrays(network)
    weights["classifier.bias"] = weights["classifier.bias"].astype(np.int32)
    with pytest.raises(UserError, match=r"classifier.bias holds int32, weights are floating-point numbers"):
        load_weights(network, weights)


def test_a_flipped_bit_in_our_own_checkpoint(network, tmp_path):
    path = tmp_path / "model.ckpt"
    write_checkpoint(network.get_parameters(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model.ckpt"):
        read_weights(str(path))


def test_tables_of_another_window(network, lines, checkpoint):
    options = {"num_classes": 5, "checkpoint_path": str(checkpoint), "block_size": 4, "halo_size": 2}
    with pytest.raises(
        UserError,
        match=r"its position tables have 7 rows, those of halonet_test as it was built 15 \(.*; set block_size and",
    ):
        create_model("halonet_test", **options)
    other = create_model("halonet_test", **options, resize_pos=True)
    assert lines == [f"checkpoint {checkpoint}: 6 position tables are resized to those of halonet_test as it was built"]
    name = "stages.2.0.mix.attention.pos_embed.height_rel"
    assert arrays(other)[name].shape == (15, 8)
    plain = [name for name in arrays(network) if "pos_embed" not in name]
    assert all(np.array_equal(arrays(other)[name], arrays(network)[name]) for name in plain)


def test_windows_of_the_same_size_are_told_apart(tmp_path, lines):
    """A block of 2 with a halo of 2, and a block of 4 with a halo of 1, have tables of the same shape."""
    path = str(tmp_path / "model.ckpt")
    save_network(make_network(block_size=2, halo_size=2), path)
    options = {"num_classes": 5, "checkpoint_path": path, "block_size": 4, "halo_size": 1}
    message = r"its windows have block_size 2 and halo_size 2, halonet_test was built with 4 and 1; set them to the"
    with pytest.raises(UserError, match=message):
        create_model("halonet_test", **options)
    create_model("halonet_test", **options, resize_pos=True)
    assert lines and "6 position tables are resized" in lines[0]
    create_model("halonet_test", **{**options, "block_size": 2, "halo_size": 2})


def test_tables_of_a_window_that_nobody_knows(network):
    weights = arrays(make_network(block_size=3, halo_size=4))
    with pytest.raises(
        UserError, match=r"has 21 rows, which are not those of block_size 2 and halo_size 1, and the file"
    ):
        load_weights(network, weights, resize_pos=True)
    load_weights(network, weights, resize_pos=True, halo=Halo(3, 4))


def with_heads(spec: Spec, num_heads: int) -> Spec:
    """Other heads in the second stage, as timm's halonet_h1 has others than ours in its first."""
    stages = (spec.stages[0], replace(spec.stages[1], num_heads=num_heads), *spec.stages[2:])
    return replace(spec, stages=stages)


def test_heads_of_another_number(network):
    """The tables have as many rows, and no option makes them fit; the remedy does."""
    spec = with_heads(HALONET_TEST, 2)
    weights = arrays(HaloNet(spec, 5))
    said = (
        r"weights: its heads have 12 channels in stage 2, those of halonet_test 6: it has 2 heads .* 4 "
        r"\(stages.1.1.mix.attention.pos_embed.height_rel: \(7, 12\), not \(7, 6\); .*width_rel.*\); no option .*heads"
    )
    for resize_pos in (False, True):
        with pytest.raises(UserError, match=said):
            load_weights(network, weights, resize_pos=resize_pos)
    load_weights(HaloNet(spec, 5), weights)


DIFFERENT = {
    "a head of another width": ("classifier.weight", (5, 97), {}),
    "a head of other classes and another width": ("classifier.weight", (7, 97), {"reset_head": True}),
    "a first convolution of other kernels": ("stem.conv1.conv.weight", (16, 3, 5, 5), {}),
    "a first convolution of other kernels and channels": ("stem.conv1.conv.weight", (16, 4, 5, 5), {}),
    "a table with another number of axes": ("stages.1.1.mix.attention.pos_embed.height_rel", (7,), {}),
    "a table and something else": ("stages.1.1.mix.attention.q.weight", (6, 24, 1, 1), {}),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_an_error_shows_both_shapes_where_they_differ(network, what):
    name, shape, options = DIFFERENT[what]
    weights = {**arrays(network), name: np.zeros(shape, np.float32)}
    own = arrays(network)[name].shape
    with pytest.raises(UserError) as error:
        load_weights(network, weights, **options)
    assert f"{name}: {shape}, not {own}" in str(error.value)


def test_a_model_of_ones_own_takes_its_own_windows():
    spec = HALONET_TEST.__class__(**{**vars(HALONET_TEST), "name": "mine", "halo": Halo(4, 1)})
    network = HaloNet(spec, 5)
    load_weights(HaloNet(spec, 5), arrays(network), resize_pos=True)


def test_tables_of_another_map(lines):
    spec = shorten(HALOBOTNET_50T)
    weights = arrays(HaloNet(spec, 2, image_size=(64, 96)))
    other = HaloNet(spec, 2, image_size=(128, 96))
    with pytest.raises(
        UserError,
        match=r"tables have 3 rows, those of halobotnet_50t as it was built 7 \(.*; set image_resize \(image_size\) to",
    ):
        load_weights(other, weights)
    load_weights(other, weights, resize_pos=True)
    assert "1 position tables are resized" in lines[0]
    table = "stages.3.1.mix.attention.pos_embed.height_rel"
    np.testing.assert_array_equal(arrays(other)[table][[0, 3, 6]], weights[table])


@pytest.mark.parametrize("options", [{"block_size": 0}, {"halo_size": -1}, {"block_size": 2.5}, {"halo_size": True}])
def test_windows_that_cannot_be(options):
    with pytest.raises(UserError, match=r"(block|halo)_size .* must be a whole number of at least"):
        create_model("halonet_test", **options)


def test_numbers_too_large_for_float32(network):
    weights = {name: value.astype(np.float64) for name, value in arrays(network).items()}
    load_weights(network, weights)
    weights["classifier.bias"] = weights["classifier.bias"] + 1e39
    with pytest.raises(UserError, match=r"classifier.bias holds values that are not finite"):
        load_weights(network, weights)
