"""How people use the public names, for mypy: nothing here runs. test_public_types.py checks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typing_extensions import assert_type

from mindcv_halo import (
    AttentionMap,
    HaloNet,
    Prediction,
    Predictor,
    attention_maps,
    create_model,
    get_pretrained_cfg,
    halonet_50t,
    is_model,
    list_attention_layers,
    list_models,
    register_model,
)
from mindcv_halo.config import make_recipe, read_recipe, save_recipe
from mindcv_halo.config.options import Recipe
from mindcv_halo.engine import TrainingResult, train, validate
from mindcv_halo.models.features import FeatureExtractor
from mindcv_halo.models.macs import count_macs
from mindcv_halo.models.specs import Halo, Spec, Stage, Stem
from mindcv_halo.runs.metrics import Metrics


def models() -> None:
    assert_type(list_models("halonet_*", pretrained=True), list[str])
    assert_type(is_model("halonet_50t"), bool)
    network = create_model("halonet_50t", num_classes=10, drop_path_rate=0.1)
    assert_type(network, HaloNet | FeatureExtractor)
    assert_type(halonet_50t(num_classes=10), HaloNet | FeatureExtractor)
    assert isinstance(network, HaloNet)
    assert_type(network.num_features, int)
    assert_type(count_macs(network, (256, 256)), int)
    assert_type(list_attention_layers(network), tuple[str, ...])
    assert_type(attention_maps(network, np.zeros((3, 64, 64), np.float32), layer=-1, query=(3, 4)), AttentionMap)
    spec = Spec("mine", Stem((16,), (2,)), (Stage("CA", 32),), halo=Halo(8, 3))
    assert_type(spec.strides, tuple[int, ...])
    get_pretrained_cfg("halonet_50t")["input_size"]

    @register_model(cfg={"input_size": (3, 64, 64)}, aliases=("ours",))
    def mine(num_classes: int = 1000) -> HaloNet:
        return HaloNet(spec, num_classes)

    assert_type(mine(num_classes=3), HaloNet)


def jobs() -> None:
    recipe = make_recipe({"model": "halonet_test", **read_recipe(Path("recipe.yaml"))})
    assert_type(recipe, Recipe)
    assert_type(recipe.scheduler.lr, float)
    result = train(recipe)
    assert_type(result, TrainingResult)
    assert_type(validate(recipe), Metrics)
    assert_type(validate(recipe, "report").top1, float)
    save_recipe(recipe, Path("again.yaml"))


def predictions() -> None:
    predictor = Predictor("halonet_test", checkpoint_path="model.ckpt", batch_size=4)
    assert_type(predictor("cat.jpg"), Prediction | list[Prediction])
    assert_type(predictor.logits(["cat.jpg"]).ndim, int)
