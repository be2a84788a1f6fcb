"""What holds for every request and every answer, whatever the route."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    # Nothing but this server's own script and style runs on the page, and no other page can frame it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class HeadersMiddleware:
    """The same headers on every answer."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class HostMiddleware:
    """Refuses requests whose Host header names nothing of `allowed_hosts`; "*" among them allows all.

    Starlette's TrustedHostMiddleware answers in plain text, where every error here is JSON.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]):
        self.app = app
        self.allowed_hosts = {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "*" not in self.allowed_hosts:
            host = Headers(scope=scope).get("host", "")
            if re.sub(r":[0-9]+$", "", host).lower() not in self.allowed_hosts:
                names = ", ".join(sorted(self.allowed_hosts))
                refusal = JSONResponse({"error": f"this server does not answer for {host!r}, only for {names}"}, 400)
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)
