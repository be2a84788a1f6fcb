"""Predictions as text: every name of a class and of a file comes back, and a table stays a table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from support.awkward_names import AWKWARD

from mindcv_halo.engine import FORMATS, Prediction

PATHS = [Path("images") / f"{name}.png" for name in (*AWKWARD, "caf\udce9") if "/" not in name]


@pytest.fixture
def predictions() -> list[Prediction]:
    """An image of every name, with all classes, the likeliest first."""
    count = len(AWKWARD)
    return [Prediction(path, tuple(range(count)), AWKWARD, (1 / count,) * count) for path in PATHS]


def test_json(predictions):
    text = "".join(FORMATS["json"](predictions))
    content = json.loads(text.encode("utf-8"))
    assert [entry["path"] for entry in content] == list(map(str, PATHS))
    assert [item["name"] for item in content[0]["predictions"]] == list(AWKWARD)
    assert "猫" in text  # people read it too


def test_json_has_no_word_for_what_is_no_number():
    text = "".join(FORMATS["json"]([Prediction(Path("a.png"), (0,), ("cat",), (float("nan"),))]))
    assert json.loads(text, parse_constant=pytest.fail)[0]["predictions"][0]["probability"] is None


def test_csv(predictions):
    text = "".join(FORMATS["csv"](predictions))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["class"] for row in rows[: len(AWKWARD)]] == list(AWKWARD)
    assert [row["path"] for row in rows[:: len(AWKWARD)]] == list(map(str, PATHS))


def test_a_line_of_the_table_is_a_class(predictions):
    text = "".join(FORMATS["table"]([predictions[0], predictions[-1]]))
    lines = text.removesuffix("\n").split("\n")
    assert len(lines) == 2 * (1 + len(AWKWARD)) and lines[0] == r"images/line\nbreak.png"
    assert lines[1 + len(AWKWARD)] == "images/caf\udce9.png"  # printed as it is
    assert all(line.isprintable() for line in lines[1 : 1 + len(AWKWARD)])
    assert lines[1].endswith(r"line\nbreak") and any(line.endswith("%  ' leading'") for line in lines)
