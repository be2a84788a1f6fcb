from __future__ import annotations

import mindspore.dataset as ds
import mindspore.dataset.vision as vision
import numpy as np
import pytest
from mindspore.dataset.transforms import Compose

from mindcv_halo.data import create_dataset, create_loader, create_transforms
from mindcv_halo.data.auto_augment import create_auto_augment
from mindcv_halo.data.batch_finish import split_erasing, split_normalisation
from mindcv_halo.data.keyed_transform import KeyedChain
from mindcv_halo.data.random_erasing import RandomErasing

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.mark.parametrize("channels", [3, 1])
def test_a_batch_is_normalised_as_its_images_are_to_the_bit(channels):
    """All 256 values of a byte, in every channel: minddata's own operators say what they become."""
    images = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16, 1)] * 2).repeat(channels, axis=3)
    operators = [vision.HWC2CHW(), vision.Normalize(MEAN[:channels], STD[:channels], is_hwc=False)]
    others, normalise = split_normalisation([vision.Invert(), *operators])
    assert [type(operator) for operator in others] == [vision.Invert]
    expected = np.stack([Compose(operators)(image) for image in images])
    normalised = normalise(images)
    assert normalised.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(normalised, expected)


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [vision.HWC2CHW()],
        [vision.Normalize(MEAN, STD), vision.HWC2CHW()],
        [vision.HWC2CHW(), vision.Normalize(MEAN, STD, is_hwc=True)],
        [vision.HWC2CHW(), vision.Normalize(MEAN, STD, is_hwc=False), vision.Invert()],
    ],
)
def test_other_endings_stay_with_the_images(transforms):
    assert split_normalisation(transforms) == (transforms, None)


def test_batches_equal_their_images(make_folder):
    """The loader's batches are what the transforms make of each file."""
    root = str(make_folder({"val/a": 3, "val/b": 2}))
    transforms = create_transforms("", 32)
    dataset = create_dataset("", root, "val", shuffle=False)
    files = [image for image, _ in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)]
    loader = create_loader(dataset, 2, transform=transforms)
    batches = [images for images, _ in loader.create_tuple_iterator(num_epochs=1, output_numpy=True)]
    np.testing.assert_array_equal(np.concatenate(batches), np.stack([Compose(transforms)(file) for file in files]))


@pytest.mark.parametrize("size", [28, 32])
def test_grey_images_keep_their_channel(size):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    dataset = ds.NumpySlicesDataset({"image": pixels, "label": np.zeros(4, np.int32)}, shuffle=False)
    transforms = create_transforms("mnist", size)
    loader = create_loader(dataset, 4, transform=transforms)
    (images,) = (images for images, _ in loader.create_tuple_iterator(num_epochs=1, output_numpy=True))
    np.testing.assert_array_equal(images, np.stack([Compose(transforms)(image) for image in pixels]))


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_a_batch_is_erased_as_its_images_are_to_the_bit(mixup):
    """Erasing draws what it draws for an image alone, whichever transforms come before and mixing after it."""
    seed = 7
    ds.config.set_seed(seed)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    policy, erasing = create_auto_augment("randaug-m9-n2", {}), RandomErasing(0.75, value="random")
    ending = [vision.HWC2CHW(), vision.Normalize(MEAN, STD, is_hwc=False)]

    def transform(operators):
        chain = KeyedChain(operators)
        return np.stack([chain(image, np.array([seed, 0, place]))[0] for place, image in enumerate(pixels)])

    def load(images, operators):
        dataset = ds.NumpySlicesDataset({"image": images, "label": np.zeros(8, np.int32)}, shuffle=False)
        loader = create_loader(
            dataset, 4, is_training=True, mixup=mixup, num_classes=2, transform=[*operators, *ending]
        )
        return np.concatenate([batch for batch, _ in loader.create_tuple_iterator(num_epochs=1, output_numpy=True)])

    erased = transform([policy, erasing])
    assert (erased != transform([policy])).any(axis=(1, 2, 3)).sum() >= 3
    np.testing.assert_array_equal(load(pixels, [policy, erasing]), load(erased, []))


def test_erasing_before_another_transform_stays_with_the_images():
    transforms = [RandomErasing(), vision.Invert()]
    assert split_erasing(transforms) == (transforms, None)


def test_a_users_own_erasing_stays_with_the_images():
    """What it does in place of RandomErasing's `apply` counts."""

    class Own(RandomErasing):
        def apply(self, image, rng):
            return image

    transforms = [Own()]
    assert split_erasing(transforms) == (transforms, None)
