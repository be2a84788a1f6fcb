"""A network of the user's own, of no family of ours, in every job."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from mindspore import nn

from mindcv_halo import Predictor, accelerate, attention_maps, create_model, engine, register_model
from mindcv_halo.config import make_recipe
from mindcv_halo.errors import UserError
from mindcv_halo.models import registry


class SmallNet(nn.Cell):
    def __init__(self, num_classes: int, in_channels: int):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 8, 3, 2)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Dense(8, num_classes)

    def construct(self, x):
        return self.head(self.norm(self.stem(x)).mean((2, 3)))


@pytest.fixture
def small_net(monkeypatch) -> None:
    monkeypatch.setattr(registry, "_models", dict(registry._models))
    monkeypatch.delattr(sys.modules[__name__], "default_cfgs", raising=False)

    @register_model
    def small_net(pretrained=False, num_classes=1000, in_channels=3, **kwargs):
        return SmallNet(num_classes, in_channels)


def test_train_resume_validate_predict(small_net, flags):
    flags |= {"model": "small_net", "mode": "1", "ema": "True", "warmup_epochs": "0", "epoch_size": "1"}
    folder = flags["ckpt_save_dir"]
    result = engine.train(make_recipe(flags))
    assert result.last_checkpoint.name == "small_net_last.ckpt" and result.metrics.num_images == 15
    assert engine.train(make_recipe(flags | {"resume": "True"})).last_checkpoint == result.last_checkpoint
    weights = {"ckpt_path": f"{folder}/small_net_last.ckpt"}
    found = engine.validate(make_recipe({**flags, **weights}))
    assert found.loss == pytest.approx(result.metrics.loss, rel=1e-5)
    predictor = Predictor("small_net", checkpoint_path=weights["ckpt_path"], image_resize=32)
    image = np.zeros((40, 40, 3), np.uint8)
    assert set(predictor(image).class_names) == {"blue", "green", "red"}
    for job in (
        lambda: engine.export(make_recipe({**flags, **weights}), "mindir", f"{folder}/x.mindir"),
        lambda: engine.validate(make_recipe({**flags, **weights, "native_kernels": "True"})),
        lambda: attention_maps(create_model("small_net"), np.zeros((3, 32, 32), np.float32)),
        lambda: accelerate(create_model("small_net")),
        lambda: predictor.explain(image),
        lambda: engine.train(make_recipe({**flags, "layer_decay": "0.5", "ckpt_save_dir": f"{folder}2"})),
    ):
        with pytest.raises(UserError, match=r"SmallNet|layer_ids"):
            job()
