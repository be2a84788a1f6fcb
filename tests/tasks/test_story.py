"""docs/story.md says what its own commands and code say, on the weights that travel with the package."""

from __future__ import annotations

import csv
import html
import re
import sys
from decimal import Decimal
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from mindcv_halo import get_pretrained_cfg
from mindcv_halo.models.weights import find_packaged, read_weights

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """What its script says of each block, and the folder that it ran in."""
    for name in ("matplotlib", "onnxruntime", "uvicorn", "starlette"):
        pytest.importorskip(name)
    sys.path.insert(0, str(ROOT / "docs" / "scripts"))
    script = import_module("tell_story")
    sys.path.remove(str(ROOT / "docs" / "scripts"))
    folder = tmp_path_factory.mktemp("story")
    return script, script.tell(folder), folder


def is_said(line: str, said: str) -> bool:
    """Word by word; the last of a number's decimals may be off by one, as machines round differently.

    24 steps on MindSpore's own kernels, in place of native ones, changed a loss by 6e-6 (test_training.py).
    """
    if NUMBER.sub("0", line) != NUMBER.sub("0", said):
        return False
    pairs = zip(NUMBER.findall(line), NUMBER.findall(said), strict=True)
    return all(a == b or ("." in a and abs(Decimal(a) - Decimal(b)) <= last_place(a)) for a, b in pairs)


def last_place(number: str) -> Decimal:
    return Decimal(1).scaleb(Decimal(number).as_tuple().exponent)


def test_the_page_says_what_the_run_says(story):
    _, told, _ = story
    assert sum(bool(block.shown) for block in told) > 10
    for block in told:
        lines = iter(block.said.splitlines())
        for line in block.shown.splitlines():
            assert any(is_said(line, said) for said in lines), f"{block.text}says\n{block.said}and not\n{line}"


def test_its_pictures_are_those_of_the_run(story):
    script, _, folder = story
    text = script.PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"\(pictures/(story_\w+\.png)\)", text)) == set(script.PICTURES.values())
    for source, name in script.PICTURES.items():
        assert (folder / source).stat().st_size > 0 and (script.PAGE.parent / "pictures" / name).is_file(), "make pages"


def test_the_worst_mistake_but_one_is_the_one_that_it_explains(story):
    _, _, folder = story
    report = html.unescape((folder / "report" / "report.html").read_text(encoding="utf-8"))
    assert re.findall(r"loss [\d.]+, (\S+?)<", report)[1] == "clothes/val/coat/378.png"
    with (folder / "report" / "per_class.csv").open() as file:
        assert max(float(row["top1"]) for row in csv.DictReader(file)) == 100  # and not a little more


def test_what_was_frozen_is_what_was_shipped(story):
    _, _, folder = story
    tuned = read_weights(str(folder / "runs" / "clothes" / "halonet_mini_best.ckpt"))
    shipped = read_weights(str(find_packaged(get_pretrained_cfg("halonet_mini"))))
    same = {name for name in shipped if name in tuned and np.array_equal(tuned[name], shipped[name])}
    assert {name for name in shipped if not name.startswith(("stages.3.", "classifier."))} == same
