"""What docs/ says is so."""

from __future__ import annotations

import re
import runpy

import pytest

from mindcv_halo.cli import main
from mindcv_halo.config import list_options
from mindcv_halo.scheduler.scheduler_factory import create_scheduler


def test_its_python_runs(pytestconfig, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    text = (pytestconfig.rootpath / "docs/training.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "training.md", "exec"), {})
    assert "halonet_test_last.ckpt" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, num_blocks, said",
    [
        ("weights.md", 1, ["mindcv\nmindcv"]),
        ("native_kernels.md", 1, ["(1, 10)"]),
        ("inference.md", 2, ["6\n(1, 3)", "(4, 4, 4)"]),
        ("features.md", 3, ["(2, 48, 16, 24) 48 4", "(2, 96, 4, 6) 5 2 (2, 48, 16, 24)", "(2, 10)", "True"]),
    ],
)
def test_python_of_the_others_runs(pytestconfig, tmp_path, monkeypatch, capsys, name, num_blocks, said):
    """The blocks of a page go on from each other; what they print is what their comments say."""
    text = (pytestconfig.rootpath / "docs" / name).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == num_blocks
    names: dict = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
    out = capsys.readouterr().out
    assert [part for part in said if part not in out] == []


@pytest.mark.parametrize("name", ["inference.md", "features.md"])
def test_the_flags_they_name_exist(pytestconfig, capsys, name):
    text = (pytestconfig.rootpath / "docs" / name).read_text(encoding="utf-8")
    for command in ("infer", "serve"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
    known = set(re.findall(r"--(\w+)", capsys.readouterr().out))
    named = set(re.findall(r"--(\w+)", re.sub(r"curl .*|pip .*", "", text)))
    assert len(named) > 5 and named <= known


def test_the_keys_it_names_exist(pytestconfig):
    text = (pytestconfig.rootpath / "docs/training.md").read_text(encoding="utf-8")
    table = text.partition("## Between gradients")[2].partition("## Learning rates")[0]
    first_cells = re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE)
    keys = [key for cell in first_cells for key in re.findall(r"`(\w+)`", cell)]
    assert len(keys) > 10 and set(keys) <= set(list_options())


def test_the_picture_shows_every_schedule(pytestconfig):
    drawn = runpy.run_path(str(pytestconfig.rootpath / "docs/draw_schedules.py"))["SCHEDULES"]
    names = {title.partition(",")[0] for title, _ in drawn}
    with pytest.raises(ValueError, match="unknown scheduler") as error:
        create_scheduler(1, "none")
    assert set(re.findall(r"\w+", str(error.value).partition("known: ")[2])) - {"warmup_cosine_decay"} == names
