"""Downloads from a server on this machine that drops connections, lies about lengths, and serves wrong files."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from support.faulty_server import FaultyServer

import mindcv_halo
from mindcv_halo.errors import UserError
from mindcv_halo.files import download as module
from mindcv_halo.files.download import RemoteFile, download

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "DELAYS", (0.0, 0.0, 0.0, 0.0))
    with FaultyServer({"/weights": CONTENT}) as server:
        yield server


def get(server: FaultyServer, path: Path, *plan: int | str, **known) -> bytes:
    server.plan = deque(plan)
    download(RemoteFile(f"{server.url}/weights", **known), path)
    return path.read_bytes()


def names(folder: Path) -> list[str]:
    """What is there besides the lock file, which stays."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_arrives(server, tmp_path):
    assert get(server, tmp_path / "deep" / "w", sha256=SHA256[:8], size=len(CONTENT)) == CONTENT
    assert names(tmp_path / "deep") == ["w"]
    assert len(server.requests) == 1
    get(server, tmp_path / "deep" / "w")  # it is there
    assert len(server.requests) == 1


def test_a_file_stays_where_its_successor_cannot_be_had(server, tmp_path):
    target = tmp_path / "w"
    target.write_bytes(b"old")
    server.plan = deque([404])
    with pytest.raises(UserError):
        module.DownLoad().download_file(f"{server.url}/weights", str(target))
    assert target.read_bytes() == b"old"
    module.DownLoad().download_file(f"{server.url}/weights", str(target))
    assert target.read_bytes() == CONTENT and names(tmp_path) == ["w"]


@pytest.mark.parametrize("known", [{}, {"sha256": SHA256}, {"md5": hashlib.md5(CONTENT).hexdigest()}])
@pytest.mark.parametrize("tagged", [True, False])
def test_dropped_connections_are_resumed(server, tmp_path, known, tagged):
    server.tagged = tagged
    assert get(server, tmp_path / "w", "cut 100000", "cut 50000", "hang up", "cut 0", **known) == CONTENT
    ranges = [request.range for request in server.requests]
    assert ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=150000-"]
    assert (server.requests[1].if_range is not None) is tagged


def test_progress_gives_new_tries(server, tmp_path):
    cuts = [f"cut {len(CONTENT) // 30}"] * 29
    assert get(server, tmp_path / "w", *cuts) == CONTENT
    assert len(server.requests) == 30


def test_a_server_without_ranges(server, tmp_path):
    assert get(server, tmp_path / "w", "cut 100000", "whole") == CONTENT


def test_a_server_that_sends_another_range(server, tmp_path):
    assert get(server, tmp_path / "w", "cut 100000", "elsewhere") == CONTENT
    assert server.requests[-1].range is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_gets_over_it(server, tmp_path, status):
    assert get(server, tmp_path / "w", status, status) == CONTENT


def test_a_file_that_changes_on_the_way(server, tmp_path):
    other = CONTENT[::-1]
    answer = server.answer

    def change_afterwards(handler) -> None:
        answer(handler)
        server.files["/weights"] = other

    server.answer = change_afterwards
    assert get(server, tmp_path / "w", "cut 100000") == other


@pytest.mark.parametrize("plan", [["lie 5000"] * 9, ["cut 1000", *["hang up"] * 5], [503] * 9, ["cut 0"] * 9])
def test_a_server_that_never_delivers(server, tmp_path, plan):
    with pytest.raises(UserError, match=r"again and again; get it by hand$"):
        get(server, tmp_path / "w", *plan)
    assert len(server.requests) == 5
    assert not (tmp_path / "w").exists()


def test_a_claim_of_more_than_there_is(server, tmp_path):
    assert get(server, tmp_path / "w", "more 5000") == CONTENT  # the next answer tells that this was all
    assert [request.range for request in server.requests] == [None, f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize(
    "step, known, message",
    [
        ("less 1000", {"sha256": SHA256}, r"has the SHA256 [0-9a-f]{64} instead of [0-9a-f]{64}: it arrived damaged"),
        ("less 1000", {"size": len(CONTENT)}, r"the server has 299000 bytes, not 300000;"),
        ("claim 4000000000000", {}, r"the server has 4000000000000 bytes, not at most 2147483648;"),
        ("claim 4000000000000", {"size": len(CONTENT)}, r"the server has 4000000000000 bytes, not 300000;"),
        ("endless", {"size": len(CONTENT)}, r"the server sends more than 300000 bytes;"),
        ("", {"sha256": "0" * 8}, rf"has the SHA256 {SHA256} instead of 00000000: it arrived damaged or was changed;"),
        ("", {"md5": "0" * 32}, r"has the MD5 [0-9a-f]{32} instead of 0{32}"),
        ("", {"size": 5}, r"the server has 300000 bytes, not 5;"),
        (404, {}, r"the server says 404 Not Found; get it by hand$"),
        (403, {}, r"the server says 403 Forbidden;"),
        ("to ftp://127.0.0.1/x", {}, r"unknown url type: ftp;"),
        ("to file:///etc/passwd", {}, r"the server says 302 "),
        ("to http://[::1", {}, r"cannot download http://127.0.0.1:\d+/weights: .*Invalid IPv6 URL; get it by hand$"),
    ],
)
def test_what_is_wrong_at_once(server, tmp_path, step, known, message):
    with pytest.raises(UserError, match=message):
        get(server, tmp_path / "w", step, **known)
    assert len(server.requests) == 1
    assert names(tmp_path) in ([], [".w.part"])
    assert get(server, tmp_path / "w", **({} if step == "" else known)) == CONTENT  # nothing is spoilt for later


def test_an_endless_answer_of_unknown_size(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 500_000)
    with pytest.raises(UserError, match=r"the server sends more than 500000 bytes;"):
        get(server, tmp_path / "w", "endless")
    assert (tmp_path / ".w.part").stat().st_size <= 500_000


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x"])
def test_other_schemes(tmp_path, url):
    with pytest.raises(UserError, match=r"it is no http or https address; get it by hand$"):
        download(RemoteFile(url), tmp_path / "w")


@pytest.mark.parametrize(
    "address",
    ["http://[::1", "http://.x.com", "http://localhost:port", "http://localhost:99999", "http://localhost/a b"],
)
def test_addresses_that_are_none(tmp_path, monkeypatch, address):
    monkeypatch.setattr(module, "DELAYS", ())
    with pytest.raises(UserError) as caught:
        download(RemoteFile(f"{address}/w"), tmp_path / "w")
    text = str(caught.value)
    assert text.startswith(f"cannot download {address}/w: ") and text.endswith("; get it by hand")
    assert "\n" not in text and "again and again" not in text


def test_nobody_is_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot download http://127.0.0.1:9/w: .*refused; put it there yourself$"):
        download(RemoteFile("http://127.0.0.1:9/w"), tmp_path / "w", advice="put it there yourself")


def test_a_secure_address_does_not_lead_to_a_plain_one(server, tmp_path):
    transfer = module._Transfer(RemoteFile("https://example.org/w"), tmp_path / "w", "get it by hand")
    with pytest.raises(UserError, match=r"it leads to http://example.org/w, which is not https"):
        transfer._check_scheme("http://example.org/w")


def test_a_file_of_no_use_is_not_kept(server, tmp_path):
    def check(path: Path) -> None:
        assert path.read_bytes() == CONTENT
        raise UserError("a login page")

    with pytest.raises(UserError, match=r"a login page"):
        download(RemoteFile(f"{server.url}/weights"), tmp_path / "w", check=check)
    assert names(tmp_path) == []


def test_what_an_earlier_process_left_is_resumed_if_a_checksum_tells(server, tmp_path):
    (tmp_path / ".w.part").write_bytes(CONTENT[:1000])
    assert get(server, tmp_path / "w", sha256=SHA256) == CONTENT
    assert server.requests[0].range == "bytes=1000-"
    (tmp_path / ".x.part").write_bytes(b"of another version"[:1000])
    assert get(server, tmp_path / "x") == CONTENT
    assert server.requests[1].range is None


def test_a_leftover_that_does_not_fit(server, tmp_path):
    (tmp_path / ".w.part").write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match=r"arrived damaged or was changed; try again"):
        get(server, tmp_path / "w", sha256=SHA256)
    assert get(server, tmp_path / "w", sha256=SHA256) == CONTENT


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*: (Not a directory|File exists); make room, or choose"):
        download(RemoteFile(f"{server.url}/weights"), tmp_path / "file" / "w")


PROCESS = """
import sys, types
package = types.ModuleType("mindcv_halo")  # without MindSpore, which takes seconds to load
package.__path__ = [sys.argv[1]]
sys.modules["mindcv_halo"] = package
from pathlib import Path
from mindcv_halo.files.download import RemoteFile, download
download(RemoteFile(sys.argv[2]), Path(sys.argv[3]))
"""


def test_two_processes_at_once(server, tmp_path):
    server.plan = deque(["slow 0.7"])
    command = [sys.executable, "-c", PROCESS, str(Path(mindcv_halo.__file__).parent), f"{server.url}/weights"]
    processes = [subprocess.Popen([*command, str(tmp_path / "w")], stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[1].decode() for process in processes] == ["", "", ""]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(server.requests) == 1
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_another_process_goes_on_after_a_killed_one(server, tmp_path):
    server.plan = deque(["slow 20"])
    command = [sys.executable, "-c", PROCESS, str(Path(mindcv_halo.__file__).parent), f"{server.url}/weights"]
    with subprocess.Popen([*command, str(tmp_path / "w")]) as process:
        while not server.requests:
            assert process.poll() is None
        process.kill()
    assert get(server, tmp_path / "w") == CONTENT  # the lock died with its holder
