"""Weights into files."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from support.weight_files import arrays_of, make_network

from mindcv_halo import create_model
from mindcv_halo.errors import UserError
from mindcv_halo.models.weights import open_weights, read_weights, save_network, write_weights

NUMBERS = {
    "single": np.array([[1, 2], [3, 4]], np.float32).T,  # not in C order
    "half": np.array([1.5], np.float16),
    "double": np.array(1e300),
    "count": np.array(7, np.int64),
}


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_numbers_stay_as_they_are(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    for _ in range(2):  # over an old file too
        write_weights(NUMBERS, path, {"dialect": "timm"})
    found = read_weights(str(path))
    assert found.keys() == NUMBERS.keys()
    for name, value in NUMBERS.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        np.testing.assert_array_equal(found[name], value)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o200


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_network_comes_back_with_what_its_shapes_do_not_say(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    network = make_network(dialect="mindcv", block_size=4, halo_size=2, drop_rate=0.5)
    save_network(network, path)
    file = open_weights(str(path))
    assert (file.dialect, file.halo.block_size, file.halo.halo_size) == ("mindcv", 4, 2)
    again = create_model("halonet_test", num_classes=5, block_size=4, halo_size=2, checkpoint_path=str(path))
    assert again.dialect.name == "mindcv"
    weights = arrays_of(network)
    for name, value in arrays_of(again).items():
        np.testing.assert_array_equal(value, weights[name])


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_mindspore_reads_our_files(tmp_path, suffix):
    network = make_network()
    save_network(network, tmp_path / f"x{suffix}")
    options = {"format": "safetensors"} if suffix == ".safetensors" else {}
    found = ms.load_checkpoint(str(tmp_path / f"x{suffix}"), crc_check=True, **options)
    again = create_model("halonet_test", num_classes=5)
    missing, _ = ms.load_param_into_net(again, found)
    assert missing == []
    np.testing.assert_array_equal(arrays_of(again)["classifier.bias"], arrays_of(network)["classifier.bias"])


def test_a_flipped_bit_shows(tmp_path):
    path = tmp_path / "x.safetensors"
    save_network(make_network(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"its checksum is wrong"):
        read_weights(str(path))


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(UserError, match=r"x.h5: weights are written as .ckpt or .safetensors; choose one"):
        write_weights(NUMBERS, tmp_path / "x.h5", {})
    with pytest.raises(UserError, match=r"x.safetensors cannot be written: .*No such file"):
        write_weights(NUMBERS, tmp_path / "absent" / "x.safetensors", {})
    with pytest.raises(UserError, match=r"x.ckpt cannot be written: "):
        write_weights(NUMBERS, tmp_path / "absent" / "x.ckpt", {})
