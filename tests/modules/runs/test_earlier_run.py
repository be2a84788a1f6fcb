"""What an earlier run wrote is moved, and nothing else."""

from __future__ import annotations

from pathlib import Path

from mindcv_halo.runs.earlier_run import set_aside

OWN = (
    "recipe.yaml", "metrics.csv", "curves.png", "class_names.txt", "rank0.log", "rank13.log",
    "halonet_50t_state-3_0.safetensors", "halonet_50t-12_625.ckpt", "halonet_50t_last.ckpt", "halonet_50t_best.ckpt",
    "optim_halonet_50t.ckpt",
)  # fmt: skip
OTHERS = ("train.py", "halonet_50t.ckpt", "model.safetensors", "metrics.csv.bak", "notes.yaml", "cat.png")


def fill(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / name).write_text(name)


def test_nothing_to_do(tmp_path):
    fill(tmp_path, OTHERS)
    assert set_aside(tmp_path) is None and set_aside(tmp_path / "absent") is None
    assert {path.name for path in tmp_path.iterdir()} == set(OTHERS)


def test_each_earlier_run_has_a_folder(tmp_path):
    fill(tmp_path, (*OWN, *OTHERS))
    (tmp_path / "summary").mkdir()
    (tmp_path / "summary" / "events").write_text("events")
    assert set_aside(tmp_path) == tmp_path / "earlier-1"
    assert {path.name for path in tmp_path.iterdir()} == {*OTHERS, "earlier-1"}
    assert {path.name for path in (tmp_path / "earlier-1").iterdir()} == {*OWN, "summary"}
    assert (tmp_path / "earlier-1" / "summary" / "events").read_text() == "events"
    fill(tmp_path, ("recipe.yaml", "class_names.txt", "curves.png"))
    assert set_aside(tmp_path) is None  # a recipe that somebody wrote, beside its classes, is no run
    fill(tmp_path, ("rank0.log",))
    assert set_aside(tmp_path) == tmp_path / "earlier-2"
