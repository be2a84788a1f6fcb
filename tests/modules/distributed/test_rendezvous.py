"""Ranks find rank 0's scheduler, and nobody else's, whoever sits on the ports."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from support.limits import LAST_RESORT

from mindcv_halo.distributed import rendezvous
from mindcv_halo.distributed.rendezvous import (
    CANDIDATES,
    answer,
    ask,
    candidate_ports,
    find_free_port,
    find_own_address,
    wait_for_port,
)

HERE = "127.0.0.1"
NOT_HERE = "198.51.100.7"  # reserved for documentation


@pytest.fixture
def ports(monkeypatch) -> list[int]:
    """Three free ports, which every job takes for its own."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for some in sockets:
            some.bind((HERE, 0))
        found = [some.getsockname()[1] for some in sockets]
    monkeypatch.setattr(rendezvous, "candidate_ports", lambda job: found)
    return found


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@contextmanager
def stranger(port: int, reply: bytes = b"") -> Iterator[None]:
    """Somebody who listens at `port` and says `reply` to everybody."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HERE, port))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(256)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_ports_belong_to_the_job():
    for number in range(300):
        ports = candidate_ports(f"job {number}")
        assert len(set(ports)) == CANDIDATES and min(ports) >= 20_000 and max(ports) < 30_000
    assert candidate_ports("one") == candidate_ports("one")
    assert set(candidate_ports("one")).isdisjoint(candidate_ports("other"))


def test_every_rank_is_answered(ports, pool):
    told = [pool.submit(ask, "job", [HERE], LAST_RESORT) for _ in range(5)]
    answer("job", HERE, 4711, 5, timeout=LAST_RESORT)
    assert [each.result() for each in told] == [(HERE, 4711)] * 5


def test_a_rank_may_ask_before_rank_0_listens(ports, pool, monkeypatch):
    refused = threading.Event()
    ask_once = rendezvous._ask_once

    def noticed(job, address, port):
        reply = ask_once(job, address, port)
        if port == ports[-1]:
            refused.set()
        return reply

    monkeypatch.setattr(rendezvous, "_ask_once", noticed)
    told = pool.submit(ask, "job", [HERE], LAST_RESORT)
    assert refused.wait(LAST_RESORT)
    answer("job", HERE, 4711, 1, timeout=LAST_RESORT)
    assert told.result() == (HERE, 4711)


def test_two_jobs_on_the_same_ports_do_not_mix(ports, pool):
    """As if the names of both had the same hash; the first to come takes the first port."""
    jobs = {"a": 4711, "b": 4712}
    told = [(port, pool.submit(ask, job, [HERE], LAST_RESORT)) for job, port in jobs.items() for _ in range(2)]
    answering = [pool.submit(answer, job, HERE, port, 2, LAST_RESORT) for job, port in jobs.items()]
    assert [each.result() for _, each in told] == [(HERE, port) for port, _ in told]
    for each in answering:
        each.result()


@pytest.mark.parametrize(
    "reply", [b"", b"\xff\xfe", b"hello world", b"other 127.0.0.1 9999", b"220 mail at your service\r\n"]
)
def test_a_stranger_on_the_first_port(ports, pool, reply):
    with stranger(ports[0], reply):
        told = pool.submit(ask, "job", [HERE], LAST_RESORT)
        answer("job", HERE, 4711, 1, timeout=LAST_RESORT)
        assert told.result() == (HERE, 4711)


def test_who_does_not_know_the_job_is_told_nothing(ports, pool):
    answering = pool.submit(answer, "job", HERE, 4711, 1, LAST_RESORT)
    wait_for_port(HERE, ports[0], LAST_RESORT)  # this connection says nothing at all, and is closed
    with socket.create_connection((HERE, ports[0])) as connection:
        connection.sendall(b"job 1")
        assert connection.recv(256) == b""
    assert not answering.done()
    assert ask("job", [HERE], LAST_RESORT) == (HERE, 4711)
    answering.result()


def test_the_first_address_may_be_the_wrong_one(ports, pool):
    told = pool.submit(ask, "job", ["no such name", HERE], LAST_RESORT)
    answer("job", HERE, 4711, 1, timeout=LAST_RESORT)
    assert told.result() == (HERE, 4711)


def test_rank_0_does_not_answer(ports):
    text = (
        rf"^rank 0 does not answer at 127.0.0.1 or 127.0.0.2 on the ports {ports[0]} to {ports[-1]} within 0 s; "
        r"if it is elsewhere, set MASTER_ADDR and MASTER_PORT$"
    )
    with pytest.raises(OSError, match=text):
        ask("job", [HERE, "127.0.0.2"], timeout=0.2)


def test_ranks_do_not_ask(ports):
    with pytest.raises(OSError, match=r"^3 of the other ranks did not ask within 0 s$"):
        answer("job", HERE, 4711, 3, timeout=0.2)


def test_no_port_is_free(ports):
    text = rf"^none of the ports {ports[0]} to {ports[-1]} of 127.0.0.1 is free; set MASTER_PORT to a free one$"
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(stranger(port))
        with pytest.raises(OSError, match=text):
            answer("job", HERE, 4711, 1, timeout=0.2)


def test_waiting_for_a_port(ports, pool):
    waiting = pool.submit(wait_for_port, HERE, ports[0], LAST_RESORT)
    with stranger(ports[0]):
        waiting.result()
    with pytest.raises(OSError, match=rf"^nobody listens at 127.0.0.1:{ports[1]} after 0 s$"):
        wait_for_port(HERE, ports[1], timeout=0.1)


def test_a_free_port():
    port = find_free_port(HERE)
    with socket.socket() as taken:
        taken.bind((HERE, port))
        assert find_free_port(HERE) != port


def test_the_own_address(monkeypatch):
    names = {"here": HERE, "elsewhere": NOT_HERE, HERE: HERE, NOT_HERE: NOT_HERE}

    def resolve(name: str) -> str:
        if name not in names:
            raise socket.gaierror("Name or service not known")
        return names[name]

    monkeypatch.setattr(socket, "gethostbyname", resolve)
    assert find_own_address([HERE]) == HERE
    assert find_own_address(["unknown", NOT_HERE, "elsewhere", "here"]) == HERE
    assert find_own_address(["unknown", "elsewhere"]) is None
    assert find_own_address([]) is None
