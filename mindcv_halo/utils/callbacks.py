"""MindCV's callbacks for mindspore.train.Model, for scripts of one's own; engine.train needs none."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn
from mindspore.dataset import Dataset
from mindspore.train import Callback, Model, RunContext

from ..errors import UserError, unknown_name
from ..files.checkpoint_file import write_checkpoint
from ..files.path import make_folder
from ..runs.tensorboard import EventWriter
from ..training.ema import EMA
from .checkpoint_manager import CheckpointManager
from .reduce_manager import AllReduceSum

_COLUMN = 20  # characters
_logger = logging.getLogger("mindcv_halo")


class StateMonitor(Callback):
    """Logs, validates and saves while Model.train runs.

    In `ckpt_save_dir` rank 0 writes `result.log`, a line for each epoch; {model}-{epoch}_{batch}.ckpt after every
    `ckpt_save_interval` epochs and the last, of which `ckpt_save_policy` keeps `ckpt_keep_max`; optim_{model}.ckpt, the
    optimizer's state; and {model}_best.ckpt, that of the highest first metric.

    Raises UserError for a metric that the model does not count, and for a folder that cannot be written.

    Args:
        model: what trains. With `model_ema` the averages of its TrainStep are what is validated.
        last_epoch: how many epochs came before this run.
        dataset_val: validated every `val_interval` epochs from `val_start_epoch` on; `metric_name` names its metrics.
        dataset_sink_mode: taken from MindCV's scripts; the optimizer is found in either mode.
        summary_dir: events for TensorBoard, if tensorboardX is there; None for none.
        log_interval: steps between lines of the log.
        rank_id: None where there is one process, as is
        device_num: the number of processes. Metrics are the means of all.
    """

    def __init__(
        self,
        model: Model,
        model_name: str = "",
        model_ema: bool = False,
        last_epoch: int = 0,
        dataset_sink_mode: bool = True,
        dataset_val: Dataset | None = None,
        metric_name: Sequence[str] = ("accuracy",),
        val_interval: int = 1,
        val_start_epoch: int = 1,
        save_best_ckpt: bool = True,
        ckpt_save_dir: str = "./",
        ckpt_save_interval: int = 1,
        ckpt_save_policy: str | None = None,
        ckpt_keep_max: int = 10,
        summary_dir: str | None = "./",
        log_interval: int = 100,
        rank_id: int | None = None,
        device_num: int | None = None,
    ):
        super().__init__()
        self.model = model
        self.model_name = model_name
        self.model_ema = model_ema
        self.last_epoch = last_epoch
        self.dataset_val = dataset_val
        self.metric_name = list(metric_name)
        counted = getattr(model, "_metric_fns", None) or {}
        unknown = [name for name in self.metric_name if dataset_val is not None and name not in counted]
        if unknown:
            raise unknown_name("metric_name of the model", unknown[0], counted)
        self.val_interval = val_interval
        self.val_start_epoch = val_start_epoch
        self.save_best_ckpt = save_best_ckpt
        self.ckpt_save_interval = ckpt_save_interval
        self.ckpt_keep_max = ckpt_keep_max
        self.summary_dir = summary_dir
        self.log_interval = log_interval
        self.num_ranks = device_num or 1
        self.is_main = not rank_id
        self.folder = make_folder("ckpt_save_dir", ckpt_save_dir) if self.is_main else Path(ckpt_save_dir)
        self.ckpt_manager = CheckpointManager(ckpt_save_policy)
        self.best_res = 0.0
        self.best_epoch = -1
        self.events: EventWriter | None = None
        self._step_seconds = 0.0
        if self.is_main:
            titles = ["Epoch", "TrainLoss", *self.metric_name, "TrainTime", "EvalTime", "TotalTime"]
            (self.folder / "result.log").write_text(_format_row(titles), encoding="utf-8")

    def __enter__(self) -> StateMonitor:
        if self.is_main and self.summary_dir and importlib.util.find_spec("tensorboardX"):
            self.events = EventWriter(self.summary_dir)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.events is not None:
            self.events.close()

    def apply_eval(self, run_context: RunContext | None = None) -> np.ndarray:
        """The metrics of `dataset_val`, in their order, over all ranks."""
        values = self._eval_averages() if self.model_ema else self.model.eval(self.dataset_val, dataset_sink_mode=False)
        results = np.array([values[name] for name in self.metric_name], np.float32)
        if self.num_ranks > 1:
            results = AllReduceSum()(Tensor(results)).asnumpy() / self.num_ranks
        return results

    def _eval_averages(self) -> dict[str, float]:
        """The metrics of the averages, which stand in the weights' place meanwhile."""
        average = _find_cell(self.model.train_network, EMA)
        if average is None:
            raise UserError("StateMonitor: model_ema=True needs a TrainStep with ema=True, whose averages it validates")
        held = [weight.asnumpy().copy() for weight in average.weights]
        for weight, mean in zip(average.weights, average.averages, strict=True):
            weight.set_data(Tensor(mean.asnumpy()))
        values = self.model.eval(self.dataset_val, dataset_sink_mode=False)
        for weight, value in zip(average.weights, held, strict=True):
            weight.set_data(Tensor(value))
        return values

    def on_train_step_begin(self, run_context: RunContext) -> None:
        self._step_start = perf_counter()

    def on_train_epoch_begin(self, run_context: RunContext) -> None:
        self._epoch_start = perf_counter()

    def on_train_step_end(self, run_context: RunContext) -> None:
        self._step_seconds += perf_counter() - self._step_start
        run = run_context.original_args()
        epoch, batch = self._place(run)
        if batch % self.log_interval == 0 or batch in (1, run.batch_num):
            _logger.info(
                f"Epoch: [{epoch}/{run.epoch_num + self.last_epoch}], batch: [{batch}/{run.batch_num}], "
                f"loss: {_read_loss(run.net_outputs):.6f}, lr: {_read_rate(_find_optimizer(run)):.6f}, "
                f"time: {self._step_seconds:.6f}s"
            )
            self._step_seconds = 0.0

    def on_train_epoch_end(self, run_context: RunContext) -> None:
        run = run_context.original_args()
        epoch, batch = self._place(run)
        train_seconds = perf_counter() - self._epoch_start
        results, eval_seconds = None, 0.0
        since_start = epoch - self.val_start_epoch
        if self.dataset_val is not None and since_start >= 0 and since_start % self.val_interval == 0:
            start = perf_counter()
            results = self.apply_eval(run_context)
            eval_seconds = perf_counter() - start
            shown = ", ".join(f"{name}: {value:.4%}" for name, value in zip(self.metric_name, results, strict=True))
            _logger.info(f"Validation {shown}, time: {eval_seconds:.6f}s")
            if results[0] > self.best_res:
                self.best_res, self.best_epoch = float(results[0]), epoch
                _logger.info(f"=> New best val acc: {self.best_res:.4%}")
        if self.is_main:
            self._save(run, epoch, batch, results)
            loss = _read_loss(run.net_outputs)
            shown = [f"{value:.4%}" for value in results] if results is not None else ["-"] * len(self.metric_name)
            seconds = [train_seconds, eval_seconds, perf_counter() - self._epoch_start]
            row = _format_row([str(epoch), f"{loss:.6f}", *shown, *(f"{value:.2f}" for value in seconds)])
            with (self.folder / "result.log").open("a", encoding="utf-8") as log:
                log.write(row)
            if self.events is not None:
                names = [f"val_{name}" for name in self.metric_name]
                self.events.add(
                    epoch, train_loss=loss, **dict(zip(names, results if results is not None else (), strict=False))
                )

    def on_train_end(self, run_context: RunContext) -> None:
        if self.dataset_val is not None:
            _logger.info(
                f"The best validation {self.metric_name[0]} is: {self.best_res:.4%} at epoch {self.best_epoch}."
            )

    def _save(self, run: Any, epoch: int, batch: int, results: np.ndarray | None) -> None:
        if self.save_best_ckpt and self.best_epoch == epoch:
            write_checkpoint(run.train_network.get_parameters(), self.folder / f"{self.model_name}_best.ckpt")
        if epoch % self.ckpt_save_interval and run.cur_epoch_num != run.epoch_num:
            return
        write_checkpoint(_find_optimizer(run).get_parameters(), self.folder / f"optim_{self.model_name}.ckpt")
        self.ckpt_manager.save_ckpoint(
            run.train_network,
            num_ckpt=self.ckpt_keep_max,
            metric=-1.0 if results is None else float(results[0]),
            save_path=str(self.folder / f"{self.model_name}-{epoch}_{batch}.ckpt"),
        )

    def _place(self, run: Any) -> tuple[int, int]:
        """The epoch, with those before this run, and the batch in it, both from 1."""
        return run.cur_epoch_num + self.last_epoch, (run.cur_step_num - 1) % run.batch_num + 1


class ValCallback(Callback):
    """Prints how far Model.eval is, every `log_interval` batches."""

    def __init__(self, log_interval: int = 100):
        super().__init__()
        self.log_interval = log_interval
        self.start = perf_counter()

    def on_eval_step_end(self, run_context: RunContext) -> None:
        run = run_context.original_args()
        if run.cur_step_num % self.log_interval == 0 or run.cur_step_num == run.batch_num:
            print(f"batch: {run.cur_step_num}/{run.batch_num}, time: {perf_counter() - self.start:.6f}s")
            self.start = perf_counter()


def _format_row(values: Sequence[str]) -> str:
    return "".join(f"{value:<{_COLUMN}}" for value in values) + "\n"


def _read_loss(outputs: Any) -> float:
    """The first of what the training step returns."""
    loss = outputs[0] if isinstance(outputs, tuple | list) else outputs
    return float(np.mean(loss.asnumpy() if isinstance(loss, Tensor) else loss))


def _find_cell(network: nn.Cell, kind: type[nn.Cell]) -> Any:
    return next((cell for _, cell in network.cells_and_names() if isinstance(cell, kind)), None)


def _find_optimizer(run: Any) -> nn.Optimizer:
    return run.optimizer if run.optimizer is not None else _find_cell(run.train_network, nn.Optimizer)


def _read_rate(optimizer: nn.Optimizer) -> float:
    """The learning rate of the last step, of the first group."""
    rate = optimizer.learning_rate
    if isinstance(rate, nn.CellList | list | tuple | mindspore.ParameterTuple):
        rate = rate[0]
    if isinstance(rate, nn.Cell):
        rate = rate(mindspore.ops.maximum(optimizer.global_step - 1, 0))
    return float(np.ravel(rate.asnumpy())[0])
