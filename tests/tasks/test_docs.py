"""What docs/ says is so."""

from __future__ import annotations

import re
import runpy

import pytest

from mindcv_halo.cli import main
from mindcv_halo.config.options import list_options
from mindcv_halo.scheduler.scheduler_factory import create_scheduler


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
    drawn = runpy.run_path(str(pytestconfig.rootpath / "docs/scripts/draw_schedules.py"))["SCHEDULES"]
    names = {title.partition(",")[0] for title, _ in drawn}
    with pytest.raises(ValueError, match="unknown scheduler") as error:
        create_scheduler(1, "none")
    assert set(re.findall(r"\w+", str(error.value).partition("known: ")[2])) - {"warmup_cosine_decay"} == names
