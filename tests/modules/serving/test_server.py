"""Where the server listens, and whom it answers."""

from __future__ import annotations

import sys

import pytest

from mindcv_halo.errors import UserError
from mindcv_halo.serving.server import find_allowed_hosts, is_loopback, listen, require_server_library

NO_HOSTS = ("a..b", ".a", "a" * 64 + ".b", "\udce9")  # whose names cannot be looked up


@pytest.mark.parametrize(
    "address, loopback",
    [
        *[("127.0.0.1", True), ("127.8.9.1", True), ("::1", True)],
        *[("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("fe80::1%eth0", False)],
    ],
)
def test_loopback(address, loopback):
    assert is_loopback(address) is loopback


def test_only_names_of_this_machine_are_answered_on_loopback():
    assert find_allowed_hosts("127.0.0.1", "127.0.0.1") == ("localhost", "127.0.0.1", "[::1]", "127.0.0.1")
    assert "my-machine" in find_allowed_hosts("127.0.1.1", "my-machine")
    assert find_allowed_hosts("::1", "::1")[-1] == "[::1]"
    assert find_allowed_hosts("0.0.0.0", "0.0.0.0") == ("*",)


def test_a_free_port_and_a_taken_one():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert port > 0
        with pytest.raises(UserError, match=rf"cannot listen on 127.0.0.1 port {port}: Address already in use; choose"):
            listen("127.0.0.1", port)
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize(
    "host, port, message",
    [
        ("203.0.113.7", 8000, r"cannot listen on 203.0.113.7 port 8000: Cannot assign requested address"),
        *(
            (host, 8000, r"cannot listen on .* port 8000: that is no address; choose another --host")
            for host in NO_HOSTS
        ),
        ("", 8000, r"host is empty; leave --host out"),
        ("127.0.0.1", 65536, r"port 65536 must be at least 0 and below 65536"),
    ],
)
def test_addresses_that_cannot_be(host, port, message):
    with pytest.raises(UserError, match=message):
        listen(host, port)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UserError, match=r"serve needs starlette and uvicorn; pip install mindcv_halo\[serve\]"):
        require_server_library()
