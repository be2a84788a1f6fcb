"""What docs/ says is so."""

from __future__ import annotations

import re
import runpy

import pytest

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
