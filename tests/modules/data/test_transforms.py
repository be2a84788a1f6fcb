from __future__ import annotations

import io
import math

import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore.dataset.transforms import Compose
from PIL import Image

from mindcv_halo.data import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    RandAugment,
    RandomErasing,
    create_transforms,
    transforms_cifar,
    transforms_imagenet_eval,
    transforms_mnist,
)
from mindcv_halo.errors import UserError


def encode(pixels: np.ndarray) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return np.frombuffer(out.getvalue(), np.uint8)


def normalise(pixels: np.ndarray) -> np.ndarray:
    """The definition, in float64: (height, width, 3) 0..255 -> (3, height, width)."""
    return ((pixels - np.array(IMAGENET_DEFAULT_MEAN)) / np.array(IMAGENET_DEFAULT_STD)).transpose(2, 0, 1)


@pytest.mark.parametrize("size, crop_pct", [(64, 0.875), (64, 1.0), (48, 0.95), ((32, 48), 0.9)])
def test_bicubic_evaluation_equals_pillow(picture, size, crop_pct):
    image = Image.fromarray(picture(0, 90, 120))
    height, width = (size, size) if isinstance(size, int) else size
    short = math.floor(max(height, width) / crop_pct)
    resized = image.resize((int(short * 120 / 90), short), Image.Resampling.BICUBIC)
    left, top = round((resized.width - width) / 2), round((resized.height - height) / 2)
    expected = normalise(np.asarray(resized.crop((left, top, left + width, top + height)), float))
    actual = Compose(create_transforms("", size, interpolation="bicubic", crop_pct=crop_pct))(
        encode(picture(0, 90, 120))
    )
    assert actual.dtype == np.float32 and actual.shape == (3, height, width)
    np.testing.assert_allclose(actual, expected, atol=1e-5)  # float32


def test_training_crops_have_the_asked_size_and_differ(picture):
    operators = create_transforms("", (32, 40), True, interpolation="bicubic", hflip=0.5, vflip=0.5, color_jitter=0.4)
    dataset = ds.NumpySlicesDataset([encode(picture(0))] * 4, ["image"]).map(operators, "image")
    crops = [crop for (crop,) in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)]
    assert all(crop.shape == (3, 32, 40) and crop.dtype == np.float32 for crop in crops)
    assert any(not np.array_equal(crops[0], crop) for crop in crops[1:])


def test_training_without_any_randomness_is_a_plain_resize(picture):
    """Full scale and the image's own ratio leave one possible crop: the whole image."""
    operators = create_transforms("", (40, 48), True, scale=(1.0, 1.0), ratio=(1.2, 1.2), hflip=0.0)
    np.testing.assert_allclose(Compose(operators)(encode(picture(0))), normalise(picture(0)), atol=1e-5)


@pytest.mark.parametrize("hflip, vflip", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_certain_flips(picture, hflip, vflip):
    operators = create_transforms("", (40, 48), True, scale=(1.0, 1.0), ratio=(1.2, 1.2), hflip=hflip, vflip=vflip)
    expected = picture(0)[:: -1 if vflip else 1, :: -1 if hflip else 1]
    np.testing.assert_allclose(Compose(operators)(encode(picture(0))), normalise(expected), atol=1e-5)


def test_every_other_image_is_flipped(picture):
    """By default: of 64, 12 to 52 in all but one of a million runs."""
    operators = create_transforms("", (40, 48), True, scale=(1.0, 1.0), ratio=(1.2, 1.2))
    dataset = ds.NumpySlicesDataset(np.stack([encode(picture(0))] * 64), "image").map(operators, "image")
    flipped = normalise(picture(0)[:, ::-1])
    seen = [image for (image,) in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)]
    assert 12 <= sum(np.allclose(image, flipped, atol=1e-5) for image in seen) <= 52


def names_of(operators: list) -> list[str]:
    return [type(operator).__name__ for operator in operators]


def test_auto_augment_takes_the_place_of_color_jitter():
    jitter = create_transforms("", 32, True, color_jitter=0.4)
    policy = create_transforms("", 32, True, color_jitter=0.4, auto_augment="randaug-m9-n2", re_prob=0.25)
    assert "RandomColorAdjust" in names_of(jitter)
    assert "RandomColorAdjust" not in names_of(policy)
    assert [type(step) for step in policy if type(step) in (RandAugment, RandomErasing)] == [RandAugment, RandomErasing]


def test_auto_augment_follows_the_other_options():
    (policy,) = (
        step
        for step in create_transforms("", (100, 60), True, auto_augment="randaug-m9", interpolation="bicubic")
        if isinstance(step, RandAugment)
    )
    settings = policy.ops[0].settings
    assert settings.translate_const == 27
    assert settings.img_mean == (124, 116, 104)
    assert settings.interpolation == Image.Resampling.BICUBIC


def test_separate_gives_three_lists():
    first, augmenting, final = create_transforms("", 32, True, "augmix-m3", separate=True, re_prob=0.1)
    assert names_of(first) == ["RandomCropDecodeResize", "RandomHorizontalFlip"]
    assert names_of(augmenting) == ["AugMixAugment"]
    assert names_of(final) == ["RandomErasing", "HWC2CHW", "Normalize"]


@pytest.mark.parametrize(
    "name, shape",
    [
        ("cifar10", (32, 32, 3)),
        ("cifar100", (32, 32, 3)),
        ("mnist", (28, 28, 1)),
        ("fashion_mnist", (28, 28, 1)),
    ],
)
@pytest.mark.parametrize("is_training", [True, False])
def test_arrays(name, shape, is_training):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    output = Compose(create_transforms(name, 48, is_training, re_prob=1.0))(image)
    assert output.shape == (shape[2], 48, 48) and output.dtype == np.float32


@pytest.mark.parametrize("name", ["Cifar10", "CIFAR100", "MNIST", "Fashion_MNIST"])
@pytest.mark.parametrize("is_training", [True, False])
def test_a_data_sets_name_is_known_in_any_case(name, is_training):
    asked, known = create_transforms(name, 48, is_training), create_transforms(name.lower(), 48, is_training)
    assert names_of(asked) == names_of(known) != names_of(create_transforms("imagenet", 48, is_training))
    assert [asked[-1].mean, asked[-1].std] == [known[-1].mean, known[-1].std]


@pytest.mark.parametrize("name", ["", "cifar10", "mnist", "fashion_mnist"])
def test_evaluation_ignores_what_is_for_training(name):
    plain = create_transforms(name, 32)
    training = {"auto_augment": "randaug-m9", "separate": True, "color_jitter": 0.4, "re_prob": 1.0, "hflip": 1.0}
    assert isinstance(plain, list)
    assert names_of(create_transforms(name, 32, False, **training)) == names_of(plain)


def test_array_options_are_not_dropped():
    names = names_of(create_transforms("cifar10", 32, True, auto_augment="autoaug", re_prob=0.5, vflip=0.5, hflip=0.0))
    assert names == [
        "RandomCrop",
        "RandomVerticalFlip",
        "Resize",
        "AutoAugment",
        "RandomErasing",
        "HWC2CHW",
        "Normalize",
    ]
    assert "RandomHorizontalFlip" in names_of(transforms_cifar(32))
    assert names_of(transforms_mnist(32)) == ["Resize", "HWC2CHW", "Normalize"]
    names = names_of(create_transforms("fashion_mnist", 28, True, re_prob=0.5))
    assert names == ["RandomCrop", "RandomHorizontalFlip", "Resize", "RandomErasing", "HWC2CHW", "Normalize"]


def test_a_padded_crop_keeps_the_size_of_the_images():
    """So that what is learned has the scale of what is validated."""
    for name, side in (("cifar10", 32), ("fashion_mnist", 28)):
        crop = create_transforms(name, 64, True)[0]
        image = np.full((side, side, 3), 255, np.uint8)
        assert crop(image).shape == image.shape


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"interpolation": "bicubik"}, "unknown interpolation 'bicubik'; nearest: bicubic"),
        ({"crop_pct": 0.0}, r"crop_pct=0.0 must be in \(0, 1\]"),
        ({"image_resize": 0}, "image_resize=0 must be a positive"),
        ({"is_training": True, "color_jitter": [0.1, 0.2]}, "color_jitter=.* must be one number, or three or four"),
        ({"is_training": True, "re_prob": 0.5, "re_value": "grey"}, "re_value='grey' must be a number"),
        (
            {"is_training": True, "auto_augment": "randog-m9"},
            "unknown auto_augment policy 'randog'; nearest: rand, randaug",
        ),
        ({"dataset_name": "mnist", "is_training": True, "color_jitter": 0.4}, "mnist is grey"),
        ({"dataset_name": "MNIST", "is_training": True, "auto_augment": "autoaug"}, "mnist is grey"),
        ({"dataset_name": "fashion_mnist", "is_training": True, "color_jitter": 0.4}, "fashion_mnist is grey"),
        ({"dataset_name": "mnist", "interpolation": "bicubic"}, "interpolation bicubic needs colours; mnist is grey"),
        ({"dataset_name": "mnist", "mean": (1, 2, 3), "std": (1, 1, 1)}, "must have one number; mnist is grey"),
        ({"is_training": True, "scale": (0.5,)}, r"scale \(0.5,\) must be two numbers above 0"),
        ({"image_resize": 32.5}, "image_resize=32.5 must be a positive number"),
        ({"image_resize": "32"}, "image_resize=32 must be a positive number"),
        ({"dataset_name": "cifar10", "is_training": True, "hflip": 1.5}, "hflip 1.5 must be a probability"),
        (
            {"dataset_name": "cifar10", "is_training": True, "re_ratio": (0, 1)},
            r"re_ratio .* must be two",
        ),
    ],
)
def test_wrong_options_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        create_transforms(**arguments)


def test_evaluation_pipeline_equals_the_eager_transforms(picture):
    data = encode(picture(3))
    eager = Compose(transforms_imagenet_eval(32))(data)
    dataset = ds.NumpySlicesDataset([data], ["image"]).map(transforms_imagenet_eval(32), "image")
    (piped,) = next(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))
    np.testing.assert_array_equal(eager, piped)


# Random erasing


def erase(pixels: np.ndarray, seed: int = 0, **options) -> np.ndarray:
    return RandomErasing(**options).apply(pixels, np.random.default_rng(seed))


def test_erasing_fills_one_box_within_its_bounds():
    white = np.full((60, 80, 3), 255, np.uint8)
    for seed in range(50):
        erased = (erase(white, seed, prob=1.0, scale=(0.1, 0.2), ratio=(0.5, 2.0)) != 255).all(-1)
        rows, columns = np.flatnonzero(erased.any(1)), np.flatnonzero(erased.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert erased.sum() == height * width  # one filled rectangle
        assert 0.09 <= height * width / 4800 <= 0.21 and 0.45 <= height / width <= 2.2  # sides are rounded


def test_erasing_draws_area_and_ratio_from_the_definition():
    """Means over many boxes: area uniform in scale, log ratio uniform, place uniform."""
    black = np.zeros((200, 200, 1), np.uint8)
    areas, ratios, tops = [], [], []
    for seed in range(400):
        erased = erase(black, seed, prob=1.0, scale=(0.02, 0.1), ratio=(0.5, 2.0), value=1.0, mean=[0], std=[255])[
            ..., 0
        ]
        rows, columns = np.flatnonzero(erased.any(1)), np.flatnonzero(erased.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        areas.append(height * width / 40000)
        ratios.append(math.log(height / width))
        tops.append(rows[0] / (200 - height))
    # standard errors: 0.0012, 0.020, 0.014; four of them
    np.testing.assert_allclose(np.mean(areas), 0.06, atol=0.005)
    np.testing.assert_allclose(np.mean(ratios), 0.0, atol=0.08)
    np.testing.assert_allclose(np.mean(tops), 0.5, atol=0.06)


def test_erasing_happens_as_often_as_asked_and_leaves_its_input_alone():
    white = np.full((20, 20, 3), 255, np.uint8)
    count = sum(bool((erase(white, seed, prob=0.25) != 255).any()) for seed in range(400))
    assert abs(count - 100) < 4 * math.sqrt(400 * 0.25 * 0.75)
    assert (white == 255).all()


@pytest.mark.parametrize(
    "value, expected", [(0, [124, 116, 104]), (1.0, [182, 173, 161]), ([0, 1, 99], [124, 173, 255])]
)
def test_erasing_value_counts_after_normalisation(value, expected):
    black = np.zeros((20, 20, 3), np.uint8)
    erased = erase(black, prob=1.0, value=value)
    assert np.unique(erased.reshape(-1, 3), axis=0).tolist() == [[0, 0, 0], expected]


def test_erasing_with_noise_is_normal_after_normalisation():
    erased = erase(np.zeros((200, 200, 3), np.uint8), prob=1.0, value="random", scale=(0.5, 0.5), ratio=(1.0, 1.0))
    values = ((erased - np.array(IMAGENET_DEFAULT_MEAN)) / np.array(IMAGENET_DEFAULT_STD))[erased.any(-1)]
    np.testing.assert_allclose(values.mean(), 0.0, atol=0.05)
    np.testing.assert_allclose(values.std(), 1.0, atol=0.05)  # black and white cut off 2 % of the tails


def test_erasing_gives_up_on_boxes_that_do_not_fit():
    white = np.full((10, 200, 3), 255, np.uint8)
    assert (erase(white, prob=1.0, scale=(0.5, 0.5), ratio=(3.0, 3.0)) == 255).all()
