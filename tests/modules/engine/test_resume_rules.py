"""Going on with a run, on as many ranks or on others."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn

from mindcv_halo import create_optimizer
from mindcv_halo.config import make_recipe
from mindcv_halo.config.options import Recipe, flatten
from mindcv_halo.distributed.process_group import ONE_PROCESS
from mindcv_halo.engine.resume import FREE_KEYS, Position, SavedState, TrainingData, load_run, state_parameters
from mindcv_halo.errors import UserError
from mindcv_halo.runs.state import save_state
from mindcv_halo.training.step import TrainStep

DATA = TrainingData(["ant", "bee"], num_images=24, files="digest", num_parallel_workers=2)
LOGGER = logging.getLogger("test_resuming")
MODEL = "halonet_test"


def make_step(rates: tuple[float, ...] = (0.1, 0.2, 0.3), every: int = 1, value: float = 0.0) -> TrainStep:
    """A step whose parameters and moving averages all have the same value."""
    network = nn.SequentialCell(nn.Dense(3, 2))
    optimizer = create_optimizer(network, "adamw", lr=list(rates))
    step = TrainStep(network, nn.CrossEntropyLoss(), optimizer, accumulation_steps=every)
    for parameter in step.get_parameters():
        if parameter.name != "learning_rate":
            parameter.set_data(Tensor(np.full(parameter.shape, value), parameter.dtype))
    return step


def arrays_of(step: TrainStep) -> dict[str, np.ndarray]:
    return {name: parameter.asnumpy().copy() for name, parameter in step.parameters_dict().items()}


def make_state(position: Position, saved: int, now: int, step: TrainStep | None = None) -> SavedState:
    """A state of steps of `saved` images that a run with steps of `now` images goes on with."""
    content = {"position": vars(position), "images_per_step": saved}
    return SavedState(arrays_of(step) if step else {}, json.loads(json.dumps(content)), now)


def test_steps_of_the_same_size_go_on_where_they_were():
    position = Position(epoch=2, step=3, loss_sum=1.5, best_top1=70.0, best_epoch=1)
    state = make_state(position, saved=8, now=8)
    assert state.same_steps and state.find_position(steps_per_epoch=9) == position


@pytest.mark.parametrize(
    "step, saved, now, expected", [(3, 16, 8, 6), (6, 8, 16, 3), (5, 8, 16, 2), (1, 8, 24, 0), (0, 8, 16, 0)]
)
def test_steps_of_another_size_leave_no_image_out(step, saved, now, expected):
    """What does not fill a step of now is seen again. The mean of the losses so far stays."""
    state = make_state(Position(epoch=2, step=step, loss_sum=0.5 * step), saved, now)
    assert not state.same_steps
    found = state.find_position(steps_per_epoch=9)
    assert (found.epoch, found.step, found.loss_sum) == (2, expected, 0.5 * expected)
    assert found.step * now <= step * saved < (found.step + 1) * now


def test_an_epoch_has_no_more_steps_than_it_has():
    """33 images: 3 steps of 16, of which the last is smaller, or 5 of 8; the plan of rates has no sixth."""
    state = make_state(Position(epoch=2, step=3, loss_sum=1.5), saved=16, now=8)
    found = state.find_position(steps_per_epoch=5)
    assert (found.epoch, found.step, found.loss_sum) == (2, 5, 2.5)


def test_the_same_steps_restore_everything_but_rates():
    saved, step = make_step((0.1, 0.2, 0.3), value=5), make_step((7.0, 8.0, 9.0, 10.0))
    make_state(Position(), 8, 8, saved).put_into(step, updates=99)
    expected = arrays_of(saved)
    assert set(expected) >= {"0.weight", "adamw_m.0.weight", "global_step", "learning_rate"}
    found = arrays_of(step)
    np.testing.assert_array_equal(found.pop("learning_rate"), np.float32([7, 8, 9, 10]))
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_other_steps_keep_their_own_plan_of_rates():
    """Weights and moving averages come from the state; the plan, and the place in it, are this run's."""
    step = make_step((7.0, 8.0, 9.0, 10.0, 11.0))
    make_state(Position(), 16, 8, make_step(value=5)).put_into(step, updates=4)
    found = arrays_of(step)
    np.testing.assert_array_equal(found.pop("learning_rate"), np.float32([7, 8, 9, 10, 11]))
    assert found.pop("global_step").tolist() == [4]
    assert len(found) == 6 and all((value == 5).all() for value in found.values())


@pytest.mark.parametrize("num_accumulated, updates", [(0, 2), (1, 1)])
def test_an_update_that_is_under_way_is_not_counted_twice(num_accumulated, updates):
    """Two batches make an update here. The plan has no rate for one more at the end of the run."""
    saved, step = make_step(every=2), make_step(every=2)
    saved.num_accumulated.set_data(Tensor(num_accumulated, saved.num_accumulated.dtype))
    make_state(Position(), 16, 8, saved).put_into(step, updates=2)
    assert (int(step.num_accumulated), step.optimizer.global_step.asnumpy().tolist()) == (num_accumulated, [updates])


def test_ranks_without_the_arrays_wait_for_the_broadcast():
    step = make_step(value=3)
    make_state(Position(), 8, 8).put_into(step, updates=99)
    assert all((value == 3).all() for name, value in arrays_of(step).items() if name != "learning_rate")


def test_the_state_of_another_step_is_refused():
    with pytest.raises(
        UserError, match=r"^resume: the state does not fit this run: \d+ entries are \S+ .*, such as accum"
    ):
        make_state(Position(), 8, 8, make_step(every=2)).put_into(make_step(), updates=0)


@dataclass
class SecondRank:
    """Stands in for a ProcessGroup: the second rank, to which the first says `text`."""

    text: bytes
    is_main: bool = False

    def broadcast(self, content: bytes) -> bytes:
        assert content == b""
        return self.text


def make_run(folder: Path, **changes) -> Recipe:
    return make_recipe({"model": MODEL, "batch_size": 8, "ckpt_save_dir": str(folder), "scale": (0.5, 1.0), **changes})


def save(folder: Path, images_per_step: int = 8, **keys) -> dict:
    """Write a state of make_run(folder), with further keys in its recipe; its content."""
    content = {
        "position": vars(Position(epoch=1)),
        "images_per_step": images_per_step,
        "recipe": {**flatten(make_run(folder)), **keys},
        "data": asdict(DATA),
    }
    save_state(state_parameters(make_step()), content, folder, MODEL, 1, 0)
    return json.loads(json.dumps(content))


def test_rank_0_reads_and_the_others_hear(tmp_path):
    content = save(tmp_path)
    first = load_run(make_run(tmp_path), DATA, 8, ONE_PROCESS, LOGGER)
    assert first.content == content and first.same_steps and "0.weight" in first.arrays
    second = load_run(make_run(tmp_path / "elsewhere"), DATA, 8, SecondRank(json.dumps(content).encode()), LOGGER)
    assert second.content == content and second.same_steps and not second.arrays


def test_another_number_of_ranks_may_go_on(tmp_path):
    save(tmp_path, images_per_step=16)
    assert not load_run(make_run(tmp_path), DATA, 8, ONE_PROCESS, LOGGER).same_steps  # as many images on fewer ranks
    assert load_run(make_run(tmp_path, batch_size=16), DATA, 16, ONE_PROCESS, LOGGER).same_steps  # all of them on one
    with pytest.raises(UserError, match=r"^resume: batch_size was 8 and is 4 now; resume with the run's own recipe"):
        load_run(make_run(tmp_path, batch_size=4), DATA, 8, ONE_PROCESS, LOGGER)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"lr": 0.1}, r"^resume: lr was 0.001 and is 0.1 now; resume with the run's own recipe.yaml, or start anew"),
        ({"seed": 1}, r"^resume: seed was 42 and is 1 now"),
        ({"sync_bn": True}, r"^resume: sync_bn was False and is True now"),
        ({"scale": (0.4, 1.0)}, r"^resume: scale was \[0.5, 1.0\] and is \[0.4, 1.0\] now"),
    ],
)
def test_what_makes_another_run_is_refused(tmp_path, changes, message):
    save(tmp_path)
    with pytest.raises(UserError, match=message):
        load_run(make_run(tmp_path, **changes), DATA, 8, ONE_PROCESS, LOGGER)


def test_what_changes_no_step_may_differ(tmp_path):
    save(tmp_path)
    changes = {"num_parallel_workers": 2}  # DATA says what that is on this machine
    assert load_run(make_run(tmp_path, **changes), DATA, 8, ONE_PROCESS, LOGGER).same_steps
    changes = {"distribute": True, "data_timeout": 9, "jit_level": "O0", "log_interval": 1, "data_dir": "elsewhere"}
    assert load_run(make_run(tmp_path, **changes), DATA, 8, ONE_PROCESS, LOGGER).same_steps
    assert set(changes) <= FREE_KEYS <= set(flatten(Recipe()))


def test_a_key_of_another_version_is_named(tmp_path):
    save(tmp_path, gone=1)
    with pytest.raises(UserError, match="this version has no key 'gone'"):
        load_run(make_run(tmp_path), DATA, 8, ONE_PROCESS, LOGGER)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"class_names": ["ant", "wasp"]},
            r"^resume: the classes are not those of the run \(gone: bee; new: wasp\); put",
        ),
        ({"class_names": ["bee", "ant"]}, r"^resume: the classes are not those of the run \(their order is another\)"),
        ({"num_images": 25}, r"^resume: the run had 24 training images, here are 25; put the run's images back, or"),
        ({"files": "another"}, r"^resume: names or classes of the training images are not those of the run"),
        ({"num_parallel_workers": 1}, r"^resume: num_parallel_workers was 2 .* is 1 here"),
    ],
)
def test_other_images_are_refused(tmp_path, changes, message):
    assert set().union(*(changes, vars(DATA))) == set(vars(DATA))
    save(tmp_path)
    with pytest.raises(UserError, match=message):
        load_run(make_run(tmp_path), replace(DATA, **changes), 8, ONE_PROCESS, LOGGER)


def test_auto_starts_where_there_is_nothing(tmp_path):
    """On every rank: rank 0 says nothing."""
    assert load_run(make_run(tmp_path, resume="auto"), DATA, 8, ONE_PROCESS, LOGGER) is None
    assert load_run(make_run(tmp_path, resume="auto"), DATA, 8, SecondRank(b""), LOGGER) is None
    with pytest.raises(UserError, match="there are none; set resume to False"):
        load_run(make_run(tmp_path, resume=True), DATA, 8, ONE_PROCESS, LOGGER)
    save(tmp_path)
    assert load_run(make_run(tmp_path, resume="auto"), DATA, 8, ONE_PROCESS, LOGGER).same_steps


def test_a_longer_run_goes_on_and_a_shorter_one_is_refused(tmp_path, caplog):
    save(tmp_path, epoch_size=3)
    with caplog.at_level(logging.INFO, logger=LOGGER.name):
        assert load_run(make_run(tmp_path, epoch_size=5), DATA, 8, ONE_PROCESS, LOGGER).same_steps
    assert "epoch_size was 3 and is 5 now: from here on the rates are those of the new schedule" in caplog.text
    content = json.loads(json.dumps(save(tmp_path, epoch_size=3)))
    content["position"]["epoch"], content["position"]["step"] = 3, 1
    save_state(state_parameters(make_step()), content, tmp_path, MODEL, 3, 1)
    with pytest.raises(
        UserError, match=r"^resume: the run is in its epoch 4, and epoch_size is 3; give --epoch_size 4"
    ):
        load_run(make_run(tmp_path, epoch_size=3), DATA, 8, ONE_PROCESS, LOGGER)
