from __future__ import annotations

import os
import sys

import mindspore.dataset as ds
import numpy as np
import pytest
from PIL import Image

from mindcv_halo.data import (
    RepeatAugSampler,
    create_dataset,
    digits,
    get_class_names,
    get_dataset_size,
    sample_source,
    seed_epoch,
)
from mindcv_halo.data.decoding import decode
from mindcv_halo.data.sample_source import SampleSource, clamp_workers
from mindcv_halo.errors import UserError


def labels_of(dataset) -> list[int]:
    return [int(label) for _, label in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)]


def files_of(dataset) -> list[bytes]:
    return [image.tobytes() for image, _ in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)]


def test_labels_follow_the_sorted_class_folders(make_folder):
    root = make_folder({"train/b": 2, "train/10": 1, "train/2": 1, "train/Z": 1, "train/.hidden": 1})
    (root / "train" / "readme.txt").write_text("not a class")
    (root / "train" / "b" / "notes.txt").write_text("not an image")
    (root / "train" / "b" / "0.jpg").rename(root / "train" / "b" / "0.JPG")
    assert get_class_names("", root, "train") == ["10", "2", "Z", "b"]
    assert get_dataset_size("imagenet", root, "train") == 5
    dataset = create_dataset("", str(root), shuffle=False)
    assert dataset.get_dataset_size() == 5
    assert labels_of(dataset) == [0, 1, 2, 3, 3]
    image, label = next(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))
    assert image.dtype == np.uint8 and label.dtype == np.int32
    assert image.tobytes() == (root / "train" / "10" / "0.jpg").read_bytes()


def test_exif_turns_the_images_of_a_data_set(make_folder):
    root = make_folder({"train/a": 1})
    path = root / "train" / "a" / "0.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.save(path.with_suffix(".png"), exif=exif)
    path.unlink()
    for is_asked, shape in ((False, (40, 48, 3)), (True, (48, 40, 3))):
        (image, _), *_ = create_dataset("", str(root), exif=is_asked).create_tuple_iterator(output_numpy=True)
        assert decode(image).shape == shape


def test_class_names_of_the_training_run_set_the_labels(make_folder):
    root = make_folder({"val/cat": 1, "val/dog": 1})
    dataset = create_dataset("", str(root), "val", shuffle=False, class_names=["dog", "fish", "cat"])
    assert labels_of(dataset) == [2, 0]
    with pytest.raises(UserError, match=r"val: cat is none of the 2 classes of the model \(dog, fish\)"):
        create_dataset("", str(root), "val", class_names=["dog", "fish"])


@pytest.mark.parametrize(
    "counts, split, message",
    [
        ({}, "train", r"data_dir '.*images' is no folder"),
        ({"train/a": 1}, "test", r"split 'test' is no folder in .*images; it has train; choose"),
        ({"train": 0}, "train", r"images/train has no class folders"),
        ({"train/a": 1, "train/b": 0}, "train", r"class folder .*train/b holds no image; put files with"),
    ],
)
def test_folders_that_do_not_fit_are_named(make_folder, tmp_path, counts, split, message):
    make_folder(counts)
    with pytest.raises(UserError, match=message):
        create_dataset("", str(tmp_path / "images"), split)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_shards": 2}, "belong together"),
        ({"num_shards": 2, "shard_id": 2}, r"shard_id=2 is not in \[0, num_shards=2\)"),
        (
            {"num_shards": 9, "shard_id": 4, "shuffle": False},
            "shard_id=4 of 9 has none of the 4 samples; use 4 shards at most",
        ),
        (
            {"num_shards": 3, "shard_id": 2, "shuffle": False, "num_samples": 2},
            "shard_id=2 of 3 has none of the 2 samples; use 2 shards at most",
        ),
        ({"num_samples": 0}, "num_samples=0 must be positive"),
        ({"num_samples": 2, "num_aug_repeats": 3}, "exclude each other"),
        ({"download": True}, "dataset_download does not know 'imagenet'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(make_folder, arguments, message):
    with pytest.raises(UserError, match=message):
        create_dataset("", str(make_folder({"train/a": 4})), **arguments)


def test_evaluation_shards_hold_every_sample_once(make_folder):
    root = make_folder({"val/a": 7, "val/b": 3})
    whole = files_of(create_dataset("", str(root), "val", shuffle=False))
    shards = [files_of(create_dataset("", str(root), "val", False, num_shards=4, shard_id=rank)) for rank in range(4)]
    assert [len(shard) for shard in shards] == [3, 3, 2, 2]
    assert sorted(sum(shards, [])) == sorted(whole)


@pytest.mark.parametrize(
    "seed",
    [
        lambda rank: ds.config.set_seed(17),  # as a script does that knows minddata alone
        lambda rank: seed_epoch(0, 0),
        lambda rank: seed_epoch(0, 0, rank),
    ],
)
def test_training_shards_are_equal_and_cover_everything(make_folder, seed):
    root = make_folder({"train/a": 7, "train/b": 3})
    whole = files_of(create_dataset("", str(root), shuffle=False))
    shards = []
    for rank in range(4):
        seed(rank)
        shards.append(files_of(create_dataset("", str(root), num_shards=4, shard_id=rank)))
    assert [len(shard) for shard in shards] == [3, 3, 3, 3]
    assert set(sum(shards, [])) == set(whole)


def test_order_changes_with_the_epoch_and_repeats_with_the_seed(make_folder):
    dataset = create_dataset("", str(make_folder({"train/a": 12})), num_parallel_workers=2)

    def order(seed: int, epoch: int) -> list[bytes]:
        seed_epoch(seed, epoch)
        return files_of(dataset)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert sorted(order(1, 0)) == sorted(order(1, 1))


def test_one_iterator_over_two_epochs_shuffles_each(make_folder):
    dataset = create_dataset("", str(make_folder({"train/a": 12})))
    iterator = dataset.create_tuple_iterator(num_epochs=2, output_numpy=True)
    first, second = ([image.tobytes() for image, _ in iterator] for _ in range(2))
    assert first != second and sorted(first) == sorted(second)


def test_a_new_iterator_starts_over_whatever_ran_before(make_folder):
    dataset = create_dataset("", str(make_folder({"train/a": 12})))
    first = files_of(dataset)
    list(dataset.source)
    assert files_of(dataset) == first


@pytest.mark.parametrize("shuffle, sizes", [(True, [2, 2]), (False, [2, 1])])
def test_num_samples_limits_all_shards_together(make_folder, shuffle, sizes):
    root = str(make_folder({"train/a": 5}))
    whole = files_of(create_dataset("", root, num_samples=3, shuffle=shuffle))
    assert len(whole) == 3
    shards = [
        files_of(create_dataset("", root, num_samples=3, shuffle=shuffle, num_shards=2, shard_id=rank))
        for rank in range(2)
    ]
    assert [len(shard) for shard in shards] == sizes
    assert set(sum(shards, [])) == set(whole)


def test_workers_are_clamped():
    assert clamp_workers(1000) == os.cpu_count()
    assert clamp_workers(0) == 1
    assert 1 <= clamp_workers(None) <= os.cpu_count()


@pytest.mark.parametrize("num_threads", [1, 2])
def test_reading_threads_keep_the_order(make_folder, num_threads):
    root = make_folder({"train/a": 40})
    names = sorted(path for path in (root / "train" / "a").iterdir())
    dataset = create_dataset("", str(root), shuffle=False, num_parallel_workers=num_threads)
    assert files_of(dataset) == [path.read_bytes() for path in names]


def test_large_images_are_not_read_far_ahead(monkeypatch):
    started = []

    def read(index: int) -> np.ndarray:
        started.append(index)
        return np.zeros(100, np.uint8)

    def plan(seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(200), np.zeros(200, int)

    for most, furthest in ((1, 16), (1 << 30, 40)):
        monkeypatch.setattr(sample_source, "_MOST_AHEAD", most)
        started.clear()
        samples = iter(SampleSource(read, np.zeros(200, np.int32), plan, num_threads=2))
        next(samples)
        samples.close()  # waits for the threads
        assert max(started) < furthest
        assert len(list(SampleSource(read, np.zeros(200, np.int32), plan, num_threads=2))) == 200


def test_repeated_augmentation_visits_a_third_of_the_samples_three_times():
    """Worked by hand from the definition: 12 samples, 3 repeats, 2 ranks, 12 slots in all, 6 for each rank."""
    samplers = [RepeatAugSampler(12, 2, rank, shuffle=False, num_repeats=3) for rank in range(2)]
    assert [list(sampler) for sampler in samplers] == [[0, 0, 1, 2, 2, 3], [0, 1, 1, 2, 3, 3]]
    assert len(samplers[0]) == 6


def test_repeated_augmentation_rounds_the_epoch_down():
    assert len(RepeatAugSampler(1000, 2, 0)) == 768 / 2
    assert len(RepeatAugSampler(100, 2, 0)) == 50  # fewer than a round: all of them


def test_repeated_augmentation_shuffles_anew_each_epoch():
    sampler = RepeatAugSampler(30)
    first = list(sampler)
    assert first == list(sampler)
    assert [first.count(index) for index in set(first)] == [3] * 10
    sampler.set_epoch(1)
    assert first != list(sampler)


def test_repeats_reach_the_dataset(make_folder):
    files = files_of(create_dataset("", str(make_folder({"train/a": 9})), num_aug_repeats=3))
    assert len(files) == 9
    assert sorted(files.count(file) for file in set(files)) == [3, 3, 3]


def test_digits_are_real_images_in_a_fixed_stratified_split(tmp_path):
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    images, labels = sklearn_datasets.load_digits(return_X_y=True)
    dataset = create_dataset("digits", str(tmp_path), "val", shuffle=False)
    counts = [get_dataset_size("digits", str(tmp_path), split) for split in ("train", "val")]
    assert counts == [1442, 355]
    assert np.bincount(labels_of(dataset)).tolist() == [count // 5 for count in np.bincount(labels)]
    assert get_class_names("digits", str(tmp_path), "val") == list("0123456789")
    some = sorted((tmp_path / "digits" / "val" / "7").iterdir())[3]
    pixels = np.asarray(Image.open(some))
    expected = images[int(some.stem)].reshape(8, 8) / 16 * 255
    assert labels[int(some.stem)] == 7
    np.testing.assert_allclose(pixels, expected, atol=0.5)  # rounded to whole grey levels
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]  # nothing unfinished is left


def test_digits_are_written_once_and_checked(tmp_path):
    pytest.importorskip("sklearn")
    folder = digits.prepare_digits(tmp_path)
    some = next(folder.glob("train/3/*.png"))
    written = some.stat().st_mtime_ns
    digits.prepare_digits(tmp_path)
    assert some.stat().st_mtime_ns == written
    some.unlink()
    with pytest.raises(UserError, match="holds 1796 images instead of 1797; delete the folder"):
        digits.prepare_digits(tmp_path)


def test_digits_interrupted_leave_nothing(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(UserError, match="no space left"):
        digits.prepare_digits(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_digits_name_their_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"pip install mindcv_halo\[demo\]"):
        create_dataset("digits", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mnist", "MNIST", "Fashion_MNIST", "Cifar10", "CIFAR10", "cifar100", "CIFAR100"])
def test_arrays_are_known_in_any_case(make_arrays, name):
    root = str(make_arrays(name.lower()))
    assert create_dataset(name, root).num_classes() == len(get_class_names(name, root, "val"))
    assert get_dataset_size(name, root, "train") == get_dataset_size(name.lower(), root, "train") > 0


@pytest.mark.parametrize("name", ["digits", "Digits", "DIGITS"])
def test_digits_are_known_in_any_case(tmp_path, name):
    pytest.importorskip("sklearn")
    assert create_dataset(name, str(tmp_path), "val").num_classes() == 10


@pytest.mark.parametrize(
    "name, meant",
    [
        ("cifar-10", "cifar10"),
        ("cifar_100", "cifar100"),
        ("CIFAR 10", "cifar10"),
        ("minst", "mnist"),
        ("MNIST-", "mnist"),
        ("fashion-mnist", "fashion_mnist"),
        ("FashionMNIST", "fashion_mnist"),
        ("digit", "digits"),
    ],
)
def test_a_name_that_is_nearly_one_of_ours_is_said(make_folder, name, meant):
    """Any other name is a folder, as in MindCV; only where that folder is not there may it be a slip."""
    root = make_folder({"train/a": 1})
    assert create_dataset(name, str(root)).num_classes() == 1
    for place, split in ((str(root), "test"), (f"{root}/absent", "train")):
        with pytest.raises(UserError, match=f" is no folder.*; or is dataset '{name}' meant to be {meant}?"):
            create_dataset(name, place, split)


@pytest.mark.parametrize("name", ["", "imagenet", "ImageNet", "imagenette", "pets", "cats"])
def test_other_names_are_folders_without_a_remark(make_folder, name):
    root = str(make_folder({"train/a": 1}))
    assert get_class_names(name, root, "train") == ["a"]
    with pytest.raises(UserError) as error:
        create_dataset(name, root, "test")
    assert "meant" not in str(error.value)


def test_the_root_of_arrays_is_that_of_downloads_by_default(make_arrays, make_folder, tmp_path, monkeypatch):
    root = make_arrays("mnist")
    monkeypatch.setattr("mindcv_halo.data.dataset_factory.get_dataset_download_root", lambda: str(root))
    assert create_dataset("mnist").get_dataset_size() == create_dataset("mnist", None).get_dataset_size() == 5
    monkeypatch.chdir(make_folder({"train/a": 2}))
    assert create_dataset().get_dataset_size() == create_dataset("imagenet", None).get_dataset_size() == 2


def classes_of(kind: str, make_folder, make_arrays) -> tuple[list[str], ds.Dataset]:
    if kind == "folder":
        return ["a", "b"], create_dataset("", str(make_folder({"train/a": 2, "train/b": 4})))
    if kind == "given":
        root = str(make_folder({"train/a": 2, "train/b": 4}))
        return ["b", "c", "a"], create_dataset("", root, class_names=["b", "c", "a"])
    root = str(make_arrays(kind))
    return get_class_names(kind, root, "train"), create_dataset(kind, root)


@pytest.mark.parametrize("kind", ["folder", "given", "mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_a_data_set_tells_its_classes_whatever_is_done_to_it(make_folder, make_arrays, kind):
    """As minddata's own ImageFolderDataset does."""
    names, dataset = classes_of(kind, make_folder, make_arrays)
    labels = {name: label for label, name in enumerate(names)}
    numbers = ds.NumpySlicesDataset({"number": np.arange(4)})
    for change in (
        lambda data: data,
        lambda data: data.map([lambda image: image[:8]], "image"),
        lambda data: data.shuffle(4),
        lambda data: data.skip(1),
        lambda data: data.take(3),
        lambda data: data.repeat(2),
        lambda data: data.project(["image", "label"]),
        lambda data: data.rename("image", "picture"),
        lambda data: data.filter(lambda label: label >= 0, ["label"]),
        lambda data: data.zip(numbers),
        lambda data: data.batch(1),
    ):
        dataset = change(dataset)
        assert dataset.num_classes() == len(names)
        assert dataset.get_class_indexing() == labels
    assert numbers.num_classes() is None and numbers.get_class_indexing() == {}


def test_minddatas_own_data_sets_tell_their_classes_as_before(make_folder):
    root = make_folder({"train/a": 1, "train/b": 1})
    dataset = ds.ImageFolderDataset(str(root / "train"))
    assert dataset.num_classes() == 2 and dataset.batch(1).num_classes() == 2
    assert dataset.get_class_indexing() == {"a": 0, "b": 1}


def test_the_seed_of_minddata_is_left_alone(make_folder):
    ds.config.set_seed(17)
    files_of(create_dataset("", str(make_folder({"train/a": 3}))))
    assert ds.config.get_seed() == 17
