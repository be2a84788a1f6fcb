"""The routes: a page, and what it asks for as JSON."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import logging
import math
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..engine import Prediction, Predictor, read_layer
from ..errors import UserError
from ..version import __version__
from .limits import Limits, RefusedError
from .middleware import HeadersMiddleware, HostMiddleware
from .upload import decode_upload
from .worker import Worker

T = TypeVar("T")

_PAGE_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_LOOK_INTERVAL = 0.1  # seconds between two looks at whether the sender of a request is still there
_LOGGER = logging.getLogger("mindcv_halo.serving")


def make_app(predictor: Predictor, limits: Limits, allowed_hosts: Sequence[str] = ("*",)) -> ASGIApp:
    """The application for one model.

    allowed_hosts: what a request's Host header may say. A page elsewhere that had its name resolved to this machine
    (DNS rebinding) would send that name.
    """
    service = _Service(predictor, limits)
    routes = [Route(path, _make_file_route(*file), methods=["GET"]) for path, file in _PAGE_FILES.items()]
    routes += [
        Route("/healthz", service.report_health, methods=["GET"]),
        Route("/api/model", service.describe_model, methods=["GET"]),
        Route("/api/predict", service.predict, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(HostMiddleware, allowed_hosts=allowed_hosts)],
        exception_handlers={
            RefusedError: _refuse,
            UserError: _refuse,
            ClientDisconnect: _give_up,
            HTTPException: _refuse,
            Exception: _apologise,
        },
        lifespan=service.lifespan,
    )
    return HeadersMiddleware(app)  # around it: Starlette answers for unexpected errors outside its own middleware


class _Service:
    """The answers, each the same for all who ask."""

    def __init__(self, predictor: Predictor, limits: Limits):
        self.predictor = predictor
        self.limits = limits
        self.worker = Worker(limits)
        try:
            self.layers = predictor.attention_layers
        except UserError:  # a model, or a dialect, that has none to look at
            self.layers = ()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self.worker.close()

    async def report_health(self, _: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def describe_model(self, _: Request) -> JSONResponse:
        height, width = self.predictor.image_size
        return JSONResponse(
            {
                "model": self.predictor.model_name,
                "num_classes": len(self.predictor.class_names),
                "image_size": [height, width],
                "attention_layers": list(self.layers),
                "max_bytes": self.limits.max_bytes,
                "max_pixels": self.limits.max_pixels,
                "version": __version__,
            }
        )

    async def predict(self, request: Request) -> JSONResponse:
        """POST an image as the body. With `layer`, or `y` and `x`, in the query string the answer tells where the
        network looked, too.
        """
        place = self._read_place(request.query_params)
        data = await self._read_body(request)
        start = time.perf_counter()
        answer = await _while_connected(request, self.worker.run(self._answer, data, place))
        return JSONResponse({**answer, "seconds": round(time.perf_counter() - start, 4)})

    def _read_place(self, params: QueryParams) -> tuple[int | str, tuple[int, int] | None] | None:
        unknown = sorted(set(params) - {"layer", "y", "x"})
        if unknown:
            raise RefusedError(400, f"unknown parameter {unknown[0]!r}; known are layer, y and x")
        if not params:
            return None
        if not self.layers:
            raise RefusedError(400, "this model has no attention maps; leave layer, y and x out")
        query = None
        if "y" in params or "x" in params:
            texts = [params.get(name, "") for name in ("y", "x")]
            if not all(text.isascii() and text.isdecimal() and len(text) < 9 for text in texts):
                raise RefusedError(400, "y and x must both be given, as whole numbers: a pixel of the view")
            query = int(texts[0]), int(texts[1])
        layer = read_layer(params.get("layer", self.layers[-1]))
        self.predictor.check(layer, query)
        return layer, query

    async def _read_body(self, request: Request) -> bytes:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise RefusedError(
                415, f"the body must be an image, with a Content-Type such as image/jpeg, not {kind or 'none'!r}"
            )
        try:
            return await asyncio.wait_for(self._collect(request), self.limits.timeout)
        except asyncio.TimeoutError:
            raise RefusedError(408, f"the image did not arrive within {self.limits.timeout:g} s") from None

    async def _collect(self, request: Request) -> bytes:
        too_large = RefusedError(413, f"the image has more than {self.limits.max_bytes:,} bytes")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.limits.max_bytes:
            raise too_large
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > self.limits.max_bytes:
                raise too_large
        return bytes(data)

    def _answer(self, data: bytes, place: tuple[int | str, tuple[int, int] | None] | None) -> dict[str, Any]:
        image = decode_upload(data, self.limits)
        if place is None:
            return {"predictions": _list_classes(self.predictor(image))}
        explanation = self.predictor.explain(image, *place)
        attention = explanation.attention
        return {
            "predictions": _list_classes(explanation.prediction),
            "view": _encode_picture(explanation.view),
            "attention": {
                "layer": attention.layer,
                "stride": attention.stride,
                "query": attention.image_query,
                "block": attention.image_block,
                "window": attention.image_window,
                "outside": [float(head[~attention.inside].sum()) for head in attention.weights],
                "weights": np.round(attention.weights.astype(np.float64), 7).tolist(),
            },
        }


async def _while_connected(request: Request, answer: Coroutine[Any, Any, T]) -> T:
    """The answer; a request whose sender has gone gives up its place in the queue."""
    task = asyncio.ensure_future(answer)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_LOOK_INTERVAL)
            if not task.done() and await request.is_disconnected():
                raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()  # also where the server, at its end, cancels the request; no effect on one that is done


def _list_classes(prediction: Prediction) -> list[dict[str, Any]]:
    if any(map(math.isnan, prediction.probabilities)):
        raise RefusedError(500, "the model's logits of this image are no numbers; serve other weights")
    rows = zip(prediction.labels, prediction.class_names, prediction.probabilities, strict=True)
    return [{"label": label, "name": name, "probability": share} for label, name, share in rows]


def _encode_picture(pixels: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _make_file_route(name: str, media_type: str):
    content = files(__package__).joinpath(name).read_bytes()

    async def send_file(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return send_file


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
    status = error.status if isinstance(error, RefusedError) else 400
    return JSONResponse({"error": str(error)}, status, headers={"Retry-After": "1"} if status == 503 else None)


async def _give_up(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _apologise(_: Request, error: Exception) -> JSONResponse:
    _LOGGER.error("a request failed", exc_info=error)
    return JSONResponse({"error": "the server failed; its log tells why"}, 500)
