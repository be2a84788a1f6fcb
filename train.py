"""Train a HaloNet: python train.py -c configs/halonet/halonet_test_digits.yaml"""

import sys

from mindcv_halo.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
