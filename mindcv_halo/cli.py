"""The command `mindcv-halo`, and what train.py, validate.py, infer.py and export.py call.

Bad input ends with one line and status 2; any other exception keeps its traceback, but for ranks of several processes
and runs of training: there it is one line too, which names the file with all of it.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import engine
from .config.options import ModelOptions, Recipe
from .config.parse import Switch, parse_command, parse_recipe, parse_words
from .data.decoder_noise import drop_decoder_noise
from .distributed.join import leave_group
from .distributed.launchers import find_rank
from .engine.infer import check_job
from .engine.used_keys import find_idle_flags
from .errors import TrainingStoppedError, UserError, unknown_name
from .files.path import find_kind
from .files.text import put_in_one_line
from .files.whole_file import write_whole
from .models import create_model, get_pretrained_cfg, list_models
from .runs.log import keep_error
from .serving.limits import Limits
from .serving.server import listen, require_server_library
from .serving.server import serve as run_server
from .version import __version__

_READS_IMAGES = ("train", "validate", "infer", "serve")
_OTHERS_WAIT = 3.0  # seconds
_MOST_DIGITS = 18  # of a whole number; Python refuses to read thousands of them


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):  # a notebook's has none
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files are printed as they are, UTF-8 or not
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0
    try:
        if argv[0] not in COMMANDS:
            raise unknown_name("command", argv[0], COMMANDS)
        if argv[0] in _READS_IMAGES:
            drop_decoder_noise()
        COMMANDS[argv[0]](argv[1:])
    except UserError as error:
        return _fail(str(error), 2)
    except TrainingStoppedError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:  # whoever reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if find_rank(os.environ) is None:
            raise
        return _fail(keep_error(error), 1)
    leave_group()
    return 0


def _fail(text: str, status: int) -> int:
    """Say why the command ends, and return its status.

    One rank of several ends its process here: the launcher then ends the others, which wait for it in a collective, as
    MindSpore's own clean-up would do too.
    """
    text = put_in_one_line(text)
    rank = find_rank(os.environ)
    if rank is None:
        print(f"error: {text}", file=sys.stderr)
        return status
    if rank > 0:
        time.sleep(_OTHERS_WAIT)  # what all ranks meet is said once: by then rank 0 has ended the job
    print(f"error: rank {rank}: {text}", file=sys.stderr, flush=True)
    os._exit(status)


def train(argv: Sequence[str]) -> None:
    """Train a model: -c RECIPE and any of the recipe's keys as flags."""
    result = engine.train(parse_recipe(argv, train.__doc__))
    if result.interrupted and find_rank(os.environ) is not None:
        raise TrainingStoppedError("interrupted by a signal; its state is saved, --resume True goes on")


def validate(argv: Sequence[str]) -> None:
    """Validate a checkpoint: -c RECIPE --ckpt_path FILE, and --report DIR for a page about it."""
    flags = {
        "report": "folder for a page with the worst mistakes, a table of the classes and their confusion matrix",
        "class_names": "file of the names of the classes' folders, in the order of the labels: one a line, or JSON",
        "num_samples": "refused: every image of the split counts",
    }
    recipe, extras = _parse("validate", argv, flags)
    if extras["num_samples"] not in (None, "None"):
        raise UserError("--num_samples is for training: validation counts every image of val_split; leave it out")
    engine.validate(recipe, extras["report"], class_names=extras["class_names"])


def infer(argv: Sequence[str]) -> None:
    """Predict the classes of images and of folders of images: IMAGE... --ckpt_path FILE, and --explain DIR."""
    flags = {
        "image_path": "an image, or a folder of images, as IMAGE",
        "class_names": "file of the classes' names: one a line, or JSON",
        "top_k": "classes to show for each image, 5 by default",
        "format": f"{', '.join(engine.FORMATS)}; table by default",
        "output": "file to write instead of standard output",
        "explain": "folder for pictures of where a query looked",
        "explain_layer": "with --explain: a layer's name, or its number; by default the last",
        "explain_query": (("Y", "X"), "with --explain: a pixel of what the network sees; by default its middle"),
    }
    recipe, extras = _parse("infer", argv, flags, ("IMAGE", "image files, and folders of them"))
    images = extras["IMAGE"] + ([extras["image_path"]] if extras["image_path"] is not None else [])
    if not images:
        raise UserError("prediction needs an image: name files and folders, or give --image_path PATH")
    top_k = _read_number("top_k", extras["top_k"], 1, default=5)
    name = "table" if extras["format"] is None else extras["format"]
    if name not in engine.FORMATS:
        raise unknown_name("format", name, engine.FORMATS)
    left_out = []

    def leave_out(error: UserError) -> None:
        left_out.append(error)
        tqdm.write(f"error: {put_in_one_line(str(error))}", file=sys.stderr)

    shared = {"class_names": extras["class_names"], "on_error": leave_out}
    if extras["explain"] is not None:
        layer = "-1" if extras["explain_layer"] is None else extras["explain_layer"]
        place = {"layer": engine.read_layer(layer), "query": _read_query(extras["explain_query"])}
        predictions = engine.predict_and_explain(recipe, images, extras["explain"], top_k, **place, **shared)
    elif extras["explain_layer"] is not None or extras["explain_query"] is not None:
        raise UserError("--explain_layer and --explain_query belong to --explain DIR; give it, or leave them out")
    else:
        predictions = engine.predict(recipe, images, top_k, **shared)
    _write(engine.FORMATS[name](predictions), extras["output"])
    if left_out:
        raise UserError(f"{len(left_out)} image(s) left out, as said above")


def serve(argv: Sequence[str]) -> None:
    """Serve a page and a JSON endpoint for a model on this machine: --ckpt_path FILE, until Ctrl-C (extra `serve`)."""
    flags = {
        "host": "address to listen on, 127.0.0.1 by default",
        "port": "8000 by default; 0 is any free one",
        "class_names": "file of the classes' names: one a line, or JSON",
        "top_k": "classes to show for each image, 5 by default",
        "max_bytes": f"of an image, {Limits.max_bytes} by default",
        "max_pixels": f"of an image, {Limits.max_pixels} by default",
        "timeout": f"seconds for an image to arrive, and as many for its prediction, {Limits.timeout:g} by default",
    }
    recipe, extras = _parse("serve", argv, flags)
    require_server_library()
    numbers = {
        name: _read_number(name, extras[name], 1) for name in ("max_bytes", "max_pixels") if extras[name] is not None
    }
    if extras["timeout"] is not None:
        numbers["timeout"] = _read_seconds("timeout", extras["timeout"])
    limits = Limits(**numbers)
    top_k = _read_number("top_k", extras["top_k"], 1, default=5)
    port = _read_number("port", extras["port"], 0, default=8000)
    host = "127.0.0.1" if extras["host"] is None else extras["host"]
    check_job(recipe)
    with listen(host, port) as listener:  # before the model is loaded, which takes long
        predictor = engine.Predictor.from_recipe(recipe, class_names=extras["class_names"], top_k=top_k)
        with suppress(KeyboardInterrupt):
            run_server(predictor, host, listener, limits)


def _parse(
    command: str,
    argv: Sequence[str],
    flags: Mapping[str, str | Switch | tuple[tuple[str, ...], str]],
    operands: tuple[str, str] | None = None,
) -> tuple[Recipe, dict[str, Any]]:
    """As parse_command, which says on standard error which flags the command has no use for, once in a job."""
    found = parse_command(argv, COMMANDS[command].__doc__, flags, operands)
    _refuse_weights_of_before(found.recipe.model, found.config, found.given)
    idle = find_idle_flags(command, found.recipe, found.given)
    if idle and not find_rank(os.environ):
        print(put_in_one_line(idle), file=sys.stderr)
    return found.recipe, found.extras


def _refuse_weights_of_before(model: ModelOptions, config: str | None, given: Mapping[str, Any]) -> None:
    """A run's own recipe still names the weights that it began with, which nobody means who names it afterwards."""
    before = Path(model.checkpoint_path) if model.checkpoint_path else None
    if config is None or given.keys() & {"ckpt_path", "pretrained"} or not (before or model.pretrained):
        return
    own = Path(config).parent / f"{model.model_name}_last.ckpt"
    if not own.is_file() or (before and before.resolve().parent == own.resolve().parent):
        return
    flag, value = ("ckpt_path", str(before)) if before else ("pretrained", "True")
    raise UserError(
        f"{config}: {flag} {value} is what this run began with; for its own weights give --ckpt_path {own}, for those "
        f"before it --{flag} {value}"
    )


def _read_number(name: str, text: str | None, least: int, *, default: int = 0) -> int:
    """The number that a flag says, or the default of a flag that is not there."""
    if text is None:
        return default
    is_whole = text.isascii() and text.isdecimal() and (text == "0" or not text.startswith("0"))
    if is_whole and len(text) > _MOST_DIGITS:
        raise UserError(f"--{name}: a number of {len(text)} digits is too large")
    if not is_whole or int(text) < least:
        raise UserError(f"--{name}: {text!r} is not a whole number of at least {least}")
    return int(text)


def _read_seconds(name: str, text: str) -> float:
    try:
        seconds = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UserError(f"--{name}: {text!r} is not a number of seconds above 0")
    return seconds


def _read_query(texts: Sequence[str] | None) -> tuple[int, ...] | None:
    return texts and tuple(_read_number("explain_query", text, 0) for text in texts)


def _write(texts: Iterable[str], path: str | None) -> None:
    """Print the texts as they come, or write them all into a file."""
    if path is None:
        for text in texts:
            tqdm.write(text, end="")  # a progress bar, if there is one, makes room for it
        return
    file = Path(path)
    if find_kind(file) == "folder" or find_kind(file.parent) != "folder":
        raise UserError(f"--output {path}: give the name of a file in a folder that exists")
    content = "".join(texts)
    try:
        write_whole(file, content)
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}; choose a place that can be written") from error


def convert(argv: Sequence[str]) -> None:
    """Convert a weight file of any source: FILE OUT, with OUT a .ckpt or .safetensors; --to timm for the way back."""
    operands = {
        "FILE": "weights: .ckpt, .safetensors, .pth, .pt, .bin, .tar or .h5; files of torch and Keras under any name",
        "OUT": "where to write them: .ckpt or .safetensors",
    }
    flags = {
        "model": "whose weights they are; default: the model that has their structure",
        "to": "ours (default) or timm",
        "ema": Switch("the averaged weights of a training checkpoint"),
        "dialect": "read them in this dialect; default: that of the weights",
    }
    words = parse_words(argv, convert.__doc__, operands, flags)
    summary = engine.convert(
        words["FILE"],
        words["OUT"],
        model=words["model"],
        to="ours" if words["to"] is None else words["to"],
        ema=words["ema"],
        dialect=words["dialect"],
    )
    print(summary)


def export(argv: Sequence[str]) -> None:
    """Write a checkpoint's network for other runtimes: --ckpt_path FILE --format FORMAT --output FILE."""
    flags = {
        "format": f"{', '.join(engine.EXPORT_FORMATS)}; by default that of the output's name",
        "output": "file to write, in a folder that exists; MODEL.FORMAT by default",
        "batch_size": "images in a run of the file, 1 by default; the recipe's is for training",
        "dynamic_batch": Switch("any number of images in a run (mindir and onnx)"),
        "class_names": "file of the classes' names: one a line, or JSON",
    }
    recipe, extras = _parse("export", argv, flags)
    is_dynamic = extras["dynamic_batch"]
    if is_dynamic and extras["batch_size"] is not None:
        raise UserError("--batch_size fixes the batch, and --dynamic_batch True leaves it open; give one of them")
    batch_size = None if is_dynamic else _read_number("batch_size", extras["batch_size"], 1, default=1)
    shared = {"batch_size": batch_size, "class_names": extras["class_names"]}
    print(engine.export(recipe, extras["format"], extras["output"], **shared))


def list_command(argv: Sequence[str]) -> None:
    """List the models, or those that match a wildcard."""
    pattern = parse_words(argv, list_command.__doc__, {}, {}, {"WILDCARD": "such as 'halonet_h*'"})["WILDCARD"]
    models = list_models("" if pattern is None else pattern)
    if not models:
        raise UserError(f"no model matches {pattern!r}; wildcards are * and ?, as in 'halonet_*'")
    print("\n".join(models))


def info(argv: Sequence[str]) -> None:
    """Describe a model: parameters, input and published weights."""
    name = parse_words(argv, info.__doc__, {}, {}, {"MODEL": "its name, or a peer's for it"})["MODEL"]
    if name is None:
        raise UserError("info needs a model's name; `mindcv-halo list` shows them")
    network = create_model(name)
    print(f"{network.spec.name}: {sum(parameter.size for parameter in network.trainable_params()):,} parameters")
    for key, value in get_pretrained_cfg(name).items():
        print(f"  {key}: {value}")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "validate": validate,
    "infer": infer,
    "serve": serve,
    "convert": convert,
    "export": export,
    "list": list_command,
    "info": info,
}


def _usage() -> str:
    lines = [f"  {name:10}{command.__doc__}" for name, command in COMMANDS.items()]
    return "\n".join([f"mindcv-halo {__version__}", "usage: mindcv-halo COMMAND [FLAGS]", *lines])


if __name__ == "__main__":
    sys.exit(main())
