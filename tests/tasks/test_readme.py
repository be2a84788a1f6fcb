"""What the README says is so."""

from __future__ import annotations

import re

import pytest

from mindcv_halo import get_pretrained_cfg, list_models


@pytest.fixture(scope="module")
def readme(pytestconfig) -> str:
    return (pytestconfig.rootpath / "README.md").read_text(encoding="utf-8")


def test_its_table_of_models(readme, pytestconfig):
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$", readme, re.MULTILINE)
    assert sorted(row[0] for row in rows) == list_models()
    for name, timm, keras, parameters, size, top1 in rows:
        cfg = get_pretrained_cfg(name)
        card = (pytestconfig.rootpath / "docs" / "models" / f"{name}.md").read_text(encoding="utf-8")
        assert f"| parameters | {parameters.strip()} |" in card  # which test_generated_docs.py holds to the model
        assert int(size) == cfg["input_size"][1]
        assert not cfg["top1"] or float(top1) == cfg["top1"]
        for alias in (timm.strip(), keras.strip()):
            assert not alias or get_pretrained_cfg(alias) == cfg


def test_its_files_exist(readme, pytestconfig):
    for path in re.findall(r"`((?:mindcv_halo|configs|tests|benchmarks|docs|examples)/[\w/.]*)`", readme):
        assert (pytestconfig.rootpath / path).exists(), path
