"""The server that runs the application until Ctrl-C."""

from __future__ import annotations

import ipaddress
import socket
import sys
from contextlib import suppress
from functools import partial

import numpy as np

from ..engine import Predictor
from ..errors import UserError
from .limits import Limits

_MOST_CONNECTIONS = 64
_NAMES_OF_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def require_server_library() -> None:
    """Raise UserError if it is missing."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError("serve needs starlette and uvicorn; pip install mindcv_halo[serve]") from error


def serve(predictor: Predictor, host: str, listener: socket.socket, limits: Limits) -> None:
    """Answer requests until Ctrl-C, on a socket of listen(host, ...), which it closes.

    On a loopback address only requests that name it are answered; any other address prints a warning, because whoever
    reaches it may use the model.
    """
    import uvicorn

    from .app import make_app
    from .connection import HeadDeadlineProtocol

    address, port = listener.getsockname()[:2]
    if not is_loopback(address):
        print(f"warning: {host} is no loopback address: who reaches it may use this model", file=sys.stderr, flush=True)
    with listener:
        print(f"preparing {predictor.model_name} ...", flush=True)
        _warm_up(predictor)
        app = make_app(predictor, limits, find_allowed_hosts(address, host))
        config = uvicorn.Config(
            app,
            http=partial(HeadDeadlineProtocol, head_timeout=limits.timeout),
            log_level="warning",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
        shown = f"[{host}]" if ":" in host else host
        print(f"serving {predictor.model_name} at http://{shown}:{port}/ (Ctrl-C ends)", flush=True)
        uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the address, port 0 for any free one. Raises UserError where that is not possible."""
    if not host:
        raise UserError("host is empty; leave --host out for this machine alone, or give 0.0.0.0 for all addresses")
    if not 0 <= port < 2**16:
        raise UserError(f"port {port} must be at least 0 and below 65536; leave --port out for 8000")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except (OSError, ValueError) as error:  # ValueError: no name of a machine, such as a..b
        reason = getattr(error, "strerror", None) or "that is no address"
        raise UserError(f"cannot listen on {host} port {port}: {reason}; choose another --host or --port") from None
    return listener


def find_allowed_hosts(address: str, host: str) -> tuple[str, ...]:
    """What the Host header of a request to this address may say: on loopback its names, elsewhere anything."""
    return (*_NAMES_OF_LOOPBACK, f"[{host}]" if ":" in host else host) if is_loopback(address) else ("*",)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an IP address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _warm_up(predictor: Predictor) -> None:
    """Prepare what requests will need, so that the first is as fast as the others."""
    blank = np.zeros((*predictor.image_size, 3), np.uint8)
    predictor(blank)
    with suppress(UserError):  # a model without attention maps
        predictor.explain(blank)
