"""From a run of configs/halonet/halonet_mini_fashion.yaml to the weights that travel with the package.

python examples/package_weights.py runs/fashion_mini

The run learned from grey images. Here its first convolution is spread over three equal colours, so that the weights
take the images that create_model's and infer.py's defaults give, and compute the same of grey ones. What this prints
goes to the model's row in mindcv_halo/models/halonet.py.
"""

import shutil
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
from mindspore import Tensor

from mindcv_halo import create_model
from mindcv_halo.models.weights import save_network

FOLDER = Path(__file__).parents[1] / "mindcv_halo/models/weights/packaged"
NAME = "halonet_mini_fashion_mnist"
FIRST = "stem.conv1.conv.weight"

run = Path(sys.argv[1])
class_names = (run / "class_names.txt").read_text(encoding="utf-8").splitlines()
trained = create_model("halonet_mini", len(class_names), in_channels=1, checkpoint_path=run / "halonet_mini_best.ckpt")
network = create_model("halonet_mini", len(class_names))
for name, parameter in network.parameters_dict().items():
    value = trained.parameters_dict()[name].asnumpy()
    parameter.set_data(Tensor(np.repeat(value, 3, axis=1) / np.float32(3) if name == FIRST else value))

target = FOLDER / f"{NAME}.safetensors"
save_network(network, target, class_names)
recipe = (run / "recipe.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
kept = [line for line in recipe if not line.startswith(("data_dir:", "ckpt_save_dir:"))]  # folders of this machine
(FOLDER / f"{NAME}.yaml").write_text("".join(kept), encoding="utf-8")
shutil.copy(run / "rank0.log", FOLDER / f"{NAME}.log")
print(sha256(target.read_bytes()).hexdigest())
