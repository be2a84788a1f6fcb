"""Numbers and names that the whole data package shares."""

from __future__ import annotations

DEFAULT_CROP_PCT = 0.875

# Of the ImageNet training set, for pixel values 0..255.
IMAGENET_DEFAULT_MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]
IMAGENET_DEFAULT_STD = [0.229 * 255, 0.224 * 255, 0.225 * 255]

# Of the CIFAR, MNIST and Fashion-MNIST training sets, for pixel values 0..255.
CIFAR10_MEAN = [0.4914 * 255, 0.4822 * 255, 0.4465 * 255]
CIFAR10_STD = [0.2470 * 255, 0.2435 * 255, 0.2616 * 255]
CIFAR100_MEAN = [0.5071 * 255, 0.4865 * 255, 0.4409 * 255]
CIFAR100_STD = [0.2673 * 255, 0.2564 * 255, 0.2762 * 255]
MNIST_MEAN = [0.1307 * 255]
MNIST_STD = [0.3081 * 255]
FASHION_MNIST_MEAN = [0.2860 * 255]
FASHION_MNIST_STD = [0.3530 * 255]
