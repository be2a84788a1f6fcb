"""Connections on which no request arrives: they end, however they are kept open."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
from support.limits import LAST_RESORT

uvicorn = pytest.importorskip("uvicorn")

from mindcv_halo.serving.connection import HeadDeadlineProtocol  # noqa: E402

TIMEOUT = 0.5
REQUEST = b"GET / HTTP/1.1\r\nHost: lo\r\n\r\n"


async def answer(scope: dict, receive, send) -> None:
    """Takes longer than a head may; the body of the request is not read."""
    await asyncio.sleep(0 if scope["path"] == "/" else 3 * TIMEOUT)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[int]:
    """The port of a server that runs meanwhile."""
    config = uvicorn.Config(
        answer, port=0, http=partial(HeadDeadlineProtocol, head_timeout=TIMEOUT), limit_concurrency=4,
        timeout_keep_alive=60, lifespan="off", log_level="critical",
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection."""
    content = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := await asyncio.wait_for(reader.read(1000), LAST_RESORT):
            content += chunk
    return content


async def drip(writer: asyncio.StreamWriter) -> None:
    """Bytes of a head that never ends, faster than any pause between them could be limited."""
    with contextlib.suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(TIMEOUT / 10)


@pytest.mark.parametrize(
    "sent, dripping",
    [
        (b"", False),
        (b"GET / HTTP/1.1\r\nHost: lo\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: lo\r\nX: ", True),
        (REQUEST + b"GET / HTTP/1.1\r\n", False),  # the second on the same connection
        (b"POST / HTTP/1.1\r\nHost: lo\r\nContent-Length: 9999\r\n\r\n", True),  # answered before its body ends
    ],
    ids=["nothing", "half a head", "a slow head", "half a second head", "a slow body"],
)
def test_who_sends_no_request_is_let_go(sent, dripping):
    async def main() -> None:
        async with listening() as port:
            start = time.perf_counter()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            more = [asyncio.ensure_future(drip(writer))] if dripping else []
            content = await read_to_end(reader)
            assert time.perf_counter() - start > TIMEOUT * 0.9
            assert content.count(b"200 OK") == sent.count(b"\r\n\r\n")
            writer.close()
            await asyncio.gather(*more)

    asyncio.run(main())


def test_many_that_send_no_request_do_not_stop_the_others():
    async def main() -> None:
        async with listening() as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
            for _, writer in idle:
                writer.write(REQUEST[:-2])
            await asyncio.gather(*(read_to_end(reader) for reader, _ in idle))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            assert b"200 OK" in await asyncio.wait_for(reader.read(1000), 5)
            for _, opened in [*idle, (reader, writer)]:
                opened.close()

    asyncio.run(main())


def test_an_answer_may_take_longer_and_the_next_request_its_time():
    async def main() -> None:
        async with listening() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for path in (b"/slow", b"/", b"/slow"):
                writer.write(REQUEST.replace(b"/", path, 1))
                content = await asyncio.wait_for(reader.readuntil(b"ok"), 10)
                assert b"200 OK" in content
                await asyncio.sleep(TIMEOUT / 2)
            writer.close()

    asyncio.run(main())
