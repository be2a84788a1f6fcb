"""The server's answers, through the application as the server runs it; and the command itself."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from support.limits import LAST_RESORT

from mindcv_halo import Prediction, Predictor, create_model
from mindcv_halo.cli import main
from mindcv_halo.errors import UserError

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")

from starlette.testclient import TestClient  # noqa: E402

from mindcv_halo.serving.app import make_app  # noqa: E402
from mindcv_halo.serving.limits import Limits  # noqa: E402

IMAGE_TYPE = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "model.ckpt"
    ms.save_checkpoint(create_model("halonet_test", num_classes=3), str(path))
    (path.parent / "class_names.txt").write_text("blue\ngreen\n<b>red</b>\n")
    return str(path)


@pytest.fixture(scope="module")
def predictor(checkpoint) -> Predictor:
    return Predictor("halonet_test", checkpoint_path=checkpoint, image_resize=32, device_target="CPU", mode=1)


@pytest.fixture
def client(predictor):
    with TestClient(make_app(predictor, Limits(), ("localhost", "127.0.0.1", "[::1]")), "http://localhost") as client:
        yield client


def make_pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


PNG = encode(make_pixels())


def test_a_prediction(client, predictor):
    answer = client.post("/api/predict", content=PNG, headers=IMAGE_TYPE)
    assert answer.status_code == 200
    content = answer.json()
    assert content.keys() == {"predictions", "seconds"}
    expected = predictor(make_pixels())
    assert [entry["name"] for entry in content["predictions"]] == list(expected.class_names)
    assert [entry["label"] for entry in content["predictions"]] == list(expected.labels)
    shares = [entry["probability"] for entry in content["predictions"]]
    np.testing.assert_allclose(shares, expected.probabilities, rtol=1e-5)


def test_where_it_looked(client, predictor):
    url = "/api/predict?layer=stages.1.1&y=3&x=30"
    content = client.post(url, content=PNG, headers={"Content-Type": "application/octet-stream"}).json()
    expected = predictor.explain(make_pixels(), "stages.1.1", (3, 30))
    found, attention = content["attention"], expected.attention
    assert (found["layer"], found["stride"]) == ("stages.1.1", 4)
    assert found["query"] == [0, 28, 4, 32]
    assert found["block"] == list(attention.image_block) and found["window"] == list(attention.image_window)
    np.testing.assert_allclose(found["weights"], attention.weights, atol=1e-6)
    np.testing.assert_allclose(found["outside"], attention.weights[:, ~attention.inside].sum(1), atol=1e-6)
    assert max(found["outside"]) > 0
    kind, _, data = content["view"].partition(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(data)))), expected.view)
    middle = client.post("/api/predict?layer=stages.3.0", content=PNG, headers=IMAGE_TYPE).json()["attention"]
    assert middle["query"] == [16, 16, 24, 24] and middle["layer"] == "stages.3.0"


@pytest.mark.parametrize("number, name", [("0", "stages.1.1"), ("2", "stages.3.0"), ("-1", "stages.3.0")])
def test_a_layer_by_its_number(client, number, name):
    answer = client.post(f"/api/predict?layer={number}", content=PNG, headers=IMAGE_TYPE)
    assert answer.status_code == 200 and answer.json()["attention"]["layer"] == name


def test_the_model(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    content = client.get("/api/model").json()
    assert content["model"] == "halonet_test" and content["num_classes"] == 3 and content["image_size"] == [32, 32]
    assert content["attention_layers"] == ["stages.1.1", "stages.2.0", "stages.3.0"]
    assert content["max_bytes"] == 10_000_000


@pytest.mark.parametrize(
    "url, content, headers, status, message",
    [
        ("", b"no image", IMAGE_TYPE, 415, "this is none of JPEG, PNG"),
        ("", PNG, {"Content-Type": "text/plain"}, 415, "with a Content-Type such as image/jpeg, not 'text/plain'"),
        ("", PNG, {}, 415, "not 'none'"),
        ("", b"", IMAGE_TYPE, 415, "this is none of"),
        ("", PNG[:-200], IMAGE_TYPE, 422, "the image is damaged"),
        ("?layer=stages.9.9", PNG, IMAGE_TYPE, 400, "layer 'stages.9.9' must be one of stages.1.1"),
        ("?layer=3", PNG, IMAGE_TYPE, 400, "layer 3 must be one of stages.1.1"),
        ("?layer=" + "9" * 5000, PNG, IMAGE_TYPE, 400, "must be one of stages.1.1"),
        ("?y=1", PNG, IMAGE_TYPE, 400, "y and x must both be given"),
        ("?y=1&x=-1", PNG, IMAGE_TYPE, 400, "as whole numbers"),
        ("?y=1&x=" + "9" * 5000, PNG, IMAGE_TYPE, 400, "as whole numbers"),
        ("?y=32&x=0", PNG, IMAGE_TYPE, 400, "query 32 0 lies outside the image of 32 x 32 pixels"),
        ("?top=3", PNG, IMAGE_TYPE, 400, "unknown parameter 'top'; known are layer, y and x"),
    ],
)
def test_refusals(client, url, content, headers, status, message):
    answer = client.post(f"/api/predict{url}", content=content, headers=headers)
    assert answer.status_code == status and message in answer.json()["error"]


def test_logits_that_are_no_numbers(predictor, monkeypatch):
    nothing = replace(predictor(make_pixels()), probabilities=(math.nan,) * 3)
    monkeypatch.setattr(type(predictor), "__call__", lambda *_: nothing)
    with TestClient(make_app(predictor, Limits()), "http://localhost") as asking:
        answer = asking.post("/api/predict", content=PNG, headers=IMAGE_TYPE)
    assert answer.status_code == 500
    assert answer.json() == {"error": "the model's logits of this image are no numbers; serve other weights"}


def test_other_paths_and_methods(client):
    assert client.get("/api/predict").status_code == 405
    assert client.get("/../cli.py").status_code == 404
    assert client.get("/nothing").json() == {"error": "Not Found"}


def limited(predictor, **limits) -> TestClient:
    return TestClient(make_app(predictor, Limits(**limits)), "http://localhost")


def test_bytes_are_limited_whether_their_number_is_said_or_not(predictor):
    sent = []

    def drip():  # without Content-Length
        for _ in range(1000):
            sent.append(1)
            yield bytes(100)

    with limited(predictor, max_bytes=len(PNG)) as client:
        assert client.post("/api/predict", content=PNG, headers=IMAGE_TYPE).status_code == 200
        said = client.post("/api/predict", content=PNG + b"\0", headers=IMAGE_TYPE)
        unsaid = client.post("/api/predict", content=drip(), headers=IMAGE_TYPE)
    for answer in (said, unsaid):
        assert answer.status_code == 413 and f"more than {len(PNG):,} bytes" in answer.json()["error"]


def test_pixels_are_limited(predictor):
    with limited(predictor, max_pixels=1999) as client:
        answer = client.post("/api/predict", content=PNG, headers=IMAGE_TYPE)
    assert answer.status_code == 413 and "50 x 40 pixels; at most 1,999" in answer.json()["error"]


class Waiting:
    """A predictor that waits until it is told to go on."""

    model_name, class_names, image_size, attention_layers = "waiting", ["a"], (32, 32), ()

    def __init__(self):
        self.began, self.go_on = threading.Event(), threading.Event()

    def __call__(self, image):
        self.began.set()
        self.go_on.wait()
        return Prediction(None, (0,), ("a",), (1.0,))


def test_time_is_limited():
    """And there is a place again when what took too long has ended."""
    waiting = Waiting()
    with limited(waiting, timeout=4.0, max_waiting=1) as client:
        late = client.post("/api/predict", content=PNG, headers=IMAGE_TYPE)
        assert late.status_code == 504 and "took more than 4 s" in late.json()["error"]
        waiting.go_on.set()
        answers = (client.post("/api/predict", content=PNG, headers=IMAGE_TYPE) for _ in range(1000))
        assert any(answer.status_code == 200 for answer in answers)


def test_others_are_answered_meanwhile():
    """Two of three have a place; whoever comes last is told to come again."""
    waiting = Waiting()
    with limited(waiting, timeout=LAST_RESORT, max_waiting=2) as client, ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(client.post, "/api/predict", content=PNG, headers=IMAGE_TYPE) for _ in range(3)]
        busy = next(as_completed(sent)).result()
        assert busy.status_code == 503 and busy.headers["Retry-After"] == "1"
        waiting.began.wait()
        assert client.get("/healthz").status_code == 200
        waiting.go_on.set()
        assert sorted(future.result().status_code for future in sent) == [200, 200, 503]


SCOPE = {
    "type": "http", "method": "POST", "path": "/api/predict", "raw_path": b"/api/predict", "query_string": b"",
    "headers": [(b"host", b"localhost"), (b"content-type", b"image/png")], "http_version": "1.1", "scheme": "http",
    "server": ("localhost", 80), "client": ("127.0.0.1", 1), "root_path": "",
}  # fmt: skip


@pytest.mark.parametrize("sent", [PNG, PNG[:100]], ids=["with its image", "within its upload"])
def test_who_leaves_gives_up_the_place(caplog, sent):
    """More senders leave than there are places; the application is called as a server calls it."""
    import asyncio

    waiting = Waiting()
    app = make_app(waiting, Limits(max_waiting=2))

    async def leave() -> None:
        messages = iter([{"type": "http.request", "body": sent, "more_body": sent != PNG}])

        async def receive() -> dict:
            return next(messages, {"type": "http.disconnect"})

        async def send(message: dict) -> None:
            assert message.get("status", 499) == 499

        await app(SCOPE, receive, send)

    async def many() -> None:
        first = asyncio.ensure_future(leave())  # it is computed, and keeps its place
        while not (waiting.began.is_set() or first.done()):
            await asyncio.sleep(0.01)
        for _ in range(5):
            await leave()
        waiting.go_on.set()
        await first

    asyncio.run(many())
    assert not caplog.records


def test_an_upload_that_does_not_end(predictor):
    """The sender stops in the middle; the application is called as a server calls it."""
    import asyncio

    app = make_app(predictor, Limits(timeout=0.2))
    chunks = iter([{"type": "http.request", "body": PNG[:100], "more_body": True}])
    sent = []

    async def receive():
        chunk = next(chunks, None)
        if chunk is None:
            await asyncio.sleep(2 * LAST_RESORT)
        return chunk

    async def send(message):
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(SCOPE, receive, send), LAST_RESORT))
    assert sent[0]["status"] == 408 and b"did not arrive within 0.2 s" in sent[1]["body"]


def test_many_at_once_get_their_own_answers(predictor):
    seeds = range(12)
    expected = [predictor(make_pixels(seed)).probabilities for seed in seeds]
    with limited(predictor, max_waiting=len(seeds)) as client, ThreadPoolExecutor(len(seeds)) as pool:
        answers = pool.map(
            lambda seed: client.post("/api/predict", content=encode(make_pixels(seed)), headers=IMAGE_TYPE), seeds
        )
        found = [[entry["probability"] for entry in answer.json()["predictions"]] for answer in answers]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_failure_of_ours_tells_nothing_but_that(caplog):
    class Failing(Waiting):
        def __call__(self, image):
            raise RuntimeError("a secret")

    app = make_app(Failing(), Limits())
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        answer = client.post("/api/predict", content=PNG, headers=IMAGE_TYPE)
    assert answer.status_code == 500 and answer.json() == {"error": "the server failed; its log tells why"}
    assert "a secret" in caplog.text
    for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"):
        assert name in answer.headers


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost", 200), ("localhost:8000", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200),
        ("evil.example", 400), ("evil.example:8000", 400), ("localhost.evil.example", 400),
        ("LOCALHOST", 200), ("localhost:8000:80", 400), ("localhost:x", 400), ("user@localhost", 400),
        ("127.0.0.1.nip.io", 400), ("", 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/model", "/page.js"])
def test_only_who_names_this_machine_is_answered(client, host, status, path):
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == status and answer.headers["X-Content-Type-Options"] == "nosniff"
    if status == 400:
        assert f"this server does not answer for {host!r}" in answer.json()["error"]


def test_other_sites_cannot_send(client):
    """A browser asks first, because the content type of an image is none that any page may send; there is no yes."""
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/api/predict", headers={**headers, "Access-Control-Request-Headers": "content-type"})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path, kind", [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")])
def test_the_page_needs_nothing_from_elsewhere(client, path, kind):
    answer = client.get(path)
    assert answer.headers["content-type"].startswith(kind)
    assert "://" not in answer.text.replace("location.origin", "")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_model_without_attention_maps(tmp_path):
    path = tmp_path / "model.ckpt"
    ms.save_checkpoint(create_model("halonet_test", num_classes=3), str(path))
    made = Predictor("halonet_test", checkpoint_path=path, num_classes=3, image_resize=32, mode=1, dialect="mindcv")
    with limited(made) as client:
        assert client.get("/api/model").json()["attention_layers"] == []
        assert len(client.post("/api/predict", content=PNG, headers=IMAGE_TYPE).json()["predictions"]) == 3
        answer = client.post("/api/predict?layer=0", content=PNG, headers=IMAGE_TYPE)
    assert answer.status_code == 400 and "has no attention maps" in answer.json()["error"]


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "prediction needs weights"),
        (["--port", "http"], "--port: 'http' is not a whole number of at least 0"),
        (["--max_bytes", "0"], "--max_bytes: '0' is not a whole number of at least 1"),
        (["--timeout", "soon"], "--timeout: 'soon' is not a number of seconds above 0"),
        (["--timeout", "nan"], "--timeout: 'nan'"),
        (["--timeout", "1_0"], "--timeout: '1_0'"),
        (["--prt", "1"], "unknown flag 'prt'; nearest: port"),
    ],
)
def test_bad_flags(capsys, flags, message):
    assert main(["serve", "--model", "halonet_test", *flags]) == 2
    assert message in capsys.readouterr().err


def test_the_command(checkpoint, pytestconfig):
    """It says where it listens, answers there, and ends with status 0 on Ctrl-C."""
    flags = ["--model", "halonet_test", "--ckpt_path", checkpoint, "--image_resize", "32", "--port", "0", "--mode", "1"]
    flags += ["--timeout", "15"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mindcv_halo.cli", "serve", *flags, "--device_target", "CPU"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=pytestconfig.rootpath,
        env={**os.environ, "no_proxy": "*"},
    )  # fmt: skip
    try:
        lines = [server.stdout.readline() for _ in range(2)]
        assert lines[0] == "preparing halonet_test ...\n"
        assert lines[1].startswith("serving halonet_test at http://127.0.0.1:"), server.stderr.read()
        url = lines[1].split()[3]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"{url}api/predict", PNG, IMAGE_TYPE)
        names = {entry["name"] for entry in json.load(opener.open(request, timeout=LAST_RESORT))["predictions"]}
        assert names == {"blue", "green", "<b>red</b>"}
        with socket.create_connection(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])), LAST_RESORT) as idle:
            idle.sendall(b"GET / HTTP/1.1\r\nHost: lo\r\n")
            assert idle.recv(1) == b""  # the connection ends
        server.send_signal(signal.SIGINT)
        assert server.wait(LAST_RESORT) == 0
        assert server.stderr.read() == ""
    finally:
        server.kill()
        server.communicate()


def test_another_address_is_warned_about(capsys, monkeypatch, predictor):
    import uvicorn

    from mindcv_halo.serving.server import listen, serve

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    serve(predictor, "0.0.0.0", listen("0.0.0.0", 0), Limits())
    assert "warning: 0.0.0.0 is no loopback address: who reaches it may use this model" in capsys.readouterr().err
    serve(predictor, "127.0.0.1", listen("127.0.0.1", 0), Limits())
    captured = capsys.readouterr()
    assert captured.err == "" and "http://127.0.0.1:" in captured.out


def test_a_predictor_checks_places_for_the_server(predictor):
    with pytest.raises(UserError, match="layer 'x' must be one of"):
        predictor.check("x", None)
