"""The page in a real browser: Chromium and its driver, of the system (Debian: chromium and chromium-driver)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from support.limits import LAST_RESORT

from mindcv_halo import create_model

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
webdriver = pytest.importorskip("selenium.webdriver")

from selenium.common.exceptions import TimeoutException  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH")

SECONDS = 30  # that a page may take on a busy machine
NAMES = ["blue", "green", "<b>red</b> & more"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkpoint with names of its classes, and files to drop."""
    folder = tmp_path_factory.mktemp("serve")
    ms.save_checkpoint(create_model("halonet_test", num_classes=3), str(folder / "model.ckpt"))
    (folder / "class_names.txt").write_text("\n".join(NAMES) + "\n")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    (folder / "text.png").write_text("no image")
    (folder / "large.png").write_bytes(bytes(200_001))
    return folder


@pytest.fixture(scope="module")
def url(folder, pytestconfig):
    """Where `mindcv-halo serve` listens."""
    flags = ["--model", "halonet_test", "--ckpt_path", str(folder / "model.ckpt"), "--image_resize", "64"]
    flags += ["--port", "0", "--mode", "1", "--device_target", "CPU", "--max_bytes", "200000"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mindcv_halo.cli", "serve", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=pytestconfig.rootpath,
    )  # fmt: skip
    lines = [server.stdout.readline() for _ in range(2)]
    yield lines[1].split()[3]
    server.terminate()
    server.communicate(timeout=LAST_RESORT)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", f"--user-data-dir={profile}", "--window-size=1200,1000"),
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER, env={**os.environ, "SE_OFFLINE": "true"})
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, url):
    """The page, newly loaded; at the end the browser must have nothing to complain about."""
    driver.get_log("browser")
    driver.get(url)
    wait(driver, lambda: "halonet_test, 3 classes" in text(driver, "model"))
    yield driver
    assert [entry for entry in driver.get_log("browser") if "/api/predict" not in entry["message"]] == []


def text(page, name: str) -> str:
    return page.find_element(By.ID, name).text


def wait(page, condition) -> None:
    try:
        WebDriverWait(page, SECONDS, poll_frequency=0.05).until(lambda _: condition())
    except TimeoutException:
        pytest.fail(f"the page still says {text(page, 'status')!r} and {text(page, 'summary')!r}")


def choose(page, path: Path) -> None:
    page.find_element(By.ID, "file").send_keys(str(path))


def done(page) -> bool:
    return text(page, "status").startswith("Done in ")


def show(page, folder: Path) -> None:
    """Choose the image, and wait until it is predicted."""
    choose(page, folder / "image.png")
    wait(page, lambda: done(page))


def look(page, action, changed: str) -> None:
    """Do something that asks the server again, until the text of the summary holds `changed`."""
    action()
    wait(page, lambda: changed in text(page, "summary") and done(page))


def colours(page, selector: str) -> int:
    """How many colours a canvas shows."""
    script = """
        const canvas = document.querySelector(arguments[0]);
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    """
    return page.execute_script(script, selector)


def test_an_image_is_predicted_and_shown(page, folder, tmp_path):
    show(page, folder)
    items = page.find_elements(By.CSS_SELECTOR, "#classes li")
    assert sorted(item.find_element(By.CLASS_NAME, "name").text for item in items) == sorted(NAMES)
    shares = [float(item.find_element(By.CLASS_NAME, "share").text.removesuffix(" %")) for item in items]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.2)
    assert text(page, "name") == "image.png"
    assert "Layer stages.3.0, mean of the heads: the query at rows 32 to 39, columns 32 to 39" in text(page, "summary")
    assert colours(page, "#view") > 100
    buttons = page.find_elements(By.CSS_SELECTOR, "#heads button")
    assert [button.text.split("\n")[0] for button in buttons] == ["mean", "head 0", "head 1", "head 2", "head 3"]
    assert all(colours(page, f"#heads button:nth-child({number}) canvas") > 10 for number in range(1, 6))
    assert page.save_screenshot(str(tmp_path / "page.png"))


def test_a_click_chooses_the_query(page, folder):
    show(page, folder)
    view = page.find_element(By.ID, "view")
    cell = view.size["width"] / 8  # of the 8 x 8 pixels of the layer's map
    click = ActionChains(page).move_to_element_with_offset(view, round(-2.5 * cell), round(2.5 * cell)).click()
    # Row 52, column 12: attention of stride 2 has one query for 2 x 2 pixels of its map.
    look(page, click.perform, "the query at rows 48 to 55, columns 0 to 7")
    assert abs(int(page.find_element(By.ID, "row").get_property("value")) - 52) <= 1
    assert "outside the image" in text(page, "summary")
    layers = Select(page.find_element(By.ID, "layer"))
    look(page, lambda: layers.select_by_visible_text("stages.1.1"), "Layer stages.1.1")


def test_everything_works_from_the_keyboard(page, folder):
    show(page, folder)
    view = page.find_element(By.ID, "view")
    look(page, lambda: view.send_keys(Keys.ARROW_LEFT), "rows 32 to 39, columns 16 to 23")
    look(page, lambda: view.send_keys(Keys.ARROW_UP), "rows 16 to 23, columns 16 to 23")
    row = page.find_element(By.ID, "row")
    row.clear()
    look(page, lambda: row.send_keys("0", Keys.ENTER), "rows 0 to 7")
    page.find_element(By.CSS_SELECTOR, "#heads button").send_keys(Keys.ARROW_RIGHT, Keys.NULL)
    assert "head 0: the query" in text(page, "summary")
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert "head 3: the query" in text(page, "summary")
    assert page.switch_to.active_element.get_attribute("aria-checked") == "true"


def test_of_many_queries_the_first_and_the_last_are_sent(page, folder):
    """One at a time: what the server was asked it computes, whether or not the page still waits."""
    show(page, folder)
    script = """
        const send = window.fetch;
        window.sent = {urls: [], now: 0, most: 0};
        window.fetch = async (url, options) => {
          sent.urls.push(url);
          sent.most = Math.max(sent.most, ++sent.now);
          const response = await send(url, options);
          await new Promise((resolve) => setTimeout(resolve, 300));
          sent.now--;
          return response;
        };
        const view = document.getElementById("view");
        for (let step = 0; step < 20; step++) {
          view.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft", cancelable: true}));
        }
    """
    look(page, lambda: page.execute_script(script), "rows 32 to 39, columns 0 to 7")
    urls, most = page.execute_script("return [sent.urls, sent.most]")
    assert most == 1 and len(urls) == 2 and urls[-1].endswith("&y=32&x=0")


def test_an_image_can_be_dropped(page):
    script = """
        const done = arguments[0];
        const canvas = new OffscreenCanvas(30, 20);
        canvas.getContext("2d").fillRect(5, 5, 9, 9);
        canvas.convertToBlob().then((blob) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], "dropped.png", {type: "image/png"}));
          document.body.dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: transfer}));
          done();
        });
    """
    page.execute_async_script(script)
    wait(page, lambda: done(page))
    assert text(page, "name") == "dropped.png"


def test_refusals_are_said(page, folder):
    choose(page, folder / "text.png")
    wait(page, lambda: "this is none of JPEG" in text(page, "status"))
    assert page.find_element(By.ID, "status").get_attribute("class") == "error"
    assert not page.find_element(By.ID, "result").is_displayed()
    choose(page, folder / "large.png")
    wait(page, lambda: "has 200,001 bytes; at most 200,000 are taken" in text(page, "status"))
    show(page, folder)
    assert page.find_element(By.ID, "status").get_attribute("class") == ""


def test_nothing_comes_from_elsewhere(page, folder, url):
    show(page, folder)
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    sources = [source for source in page.execute_script(script) if not source.startswith("data:")]
    assert len(sources) >= 4 and all(source.startswith(url) for source in sources)


def test_light_and_dark(page, folder):
    show(page, folder)
    shades = {}
    for scheme in ("light", "dark"):
        emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        shades[scheme] = page.execute_script(
            "const style = getComputedStyle(document.body);"
            "return [style.backgroundColor, style.color].map((text) => Number(text.match(/\\d+/)[0]))"
        )
    assert shades["light"][0] > 200 > 100 > shades["light"][1]
    assert shades["dark"][0] < 60 < 200 < shades["dark"][1]


def test_labels_for_those_who_do_not_see_it(page, folder):
    show(page, folder)
    script = """
        return [...document.querySelectorAll("input, select, button, canvas[tabindex]")]
          .filter((element) => !element.labels?.length && !element.textContent.trim() && !element.ariaLabel)
          .map((element) => element.outerHTML)
    """
    assert page.execute_script(script) == []
    assert page.find_element(By.ID, "status").get_attribute("role") == "status"
