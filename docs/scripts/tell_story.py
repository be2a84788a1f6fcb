"""Runs the blocks of docs/story.md in order: for its pictures, and for the test that compares what they say."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mindcv_halo.cli import main

# isort: split

import mindspore

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "story.md"
# What the run leaves behind, and what the page calls the pictures of it.
PICTURES = {
    "clothes.png": "story_images.png",
    "runs/clothes/curves.png": "story_curves.png",
    "report/confusion.png": "story_confusion.png",
    "explained/378.png.png": "story_attention.png",
}
_ADDRESS = "http://127.0.0.1:8000/"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Told:
    """A block that ran: its text, all that it said, and what the page says that it said."""

    text: str
    said: str
    shown: str


def tell(folder: Path) -> list[Told]:
    """Run the page in an empty folder, which gets the checkout's tests/ as the page expects it.

    What the page serves is served by a process of its own, on a free port, until the last block is over.
    """
    blocks = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    names: dict = {"__name__": "__main__"}
    told = []
    address = _ADDRESS
    (folder / "tests").symlink_to(ROOT / "tests")
    with ExitStack() as ends:
        ends.callback(os.chdir, os.getcwd())
        ends.callback(mindspore.set_context, mode=mindspore.get_context("mode"))
        os.chdir(folder)
        for (kind, text), (next_kind, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
            if kind == "text":
                continue
            said = io.StringIO()
            with redirect_stdout(said), redirect_stderr(said):
                if kind == "python":
                    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)  # as a new process has it
                    exec(compile(text.replace(_ADDRESS, address), PAGE.name, "exec"), names)
                elif text.endswith(" &\n"):
                    address = _serve(_words_of(text.removesuffix(" &\n")), ends)
                elif main(_words_of(text)) != 0:
                    raise RuntimeError(f"{text}{said.getvalue()}")
            words = said.getvalue().replace(address, _ADDRESS)
            told.append(Told(text, words, shown if next_kind == "text" else ""))
    return told


def _words_of(text: str) -> list[str]:
    """The words of the one command in a block, as `main` takes them."""
    words = shlex.split(text.replace("\\\n", " "))
    return words[1:] if words[0] == "mindcv-halo" else [words[1].removesuffix(".py"), *words[2:]]


def _serve(words: list[str], ends: ExitStack) -> str:
    """Start the server, print what it prints until it answers, and return its address; `ends` ends it."""
    command = [sys.executable, "-m", "mindcv_halo.cli", *words, "--port", "0"]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | paths)
    ends.enter_context(server)
    ends.callback(server.send_signal, signal.SIGINT)
    assert server.stdout is not None
    for line in server.stdout:
        print(line, end="")
        if found := re.search(r"http://[\d.:]+/", line):
            return found[0]
    raise RuntimeError(f"{shlex.join(command)} ended before it served")


def draw(folder: Path) -> None:
    """Write the page's pictures into `folder`, from a run of the page."""
    with TemporaryDirectory() as place:
        tell(Path(place))
        for source, name in PICTURES.items():
            shutil.copy(Path(place, source), folder / name)


if __name__ == "__main__":  # what a changed page says, to be written into it
    with TemporaryDirectory() as place:
        for block in tell(Path(place)):
            print(f"{block.text}---\n{block.said}")
