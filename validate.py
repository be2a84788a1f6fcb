"""Validate a checkpoint: python validate.py -c configs/halonet/halonet_test_digits.yaml --ckpt_path FILE"""

import sys

from mindcv_halo.cli import main

if __name__ == "__main__":
    sys.exit(main(["validate", *sys.argv[1:]]))
