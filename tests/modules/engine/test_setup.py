"""The place of a process, and its share of the images."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from support.ways import has_kernels

from mindcv_halo.config import make_recipe
from mindcv_halo.distributed.launchers import NO_LAUNCHER, Topology
from mindcv_halo.distributed.process_group import ProcessGroup
from mindcv_halo.engine import setup
from mindcv_halo.engine.setup import (
    build_network,
    find_place,
    make_train_loader,
    make_transforms,
    make_val_loader,
    open_train_split,
    open_val_split,
    start_device,
)
from mindcv_halo.errors import UserError
from mindcv_halo.models import HaloNet
from mindcv_halo.native import NativeUnavailableError
from mindcv_halo.native.whole_network import NativeHaloNet

NUM_TRAIN, NUM_VAL = 11, 3
OPTIONS = {
    "model": "halonet_test", "image_resize": "8", "scale": "1 1", "ratio": "1 1", "hflip": 0, "color_jitter": "None",
    "mean": "0 0 0", "std": "1 1 1", "crop_pct": "1",
}  # fmt: skip


def variables(size: int, rank: int = 0) -> dict[str, str]:
    """Of mpirun on one machine."""
    return {
        "OMPI_COMM_WORLD_SIZE": str(size),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(size),
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
        "PMIX_NAMESPACE": "prterun-vm-27602@1",
    }


@pytest.fixture
def launch(monkeypatch):
    """launch(size, rank): this process is one of mpirun's. Its processors are left alone; the shares are recorded."""
    shares: list[tuple[int, int]] = []
    monkeypatch.setattr(setup, "share_processors", lambda *place: shares.append(place))

    def launch(size: int, rank: int) -> list[tuple[int, int]]:
        for name, value in variables(size, rank).items():
            monkeypatch.setenv(name, value)
        return shares

    return launch


@pytest.fixture
def folder(tmp_path) -> Path:
    """train and val: images of a grey that is their number."""
    for split, count in {"train": NUM_TRAIN, "val": NUM_VAL}.items():
        for number in range(count):
            target = tmp_path / split / str(number % 2)
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(target / f"{number}.png")
    return tmp_path


def rank(number: int, size: int) -> Topology:
    """Each rank on a machine of its own, so that its place there says nothing."""
    return Topology("mpirun", number, size, 0, 1, masters=("127.0.0.1",), job="job")


def system(**options):
    return make_recipe({"device_target": "CPU", **options}).system


def test_no_launcher():
    assert find_place(system()) is NO_LAUNCHER
    with pytest.raises(UserError, match=r"^distribute True needs a launcher: mpirun -n 2 python"):
        find_place(system(distribute=True))


def test_a_launcher(launch):
    shares = launch(4, 3)
    place = find_place(system(distribute=True))
    assert (place.launcher, place.rank, place.size) == ("mpirun", 3, 4)
    assert shares == [(3, 4)]
    with pytest.raises(UserError, match=r"^mpirun started 4 processes and distribute is False"):
        find_place(system())


@pytest.mark.parametrize("device", ["Ascend", "GPU"])
def test_more_processes_than_devices(launch, monkeypatch, device):
    monkeypatch.setattr(ms.hal, "is_available", lambda name: True)
    monkeypatch.setattr(ms.hal, "device_count", lambda name: {"Ascend": 8, "GPU": 2}[name])
    launch(9, 3)
    count = {"Ascend": 8, "GPU": 2}[device]
    with pytest.raises(UserError, match=rf"which has {count} {device} device\(s\); start at most {count} on this"):
        find_place(system(distribute=True, device_target=device))
    launch(2, 1)
    assert find_place(system(distribute=True, device_target=device)).local_rank == 1


@pytest.mark.parametrize("device", ["Ascend", "GPU"])
def test_each_rank_takes_its_device(monkeypatch, device):
    """In this order: the device, then the other ranks, then the seeds, which differ by rank."""
    calls = []
    monkeypatch.setattr(ms.hal, "is_available", lambda name: True)
    monkeypatch.setattr(ms, "set_device", lambda *arguments: calls.append(("set_device", *arguments)))
    monkeypatch.setattr(ms, "set_context", lambda **options: calls.append(("set_context", options)))
    monkeypatch.setattr(setup, "set_seed", lambda *seed: calls.append(("set_seed", *seed)))

    def join_group(*arguments):
        calls.append(("join_group", *arguments))
        return ProcessGroup(3, 4)

    monkeypatch.setattr(setup, "join_group", join_group)
    place = Topology("srun", 3, 4, 1, 2, masters=("gpu07",), job="71.0")
    group, line = start_device(system(device_target=device, seed=5, jit_level="O1"), place)
    assert calls == [
        ("set_device", device, 1),
        ("set_context", {"mode": 0}),
        ("set_context", {"jit_config": {"jit_level": "O1"}}),
        ("join_group", place, device),
        ("set_seed", 5, 3),
    ]
    assert group == ProcessGroup(3, 4)
    assert f" on {device}, graph mode; " in line and line.endswith("; 4 ranks by srun")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_train_on_equal_shares_of_every_image(folder, size):
    recipe = make_recipe({**OPTIONS, "data_dir": str(folder), "batch_size": 2, "drop_remainder": False})
    train = open_train_split(recipe.dataset)
    shares = []
    for number in range(size):
        loader = make_train_loader(recipe, train, train.class_names, rank(number, size))
        shares.append(greys(loader))
    assert len({len(share) for share in shares}) == 1
    assert set(sum(shares, [])) == {20 * number for number in range(NUM_TRAIN)}


def greys(loader) -> list[int]:
    """Which images a loader gives, by their grey."""
    batches = loader.create_tuple_iterator(num_epochs=1, output_numpy=True)
    return [round(float(image.mean())) for images, _ in batches for image in images]


def test_every_image_is_validated_by_one_rank(folder):
    recipe = make_recipe({**OPTIONS, "data_dir": str(folder), "batch_size": 2})
    val = open_val_split(recipe.dataset)
    for size in (1, 2, 3, 5):
        loaders = [make_val_loader(recipe, val, val.class_names, rank(number, size)) for number in range(size)]
        assert [loader is None for loader in loaders] == [number >= NUM_VAL for number in range(size)]
        found = sorted(grey for loader in loaders if loader is not None for grey in greys(loader))
        assert found == [20 * number for number in range(NUM_VAL)]


def test_unequal_shares_are_refused(folder):
    recipe = make_recipe({**OPTIONS, "data_dir": str(folder), "batch_size": 2, "shuffle": False})
    train = open_train_split(recipe.dataset)
    with pytest.raises(
        UserError, match=r"^shuffle False deals out unequal shares, and ranks would wait for each other"
    ):
        make_train_loader(recipe, train, train.class_names, rank(0, 2))
    assert len(greys(make_train_loader(recipe, train, train.class_names))) == 10  # one process has nobody who waits


def test_a_seed_has_31_bits():
    for seed in (-1, 2**31):
        with pytest.raises(UserError, match=rf"^seed {seed} must be at least 0 and below 2\^31$"):
            find_place(system(seed=seed))


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"amp_level": "O2"}, "know no amp level O2"), ({"sync_bn": True}, "no sync_bn")],
    ids=["half precision", "sync_bn"],
)
def test_native_kernels_say_why_they_cannot_be(options, reason):
    asked = make_recipe({**OPTIONS, **options, "native_kernels": True})
    with pytest.raises(UserError, match=reason):
        build_network(asked, 2)
    left_open = make_recipe({**OPTIONS, **options})
    assert type(build_network(left_open, 2)) is not NativeHaloNet


@pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")
def test_native_kernels_are_taken_wherever_they_can_be():
    assert isinstance(build_network(make_recipe(OPTIONS), 2), NativeHaloNet)
    assert type(build_network(make_recipe({**OPTIONS, "native_kernels": False}), 2)) is HaloNet


def test_without_a_compiler_a_run_is_portable(monkeypatch):
    def fail() -> None:
        raise NativeUnavailableError("native kernels: no C++ compiler")

    monkeypatch.setattr(setup, "load_kernels", fail)
    assert type(build_network(make_recipe(OPTIONS), 2)) is HaloNet
    with pytest.raises(UserError, match="no C"):
        build_network(make_recipe({**OPTIONS, "native_kernels": True}), 2)


@pytest.mark.parametrize(
    "changes, flips",
    [({}, False), ({"hflip": 0.5}, True), ({"dataset": "cifar10"}, True), ({"dataset": "fashion_mnist"}, True)],
)
def test_a_flip_is_the_data_sets_own_unless_given(changes, flips):
    recipe = make_recipe({"model": "halonet_test", "dataset": "mnist", "color_jitter": None, **changes})
    names = [type(transform).__name__ for transform in make_transforms(recipe, is_training=True)]
    assert ("RandomHorizontalFlip" in names) == flips


@pytest.mark.parametrize("name", ["MNIST", "Fashion_MNIST", "Cifar10", "CIFAR100"])
def test_a_recipe_may_write_a_data_sets_name_in_any_case(name):
    """Its channels, statistics and transforms are then the data set's own, not ImageNet's."""
    is_grey = name.endswith("MNIST")
    values = {**OPTIONS, "mean": None, "std": None, "in_channels": 1 if is_grey else 3, "native_kernels": False}
    asked, known = (make_recipe({**values, "dataset": written}) for written in (name, name.lower()))
    assert setup.resolve_transform(asked) == setup.resolve_transform(known)
    for is_training in (False, True):
        pairs = zip(
            make_transforms(asked, is_training=is_training),
            make_transforms(known, is_training=is_training),
            strict=True,
        )
        assert all(type(one) is type(other) for one, other in pairs)
    assert build_network(asked, 2)(ms.Tensor(np.zeros((1, 1 if is_grey else 3, 8, 8), np.float32))).shape == (1, 2)
