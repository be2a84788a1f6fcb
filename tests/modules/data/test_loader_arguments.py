"""Every combination of create_dataset, create_transforms and create_loader gives right batches, or a UserError."""

from __future__ import annotations

import io
from itertools import product

import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore.dataset import transforms, vision
from PIL import Image
from support.array_files import ARRAY_FILES

from mindcv_halo.data import RandomErasing, create_dataset, create_loader, create_transforms
from mindcv_halo.data.auto_augment import create_auto_augment
from mindcv_halo.data.dataset_names import GREY_DATASETS
from mindcv_halo.errors import UserError

SIZE = 8  # pixels of the images that come out
IMAGES = np.zeros((4, 8, 8, 3), np.uint8)
LABELS = np.arange(4, dtype=np.int32) % 2
BATCH = 2
COUNT = 5  # samples
NUM_CLASSES = {"folder": 2, "decoded": 2, "minddatas_folder": 2, "mnist": 10, "cifar10": 10, "cifar100": 100, "own": 3}
NAMES = {"folder": "", "decoded": "cifar10", "minddatas_folder": "imagenet", "own": "CIFAR10"}  # for create_transforms


def decode(content: np.ndarray) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content.tobytes())).resize((32, 32)))


@pytest.fixture
def make_dataset(make_folder, make_arrays):
    """make_dataset(kind): a new data set of COUNT samples, whatever has been read from another one."""
    folder = str(make_folder({"train/a": 2, "train/b": 3}))
    arrays = {name: str(make_arrays(name)) for name in ARRAY_FILES}

    def make(kind: str) -> ds.Dataset:
        if kind == "folder":
            return create_dataset("", folder, num_parallel_workers=1)
        if kind == "decoded":
            return create_dataset("", folder, num_parallel_workers=1).map([decode], "image")
        if kind == "minddatas_folder":
            return ds.ImageFolderDataset(f"{folder}/train", num_parallel_workers=1)
        if kind == "own":
            images = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
            columns = {"image": images, "label": np.arange(COUNT, dtype=np.int64) % 3, "path": np.arange(COUNT)}
            return ds.NumpySlicesDataset(columns, num_parallel_workers=1)
        return create_dataset(kind, arrays[kind], num_samples=COUNT, num_parallel_workers=1)

    return make


def make_transform(choice: str, kind: str, is_training: bool, separate: bool):
    if choice == "left out":
        return None
    if choice == "empty":
        return []
    name = NAMES.get(kind, kind)
    if choice == "of another data set":
        name = {"mnist": "cifar10", "": "cifar10", "imagenet": "mnist"}.get(name, "imagenet")
    policy = None if name in GREY_DATASETS else "augmix-m3"
    if choice == "without separate":
        separate = False
    return create_transforms(name, SIZE, is_training, policy, separate, re_prob=0.5)


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("kind", NUM_CLASSES)
def test_right_batches_or_a_user_error(make_dataset, kind, is_training):
    worked = []
    choices = ("left out", "empty", "its own", "without separate", "of another data set")
    mixtures = ({}, {"mixup": 0.8, "cutmix": 1.0})
    for number, (choice, separate, mixture, drops) in enumerate(
        product(choices, (False, True), mixtures, (False, True))
    ):
        arguments = {"is_training": is_training, "separate": separate, "drop_remainder": drops, **mixture}
        try:
            loader = create_loader(
                make_dataset(kind),
                BATCH,
                num_classes=NUM_CLASSES[kind],
                transform=make_transform(choice, kind, is_training, separate),
                num_parallel_workers=1,
                **arguments,
            )
        except UserError:
            continue
        splits, mixes = is_training and separate, is_training and bool(mixture)
        channels = 1 if kind in GREY_DATASETS else 3
        size = 224 if choice == "left out" else SIZE
        sizes = [BATCH, BATCH] if drops else [BATCH, BATCH, 1]
        assert loader.get_dataset_size() == len(sizes)
        batches = loader.create_tuple_iterator(num_epochs=1, output_numpy=True)
        for count, (images, labels) in zip(sizes if number % 4 == 0 else sizes[:1], batches, strict=False):
            count *= 3 if splits else 1
            assert labels.shape == ((count, NUM_CLASSES[kind]) if mixes else (count,)), (choice, arguments)
            assert labels.dtype == (np.float32 if mixes else np.int32)
            if choice != "empty":
                assert images.shape == (count, channels, size, size) and images.dtype == np.float32
                assert np.abs(images).max() < 10  # normalised
            elif kind not in ("folder", "minddatas_folder"):
                assert images.dtype == np.uint8 and images.shape[-1] == channels and len(images) == count
        worked.append((choice, separate, bool(mixture)))
    expected = [
        ("its own", False, True),
        ("its own", False, False),
        ("its own", True, False),
        ("left out", False, True),
    ]
    assert set(expected) <= set(worked)
    assert (("left out", True, False) in worked) is not is_training


def test_without_transforms_images_are_those_of_evaluation(make_dataset):
    names = {**NAMES, "folder": "imagenet", "cifar100": "CIFAR100", **{name: name for name in GREY_DATASETS}}
    for kind, name in names.items():
        if kind in ("decoded", "own"):
            continue  # arrays that are not of a data set that we know: tested below
        loaders = [
            create_loader(make_dataset(kind), 2, **given) for given in ({}, {"transform": create_transforms(name)})
        ]
        for (images, labels), (expected, same) in zip(*map(batches_of, loaders), strict=True):
            np.testing.assert_array_equal(images, expected)
            np.testing.assert_array_equal(labels, same)


def batches_of(loader: ds.Dataset) -> list:
    return list(loader.create_tuple_iterator(num_epochs=1, output_numpy=True))


def test_decoded_images_are_cropped_and_normalised_by_default(make_dataset):
    whole = [create_loader(make_dataset("folder"), 1), create_loader(make_dataset("decoded"), 1)]
    assert [batches_of(loader)[0][0].shape for loader in whole] == [(1, 3, 224, 224)] * 2
    grey = ds.NumpySlicesDataset({"image": np.zeros((2, 8, 8, 1), np.uint8), "label": np.arange(2)})
    with pytest.raises(UserError, match=r"no evaluation transforms for images of shape \(8, 8, 1\); give transform"):
        create_loader(grey, 1)


def test_an_empty_list_keeps_images_as_they_are(make_dataset):
    for kind in ("folder", "minddatas_folder"):
        (image,) = batches_of(create_loader(make_dataset(kind), 1, transform=[]))[0][0]
        assert image.dtype == np.uint8 and image[:3].tobytes() == b"\xff\xd8\xff"
        with pytest.raises(UserError, match="undecoded files of different lengths make no batch of 2; leave transform"):
            create_loader(make_dataset(kind), 2, transform=[])
    assert batches_of(create_loader(make_dataset("mnist"), 5, transform=[]))[0][0].shape == (5, 28, 28, 1)


@pytest.mark.parametrize("mixture", [{"mixup": 0.8}, {"cutmix": 1.0}])
@pytest.mark.parametrize("kind", ["folder", "minddatas_folder"])
def test_one_hot_labels_mix_as_whole_numbers_do(make_dataset, kind, mixture):
    def load(target_transform) -> list:
        arguments = {"is_training": True, "num_classes": 2, "num_parallel_workers": 1, **mixture}
        transform = create_transforms("", SIZE, True)
        ds.config.set_seed(5)
        dataset = make_dataset(kind)
        return batches_of(
            create_loader(dataset, 5, transform=transform, target_transform=target_transform, **arguments)
        )

    ((images, expected),) = load(None)
    assert ((expected > 0.01) & (expected < 0.99)).any()
    for target_transform in (
        [transforms.OneHot(2)],
        transforms.OneHot(2),
        lambda label: np.eye(2, dtype=np.float32)[label],
    ):
        ((same, labels),) = load(target_transform)
        np.testing.assert_array_equal(same, images)
        np.testing.assert_allclose(labels, expected, atol=1e-6)
        assert labels.dtype == np.float32


def test_labels_of_one_number_mix(make_dataset):
    numbers = ds.NumpySlicesDataset({"image": IMAGES, "label": LABELS[:, None]}, shuffle=False)
    transform = create_transforms("cifar10", SIZE)
    ((_, labels),) = batches_of(
        create_loader(numbers, 4, is_training=True, mixup=1.0, num_classes=2, transform=transform)
    )
    np.testing.assert_allclose(labels, labels[::-1, ::-1], atol=1e-6)  # partners are mirrored, 0 1 0 1
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)


def test_images_that_have_their_channels_first_mix_as_they_are():
    images = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    numbers = ds.NumpySlicesDataset({"image": images, "label": LABELS}, shuffle=False)
    ((mixed, labels),) = batches_of(create_loader(numbers, 4, is_training=True, mixup=1.0, num_classes=2, transform=[]))
    lam = labels[0, 0]
    np.testing.assert_allclose(mixed[0], lam * images[0] + (1 - lam) * images[3], atol=1e-6)


def test_columns_and_labels_of_any_data_set():
    columns = {"image": IMAGES, "fine_label": LABELS + 90, "coarse_label": LABELS}  # as minddata has CIFAR-100
    loader = create_loader(ds.NumpySlicesDataset(columns, shuffle=False), 4)
    assert [labels.tolist() for _, labels in batches_of(loader)] == [[90, 91, 90, 91]]
    one_hot = ds.NumpySlicesDataset(
        {"image": np.zeros((4, 8, 8, 3), np.uint8), "label": np.eye(4, dtype=np.float32)}, shuffle=False
    )
    loader = create_loader(
        one_hot, 4, is_training=True, mixup=1.0, num_classes=4, transform=create_transforms("cifar10", 8)
    )
    (labels,) = (labels for _, labels in batches_of(loader))
    assert labels.shape == (4, 4) and np.allclose(labels.sum(1), 1)


@pytest.mark.parametrize(
    "columns, arguments, message",
    [
        ({"picture": IMAGES, "label": LABELS}, {}, "has the columns picture, label, but no image; name them with"),
        ({"image": IMAGES, "class": LABELS}, {}, "has the columns image, class, but no label"),
        ({"a": IMAGES, "b": LABELS}, {}, "but no image and no label"),
        ({"label": np.zeros((4, 3), np.int32)}, {"mixup": 1.0}, r"num_classes=2 numbers; these have the shape \(3,\)"),
        ({"label": np.zeros(4, np.float32)}, {"mixup": 1.0}, r"these have the shape \(\) and the type float32"),
        ({}, {"mixup": 1.0, "target_transform": [lambda label: label + 2]}, "num_classes=2 has no label 2"),
        (
            {},
            {"mixup": 1.0, "target_transform": [lambda label: label.no]},
            "target_transform fails for the label 0: .*no",
        ),
        ({}, {"mixup": 1.0, "num_classes": 0}, "num_classes=0 must be a whole number of at least 1"),
        ({}, {"mixup": 1.0, "num_classes": None}, "num_classes=None must be a whole number"),
        ({}, {"cutmix": 1.0, "transform": [vision.Resize(8)]}, "transform does not make them so; .*HWC2CHW"),
        ({}, {"cutmix": 1.0, "transform": []}, "transform does not make them so"),
        ({}, {"transform": [vision.Decode()]}, r"begins with Decode, but the images are arrays of shape \(8, 8, 3\)"),
        ({}, {"transform": create_transforms("")}, "begins with Decode, but the images are arrays"),
        (
            {"image": np.zeros((4, 9), np.uint8)},
            {"transform": create_transforms("mnist")},
            "images are undecoded files",
        ),
        ({"image": np.zeros((4, 8, 8, 1), np.uint8)}, {"transform": create_transforms("cifar10")}, "3 channels, but"),
        (
            {"image": np.zeros((4, 8, 8), np.uint8)},
            {"transform": create_transforms("mnist")},
            r"1 channels, but .*\(8, 8\)",
        ),
        ({"image": IMAGES.astype(np.float32)}, {}, "are for bytes, and the images are float32; give transform"),
        ({"image": IMAGES.transpose(0, 3, 1, 2)}, {}, r"no evaluation transforms for images of shape \(3, 8, 8\)"),
        ({"image": IMAGES[..., 0]}, {}, r"no evaluation transforms for images of shape \(8, 8\)"),
        ({"image": np.zeros((4, 9), np.float32)}, {"transform": [vision.Decode()]}, "type float32, not files"),
        ({}, {"separate": True}, "separate needs the three lists"),
        ({}, {"separate": True, "transform": create_transforms("cifar10", 8, True)}, "separate needs the three lists"),
        ({}, {"transform": create_transforms("cifar10", 8, True, separate=True)}, "transform holds the three lists"),
        ({}, {"batch_size": 2.5}, "batch_size 2.5 must be a whole number of at least 1"),
        ({}, {"batch_size": True}, "batch_size True must be a whole number"),
    ],
)
def test_what_cannot_be_is_named(columns, arguments, message):
    if not {"picture", "class", "a"} & columns.keys():
        columns = {"image": IMAGES, "label": LABELS, **columns}
    arguments = {"batch_size": 2, "is_training": True, "num_classes": 2, **arguments}
    with pytest.raises(UserError, match=message):
        create_loader(ds.NumpySlicesDataset(columns), **arguments)


def test_labels_of_ours_are_checked_too(make_dataset):
    arguments = {"is_training": True, "mixup": 1.0, "transform": create_transforms("", SIZE, True)}
    for kind in ("folder", "minddatas_folder"):
        with pytest.raises(UserError, match="num_classes=1 has no label 1; give the number of classes"):
            create_loader(make_dataset(kind), 2, num_classes=1, **arguments)
        with pytest.raises(UserError, match=r"target_transform fails for the label 1: OneHot: index values"):
            create_loader(make_dataset("folder"), 2, target_transform=[transforms.OneHot(1)], **arguments)


@pytest.mark.parametrize("name, minddatas", [("mnist", ds.MnistDataset), ("fashion_mnist", ds.FashionMnistDataset)])
def test_minddatas_own_mnist_has_the_evaluation_transforms_of_mnist(make_arrays, name, minddatas):
    root = str(make_arrays(name))
    ((images, labels),) = batches_of(create_loader(minddatas(root, "train", shuffle=False), 5))
    ((expected, same),) = batches_of(create_loader(create_dataset(name, root, shuffle=False), 5))
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(labels, same)
    assert images.shape == (5, 1, 224, 224) and labels.dtype == np.int32


def test_other_columns_need_not_fit_into_batches():
    """Such as the boxes of objects, of which each image has another number."""

    def samples():
        for number in range(4):
            yield IMAGES[number], LABELS[number], np.zeros((number + 1, 4), np.float32)

    dataset = ds.GeneratorDataset(samples, ["image", "label", "boxes"], shuffle=False)
    ending = [vision.HWC2CHW(), vision.Normalize([0.0] * 3, [1.0] * 3, is_hwc=False)]
    batches = list(create_loader(dataset, BATCH, transform=ending).create_dict_iterator(num_epochs=1))
    assert [set(batch) for batch in batches] == [{"image", "label"}] * 2


@pytest.mark.parametrize("first", [create_auto_augment("randaug"), RandomErasing(), create_auto_augment("augmix")])
def test_files_must_be_decoded_before_our_transforms(make_dataset, first):
    with pytest.raises(UserError, match="undecoded files|is for bytes of shape"):
        create_loader(make_dataset("folder"), BATCH, transform=[first])


def test_four_channels_behind_height_and_width_are_not_cut_as_channels_first():
    images = ds.NumpySlicesDataset({"image": np.zeros((4, 8, 8, 4), np.uint8), "label": LABELS}, shuffle=False)
    with pytest.raises(UserError, match="mixup and cutmix mix images of .channels, height, width."):
        create_loader(images, BATCH, is_training=True, transform=[], cutmix=1.0, num_classes=2)
