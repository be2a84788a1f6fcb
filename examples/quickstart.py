"""The quick start, in Python: train on the digits that come with scikit-learn, validate, predict.

The same with commands:
    python train.py -c configs/halonet/halonet_test_digits.yaml
    python validate.py -c configs/halonet/halonet_test_digits.yaml --ckpt_path CHECKPOINT
    python infer.py -c configs/halonet/halonet_test_digits.yaml --ckpt_path CHECKPOINT --image_path data/digits/val/7
"""

from pathlib import Path

from mindcv_halo import engine
from mindcv_halo.config import make_recipe, read_recipe

ROOT = Path(__file__).parents[1]
values = read_recipe(ROOT / "configs/halonet/halonet_test_digits.yaml")
values |= {"data_dir": str(ROOT / "data"), "ckpt_save_dir": str(ROOT / "runs/digits")}

checkpoint = engine.train(make_recipe(values)).last_checkpoint
trained = make_recipe({**values, "ckpt_path": str(checkpoint)})
metrics = engine.validate(trained)

print("\nOne held-out image of each digit, and what the model takes it for:")
for digit in range(10):
    image = min((ROOT / f"data/digits/val/{digit}").iterdir())
    for prediction in engine.predict(trained, str(image), top_k=1):
        print(f"  {image.relative_to(ROOT)}: {prediction.class_names[0]} ({prediction.probabilities[0]:.0%})")

print(f"\ntop-1 {metrics.top1:.2f} % on {metrics.num_images} held-out digits")
