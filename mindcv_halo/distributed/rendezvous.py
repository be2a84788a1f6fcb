"""How the processes of a job learn where rank 0's scheduler listens, with nothing but what the launcher told them.

Every process derives the same few ports from the job's name. Rank 0 takes the first that is free and answers those
who know the name of the job; whoever sits on another of these ports does not know it, so that jobs never mix.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Sequence

FIRST_PORT, NUM_PORTS = 20_000, 10_000  # below those that Linux gives to outgoing connections
CANDIDATES = 16
_REPLY_SIZE = 256


def candidate_ports(job: str) -> list[int]:
    """The ports at which rank 0 of this job may answer."""
    start = int.from_bytes(hashlib.sha256(job.encode()).digest()[:4], "big")
    return [FIRST_PORT + (start + number) % NUM_PORTS for number in range(CANDIDATES)]


def find_own_address(addresses: Sequence[str]) -> str | None:
    """The first of the addresses or names that belongs to this machine, as an IPv4 address."""
    for address in addresses:
        try:
            resolved = socket.gethostbyname(address)
            with socket.socket() as probe:
                probe.bind((resolved, 0))
        except OSError:
            continue
        return resolved
    return None


def find_free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def answer(job: str, address: str, port: int, num_clients: int, timeout: float) -> None:
    """Rank 0's side: tell `num_clients` processes of the job that the scheduler is at address:port.

    Raises OSError if no port is free, or if not all have asked within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    answered = 0
    with _listen(job, address) as listener:
        while answered < num_clients:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                raise OSError(
                    f"{num_clients - answered} of the other ranks did not ask within {timeout:.0f} s"
                ) from None
            with connection:
                connection.settimeout(5)
                try:
                    if connection.recv(_REPLY_SIZE) == job.encode():
                        connection.sendall(f"{job} {address} {port}".encode())
                        answered += 1
                except OSError:
                    continue  # whoever that was is gone; one of ours asks again


def _listen(job: str, address: str) -> socket.socket:
    ports = candidate_ports(job)
    for port in ports:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        return listener
    raise OSError(f"none of the ports {ports[0]} to {ports[-1]} of {address} is free; set MASTER_PORT to a free one")


def ask(job: str, addresses: Sequence[str], timeout: float) -> tuple[str, int]:
    """(address, port) of the scheduler. Raises OSError if rank 0 does not answer within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    ports = candidate_ports(job)
    while time.monotonic() < deadline:
        for address in addresses:
            for port in ports:
                reply = _ask_once(job, address, port)
                if reply.startswith(f"{job} "):  # others may say anything
                    host, number = reply.removeprefix(f"{job} ").split()
                    return host, int(number)
        time.sleep(0.1)
    raise OSError(
        f"rank 0 does not answer at {' or '.join(addresses)} on the ports {ports[0]} to {ports[-1]} within "
        f"{timeout:.0f} s; if it is elsewhere, set MASTER_ADDR and MASTER_PORT"
    )


def _ask_once(job: str, address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.sendall(job.encode())
            return connection.recv(_REPLY_SIZE).decode()
    except (OSError, UnicodeDecodeError):
        return ""


def wait_for_port(address: str, port: int, timeout: float) -> None:
    """Wait until somebody listens. Raises OSError if nobody does within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise OSError(f"nobody listens at {address}:{port} after {timeout:.0f} s") from None
            time.sleep(0.05)
