"""Lists of all models among what people write, each between two comments: in README.md, weights.md and mkdocs.yml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from mindcv_halo.models.halonet import SPECS, default_cfgs
from mindcv_halo.models.registry import list_aliases
from mindcv_halo.models.weights import find_packaged

ROOT = Path(__file__).parents[2]
_LIST = re.compile(r"(?<=written by make pages)( -->)?\n.*?\n(?=[^\n]*end of what make pages writes)", re.DOTALL)


def write_lists(parameters: Mapping[str, int]) -> dict[str, str]:
    """Those files by their names, with the lists of today; `parameters` is how many each model has."""
    lists = {
        "README.md": _list_models(parameters),
        "docs/weights.md": _list_weights(),
        "mkdocs.yml": [f"      - models/{name}.md" for name in SPECS],
    }
    return {file: _fill((ROOT / file).read_text(encoding="utf-8"), lines) for file, lines in lists.items()}


def _fill(text: str, lines: Iterable[str]) -> str:
    body = "\n".join(lines)
    filled, count = _LIST.subn(lambda match: f"{match[1] or ''}\n{body}\n", text)
    assert count == 1, "the two comments around the list are not there"
    return filled


def _list_models(parameters: Mapping[str, int]) -> list[str]:
    rows = [("model", "in timm", "in Keras", "parameters", "size", "published top-1"), ("---",) * 6]
    for name in SPECS:
        cfg = default_cfgs[name]
        timm = cfg.get("hub_id", "").removeprefix("timm/").partition(".")[0]
        keras = ", ".join(alias for alias in list_aliases(name) if alias[0].isupper())
        rows.append((f"`{name}`", timm, keras, f"{parameters[name]:,}", str(cfg["input_size"][1]), cfg["top1"] or ""))
    return [_row(row) for row in rows]


def _list_weights() -> list[str]:
    rows = [("name", "weights", "checked by", "top-1, published"), ("---",) * 4]
    for entry, cfg in default_cfgs.items():
        if cfg["url"] and not find_packaged(cfg):
            checksum = f"SHA-256 {cfg['sha256']}..." if cfg["sha256"] else "content"
            rows.append((f"`{entry}`", cfg.get("hub_id") or cfg["file"], checksum, cfg["top1"]))
    return [_row(row) for row in rows]


def _row(cells: Iterable[object]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"
