"""Predict images: python infer.py -c configs/halonet/halonet_test_digits.yaml --ckpt_path FILE IMAGE"""

import sys

from mindcv_halo.cli import main

if __name__ == "__main__":
    sys.exit(main(["infer", *sys.argv[1:]]))
