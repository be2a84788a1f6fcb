"""Levels and notation are checked against numbers worked out from the papers and timm's documentation, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from mindcv_halo.data import (
    AugmentOp,
    AugMixAugment,
    AutoAugment,
    RandAugment,
    TrivialAugmentWide,
    augment_and_mix_transform,
    auto_augment_policy,
    auto_augment_transform,
    rand_augment_transform,
    trivial_augment_wide_transform,
)
from mindcv_halo.data.augment_ops import OPERATIONS, WIDE_OPERATIONS, AugmentSettings
from mindcv_halo.data.auto_augment import create_auto_augment
from mindcv_halo.errors import UserError

# name: the argument at levels 0, 5, 10 with a positive sign, then at level 5 with a negative one
LEVELS = {
    "Rotate": (0, 15, 30, -15),
    "ShearX": (0, 0.15, 0.3, -0.15),
    "ShearY": (0, 0.15, 0.3, -0.15),
    "TranslateX": (0, 125, 250, -125),
    "TranslateY": (0, 125, 250, -125),
    "TranslateXRel": (0, 0.225, 0.45, -0.225),
    "TranslateYRel": (0, 0.225, 0.45, -0.225),
    "Posterize": (0, 2, 4, 2),
    "PosterizeIncreasing": (4, 2, 0, 2),
    "PosterizeOriginal": (4, 6, 8, 6),
    "Solarize": (0, 128, 256, 128),
    "SolarizeIncreasing": (256, 128, 0, 128),
    "SolarizeAdd": (0, 55, 110, 55),
    "Color": (0.1, 1.0, 1.9, 1.0),
    "Contrast": (0.1, 1.0, 1.9, 1.0),
    "Brightness": (0.1, 1.0, 1.9, 1.0),
    "Sharpness": (0.1, 1.0, 1.9, 1.0),
    "ColorIncreasing": (1.0, 1.45, 1.9, 0.55),
    "ContrastIncreasing": (1.0, 1.45, 1.9, 0.55),
    "BrightnessIncreasing": (1.0, 1.45, 1.9, 0.55),
    "SharpnessIncreasing": (1.0, 1.45, 1.9, 0.55),
    "Desaturate": (0.5, 0.75, 1.0, 0.75),
    "GaussianBlurRand": (0, 0.5, 1.0, 0.5),
}
# TrivialAugmentWide: bins 0, 15 and 30 of 31
WIDE_LEVELS = {
    "ShearX": (0, 0.495, 0.99, -0.495),
    "ShearY": (0, 0.495, 0.99, -0.495),
    "TranslateX": (0, 16, 32, -16),
    "TranslateY": (0, 16, 32, -16),
    "Rotate": (0, 67.5, 135, -67.5),
    "Color": (1, 1.495, 1.99, 0.505),
    "Contrast": (1, 1.495, 1.99, 0.505),
    "Brightness": (1, 1.495, 1.99, 0.505),
    "Sharpness": (1, 1.495, 1.99, 0.505),
    "Posterize": (8, 5, 2, 5),
    "Solarize": (255, 128, 0, 128),
}


@pytest.mark.parametrize("table, expected", [(OPERATIONS, LEVELS), (WIDE_OPERATIONS, WIDE_LEVELS)])
def test_levels_give_the_right_arguments(table, expected):
    assert {name for name, operation in table.items() if operation.argument} == set(expected)
    for name, arguments in expected.items():
        cases = ((0, 1), (5, 1), (10, 1), (5, -1))
        actual = [table[name].argument(level, sign, AugmentSettings()) for level, sign in cases]
        np.testing.assert_allclose(actual, arguments, atol=1e-12, err_msg=name)


def test_settings_change_translations():
    settings = AugmentSettings(translate_const=100, translate_pct=0.2)
    assert OPERATIONS["TranslateX"].argument(5, 1, settings) == 50
    assert OPERATIONS["TranslateXRel"].argument(5, -1, settings) == -0.1


def gradient(height: int = 12, width: int = 16) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_magnitude_noise_takes_effect():
    """mstd must change the levels that are drawn: the defect of the library that this one mirrors."""
    levels = {}
    for text in ("randaug-m5-mstd0", "randaug-m5-mstd1", "randaug-m5-mstd101", "randaug-m9-mstd5-mmax9.5"):
        op = rand_augment_transform(text, {"magnitude_std": 3.0}).ops[0]
        rng = np.random.default_rng(0)
        levels[text] = np.array([op.draw_level(rng) for _ in range(4000)])
    assert (levels["randaug-m5-mstd0"] == 5).all()
    # four standard errors of 4000 draws
    np.testing.assert_allclose(levels["randaug-m5-mstd1"].mean(), 5, atol=4 / math.sqrt(4000))
    np.testing.assert_allclose(levels["randaug-m5-mstd1"].std(), 1, atol=4 / math.sqrt(8000))
    np.testing.assert_allclose(levels["randaug-m5-mstd101"].std(), 5 / math.sqrt(12), atol=0.08)  # even on 0..5
    assert levels["randaug-m5-mstd101"].max() <= 5
    assert levels["randaug-m9-mstd5-mmax9.5"].max() == 9.5 and levels["randaug-m9-mstd5-mmax9.5"].min() == 0


BASIC = {
    "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast",
    "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel",
}  # fmt: skip
INCREASING = {
    "AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd",
    "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing", "ShearX", "ShearY",
    "TranslateXRel", "TranslateYRel",
}  # fmt: skip


def names_of(ops) -> set[str]:
    return {op.name for op in ops}


@pytest.mark.parametrize(
    "text, names", [("randaug", BASIC), ("randaug-inc0", BASIC), ("randaug-inc1", INCREASING), ("rand-m9", BASIC)]
)
def test_rand_augment_increasing(text, names):
    assert names_of(rand_augment_transform(text).ops) == names


def test_rand_augment_notation():
    policy = rand_augment_transform("randaug-m7.5-n4-mstd0.5-mmax9-inc1", {"img_mean": (1, 2, 3)})
    assert isinstance(policy, RandAugment)
    assert policy.num_layers == 4 and policy.choice_weights is None
    for op in policy.ops:
        assert (op.magnitude, op.prob) == (7.5, 0.5)
        assert op.settings == AugmentSettings(img_mean=(1, 2, 3), magnitude_std=0.5, magnitude_max=9)
    default = rand_augment_transform("randaug")
    assert (default.num_layers, default.ops[0].magnitude, default.ops[0].settings) == (2, 10, AugmentSettings())


def test_rand_augment_weights():
    policy = rand_augment_transform("randaug-w0")
    weights = dict(zip((op.name for op in policy.ops), policy.choice_weights, strict=True))
    assert sum(weights.values()) == pytest.approx(1)
    expected = {"Rotate": 0.3, "ShearX": 0.2, "TranslateYRel": 0.1, "Color": 0.025, "Solarize": 0.005, "Invert": 0}
    assert {name: pytest.approx(weight) for name, weight in expected.items()}.items() <= weights.items()


def test_auto_augment_notation():
    policy = auto_augment_transform("autoaug-mstd0.5")
    assert isinstance(policy, AutoAugment) and len(policy.policy) == 25
    first, second = policy.policy[0]
    assert (first.name, first.prob, first.magnitude) == ("PosterizeOriginal", 0.4, 8)
    assert (second.name, second.prob, second.magnitude) == ("Rotate", 0.6, 9)
    assert second.settings.magnitude_std == 0.5
    last = policy.policy[18]
    assert [(op.name, op.prob, op.magnitude) for op in last] == [("ShearX", 0.6, 5), ("Equalize", 1.0, 9)]
    assert auto_augment_policy("autoaugr")[0][0].name == "PosterizeIncreasing"
    assert [[op.name for op in sub] for sub in auto_augment_policy("3a")] == [
        ["Solarize"], ["Desaturate"], ["GaussianBlurRand"],
    ]  # fmt: skip


def test_trivial_augment_notation():
    policy = trivial_augment_wide_transform("trivialaugwide-m16")
    assert isinstance(policy, TrivialAugmentWide)
    assert len(policy.ops) == 14 and policy.ops[0].bins == 16
    assert trivial_augment_wide_transform("trivialaugwide").ops[0].bins == 31


def test_augmix_notation():
    policy = augment_and_mix_transform("augmix-m5-w4-d2-a0.5")
    assert isinstance(policy, AugMixAugment)
    assert (policy.width, policy.depth, policy.alpha) == (4, 2, 0.5)
    assert {(op.magnitude, op.prob, op.settings.magnitude_std) for op in policy.ops} == {(5, 1.0, math.inf)}
    default = augment_and_mix_transform("augmix-mstd1")
    assert (default.width, default.depth, default.alpha, default.ops[0].magnitude) == (3, -1, 1.0, 3)
    assert default.ops[0].settings.magnitude_std == 1


def test_augmix_blends_image_and_chains():
    """With the identity as only operation, every mixture of the image with itself is the image."""
    policy = augment_and_mix_transform("augmix-m0")
    policy.ops = [AugmentOp("PosterizeOriginal", 1.0, 10)]  # keeps 8 bits
    pixels = np.asarray(gradient())
    mixed = policy.apply(pixels, np.random.default_rng(0))
    np.testing.assert_allclose(mixed.astype(int), pixels, atol=1)  # truncated to bytes twice


@pytest.mark.parametrize(
    "text, message",
    [
        ("autoaugment", "unknown auto_augment policy 'autoaugment'; nearest: autoaug"),
        ("randaug-x3", "unknown setting in auto_augment='randaug-x3': 'x'"),
        ("randaug-m", "'m' is no setting; write letters and a number"),
        ("randaug-m9-m8", "m is set twice"),
        ("randaug-w1", "w0 is the only table"),
        ("3a-n2", "unknown setting in auto_augment='3a-n2': 'n'"),
        ("trivialaugwide-m1", "must be at least 2"),
        # what no image could be made with
        ("randaug-n0", "n0 must be at least 1"),
        ("randaug-n.5", "n.5 must be whole"),
        ("randaug-n16-w0", "n16 must be 1 to 13"),
        ("randaug-minf", "minf must be finite"),
        ("trivialaugwide-m31.5", "m31.5 must be whole; write m32"),
        ("trivialaugwide-minf", "minf must be finite"),
        ("augmix-w0", "w0 must be at least 1"),
        ("augmix-winf", "winf must be finite"),
        ("augmix-a0", "a0 must be at least 0.01"),
        ("augmix-d1.5", "d1.5 must be whole"),
    ],
)
def test_wrong_notation_is_named(text, message):
    with pytest.raises(UserError, match=message):
        create_auto_augment(text)


def test_wrong_names_are_named():
    with pytest.raises(UserError, match="unknown augmentation 'Rotat'; nearest: Rotate"):
        AugmentOp("Rotat")
    with pytest.raises(UserError, match="unknown augmentation setting 'translate_pc'; nearest: translate_pct"):
        AugmentOp("Rotate", hparams={"translate_pc": 0.1})


ALL = ["autoaug", "autoaugr", "3a", "randaug-m9-n2-mstd0.5-inc1", "randaug-w0-n3", "trivialaugwide", "augmix-m5-w4-d2"]


@pytest.mark.parametrize("text", ALL)
def test_policies_depend_on_the_generator_alone(text):
    policy = create_auto_augment(text)
    pixels = np.asarray(gradient(24, 20))
    original = pixels.copy()

    def run(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [policy.apply(pixels, rng) for _ in range(20)]

    first, again, other = run(1), run(1), run(2)
    assert all(image.shape == pixels.shape and image.dtype == np.uint8 for image in first)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    np.testing.assert_array_equal(pixels, original)


def test_every_operation_runs_at_every_level():
    image = gradient()
    for name in OPERATIONS:
        for level in range(11):
            result = AugmentOp(name, 1.0, level).augment(image, np.random.default_rng(level))
            assert result.size == image.size and result.mode == "RGB", name


def test_a_pillow_image_stays_one():
    assert isinstance(create_auto_augment("randaug")(gradient()), Image.Image)


def test_probability_of_an_operation():
    image = gradient()
    op = AugmentOp("Invert", 0.3)
    rng = np.random.default_rng(0)
    changed = sum(np.asarray(op.augment(image, rng)).tobytes() != np.asarray(image).tobytes() for _ in range(1000))
    assert abs(changed - 300) < 4 * math.sqrt(1000 * 0.3 * 0.7)


def test_the_bounds_of_settings_work():
    """What is next to the refused ones makes images."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for configs in ("randaug-n13-w0", "randaug-n1-mstdinf", "trivialaugwide-m2", "augmix-w1-a0.01-d0"):
        policy = create_auto_augment(configs)
        for seed in range(20):
            assert policy.apply(image, np.random.default_rng(seed)).shape == image.shape
