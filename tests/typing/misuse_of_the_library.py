"""What a type checker must refuse, a line each; test_public_types.py counts the errors. Nothing here runs."""

from __future__ import annotations

from mindcv_halo import create_model, list_models
from mindcv_halo.config import make_recipe
from mindcv_halo.engine import train
from mindcv_halo.models.specs import Halo

create_model(50)
create_model("halonet_50t", num_classes="ten")
list_models(3)
train({"model": "halonet_50t"})
make_recipe(["model"])
Halo("8", 3)
