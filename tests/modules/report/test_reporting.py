"""Reports: what the files say, and that the page is complete in itself."""

from __future__ import annotations

import base64
import csv
import html
import json
import re
import warnings

import numpy as np
import pytest
from support.awkward_names import AWKWARD

from mindcv_halo.data.class_names import name_all_classes
from mindcv_halo.errors import UserError
from mindcv_halo.files.path import make_folder
from mindcv_halo.report.report import NUM_WORST, LogitsRecorder, write_report
from mindcv_halo.runs.metrics import MetricsCounter

NAMES = ["<i>cat</i>", "dog & co", "owl"]


def report(folder, logits, labels, names=NAMES):
    """Write a report of these logits; the page, and the positions whose images were asked for."""
    counter = MetricsCounter()
    counter.update(logits, labels)
    asked = []

    def read_image(position):
        asked.append(position)
        return np.full((9, 9, 3), position % 256, np.uint8)

    page = write_report(
        folder,
        title="net, <x>.ckpt",
        class_names=names,
        paths=[f"/data/<{position}>.png" for position in range(len(labels))],
        read_image=read_image,
        labels=labels,
        logits=logits,
        metrics=counter.result(),
    )
    return page.read_text(), asked


def test_files(tmp_path):
    labels = np.array([0, 0, 0, 1])
    logits = np.log(np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9]], np.float32))
    page, asked = report(tmp_path, logits, labels)
    assert {path.name for path in tmp_path.iterdir()} == {
        "confusion.png", "metrics.json", "per_class.csv", "report.html",
    }  # fmt: skip
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    losses = -np.log([0.8, 0.3, 0.2, 0.05])
    assert metrics == {
        "title": "net, <x>.ckpt", "top1": 25.0, "loss": pytest.approx(losses.mean()),
        "num_images": 4, "num_left_out": 0, "num_classes": 3,
    }  # fmt: skip
    with (tmp_path / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == NAMES
    assert float(rows[0]["top1"]) == pytest.approx(100 / 3) and rows[0]["top5"] == ""
    assert float(rows[0]["loss"]) == pytest.approx(losses[:3].mean())
    assert (rows[0]["images"], rows[0]["taken_for"], rows[0]["times_taken"]) == ("3", "dog & co", "2")
    assert list(rows[2].values()) == ["owl", "0", "", "", "", "", "0"]

    assert asked == [3, 2, 1]  # the mistakes, the worst first
    assert "true: dog &amp; co (5.0%)" in page and "predicted: owl (90.0%)" in page and "top-5" not in page
    assert "/data/&lt;3&gt;.png" in page and "<i>" not in page and "<x>" not in page
    assert "All 3 images that were taken for another class" in page
    cells = re.findall(r"<tr><td>(.*?)</td>", page)
    assert cells == ["dog &amp; co", "&lt;i&gt;cat&lt;/i&gt;", "owl"]  # 0 %, 33 %, no image
    sources = re.findall(r'src="(.*?)"', page)
    assert len(sources) == 4 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert base64.b64decode(sources[0].partition(",")[2]) == (tmp_path / "confusion.png").read_bytes()
    assert not re.search(r"https?:|href=|<link|<script|url\(", page)


def test_only_the_worst_are_read(tmp_path):
    num_images = NUM_WORST + 9
    logits = np.zeros((num_images, 2), np.float32)
    logits[:, 1] = 1 + np.random.default_rng(0).permutation(num_images)
    page, asked = report(tmp_path, logits, np.zeros(num_images, int), ["a", "b"])
    assert asked == np.argsort(-logits[:, 1])[:NUM_WORST].tolist()
    assert f"The {NUM_WORST} with the highest loss, of {num_images} images" in page


def test_no_mistakes(tmp_path):
    page, asked = report(tmp_path, np.eye(3, dtype=np.float32), np.arange(3))
    assert "There are none." in page and not asked


def test_a_dead_network(tmp_path):
    """Its loss is no number, which JSON has no word for."""
    page, asked = report(tmp_path, np.full((5, 3), np.nan, np.float32), np.zeros(5, int))
    assert len(asked) == 5 and "true: &lt;i&gt;cat&lt;/i&gt; (nan%)" in page
    assert json.loads((tmp_path / "metrics.json").read_text())["loss"] is None


def test_the_recorder_keeps_the_order():
    labels = np.array([2, 0, 1, 1, 2])
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    recorder = LogitsRecorder(most=7)
    for start in (0, 2, 4):
        recorder(logits[start : start + 2], labels[start : start + 2])
    np.testing.assert_array_equal(recorder.logits, logits.astype(np.float32))
    np.testing.assert_array_equal(recorder.labels, labels)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"report .*/file: .*choose a folder that can be written"):
        make_folder("report", str(tmp_path / "file"))


def test_any_name_of_a_class_comes_back(tmp_path):
    """Each class has one image, taken for the next one; the files are read as strangers would."""
    names = [*AWKWARD]
    labels = np.arange(len(names))
    logits = np.roll(np.eye(len(names), dtype=np.float32), 1, axis=1) + 0.1 * np.eye(len(names), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page, _ = report(tmp_path, logits, labels, names)
    with (tmp_path / "per_class.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows[1:]] == names and [row[5] for row in rows[1:]] == [*names[1:], names[0]]
    cells = [html.unescape(cell) for cell in re.findall(r"<tr><td>(.*?)</td>", page, re.DOTALL)]
    assert sorted(cells) == sorted(names) and "<script" not in page
    assert "white-space: pre-wrap" in page  # else nobody saw the blanks
    json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("num_classes, has_top5", [(5, False), (6, True)])
def test_top_5_of_five_classes_is_nowhere(tmp_path, num_classes, has_top5):
    logits = np.eye(num_classes, dtype=np.float32)
    page, _ = report(tmp_path, logits, np.arange(num_classes)[::-1].copy(), list("abcdef")[:num_classes])
    assert ("top-5" in page) is has_top5 is ("top5" in json.loads((tmp_path / "metrics.json").read_text()))
    with (tmp_path / "per_class.csv").open() as file:
        assert {bool(row["top5"]) for row in csv.DictReader(file)} == {has_top5}


def test_classes_without_a_folder_are_left_out(tmp_path):
    """Unless the network took an image for one of them."""
    names = name_all_classes(["cat", "owl"], 9)
    logits = np.eye(9, dtype=np.float32)[[0, 1, 0]]
    for logit, shown in ((0, 2), (4, 5)):
        logits[2, 0], logits[2, logit] = 0, 1
        report(tmp_path, logits, np.array([0, 1, 1]), names)
        with (tmp_path / "per_class.csv").open() as file:
            assert [row["class"] for row in csv.DictReader(file)] == names[:shown]
    assert json.loads((tmp_path / "metrics.json").read_text())["num_classes"] == 9
