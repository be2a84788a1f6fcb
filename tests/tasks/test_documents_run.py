"""Every command and every code block of the documents runs, in order, as somebody would who follows the page.

A page gets a folder of its own with what it takes for granted: the scripts and recipes of the checkout, a small folder
of images, weights. Commands and code run on halonet_test and small images whatever model they name, and runs last an
epoch, in PyNative mode, which compiles nothing. What is not run says why in a comment before the block.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore.nn.utils import no_init_parameters
from PIL import Image
from safetensors.numpy import save_file
from support.peers import read_state
from support.weight_files import arrays_of, make_network, write_keras

from mindcv_halo import create_model
from mindcv_halo.cli import COMMANDS, main
from mindcv_halo.models import halonet, registry
from mindcv_halo.models.weights import save_network, to_timm

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"configuration.md", "story.md"}  # test_generated_docs.py, test_story.py
PAGES = [
    *(ROOT / name for name in ("README.md", "configs/README.md", "CONTRIBUTING.md")),
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in ELSEWHERE),
]
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.M)
CHECKOUT = ("train.py", "validate.py", "infer.py", "export.py", "configs", "benchmarks", "examples", "mindcv_halo")
PLACES = {
    **{"/path/to/images": "images", "/path/to/imagenet": "images", "/path/to/folder": "images/val"},
    **{"/path/to/image.jpg": "cat.jpg", "/path/to/model.safetensors": "model.safetensors"},
    **{"stages.1.3": "stages.1.1", "80": "20", "120": "30"},  # a layer and a query that the small model has
}
SMALL = {
    "epoch_size": "1",
    "warmup_epochs": "0",
    "batch_size": "8",
    "auto_augment": "None",
    "num_parallel_workers": "2",
}
# What the code blocks of a page print, at least.
SAID = {
    "README.md": ["(1, 10)", "(1, 512, 32, 32)"],
    "index.md": ["17", "(2, 10)", "(1, 32, 10, 13)"],
    "training.md": ["halonet_test_last.ckpt"],
    "fine_tuning.md": ["True"],
    "weights.md": ["mindcv\nmindcv"],
    "native_kernels.md": ["(1, 10)"],
    "inference.md": ["6\n(1, 3)", "(4, 4, 4)"],
    "deployment.md": ["(1, 3)", "[123.675, 116.28, 103.53]"],
    "features.md": ["(2, 48, 16, 24) 48 4", "(2, 96, 4, 6) 5 2 (2, 48, 16, 24)", "(2, 10)", "True"],
    "new_model.md": ["['small_net'] 10", "[8]", "(1, 10)", "my_halonet_last.ckpt", "(1, 96, 2, 2)"],
    "validation.md": ["top-1"],
}


def blocks_of(page: Path) -> list[tuple[str, str, str | None]]:
    """Kind, text, and why it is not run if it is not."""
    text = page.read_text(encoding="utf-8")
    found = [(match["kind"], match["text"], match["reason"]) for match in BLOCK.finditer(text)]
    assert 2 * len(found) == len(re.findall(r"^```", text, re.MULTILINE)), f"{page}: a block that BLOCK does not see"
    return found


def commands_of(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


@pytest.fixture(scope="module")
def materials(image_folder, tmp_path_factory) -> Path:
    """What pages take for granted."""
    folder = tmp_path_factory.mktemp("materials")
    shutil.copytree(image_folder, folder / "images")
    for name in ("cat.jpg", "holidays/one.jpg", "image.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(image_folder / "val" / "green" / "02.png", folder / name)
        if name.endswith("jpg"):
            Image.open(folder / name).save(folder / name, "JPEG")
    save_network(create_model("halonet_test"), str(folder / "model.safetensors"))
    network = create_model("halonet_test", num_classes=3)
    save_network(network, str(folder / "halonet_test.ckpt"))
    save_network(network, str(folder / "halonet_test.safetensors"))
    return folder


@pytest.fixture
def workplace(materials, tmp_path, monkeypatch) -> Path:
    shutil.copytree(materials, tmp_path, dirs_exist_ok=True)
    for name in CHECKOUT:
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shrink(words: list[str]) -> list[str]:
    """The same command on the small model and small images."""
    if "--num_classes" in words:
        words = [*words, "--num_classes", "3"]
    elif "/path/to/imagenet" in words:
        words = [*words, "--num_classes", "None"]
    words = [PLACES.get(word, word) for word in words]
    words = [re.sub(r"\bhalonet_(26t|50t)(?!_(?:ascend|gpu|cpu))", "halonet_test", word) for word in words]
    command, flags = words[0], dict(zip(words, words[1:], strict=False))
    recipe = flags.get("-c", flags.get("--config", ""))
    if command in ("train", "validate", "infer", "export") and "digits" not in recipe:
        extra = {"device_target": "CPU", "data_dir": "images"} if command in ("train", "validate") else {}
        if not recipe.startswith(("runs/", "ckpt/")) and "--pretrained" not in words:
            extra |= {"model": "halonet_test"}
        if command == "train" and "--resume" not in words:
            extra |= {**SMALL, "image_resize": "32"}
        for name, value in extra.items():
            words += [f"--{name}", value]  # the last one counts
    if command == "train" and "digits" in recipe:
        words += ["--epoch_size", "1", "--warmup_epochs", "0", "--num_samples", "64"]
    if command in ("train", "validate", "infer", "export"):
        words += ["--mode", "1"]
    return words


def shrink_code(text: str) -> str:
    """The same code on the small model, and its runs on few images."""
    text = re.sub(r"halonet_\w+_best", "halonet_test_best", text)
    text = re.sub(r'(create_model\(\s*)"halonet_50t"', r'\1"halonet_test"', text)
    text = text.replace("for _ in range(8)", "for _ in range(3)")  # steps
    return text.replace('"epoch_size": 1,', '"epoch_size": 1, "num_samples": 128, "mode": 1,')


def run(words: list[str]) -> None:
    if words[0] == "mpirun":
        launch(words)
        return
    if words[0] == "mindcv-halo":
        words = words[1:]
    elif words[0] == "python" and words[1].removesuffix(".py") in COMMANDS:
        words = [words[1].removesuffix(".py"), *words[2:]]
    assert words[0] in COMMANDS, f"{words}: how is this run?"
    assert main(shrink(words)) == 0, shlex.join(words)


def launch(words: list[str]) -> None:
    """What a launcher is to start, in this process alone: test_ranks.py trains and validates on two ranks."""
    count, number, python, script, *flags = words[1:]
    assert (count, python) == ("-n", "python") and int(number) > 1 and (ROOT / script).is_file()
    flags = dict(zip(flags[::2], flags[1::2], strict=True))
    assert flags.pop("--distribute") == "True"
    run([script.removesuffix(".py"), *(part for pair in flags.items() for part in pair), "--distribute", "False"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page, workplace, materials, capsys, monkeypatch):
    # What a page registers is gone with it.
    monkeypatch.setattr(registry, "_models", dict(registry._models))
    monkeypatch.setattr(halonet, "default_cfgs", dict(halonet.default_cfgs))
    if page.name == "training.md" or page.name == "new_model.md":
        pytest.importorskip("sklearn")
    if page.name == "validation.md":  # which goes on from the run of this page
        run(
            next(
                words
                for kind, text, _ in blocks_of(ROOT / "docs/fine_tuning.md")
                if kind == "bash"
                for words in commands_of(text)
            )
        )
    if page.name == "deployment.md":  # whose recipe is that of a run with flags alone
        run(shlex.split("python train.py --model halonet_50t --ckpt_save_dir ckpt --val_while_train True"))
        shutil.copy(workplace / "ckpt" / "class_names.txt", workplace)
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    printed = []
    names: dict = {"__name__": "__main__"}
    for kind, text, reason in blocks_of(page):
        assert kind in ("python", "bash", "text", "yaml"), f"{page.name}: a block of kind {kind!r}"
        if reason is not None or kind in ("text", "yaml"):
            continue
        if kind == "python":
            capsys.readouterr()
            exec(compile(shrink_code(text), page.name, "exec"), names)
            printed.append(capsys.readouterr().out)
        else:
            if "HaloNet50T.h5" in text:
                write_foreign(workplace)
            for words in commands_of(text):
                run(words)
                ms.set_context(mode=ms.PYNATIVE_MODE)
            shutil.copy(materials / "model.safetensors", workplace)
    ms.set_context(mode=mode)
    missing = [
        part for part in SAID.get(str(page.relative_to(ROOT)).removeprefix("docs/"), []) if part not in "".join(printed)
    ]
    assert missing == []


def write_foreign(folder: Path) -> None:
    """Files of the peers under the names that weights.md gives them; timm and MindCV have no small model."""
    theirs = to_timm(arrays_of(create_model("halonet_eca26t")))
    save_file(theirs, folder / "model.safetensors", {"format": "pt"})
    ours = arrays_of(make_network())
    write_keras(folder / "HaloNet50T.h5", ours)
    state = read_state("mindcv", "halonet_50t").shapes
    entries = [{"name": name, "data": ms.Tensor(np.zeros(shape, np.float32))} for name, shape in state.items()]
    ms.save_checkpoint(entries, str(folder / "halonet_test-533da6be.ckpt"))
    (folder / "run").mkdir()
    averaged = {**ours, **{f"ema.{name}": value for name, value in ours.items()}}
    entries = [{"name": name, "data": ms.Tensor(value)} for name, value in averaged.items()]
    ms.save_checkpoint(entries, str(folder / "run" / "halonet_test_best.ckpt"))


@pytest.mark.parametrize("page", sorted((ROOT / "docs/models").glob("halonet_*.md")), ids=lambda page: page.stem)
def test_card(page, capsys):
    """The few lines of a model's card."""
    (block,) = (text for kind, text, _ in blocks_of(page) if kind == "python")
    with no_init_parameters():
        exec(compile(block, page.name, "exec"), {})
    assert re.search(r"# (.*)", block)[1] == capsys.readouterr().out.strip()


def test_what_is_not_run_says_why():
    reasons = [reason for page in PAGES for _, _, reason in blocks_of(page) if reason]
    assert len(reasons) < 12 and all(len(reason) > 10 for reason in reasons)
