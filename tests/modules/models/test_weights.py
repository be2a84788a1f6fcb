"""Weight files: what is read, what is refused, and with which words."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from safetensors.numpy import save_file

from mindcv_halo import create_model
from mindcv_halo.errors import UserError
from mindcv_halo.models.weights import load_weights, read_weights, recognise
from mindcv_halo.utils.checkpoint_manager import save_atomically


def arrays(network) -> dict[str, np.ndarray]:
    return {name: parameter.asnumpy() for name, parameter in network.parameters_dict().items()}


@pytest.fixture
def network():
    return create_model("halonet_test", num_classes=5)


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


def test_a_wrappers_prefix(network, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({f"module.net.{name}": value for name, value in arrays(network).items()}, path)
    with pytest.raises(UserError, match=r"pass auto_mapping=True"):
        create_model("halonet_test", num_classes=5, checkpoint_path=str(path))
    create_model("halonet_test", num_classes=5, checkpoint_path=str(path), auto_mapping=True)


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


def test_a_new_head_for_other_classes(network, checkpoint):
    with pytest.raises(UserError, match=r"its classifier has 5 classes, halonet_test was built for 7; set num_classes"):
        create_model("halonet_test", num_classes=7, checkpoint_path=str(checkpoint))
    again = create_model("halonet_test", num_classes=7, checkpoint_path=str(checkpoint), reset_head=True)
    assert again.classifier.weight.shape == (7, 96)
    np.testing.assert_array_equal(
        arrays(again)["stages.3.0.reduce.conv.weight"], arrays(network)["stages.3.0.reduce.conv.weight"]
    )


def test_another_models_weights(checkpoint):
    with pytest.raises(UserError, match=r"does not fit halonet_26t: \d+ missing in the file .*another model's"):
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
    with pytest.raises(UserError, match=r"no HaloNet of mindcv_halo, timm, MindCV, Keras: .* like conv1.weight"):
        recognise({"conv1.weight": np.zeros(1)})


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("absent.ckpt", None, r"there is no such file"),
        ("model.bin", b"x", r"the name must end in .ckpt or .safetensors"),
        ("empty.ckpt", b"", r"cannot read it, it may be truncated"),
        ("junk.ckpt", b"junk" * 100, r"cannot read it, it may be truncated"),
        ("empty.safetensors", b"", r"cannot be read as safetensors"),
        ("junk.safetensors", b"junk" * 100, r"cannot be read as safetensors"),
    ],
)
def test_files_that_are_no_weights(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weights(str(path))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_checkpoints(checkpoint, share):
    """MindSpore itself loads a file that is cut between two entries without a word."""
    content = checkpoint.read_bytes()
    checkpoint.chmod(0o644)
    checkpoint.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"model.ckpt"):
        create_model("halonet_test", num_classes=5, checkpoint_path=str(checkpoint))


def test_the_dialect_is_that_of_the_weights(tmp_path):
    timm = {"stages.0.0.conv1_1x1.conv.weight": np.zeros(1)}
    keras = {"stack1_block1_deep_1_conv.weight": np.zeros(1)}
    mindcv = {"stage1.blocks.0.conv1_1x1.conv.weight": np.zeros(1)}
    assert [recognise(weights).dialect for weights in (timm, keras, mindcv)] == ["timm", "keras", "mindcv"]


def test_a_file_without_weights(network, tmp_path):
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(UserError, match=r"it holds no weights$"):
        create_model("halonet_test", checkpoint_path=str(tmp_path / "empty.safetensors"))
    save_file({f"ema.{name}": value for name, value in arrays(network).items()}, tmp_path / "ema.safetensors")
    with pytest.raises(UserError, match=r"it holds no weights; set ema to True"):
        create_model("halonet_test", checkpoint_path=str(tmp_path / "ema.safetensors"))


def test_two_entries_for_one_parameter(network):
    names = ("stages.0.0.conv1_1x1.conv.weight", "stem.conv.weight", "stem.conv1.conv.weight")
    weights = {name: np.zeros(1) for name in names}
    with pytest.raises(UserError, match=r"stem.conv1.conv.weight and stem.conv.weight are both stem.conv1.conv.weight"):
        load_weights(network, weights)


def test_other_channels_are_named(network):
    with pytest.raises(UserError, match=r"its images have 3 channels, halonet_test was built for 1; set in_"):
        load_weights(create_model("halonet_test", num_classes=5, in_channels=1), arrays(network))


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
    save_atomically(network.get_parameters(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model.ckpt"):
        read_weights(str(path))
