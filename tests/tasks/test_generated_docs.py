"""What `make pages` writes is what is committed; multiply-accumulates are timm's."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from pydoc import locate
from types import SimpleNamespace

import numpy as np
import pytest
from mindspore.nn.utils import no_init_parameters
from support.constant_weights import create_constant

from mindcv_halo import create_model, get_pretrained_cfg, list_models
from mindcv_halo.config.options import Recipe
from mindcv_halo.models.macs import count_macs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# GMAC of one image, timm's results/model_benchmark csv (halonet_h1 of timm has 8 heads throughout, which changes none).
PUBLISHED_GMACS = {
    "halonet_26t": 3.19, "halonet_50t": 5.30, "halonet_se33t": 3.55, "halonet_eca26t": 2.44, "haloregnetz_b": 1.97,
    "halobotnet_50t": 5.02, "lamhalobotnet_50t": 5.02, "halonet_h1": 3.00,
}  # fmt: skip


@pytest.fixture(scope="module")
def scripts():
    """The modules of docs/scripts, by name."""
    sys.path.insert(0, str(DOCS / "scripts"))
    names = (
        "generate",
        "configuration_page",
        "model_cards",
        "model_lists",
        "measured",
        "draw_architecture",
        "draw_window",
    )
    yield SimpleNamespace(**{name: import_module(name) for name in names})
    sys.path.remove(str(DOCS / "scripts"))


@pytest.fixture(scope="module")
def results() -> dict:
    return json.loads((ROOT / "benchmarks" / "RESULTS.json").read_text(encoding="utf-8"))


def gmacs_of(name: str) -> float:
    """What a model's card says."""
    text = (DOCS / "models" / f"{name}.md").read_text(encoding="utf-8")
    return float(re.search(r"\| multiply-accumulates \| ([\d.]+) ", text)[1])


def parameters_of(name: str) -> int:
    """What a model's card says, which test_card compares with the model."""
    text = (DOCS / "models" / f"{name}.md").read_text(encoding="utf-8")
    return int(re.search(r"\| parameters \| ([\d,]+) ", text)[1].replace(",", ""))


def test_configuration(scripts):
    text = scripts.configuration_page.write_configuration()
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == text, "make pages"
    places = re.findall(r"It acts in `(mindcv_halo\.[\w.]+)`", text)
    assert len(places) == len(fields(Recipe))
    for place in places:
        assert locate(place) is not None, place


@pytest.mark.parametrize("name", list_models())
def test_card(scripts, results, name):
    macs = round(gmacs_of(name) * 1e9)
    with no_init_parameters():  # whose drawing is most of the time
        network = create_model(name)
    text = scripts.model_cards.write_card(network, macs, results)
    assert (DOCS / "models" / f"{name}.md").read_text(encoding="utf-8") == text, "make pages"


def test_index(scripts):
    facts = {name: (parameters_of(name), round(gmacs_of(name) * 1e9)) for name in list_models()}
    text = scripts.model_cards.write_index(facts)
    assert (DOCS / "models" / "index.md").read_text(encoding="utf-8") == text, "make pages"


def test_lists_of_models(scripts):
    for name, text in scripts.model_lists.write_lists({name: parameters_of(name) for name in list_models()}).items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name}: make pages"


def test_what_benchmarks_found(scripts):
    for name, text in scripts.measured.write_measured().items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name}: make pages"


def test_results_in_a_page(scripts, tmp_path, monkeypatch):
    """Without their title, and with their pictures where these are; nothing before the benchmark has run."""
    monkeypatch.setattr(scripts.measured, "ROOT", tmp_path)
    monkeypatch.setattr(scripts.measured, "PAGES", ("docs/page.md",))
    begin, end = "<!-- written by make pages from found/R.md -->\n", "<!-- end of what make pages writes -->\n"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(f"before\n{begin}old\n{end}after\n")
    assert scripts.measured.write_measured() == {"docs/page.md": f"before\n{begin}{end}after\n"}
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "R.md").write_text("# Title\n\ntext\n\n![a](b.png)\n")
    expected = f"before\n{begin}text\n\n![a](../found/b.png)\n{end}after\n"
    assert scripts.measured.write_measured() == {"docs/page.md": expected}


# One for each kind of layer that is counted; the others differ from these in widths and depths.
COUNTED = ("halonet_26t", "haloregnetz_b", "lamhalobotnet_50t")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in COUNTED else pytest.mark.thorough) for name in PUBLISHED_GMACS],
)
def test_macs(name):
    """Ours count no softmax and no interpolated positions, which is up to 2 % of timm's figures."""
    size = get_pretrained_cfg(name)["input_size"][1:]
    found = count_macs(create_constant(name), size) / 1e9
    assert found == pytest.approx(gmacs_of(name), abs=0.005)
    assert found == pytest.approx(PUBLISHED_GMACS[name], rel=0.025)


def test_the_window_is_the_operators(scripts):
    """The picture's keys are the block and its halo, cut at the map's edge."""
    drawn = scripts.draw_window
    side, block, halo = drawn.SIDE, drawn.BLOCK, drawn.HALO
    for query in drawn.QUERIES:
        expected = np.zeros((side, side), bool)
        top, left = (coordinate // block * block for coordinate in query)
        expected[max(0, top - halo) : top + block + halo, max(0, left - halo) : left + block + halo] = True
        np.testing.assert_array_equal(drawn.find_keys(query), expected)


def test_the_picture_has_every_block(scripts):
    with no_init_parameters():
        spec = create_model("lamhalobotnet_50t").spec
    columns = scripts.draw_architecture.list_columns(spec)
    assert "".join(letter for letter, _, _ in columns) == "".join(stage.pattern for stage in spec.stages)
    assert [stride for _, _, stride in columns][:: len(columns) - 1] == [4, 32]


def test_the_page_of_what_was_compiled_has_todays_cases(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    cases = import_module("dry_run.cases")
    text = (DOCS / "compiled.md").read_text(encoding="utf-8")
    assert not sorted({case.name for case in cases.list_cases() if case.name not in text}), "make dry-run"
    of_a_row = Counter((case.group, case.device, case.mode) for case in cases.list_cases())
    for (group, device, mode), number in of_a_row.items():
        if group not in (cases.STEP, cases.EVALUATION, cases.EVERYTHING_ON, cases.REFUSED):  # tables of their own
            assert f"| {group} | {device} | {mode} | {number} of {number} |" in text, "make dry-run"
