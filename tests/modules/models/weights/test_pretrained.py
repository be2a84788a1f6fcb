"""pretrained=True, from a server on this machine."""

from __future__ import annotations

import hashlib
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from support.faulty_server import FaultyServer
from support.weight_files import arrays_of, make_network

from mindcv_halo import create_model, get_pretrained_cfg, is_model, is_model_pretrained, list_models
from mindcv_halo.errors import UserError
from mindcv_halo.files import download
from mindcv_halo.models import halonet
from mindcv_halo.models.weights import find_packaged, save_network, to_timm, write_weights


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MINDCV_HALO_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINDCV_HALO_MIRROR", raising=False)
    monkeypatch.setattr(download, "DELAYS", (0.0, 0.0, 0.0, 0.0))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def server(cache):
    with FaultyServer() as server:
        yield server


@pytest.fixture
def publish(server, tmp_path, monkeypatch):
    """publish(name, tag) serves halonet_test's weights, in timm's names, and describes them in its default_cfgs."""

    def add(tag: str = "", **changes) -> bytes:
        path = tmp_path / "published.safetensors"
        write_weights(to_timm(arrays_of(make_network())), path, {"format": "pt"})
        content = path.read_bytes()
        server.files["/hub/model.safetensors"] = content
        cfg = {
            **halonet.default_cfgs["halonet_test"],
            "url": f"{server.url}/hub/model.safetensors",
            "file": f"test{tag}.safetensors",
            "sha256": hashlib.sha256(content).hexdigest()[:8],
            "size": len(content),
            **changes,
        }
        monkeypatch.setitem(halonet.default_cfgs, f"halonet_test{tag}", cfg)
        return content

    return add


def test_weights_are_downloaded_once(cache, server, publish):
    content = publish()
    server.plan = deque(["cut 1000", "hang up", 503])
    expected = arrays_of(make_network())["classifier.bias"]
    for _ in range(2):
        network = create_model("halonet_test", num_classes=5, pretrained=True)
        np.testing.assert_array_equal(arrays_of(network)["classifier.bias"], expected)
    assert (cache / "test.safetensors").read_bytes() == content
    assert len(server.requests) == 4


def test_other_weights_by_a_tag(cache, server, publish):
    publish(".special", top1=12.5)
    assert is_model("halonet_test.special") and not is_model("halonet_test.other")
    assert get_pretrained_cfg("halonet_test.special")["top1"] == 12.5
    assert "halonet_test.special" in list_models(pretrained=True) and "halonet_test.special" not in list_models()
    network = create_model("halonet_test.special", num_classes=5, pretrained=True)
    assert network.spec.name == "halonet_test"
    with pytest.raises(UserError, match=r"^unknown model 'halonet_test.other'; nearest: halonet_test"):
        create_model("halonet_test.other")


def test_a_mirror(cache, server, publish, monkeypatch):
    publish(url="https://nowhere.example.org/hub/model.safetensors")
    monkeypatch.setenv("MINDCV_HALO_MIRROR", server.url + "/")
    create_model("halonet_test", num_classes=5, pretrained=True)
    assert server.requests[0].path == "/hub/model.safetensors"
    monkeypatch.setenv("MINDCV_HALO_MIRROR", "nowhere")
    (cache / "test.safetensors").unlink()
    with pytest.raises(UserError, match=r"MINDCV_HALO_MIRROR 'nowhere' must start with https:// or http://"):
        create_model("halonet_test", num_classes=5, pretrained=True)


@pytest.mark.parametrize(
    "mirror",
    ["http://[::1", "http://.x.com", "https://", "http://localhost:port", "http://localhost:99999", "http://a\nb"],
)
def test_a_mirror_that_is_none(cache, publish, monkeypatch, mirror):
    publish()
    monkeypatch.setenv("MINDCV_HALO_MIRROR", mirror)
    with pytest.raises(UserError) as caught:
        create_model("halonet_test", num_classes=5, pretrained=True)
    rule = "must start with https:// or http:// and name a server"
    assert str(caught.value) == f"MINDCV_HALO_MIRROR {mirror.rstrip('/')!r} {rule}"


def test_a_cache_of_nobody(cache, publish, monkeypatch):
    publish()
    monkeypatch.setenv("MINDCV_HALO_HOME", "~nouser/x")
    with pytest.raises(UserError, match=r"^MINDCV_HALO_HOME '~nouser/x': there is no such home folder; name another"):
        create_model("halonet_test", num_classes=5, pretrained=True)


def test_a_wrong_file(cache, server, publish):
    publish()
    server.files["/hub/model.safetensors"] = b"<html>please log in</html>"
    with pytest.raises(UserError, match=r"the server has 26 bytes, not \d+; without a network, get it elsewhere"):
        create_model("halonet_test", pretrained=True)
    publish(size=None)
    server.files["/hub/model.safetensors"] = b"<html>please log in</html>"
    with pytest.raises(UserError, match=r"has the SHA256 .* instead of [0-9a-f]{8}: it arrived damaged"):
        create_model("halonet_test", pretrained=True)
    publish(size=None, sha256=None)  # of unknown size and checksum: its content is looked at
    server.files["/hub/model.safetensors"] = b"<html>please log in</html>"
    with pytest.raises(UserError, match=r"cannot be read, it may be truncated or of another kind"):
        create_model("halonet_test", pretrained=True)
    write_weights({"conv.weight": np.ones(1, np.float32)}, cache / "other.safetensors", {})
    server.files["/hub/model.safetensors"] = (cache / "other.safetensors").read_bytes()
    with pytest.raises(UserError, match=r"no HaloNet of .*: the names in it are like conv.weight"):
        create_model("halonet_test", pretrained=True)
    assert sorted(path.name for path in cache.iterdir()) == [".test.safetensors.lock", "other.safetensors"]


def test_without_a_network(cache, publish):
    publish(url="http://127.0.0.1:9/model.safetensors", release_url="http://127.0.0.1:9/model-0123abcd.pth")
    path = cache / "test.safetensors"
    message = (
        rf"cannot download http://127.0.0.1:9/model.safetensors: .*refused; without a network, get it elsewhere and "
        rf"put it at {path}, or get http://127.0.0.1:9/model-0123abcd.pth and run mindcv-halo convert FILE {path}; "
        r"MINDCV_HALO_MIRROR names another server"
    )
    with pytest.raises(UserError, match=message):
        create_model("halonet_test", num_classes=5, pretrained=True)
    save_network(make_network(), path)  # as the command does
    create_model("halonet_test", num_classes=5, pretrained=True)


def test_a_file_of_ones_own_comes_first(cache, tmp_path):
    save_network(make_network(), tmp_path / "own.ckpt")
    create_model("halonet_test", 5, True, checkpoint_path=str(tmp_path / "own.ckpt"))
    with pytest.raises(UserError, match=r"halonet_h1: pretrained=True, but no weights of this model have been"):
        create_model("halonet_h1", pretrained=True)


def test_what_is_published():
    """Only what is known: no size is, and the checksums are those that the files' names tell."""
    published = {name: get_pretrained_cfg(name) for name in list_models(pretrained=True)}
    published = {name: cfg for name, cfg in published.items() if not find_packaged(cfg)}  # test_packaged.py
    assert is_model_pretrained("halonet_50t.mindcv") and not is_model_pretrained("halonet_h4")
    files = set()
    for name, cfg in published.items():
        assert cfg["url"].startswith("https://") and cfg["size"] is None and 70 < cfg["top1"] < 90, name
        suffix = Path(cfg["file"]).suffix
        assert suffix in (".safetensors", ".ckpt") and cfg["url"].endswith(suffix)
        if "hub_id" not in cfg:
            assert cfg["url"].endswith(f"-{cfg['sha256']}.ckpt") and len(cfg["sha256"]) == 8
        else:
            assert cfg["sha256"] is None
            assert cfg["release_url"].endswith(f"-{cfg['release_sha256']}.pth") and len(cfg["release_sha256"]) == 8
            assert is_model(cfg["hub_id"].removeprefix("timm/"))
        files.add(cfg["file"])
    assert len(files) == len(published)
    mindcv = get_pretrained_cfg("halonet_50t.mindcv")
    assert (mindcv["top1"], mindcv["top5"]) == (79.53, 94.79)
    assert (mindcv["interpolation"], mindcv["crop_pct"]) == ("bilinear", 0.95)
