"""The command `mindcv-halo`, and what train.py, validate.py and infer.py call.

Bad input ends with one line and status 2; any other exception is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from . import engine
from .config import parse_command, parse_recipe
from .errors import TrainingStoppedError, UserError, unknown_name
from .models import create_model, get_pretrained_cfg, list_models
from .utils.distributed import leave_group
from .utils.topology import find_rank
from .version import __version__

_OTHERS_WAIT = 3.0  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0
    try:
        if argv[0] not in COMMANDS:
            raise unknown_name("command", argv[0], COMMANDS)
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
        traceback.print_exc()
        first_line = next((line for line in str(error).splitlines() if re.search(r"\w", line)), "")
        return _fail(f"{type(error).__name__}: {first_line}", 1)
    leave_group()
    return 0


def _fail(text: str, status: int) -> int:
    """Say why the command ends, and return its status.

    One rank of several ends its process here: the launcher then ends the others, which wait for it in a collective, as
    MindSpore's own clean-up would do too.
    """
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
    flags = {"report": "folder for a page with the worst mistakes, a table of the classes and their confusion matrix"}
    recipe, extras = parse_command(argv, validate.__doc__, flags)
    engine.validate(recipe, extras["report"])


def infer(argv: Sequence[str]) -> None:
    """Predict the classes of an image or of a folder of images: --image_path PATH --ckpt_path FILE."""
    flags = {"image_path": "an image, or a folder of images", "top_k": "classes to print for each image, 5 by default"}
    recipe, extras = parse_command(argv, infer.__doc__, flags)
    if not extras["image_path"]:
        raise UserError("prediction needs an image: give --image_path PATH")
    top_k = extras["top_k"] or "5"
    if not top_k.isdecimal() or int(top_k) < 1:
        raise UserError(f"--top_k: {top_k!r} is not a whole number of at least 1")
    for prediction in engine.predict(recipe, extras["image_path"], int(top_k)):
        ranked = zip(prediction.class_names, prediction.probabilities, strict=True)
        print(f"{prediction.path}: " + ", ".join(f"{name} {share:.3f}" for name, share in ranked))


def list_command(argv: Sequence[str]) -> None:
    """List the models, or those that match a wildcard."""
    print("\n".join(list_models(argv[0] if argv else "")))


def info(argv: Sequence[str]) -> None:
    """Describe a model: parameters, input and published weights."""
    if not argv:
        raise UserError("info needs a model's name; `mindcv-halo list` shows them")
    network = create_model(argv[0])
    print(f"{network.spec.name}: {sum(parameter.size for parameter in network.trainable_params()):,} parameters")
    for key, value in get_pretrained_cfg(argv[0]).items():
        print(f"  {key}: {value}")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "validate": validate,
    "infer": infer,
    "list": list_command,
    "info": info,
}


def _usage() -> str:
    lines = [f"  {name:10}{command.__doc__}" for name, command in COMMANDS.items()]
    return "\n".join([f"mindcv-halo {__version__}", "usage: mindcv-halo COMMAND [FLAGS]", *lines])


if __name__ == "__main__":
    sys.exit(main())
