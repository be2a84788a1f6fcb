"""What errors about images, data sets, transforms and loaders say to do, tried."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import mindspore.dataset as ds
import mindspore.dataset.vision as vision
import numpy as np
import pytest
from support.array_files import idx
from support.hostile_archives import Files, pack_tar, pack_zip
from support.records import COLUMNS, change_header, change_index, read_folder, write_record
from support.remedies import Case, try_all

from mindcv_halo import create_dataset, create_loader, create_transforms
from mindcv_halo.data import (
    AugmentOp,
    Mixup,
    RandomErasing,
    auto_augment_policy,
    bad_image_error,
    find_bad_images,
    read_decodable,
)
from mindcv_halo.data.auto_augment import create_auto_augment, rand_augment_transform, trivial_augment_wide_ops
from mindcv_halo.data.class_names import name_labels
from mindcv_halo.data.image_arrays import ARRAY_FORMATS

ELSEWHERE = {
    "make it readable, or move it away": "of a folder that root may not read: test_folder_walk.py",
    "images of {} pixels at most are read": "of an image of half a gigabyte: test_decoding.py",
}


class Bench:
    def __init__(self, folder: Path, make_folder, make_arrays):
        self.folder = folder
        self.make_folder = make_folder
        self.make_arrays = make_arrays

    def images(self, root: str = "images", **counts: int) -> Path:
        """root/train with so many images of each class."""
        shutil.rmtree(self.folder / root, ignore_errors=True)
        counts = counts or {"cat": 2, "dog": 2}
        return self.make_folder({f"train/{name}": count for name, count in counts.items()}, root)

    def open(self, name: str = "", root: Path | None = None, split: str = "train", **options):
        return create_dataset(name, str(self.images() if root is None else root), split, **options)

    def arrays(self, name: str, **changes: bytes | None) -> Path:
        """The files of a data set, of which some are changed, or with None not there."""
        root = self.make_arrays(name)
        for file, content in changes.items():
            path = next(path for path in root.iterdir() if path.name.startswith(file))
            path.unlink()
            if content is not None:
                path.write_bytes(content)
        return root

    def archive(self, pack: Callable[[Files], bytes] = pack_zip, spoil: Callable[[bytes], bytes] = bytes) -> Path:
        """An archive of root/train, of which `spoil` makes another file."""
        root = self.images()
        files = {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*/*")}
        path = self.folder / "images.packed"
        path.write_bytes(spoil(pack(files)))
        return path

    def other(self, name: str) -> Path:
        """What is no archive."""
        path = self.folder / name
        if name == "pipe" and not path.exists():
            os.mkfifo(path)
        elif name != "pipe":
            path.write_bytes(b"no archive")
        return path

    def record(self, spoil: Callable[[Path], object] = lambda path: None, num_parts: int = 1, **options) -> Path:
        """The folder of a MindRecord train.mindrecord of these images, which is spoilt."""
        root = self.folder / "records"
        shutil.rmtree(root, ignore_errors=True)
        rows = read_folder(self.images() / "train")
        spoil(write_record(root / "train.mindrecord", rows, num_parts, **options))
        return root

    def broken(self) -> Path:
        root = self.images()
        (root / "train/cat/0.jpg").write_bytes(b"no image")
        return root

    def load(self, dataset=None, transform="usual", batch_size=2, **options):
        usual = {"is_training": options.get("is_training", False), "separate": options.get("separate", False)}
        if isinstance(transform, str):
            transform = create_transforms(image_resize=16, **usual)
        dataset = self.open() if dataset is None else dataset
        return create_loader(dataset, batch_size, transform=transform, **options)


def pixels(shape=(4, 8, 8, 3), kind=np.uint8, columns=("image", "label"), labels=4) -> ds.Dataset:
    return ds.NumpySlicesDataset((np.zeros(shape, kind), np.arange(labels, dtype=np.int32)), list(columns))


def run(loader) -> None:
    next(iter(loader.create_dict_iterator(num_epochs=1)))


def normalised() -> list:
    return [vision.HWC2CHW(), vision.Normalize([0, 0, 0], [1, 1, 1], is_hwc=False)]


def transforms(dataset: str = "imagenet", **options):
    return create_transforms(dataset, **{"is_training": True, "image_resize": 16, **options})


def empty(path: Path) -> None:
    change_index(path, "DELETE FROM INDEXES")
    change_header(path, lambda header: [page.update(end_row_id=0) for page in header["page"]])


def two_columns(path: Path) -> None:
    columns = {"a": COLUMNS["image"], "b": COLUMNS["image"], "label": COLUMNS["label"]}
    write_record(path, [{"a": b"a", "b": b"b", "label": 0}], columns=columns, index=[])


def twins(bench: Bench, *names: str) -> Path:
    return bench.images(**dict.fromkeys(names, 1))


def digits(bench: Bench, *, spoilt: bool = False, lacking: bool = False) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if lacking:
            patch.setitem(sys.modules, "sklearn.datasets", None)
        root = bench.folder / ("lacking" if lacking else "few")
        if spoilt:
            (root / "digits/train/0").mkdir(parents=True)
        elif (root / "digits").exists():
            shutil.rmtree(root / "digits")
        create_dataset("digits", str(root))


def fetch(bench: Bench, root: Path, name: str = "cifar10") -> None:
    """With a download that puts a sound file where a real one would."""

    def unpack(self) -> None:
        if not Path(self.path).exists():  # as the real one
            shutil.copytree(bench.make_arrays(name), self.path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ARRAY_FORMATS[name].downloader, "download", unpack)
        create_dataset(name, str(root), download=True)


def half_fetched(bench: Bench, *, removed: bool = False) -> Path:
    folder = bench.folder / "fetched/cifar-10-batches-bin"
    shutil.rmtree(folder, ignore_errors=True)
    if not removed:
        folder.mkdir(parents=True)
        (folder / "test_batch.bin").touch()
    return folder.parent


def zipped(bench: Bench, content: bytes) -> Path:
    root = bench.arrays("mnist", **{"train-labels": None})
    (root / "train-labels-idx1-ubyte.gz").write_bytes(content)
    return root


def mark_encrypted(archive: bytes) -> bytes:
    """A zip that says so of its first file."""
    at = archive.index(b"PK\x01\x02") + 8
    return archive[:at] + b"\1" + archive[at + 1 :]


def raise_bad(text: str) -> None:
    raise bad_image_error(RuntimeError(text))


TWINS = ("a\u0308", "\u00e4")
CASES = [
    # ---- augmentation
    Case(r"unknown augmentation 'Rotat'; nearest: Rotate", lambda b: AugmentOp("Rotat"), lambda b: AugmentOp("Rotate")),
    Case(
        r"unknown augmentation setting 'img_means'; nearest: img_mean",
        lambda b: AugmentOp("Rotate", hparams={"img_means": (0, 0, 0)}),
        lambda b: AugmentOp("Rotate", hparams={"img_mean": (0, 0, 0)}),
    ),
    Case(
        r"unknown AutoAugment policy 'autoau'; nearest: autoaug",
        lambda b: auto_augment_policy("autoau"),
        lambda b: auto_augment_policy("autoaug"),
    ),
    Case(
        r"m1 is the number of levels .*; use m31",
        lambda b: create_auto_augment("trivialaugwide-m1"),
        lambda b: create_auto_augment("trivialaugwide-m31"),
    ),
    Case(
        r"unknown TrivialAugmentWide operation 'Rotat'; nearest: Rotate",
        lambda b: trivial_augment_wide_ops(transforms=["Rotat"]),
        lambda b: trivial_augment_wide_ops(transforms=["Rotate"]),
    ),
    Case(
        r"unknown auto_augment policy 'randog'; nearest: rand",
        lambda b: create_auto_augment("randog-m9"),
        lambda b: create_auto_augment("rand-m9"),
    ),
    Case(
        r"unknown auto_augment policy 'augmix'; known: rand, randaug",
        lambda b: rand_augment_transform("augmix"),
        lambda b: [rand_augment_transform(name) for name in ("rand", "randaug")],
    ),
    Case(
        r"w0 is the only table of weights; write w0 or",
        lambda b: create_auto_augment("randaug-w1"),
        lambda b: create_auto_augment("randaug-w0"),
    ),
    Case(r"or leave it out$", lambda b: create_auto_augment("randaug-w1"), lambda b: create_auto_augment("randaug")),
    *(
        Case(
            rf"'9' is no setting; write letters and a number, such as {first}9, with one of {', '.join(known)}$",
            lambda b, name=name: create_auto_augment(f"{name}-9"),
            lambda b, name=name, known=known: [create_auto_augment(f"{name}-{key}{known[key]}") for key in known],
        )
        for name, first, known in (
            ("autoaug", "mstd", {"mstd": 9}),
            ("randaug", "m", {"m": 9, "n": 9, "mstd": 9, "mmax": 9, "inc": 9, "w": 0}),
            ("trivialaugwide", "m", {"m": 9}),
            ("augmix", "m", {"m": 9, "w": 9, "d": 9, "a": 9, "mstd": 9}),
        )
    ),
    Case(
        r"unknown setting in auto_augment='randaug-mm9': 'mm'; nearest: mmax",
        lambda b: create_auto_augment("randaug-mm9"),
        lambda b: create_auto_augment("randaug-mmax9"),
    ),
    Case(
        r"m is set twice; keep one of them",
        lambda b: create_auto_augment("randaug-m9-m8"),
        lambda b: [create_auto_augment(f"randaug-{part}") for part in ("m9", "m8")],
    ),
    Case(
        r"randaug-ninf': ninf must be finite; write a number after n",
        lambda b: create_auto_augment("randaug-ninf"),
        lambda b: create_auto_augment("randaug-n3"),
    ),
    Case(
        r"randaug-n2.9': n2.9 must be whole; write n3",
        lambda b: create_auto_augment("randaug-n2.9"),
        lambda b: create_auto_augment("randaug-n3"),
    ),
    Case(
        r"randaug-n14-w0': n14 must be 1 to 13; correct it, or leave it out",
        lambda b: create_auto_augment("randaug-n14-w0"),
        lambda b: [create_auto_augment(f"randaug{part}-w0") for part in ("-n13", "")],
    ),
    Case(
        r"RandomErasing behind Normalize, and it is for bytes .*; put it before HWC2CHW and Normalize",
        lambda b: b.load(transform=[vision.Decode(), *normalised(), RandomErasing()]),
        lambda b: b.load(transform=[vision.Decode(), RandomErasing(), *normalised()]),
    ),
    Case(
        r"RandomErasing is for bytes of shape \(height, width, 3\), .*; put it before HWC2CHW .*, with a mean for each",
        lambda b: b.load(pixels(kind=np.float32), [RandomErasing()]),
        lambda b: [
            b.load(pixels(), [RandomErasing(), *normalised()]),
            b.load(pixels((4, 8, 8, 1)), [RandomErasing(mean=[0], std=[1])]),
        ],
    ),
    Case(r"unknown mixup mode 'elm'; nearest: elem", lambda b: Mixup(mode="elm"), lambda b: Mixup(mode="elem")),
    Case(
        r"re_max_attempts=0 must be at least 1; re_prob 0 turns erasing off",
        lambda b: transforms(re_prob=0.1, re_max_attempts=0),
        lambda b: transforms(re_prob=0),
    ),
    Case(
        r"crop_pct=2 must be in \(0, 1\]; 0.875 and 0.95 are common",
        lambda b: transforms(is_training=False, crop_pct=2),
        lambda b: [transforms(is_training=False, crop_pct=share) for share in (0.875, 0.95)],
    ),
    Case(
        r"auto_augment and color_jitter need colours; mnist is grey: turn them off",
        lambda b: transforms("mnist", color_jitter=0.4, interpolation="bilinear"),
        lambda b: transforms("mnist", color_jitter=None, auto_augment=None, interpolation="bilinear"),
    ),
    Case(
        r"must have one number; mnist is grey",
        lambda b: transforms("mnist", mean=(1, 2, 3), std=(1, 2, 3), color_jitter=None),
        lambda b: transforms("mnist", mean=(1,), std=(1,), color_jitter=None),
    ),
    Case(
        r"interpolation bicubic needs colours; mnist is grey: choose bilinear",
        lambda b: transforms("mnist", interpolation="bicubic", color_jitter=None),
        lambda b: transforms("mnist", interpolation="bilinear", color_jitter=None),
    ),
    Case(
        r"unknown interpolation 'bicubik'; nearest: bicubic",
        lambda b: transforms(interpolation="bicubik"),
        lambda b: transforms(interpolation="bicubic"),
    ),
    # ---- names of classes
    Case(r"there are none; give one for each class", lambda b: name_labels([]), lambda b: name_labels(["cat", "dog"])),
    Case(
        r"the name of class 1 is ''; every class needs one",
        lambda b: name_labels(["cat", ""]),
        lambda b: name_labels(["cat", "dog"]),
    ),
    Case(
        r"is no Unicode text; correct it",
        lambda b: name_labels(["cat", "\udcff"]),
        lambda b: name_labels(["cat", "dog"]),
    ),
    # ---- folders
    Case(
        r"dataset_download does not know 'imagenet'; .*: turn it off and point data_dir to the images",
        lambda b: b.open("imagenet", download=True),
        lambda b: b.open("imagenet", download=False),
    ),
    Case(
        r"data_dir '.*absent' is no folder; give the one that holds train/<class>/<name>.jpg",
        lambda b: b.open(root=b.folder / "absent"),
        lambda b: b.open(),
    ),
    Case(
        r"; or is dataset 'cifar-10s' meant to be cifar10\?$",
        lambda b: b.open("cifar-10s", root=b.folder / "absent"),
        lambda b: b.open("cifar10", root=b.arrays("cifar10")),
    ),
    Case(
        r"split 'trian' is no folder in .*; it has train; choose one of them, or",
        lambda b: b.open(split="trian"),
        lambda b: b.open(split="train"),
    ),
    Case(
        r"or correct data_dir",
        lambda b: b.open(root=b.images().parent),
        lambda b: b.open(root=b.images()),
    ),
    # ---- archives
    Case(
        r"archive .*images.packed: it is cut off.*; copy or pack it anew",
        lambda b: b.open(root=b.archive(pack_tar, lambda content: content[:700])),
        lambda b: b.open(root=b.archive(pack_tar)),
    ),
    Case(
        r"the table at a zip's end is missing; copy or pack it anew",
        lambda b: b.open(root=b.archive(spoil=lambda content: content[:-1])),
        lambda b: b.open(root=b.archive()),
    ),
    Case(
        r"0.jpg is compressed by method 12, and .*; pack it anew, as zip -0 does",
        lambda b: b.open(root=b.archive(lambda files: pack_zip(files, zipfile.ZIP_BZIP2))),
        lambda b: b.open(root=b.archive()),
    ),
    Case(
        r"is encrypted; pack it anew without a password",
        lambda b: b.open(root=b.archive(spoil=mark_encrypted)),
        lambda b: b.open(root=b.archive()),
    ),
    Case(
        r"is compressed by gzip as a whole, .*; unpack it and give the folder, or pack it again .* tar -cf does",
        lambda b: b.open(root=b.archive(pack_tar, gzip.compress)),
        lambda b: [b.open(root=b.images()), b.open(root=b.archive(pack_tar))],
    ),
    Case(
        r"is no folder and no ordinary file; give a folder, or a zip or tar archive",
        lambda b: b.open(root=b.other("pipe")),
        lambda b: [b.open(), b.open(root=b.archive()), b.open(root=b.archive(pack_tar))],
    ),
    Case(
        r"is no folder, and no zip or tar archive; give the folder that holds the splits, or an archive of it",
        lambda b: b.open(root=b.other("images.rar")),
        lambda b: [b.open(), b.open(root=b.archive())],
    ),
    # ---- MindRecord files
    Case(
        r"is a MindRecord file, .*; give its folder as data_dir, and the file's name as the split",
        lambda b: b.open(root=b.record() / "train.mindrecord"),
        lambda b: b.open(root=b.record(), split="train.mindrecord"),
    ),
    *(
        Case(
            said,
            lambda b, spoil=spoil: b.open(root=spoil(b)),
            lambda b: [b.open(root=b.record()), b.open(root=b.record(num_parts=2))],
        )
        for said, spoil in {
            "it holds no row; write it anew": lambda b: b.record(empty),
            r"its labels go from -1 to 1, and may go from 0 to 1048575; write it anew with such": lambda b: b.record(
                lambda path: change_index(path, "UPDATE INDEXES SET label_0 = -1 WHERE ROW_ID = 1")
            ),
            "its 2 parts have the numbers 1, 1; copy them anew": lambda b: b.record(
                lambda path: [shutil.copy(f"{path}".replace("d0", f"d1{end}"), f"{path}{end}") for end in ("", ".db")],
                2,
            ),
            r"places that it does not have: it is cut off, or .*; copy both anew": lambda b: b.record(
                lambda path: os.truncate(path, 1 << 14)
            ),
            r"it is one of 2 parts, and not beside it is train.mindrecord1; copy what is missing there": (
                lambda b: b.record(lambda path: path.with_name("train.mindrecord1").unlink(), 2)
            ),
            r"its index has other labels or names than its rows: .*; copy both anew": lambda b: b.record(
                lambda path: change_index(path, "UPDATE INDEXES SET label_0 = 1 - label_0 WHERE ROW_ID = 1")
            ),
            r"it does not begin as a MindRecord file does: .*; write it anew without encryption": lambda b: b.record(
                lambda path: path.write_bytes(b"no record")
            ),
            "its columns of bytes .a, b. do not tell which one holds the images; write it anew, and call that image": (
                lambda b: b.record(two_columns)
            ),
            r"its column label is missing; write it anew with a whole number in label": lambda b: b.record(
                lambda path: change_header(path, lambda header: header["schema"][0]["schema"].pop("label"))
            ),
            "its index train.mindrecord.db is not beside it; copy it there": lambda b: b.record(
                lambda path: Path(f"{path}.db").unlink()
            ),
            r"its index train.mindrecord.db is damaged \(.*\); copy it anew": lambda b: b.record(
                lambda path: Path(f"{path}.db").write_bytes(b"no index")
            ),
            r"its index has no label; write it anew after FileWriter.add_index\(\['label'\]\)": lambda b: b.record(
                index=["file_name"]
            ),
            r"it has 4 rows, and its index train.mindrecord.db has 3; copy both anew": lambda b: b.record(
                lambda path: change_index(path, "DELETE FROM INDEXES WHERE ROW_ID = 2")
            ),
        }.items()
    ),
    Case(
        r"has no class folders; images belong in .*/cat/<class>/<name>.jpg",
        lambda b: b.open(root=b.images() / "train", split="cat"),
        lambda b: b.open(),
    ),
    Case(
        r"holds no image; put files with one of the extensions .* into it, or",
        lambda b: b.open(root=b.images(cat=1, dog=0)),
        lambda b: b.open(root=b.images(cat=1, dog=1)),
    ),
    Case(r"or remove it$", lambda b: b.open(root=b.images(cat=1, dog=0)), lambda b: b.open(root=b.images(cat=1))),
    Case(
        r"its name is no UTF-8, .*; rename it",
        lambda b: b.open(root=b.images(**{"cat\udcff": 1})),
        lambda b: b.open(root=b.images(cat=1)),
    ),
    Case(
        r"put all images into one, and remove the other",
        lambda b: b.open(root=twins(b, *TWINS)),
        lambda b: b.open(root=twins(b, TWINS[0])),
    ),
    Case(
        r"dog is none of the 1 classes of the model \(cat\); move it away, or",
        lambda b: b.open(class_names=["cat"]),
        lambda b: b.open(root=b.images(cat=1), class_names=["cat"]),
    ),
    Case(
        r"or name it as the model does$",
        lambda b: b.open(class_names=["cat", "hound"]),
        lambda b: b.open(root=b.images(cat=1, hound=1), class_names=["cat", "hound"]),
    ),
    Case(
        r"cat is the name of several of the 3 classes; give each its own",
        lambda b: b.open(class_names=["cat", "dog", "cat"]),
        lambda b: b.open(class_names=["cat", "dog", "hound"]),
    ),
    # ---- which samples
    Case(
        r"num_samples=0 must be positive; leave it out to use all samples",
        lambda b: b.open(num_samples=0),
        lambda b: b.open(),
    ),
    Case(
        r"shard_id=7 of 8 has none of the 4 samples; use 4 shards at most",
        lambda b: b.open(num_shards=8, shard_id=7, shuffle=False),
        lambda b: b.open(num_shards=4, shard_id=3, shuffle=False),
    ),
    Case(
        r"num_samples 3 and aug_repeats .* exclude each other; leave one of them out",
        lambda b: b.open(num_samples=3, num_aug_repeats=2),
        lambda b: [b.open(num_samples=3), b.open(num_aug_repeats=2)],
    ),
    Case(
        r"belong together: give both or neither",
        lambda b: b.open(num_shards=2),
        lambda b: [b.open(num_shards=2, shard_id=1), b.open()],
    ),
    # ---- images
    Case(
        r"none of the 1 images can be decoded; the first: .*; remove or replace it",
        lambda b: read_all(b.images(cat=1), spoil=True),
        lambda b: read_all(b.images(cat=1)),
    ),
    Case(
        r"it holds no known image format; remove or replace it",
        lambda b: read_decodable(str(b.broken() / "train/cat/0.jpg")),
        lambda b: read_decodable(str(b.images() / "train/cat/0.jpg")),
    ),
    Case(
        r"mindcv_halo.data.find_bad_images\(root, split\) lists the files to remove or replace",
        lambda b: raise_bad("[Decode] failed. Dump the"),
        lambda b: remove_listed(b.broken()),
    ),
    Case(
        r"it has 1 x 999 pixels, and its sides may differ by a factor of 50 at most; crop it",
        lambda b: read_decodable(strip(b, 999)),
        lambda b: read_decodable(strip(b, 50)),
    ),
    Case(
        r"holds 0 images instead of 1797; delete the folder, it will be written again",
        lambda b: digits(b, spoilt=True),
        lambda b: digits(b),
    ),
    Case(
        r"needs scikit-learn; pip install mindcv_halo\[demo\]", lambda b: digits(b, lacking=True), lambda b: digits(b)
    ),
    # ---- data sets of arrays
    Case(
        r"mnist has no split 'valid'; choose train or test \(or val, for test\) as train_split and val_split",
        lambda b: b.open("mnist", b.arrays("mnist"), "valid"),
        lambda b: [b.open("mnist", b.arrays("mnist"), split) for split in ("train", "test", "val")],
    ),
    Case(
        r"cifar10: neither .* holds .*; correct data_dir, or",
        lambda b: b.open("cifar10", b.folder),
        lambda b: b.open("cifar10", b.arrays("cifar10")),
    ),
    Case(r"or set dataset_download$", lambda b: b.open("cifar10", b.folder), lambda b: fetch(b, b.folder / "new")),
    Case(
        r"cifar-10-batches-bin lacks data_batch_1.bin, .*or some of these; remove that folder, and it is fetched anew",
        lambda b: fetch(b, half_fetched(b)),
        lambda b: fetch(b, half_fetched(b, removed=True)),
    ),
    Case(
        r"has 5 images, .* 4 labels; get both anew",
        lambda b: b.open("mnist", b.arrays("mnist", **{"train-labels": idx(np.arange(4))})),
        lambda b: b.open("mnist", b.arrays("mnist")),
    ),
    Case(
        r"is damaged: its length or header is not that of an IDX file; get it anew",
        lambda b: b.open("mnist", b.arrays("mnist", **{"train-labels": b"1234"})),
        lambda b: b.open("mnist", b.arrays("mnist")),
    ),
    Case(
        r"train-labels-idx1-ubyte has a label 10 of 10 classes; get it anew",
        lambda b: b.open("mnist", b.arrays("mnist", **{"train-labels": idx(np.arange(5) + 6)})),
        lambda b: b.open("mnist", b.arrays("mnist")),
    ),
    Case(
        r"train-labels-idx1-ubyte.gz is damaged: it cannot be unpacked \(.*\); get it anew",
        lambda b: b.open("mnist", zipped(b, b"1234")),
        lambda b: b.open("mnist", zipped(b, gzip.compress(idx(np.arange(5))))),
    ),
    Case(
        r"data_batch_3.bin is damaged: 4 bytes are not whole records of 3073; get it anew",
        lambda b: b.open("cifar10", b.arrays("cifar10", data_batch_3=b"1234")),
        lambda b: b.open("cifar10", b.arrays("cifar10")),
    ),
    Case(
        r"batches.meta.txt is damaged: it is no text; get it anew",
        lambda b: b.open("cifar10", b.arrays("cifar10", **{"batches.meta": b"caf\xe9"})),
        lambda b: b.open("cifar10", b.arrays("cifar10")),
    ),
    Case(
        r"cannot be written: .*; make room, or choose another data_dir",
        lambda b: b.open("mnist", b.arrays("mnist") / "train-labels-idx1-ubyte", download=True),
        lambda b: b.open("mnist", b.arrays("mnist"), download=True),
    ),
    # ---- the loader
    Case(
        r"aug_splits \(separate\) does not go with mixup=0.2, cutmix=0.1: .*; set both to 0, or",
        lambda b: b.load(is_training=True, separate=True, mixup=0.2, cutmix=0.1),
        lambda b: b.load(is_training=True, separate=True, mixup=0, cutmix=0),
    ),
    Case(
        r"or turn aug_splits off",
        lambda b: b.load(is_training=True, separate=True, mixup=0.2),
        lambda b: b.load(is_training=True, mixup=0.2),
    ),
    Case(
        r"make the data set with create_dataset\(is_training=True\), where others stand in for them",
        lambda b: b.load(b.open(skip_bad_images=True, shuffle=False), is_training=True),
        lambda b: [
            b.load(b.open(skip_bad_images=True, shuffle=False, is_training=True), is_training=True),
            b.load(b.open(skip_bad_images=True, is_training=True), target_transform=lambda label: label),
        ],
    ),
    Case(
        r"separate needs the three lists of create_transforms\(is_training=True, separate=True\)",
        lambda b: b.load(is_training=True, separate=True, transform=create_transforms(is_training=True)),
        lambda b: b.load(is_training=True, separate=True, transform=create_transforms(is_training=True, separate=True)),
    ),
    Case(
        r"which need create_loader with is_training=True and separate=True; give both, or",
        lambda b: b.load(transform=transforms(separate=True)),
        lambda b: b.load(transform=transforms(separate=True), is_training=True, separate=True),
    ),
    Case(
        r"or make transform without separate",
        lambda b: b.load(transform=transforms(separate=True)),
        lambda b: b.load(transform=transforms()),
    ),
    Case(
        r"no evaluation transforms for images of shape \(8, 8, 4\); give transform",
        lambda b: b.load(pixels((4, 8, 8, 4)), transform=None),
        lambda b: run(b.load(pixels((4, 8, 8, 4)), transform=vision.HWC2CHW())),
    ),
    Case(
        r"the evaluation transforms are for bytes, and the images are float32; give transform",
        lambda b: b.load(pixels(kind=np.float32), transform=None),
        lambda b: run(b.load(pixels(kind=np.float32), transform=vision.HWC2CHW())),
    ),
    Case(
        r"batch_size 9 is more than the 4 samples .*; use at most 4, or",
        lambda b: b.load(batch_size=9, drop_remainder=True),
        lambda b: b.load(batch_size=4, drop_remainder=True),
    ),
    Case(
        r"or turn drop_remainder off",
        lambda b: b.load(batch_size=9, drop_remainder=True),
        lambda b: b.load(batch_size=9, drop_remainder=False),
    ),
    Case(
        r"has the columns picture, label, but no image; name them with dataset.rename\(...\)",
        lambda b: b.load(pixels(columns=("picture", "label")), transform=None),
        lambda b: run(b.load(pixels(columns=("picture", "label")).rename("picture", "image"), transform=None)),
    ),
    *(
        Case(
            rf"begins with Decode, but the images are arrays .*; use create_transforms\('{name}'\) or",
            lambda b, side=side, channels=channels: b.load(pixels((4, side, side, channels)), [vision.Decode()]),
            lambda b, name=name, side=side, channels=channels: run(
                b.load(pixels((4, side, side, channels)), create_transforms(name))
            ),
        )
        for name, side, channels in (("cifar10", 32, 3), ("mnist", 28, 1))
    ),
    Case(
        r"or take it out$",
        lambda b: b.load(pixels(), [vision.Decode(), vision.HWC2CHW()]),
        lambda b: run(b.load(pixels(), [vision.HWC2CHW()])),
    ),
    Case(
        r"begins with Resize, but the images are undecoded files; use create_transforms\('imagenet'\), or",
        lambda b: b.load(transform=[vision.Resize(8)]),
        lambda b: run(b.load(transform=create_transforms("imagenet"))),
    ),
    Case(
        r"or put mindspore.dataset.vision.Decode\(\) first",
        lambda b: b.load(transform=[vision.Resize((8, 8))]),
        lambda b: run(b.load(transform=[vision.Decode(), vision.Resize((8, 8))])),
    ),
    Case(
        r"normalises 3 channels, but the images have the shape \(8, 8, 4\); they must be \(height, width, 3\), or",
        lambda b: b.load(pixels((4, 8, 8, 4)), create_transforms("cifar10")),
        lambda b: run(b.load(pixels((4, 8, 8, 3)), create_transforms("cifar10"))),
    ),
    Case(
        r"normalises 3 channels, .* mean and std of create_transforms must have a number for each channel",
        lambda b: b.load(pixels((4, 8, 8, 1)), create_transforms("cifar10", interpolation="bilinear")),
        lambda b: run(
            b.load(pixels((4, 8, 8, 1)), create_transforms("cifar10", interpolation="bilinear", mean=(1,), std=(1,)))
        ),
    ),
    Case(
        r"leave transform out for the evaluation transforms, or",
        lambda b: b.load(transform=[]),
        lambda b: run(b.load(transform=None)),
    ),
    Case(r"or set batch_size to 1$", lambda b: b.load(transform=[]), lambda b: run(b.load(transform=[], batch_size=1))),
    Case(
        r"transform does not make them so; leave it out, or",
        lambda b: b.load(transform=[vision.Decode(), vision.Resize((8, 8))], is_training=True, mixup=0.2),
        lambda b: run(b.load(transform=None, is_training=True, mixup=0.2)),
    ),
    Case(
        r"or end it with vision.HWC2CHW\(\)",
        lambda b: b.load(transform=[vision.Decode(), vision.Resize((8, 8))], is_training=True, mixup=0.2),
        lambda b: run(
            b.load(transform=[vision.Decode(), vision.Resize((8, 8)), vision.HWC2CHW()], is_training=True, mixup=0.2)
        ),
    ),
    Case(
        r"num_classes=1 has no label 1; give the number of classes of the data set",
        lambda b: b.load(is_training=True, mixup=0.2, num_classes=1),
        lambda b: b.load(is_training=True, mixup=0.2, num_classes=b.open().num_classes()),
    ),
    Case(
        r"need labels that are whole numbers or one-hot, with num_classes=2 numbers",
        lambda b: b.load(is_training=True, mixup=0.2, num_classes=2, target_transform=lambda label: np.zeros(3)),
        lambda b: [
            b.load(is_training=True, mixup=0.2, num_classes=2, target_transform=lambda label: np.zeros(2)),
            b.load(is_training=True, mixup=0.2, num_classes=2, target_transform=lambda label: np.int64(1)),
        ],
    ),
]


def read_all(root: Path, *, spoil: bool = False) -> None:
    if spoil:
        (root / "train/cat/0.jpg").write_bytes(b"no image")
    dataset = create_dataset(root=str(root), skip_bad_images=True)
    dataset.source.bad_images.read(dataset.source.read, 0, np.zeros(3, np.int64))


def remove_listed(root: Path) -> None:
    for line in find_bad_images(str(root), "train"):
        path = Path(line.removeprefix("bad image file ").partition(": ")[0])
        path.unlink()
    assert not find_bad_images(str(root), "train")
    run(create_loader(create_dataset(root=str(root)), 1))


def strip(bench: Bench, height: int) -> str:
    from PIL import Image

    Image.new("RGB", (1, height)).save(bench.folder / "strip.png")
    return str(bench.folder / "strip.png")


@pytest.fixture
def bench(tmp_path, make_folder, make_arrays) -> Bench:
    return Bench(tmp_path, make_folder, make_arrays)


def test_every_remedy_about_data_works(bench):
    try_all(CASES, bench, "data", ELSEWHERE)
