"""Wheel and source distribution install where there is no checkout, and train there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from support.limits import LAST_RESORT

ROOT = Path(__file__).parents[2]


def call(*words: str | Path, cwd: Path, **environ: str) -> str:
    """What a command prints; no PYTHONPATH leads back to the checkout."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env={**clean, **environ}, capture_output=True, text=True, timeout=LAST_RESORT
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The source distribution, of the files that git knows."""
    folder = tmp_path_factory.mktemp("source")
    names = call("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in names:
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    call(sys.executable, "setup.py", "-q", "sdist", cwd=folder)
    (file,) = (folder / "dist").iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    """The wheel that pip makes of the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--wheel-dir", folder)
    call(sys.executable, "-m", "pip", "wheel", *options, source, cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


def test_the_source_distribution_is_whole(source):
    with tarfile.open(source) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    wanted = {"LICENSE", "README.md", "train.py", "validate.py", "setup.py", "configs/halonet/halonet_50t_ascend.yaml"}
    assert wanted <= names


def test_the_wheel_brings_what_the_package_reads(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    tracked = call("git", "ls-files", "mindcv_halo", "configs", cwd=ROOT).splitlines()
    missing = {re.sub(r"^configs/", "mindcv_halo/configs/", name) for name in tracked} - names
    assert missing == set()
    assert not any(name.startswith(("tests", "docs", "benchmarks")) for name in names)


def test_it_trains_without_the_checkout(wheel, image_folder, tmp_path):
    """In an environment that has the dependencies and nothing of ours but the wheel."""
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    purelib = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    # A path file is no site folder: path files in it, such as an editable install's, are not read.
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ("--no-deps", "--no-index", "--quiet", "--ignore-installed", "--prefix", tmp_path / "env")
    call(sys.executable, "-m", "pip", "install", *options, wheel, cwd=tmp_path)
    find = "from importlib.util import find_spec; print(find_spec('mindcv_halo').origin)"  # importing takes seconds
    found = call(python, "-c", find, cwd=tmp_path)
    assert found.startswith(str(purelib))
    command = tmp_path / "env" / "bin" / "mindcv-halo"
    run = ("--data_dir", image_folder, "--image_resize", "32", "--batch_size", "8", "--epoch_size", "1", "--mode", "1")
    # A recipe by its name: it travels with the package.
    words = (python, command, "train", "-c", "halonet/halonet_26t_cpu.yaml", "--model", "halonet_test", *run)
    call(*words, "--warmup_epochs", "0", "--ckpt_save_dir", "run", cwd=tmp_path)
    assert (tmp_path / "run" / "halonet_test_last.ckpt").is_file()
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["lr"] == 0.0001


def test_the_hooks_have_the_linter_of_ci():
    """pre-commit and `make lint` run one version of ruff."""
    pinned = re.search(r"^ruff==([\d.]+)$", (ROOT / "requirements/test.txt").read_text(), re.MULTILINE)[1]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"]: hook["additional_dependencies"] for hook in hooks} == {
        "ruff-check": [f"ruff=={pinned}"],
        "ruff-format": [f"ruff=={pinned}"],
    }


def test_the_citation_names_this_version():
    version = re.search(r'"(.*)"', (ROOT / "mindcv_halo/version.py").read_text())[1]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
