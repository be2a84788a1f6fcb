"""Write a checkpoint's network for other runtimes: python export.py --model NAME --ckpt_path FILE --output FILE.onnx"""

import sys

from mindcv_halo.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
