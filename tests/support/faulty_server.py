"""A server on this machine that treats each request as a test wants it: well, badly, or with lies."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field

PATIENCE = 5  # seconds


@dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None


@dataclass
class FaultyServer:
    """Serves `files` by their paths. Each request takes the next of `plan`; after these, all are served well.

    A plan is a status, or one of: "cut N" breaks off after N bytes, "more N" and "less N" claim so many bytes more or
    less, "lie N" claims N more and knows no ranges, "claim N" claims N bytes, "whole" ignores the wish for a range,
    "elsewhere" sends another range, "hang up" answers nothing, "endless" never ends and claims no length, "slow N"
    waits N seconds, "to URL" leads elsewhere.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    plan: deque[int | str] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    tagged: bool = True  # whether answers have an ETag

    def __enter__(self) -> FaultyServer:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        headers = handler.headers
        self.requests.append(Request(handler.path, headers.get("Range"), headers.get("If-Range")))
        step = self.plan.popleft() if self.plan else ""
        what, _, detail = step.partition(" ") if isinstance(step, str) else (step, "", "")
        content = self.files.get(handler.path)
        handler.close_connection = True
        if what == "hang":
            return
        if isinstance(what, int) or content is None:
            handler.send_error(what if isinstance(what, int) else 404)
            return
        if what == "to":
            handler.send_response(302)
            handler.send_header("Location", detail)
            handler.end_headers()
            return
        if what == "slow":
            time.sleep(float(detail))
        tag = f'"{hash(content)}"'
        start = self._start(handler, tag) if what not in ("whole", "lie") else 0
        if start and start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.end_headers()
            return
        if what == "elsewhere":
            start = start // 2
        body = content[start:]
        claimed = len(body)
        if what in ("more", "lie", "less", "claim"):
            number = int(detail)
            claimed = {"less": len(body) - number, "claim": number}.get(what, len(body) + number)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if what != "endless":
            handler.send_header("Content-Length", str(claimed))
        if self.tagged:
            handler.send_header("ETag", tag)
        handler.end_headers()
        try:
            if what == "endless":
                deadline = time.monotonic() + PATIENCE
                while time.monotonic() < deadline:
                    handler.wfile.write(bytes(1 << 20))
            handler.wfile.write(body[: int(detail)] if what == "cut" else body)
            handler.wfile.flush()
        except OSError:  # the other side has had enough
            pass

    def _start(self, handler: http.server.BaseHTTPRequestHandler, tag: str) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if match is None or handler.headers.get("If-Range", tag) != tag:
            return 0
        return int(match[1])
