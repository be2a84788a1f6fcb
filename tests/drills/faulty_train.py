"""A script for a launcher: train as the command line says, but on one rank something goes wrong after some steps.

python faulty_train.py FAULT RANK STEP [flags of train.py]

It prints `fault TIME` when it happens. Faults: kill, freeze (the process stops running), hang (its data never come),
raise, terminate (the launcher gets SIGTERM), launcher (it is killed), scheduler (MindSpore's scheduler is killed),
compile (MindSpore's compiler has no kernel for the loss, whatever the step), and none.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import nullcontext
from importlib import import_module

import mindspore
import psutil
from mindspore import nn

from mindcv_halo import cli
from mindcv_halo.distributed.launchers import find_rank

training = import_module("mindcv_halo.engine.train")  # the attribute of that name is the function

read_batches, make_step = training.read_batches, training.make_step


def kill_scheduler() -> None:
    for child in psutil.Process().children(recursive=True):
        if any("communication import init" in argument for argument in child.cmdline()):
            child.kill()


def fail() -> None:
    raise RuntimeError("made to fail")


class Uncompilable(nn.Cell):
    """A loss by an operator that has no kernel on a CPU."""

    def __init__(self):
        super().__init__()
        self.unfold = nn.Unfold([1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1])

    def construct(self, logits, labels):
        return self.unfold(logits.reshape(1, 1, *logits.shape)).mean()


def make_uncompilable_step(*arguments):
    step = make_step(*arguments)
    step.loss = Uncompilable()
    return step


FAULTS = {
    "none": lambda: None,
    "compile": lambda: None,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "freeze": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "hang": lambda: time.sleep(1000),
    "raise": fail,
    "terminate": lambda: os.kill(os.getppid(), signal.SIGTERM),
    "launcher": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "scheduler": kill_scheduler,
}


def main() -> int:
    fault, faulty_rank, step = FAULTS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    is_faulty = find_rank(os.environ) == faulty_rank
    batches_read = 0

    def faulty(loader, limit):
        """Batches as before; the fault happens where a batch is waited for.

        The others have no limit, as a busy machine may take longer for them than the faulty one is allowed.
        """
        nonlocal batches_read
        batches = iter(read_batches(loader))
        while True:
            batches_read += 1
            happens = is_faulty and batches_read == step
            with limit() if happens else nullcontext():
                if happens:
                    print(f"fault {time.time()}", flush=True)
                    time.sleep(0.5)  # so that the launcher has passed the line on before it may be killed
                    fault()
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    mindspore.runtime.launch_blocking()  # else a rank in PyNative mode spins while it waits
    training.read_batches = faulty
    if is_faulty and sys.argv[1] == "compile":
        print(f"fault {time.time()}", flush=True)
        training.make_step = make_uncompilable_step
    return cli.main(["train", *sys.argv[4:]])


if __name__ == "__main__":
    sys.exit(main())
