"""Data sets, transforms and loaders: create_dataset -> create_transforms -> create_loader."""

from .augment_ops import AugmentOp
from .auto_augment import (
    AugMixAugment,
    AutoAugment,
    RandAugment,
    TrivialAugmentWide,
    augment_and_mix_transform,
    auto_augment_policy,
    auto_augment_transform,
    rand_augment_transform,
    trivial_augment_wide_transform,
)
from .constants import DEFAULT_CROP_PCT, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from .dataset_download import (
    Cifar10Download,
    Cifar100Download,
    FashionMnistDownload,
    MnistDownload,
    get_dataset_download_root,
)
from .dataset_factory import create_dataset, get_class_names, get_dataset_size
from .decoding import bad_image_error, find_bad_files, find_bad_images, find_decode_error, read_decodable
from .distributed_sampler import RepeatAugSampler
from .epoch_parts import seed_epoch, split_epoch
from .image_formats import IMAGE_EXTENSIONS
from .loader import create_loader
from .mixup import Mixup
from .random_erasing import RandomErasing
from .transforms_factory import (
    create_transforms,
    transforms_cifar,
    transforms_imagenet_eval,
    transforms_imagenet_train,
    transforms_mnist,
)

__all__ = [
    "DEFAULT_CROP_PCT",
    "IMAGENET_DEFAULT_MEAN",
    "IMAGENET_DEFAULT_STD",
    "IMAGE_EXTENSIONS",
    "AugMixAugment",
    "AugmentOp",
    "AutoAugment",
    "Cifar100Download",
    "Cifar10Download",
    "FashionMnistDownload",
    "MnistDownload",
    "Mixup",
    "RandAugment",
    "RandomErasing",
    "RepeatAugSampler",
    "TrivialAugmentWide",
    "augment_and_mix_transform",
    "auto_augment_policy",
    "auto_augment_transform",
    "bad_image_error",
    "create_dataset",
    "create_loader",
    "create_transforms",
    "find_bad_files",
    "find_bad_images",
    "find_decode_error",
    "get_class_names",
    "get_dataset_download_root",
    "get_dataset_size",
    "rand_augment_transform",
    "read_decodable",
    "seed_epoch",
    "split_epoch",
    "transforms_cifar",
    "transforms_imagenet_eval",
    "transforms_imagenet_train",
    "transforms_mnist",
    "trivial_augment_wide_transform",
]
