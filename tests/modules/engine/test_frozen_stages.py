"""What a run says of stages that it freezes."""

from __future__ import annotations

from mindcv_halo.config import make_recipe
from mindcv_halo.engine.train import note_random_stages


def test_stages_that_stay_random_are_said():
    said = note_random_stages(make_recipe({"frozen_stages": 2}))
    assert said == [
        "frozen_stages 2: they keep the random numbers that they begin with, as the recipe names no weights; give "
        "--ckpt_path FILE or --pretrained True"
    ]
    for weights in ({"ckpt_path": "a.ckpt"}, {"pretrained": True}):
        assert note_random_stages(make_recipe({"frozen_stages": 2, **weights})) == []
    assert note_random_stages(make_recipe({})) == []
