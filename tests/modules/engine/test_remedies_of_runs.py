"""What errors of training, validation, prediction, export and conversion say to do, tried.

What a command does after its checks takes long: here it begins, and other tests run it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from PIL import Image
from support.remedies import Case, try_all

from mindcv_halo import Predictor, create_model
from mindcv_halo.config import make_recipe
from mindcv_halo.config.options import Recipe, flatten
from mindcv_halo.data.dataset_factory import open_split
from mindcv_halo.distributed.launchers import Topology
from mindcv_halo.distributed.process_group import ONE_PROCESS
from mindcv_halo.engine import batches, images, infer, labels, resume, setup
from mindcv_halo.models.halonet import HALONET_26T
from mindcv_halo.models.registry import _models, register_model
from mindcv_halo.models.specs import DIALECTS
from mindcv_halo.models.weights import save_network
from mindcv_halo.runs.state import save_state

# The attributes of these names are the functions.
converting = import_module("mindcv_halo.engine.convert")
exporting = import_module("mindcv_halo.engine.export")
training = import_module("mindcv_halo.engine.train")
evaluation = import_module("mindcv_halo.engine.validate")

ELSEWHERE = {
    "make room, and go on with --resume True": "of a disk that is full: tests/tasks/test_resume.py",
    "or loss_scale_type dynamic may help": "of a loss that is not finite: tests/tasks/test_training.py",
    "it was not written": "names no way out",
    "choose a place that can be written": "of a disk that is full: test_exporting.py",
    "it is damaged": "names no way out",
    "go on with the version before": "of another version of this library",
}
CLASSES = ["ant", "bee", "cow"]
TWO = Topology("mpirun", 0, 2, 0, 2)
LOGGER = logging.getLogger("test_remedies")


def open_images(recipe: Recipe, split: str):
    return open_split(recipe.dataset.name, recipe.dataset.root, split)


class Started(Exception):
    """The checks are over."""


class Plain(nn.Cell):
    def construct(self, x):
        return x.mean(axis=(2, 3))


class Bench:
    def __init__(self, folder: Path):
        self.folder = folder
        self.network = create_model("halonet_test", num_classes=3)
        self.weights = str(folder / "x.ckpt")
        save_network(self.network, self.weights)
        save_network(self.network, folder / "named.ckpt", CLASSES)
        for split in ("train", "val"):
            self.images(split, *CLASSES)

    def images(self, split: str, *names: str) -> str:
        """The folder `split`, with an image of each class."""
        shutil.rmtree(self.folder / split, ignore_errors=True)
        (self.folder / split).mkdir()
        for name in names:
            (self.folder / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(self.folder / split / name / "0.png")
        return split

    def recipe(self, **keys) -> Recipe:
        plain = {"model": "halonet_test", "data_dir": str(self.folder), "ckpt_path": self.weights, "image_resize": 32}
        return make_recipe({**plain, "mode": 1, "device_target": "CPU", "batch_size": 2, **keys})

    def names(self, *names: str) -> str:
        (self.folder / "names.txt").write_text("".join(f"{name}\n" for name in names))
        return str(self.folder / "names.txt")

    def export(self, file_format: str | None = None, output: str | None = "x.mindir", **keys) -> None:
        path = None if output is None else str(self.folder / output)
        begins(exporting, lambda: exporting.export(self.recipe(**keys), file_format, path))

    def convert(self, target: str = "new.ckpt", **options) -> None:
        converting.convert(self.weights, str(self.folder / target), **options)

    def target(self, target: str, to: str = "timm") -> None:
        converting._check_output(Path(self.weights), self.folder / target, to)

    def check_files(self, *, spoil: bool = False, **keys) -> None:
        self.images("val", *CLASSES)
        if spoil:
            (self.folder / "val/ant/0.png").write_bytes(b"no image")
        recipe = self.recipe(**keys)
        batches.check_image_files(setup.make_val_loader(recipe, open_images(recipe, "val"), CLASSES))

    def build(self, *, is_training: bool = False, **keys) -> None:
        setup.build_network(self.recipe(**keys), 3, is_training=is_training)

    def wants_kernels(self, device: str = "CPU", network: nn.Cell | None = None, **keys) -> None:
        recipe = self.recipe(**{"native_kernels": True, **keys})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(setup.mindspore, "get_context", lambda _: device)
            patch.setattr(setup, "load_kernels", lambda: None)
            setup._uses_native_kernels(recipe, network or self.network, is_training=True)

    def find_labels(self, *names: str, found: tuple[str, ...] = ("ant", "bee"), given=None, **keys) -> None:
        """Of the weights of `names`, or of three classes without names, and of folders in val alone."""
        self.images("train")
        self.images("val", *found)
        recipe = self.recipe(**{"train_split": "none", **keys})
        labels.find_labels(recipe, given, open_images(recipe, "val").class_names)

    def resume(self, folder: str = "run", data: resume.TrainingData | None = None, **keys) -> None:
        """After a run that saved its state in its second epoch."""
        (self.folder / "run").mkdir(exist_ok=True)
        made = self.recipe(ckpt_save_dir=str(self.folder / "run"), resume=True)
        content = {"position": {"epoch": 1, "step": 1}, "images_per_step": 2}
        content |= {"recipe": flatten(made), "data": vars(DATA)}
        save_state(self.network.parameters_dict(), content, self.folder / "run", "halonet_test", 1, 1)
        recipe = self.recipe(**{"ckpt_save_dir": str(self.folder / folder), "resume": True, **keys})
        if recipe.run.resume:  # as in training.train
            resume.load_run(recipe, data or DATA, recipe.loader.batch_size, ONE_PROCESS, LOGGER)


DATA = resume.TrainingData(CLASSES, 24, "digest", 2)


def begins(module: object, call: Callable[[], object], start: str = "start_device") -> None:
    """`call` gets beyond its checks, after which `module.start` would be called."""

    def begin(*_, **__) -> None:
        raise Started

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Started):
        patch.setattr(module, start, begin)
        call()


def among(module: object, topology: Topology, call: Callable[[], object]) -> None:
    """As one of several processes, or alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "find_place", lambda *_, **__: topology)
        call()


def export_own(bench: Bench) -> None:
    def own(num_classes: int = 3) -> nn.Cell:
        return Plain()

    register_model(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "build_network", lambda *_, **__: Plain())
        exporting.export(bench.recipe(model="own"), "mindir", str(bench.folder / "x.mindir"))


def validate(bench: Bench, report: str | None = None, **keys) -> None:
    begins(evaluation, lambda: evaluation.validate(bench.recipe(**keys), report))


def evaluate(bench: Bench) -> None:
    bench.images("val", *CLASSES)
    recipe = bench.recipe()
    evaluation.evaluate(Plain(), setup.make_val_loader(recipe, open_images(recipe, "val"), CLASSES), 2)


def train_loader(bench: Bench, shuffle: bool) -> None:
    bench.images("train", *CLASSES)
    recipe = bench.recipe(shuffle=shuffle, batch_size=1)
    setup.make_train_loader(recipe, open_images(recipe, "train"), CLASSES, TWO)


PIXELS = np.zeros((4, 4, 3), np.uint8)
CASES = [
    # ---- training
    Case(
        r"loss JSD compares augmented copies of an image; set aug_splits to 3, or",
        lambda b: setup.check_step_options(b.recipe(loss="JSD")),
        lambda b: setup.check_step_options(b.recipe(loss="JSD", aug_splits=3)),
    ),
    Case(
        r"or take another loss",
        lambda b: setup.check_step_options(b.recipe(loss="JSD")),
        lambda b: setup.check_step_options(b.recipe(loss="BCE")),
    ),
    Case(
        r"aug_splits 3 needs the loss JSD, not CE",
        lambda b: setup.check_step_options(b.recipe(aug_splits=3)),
        lambda b: setup.check_step_options(b.recipe(aug_splits=3, loss="JSD")),
    ),
    Case(
        r"resume_opt needs ckpt_path, .*; or",
        lambda b: setup._optimizer_file(b.recipe(ckpt_path="", resume_opt=True)),
        lambda b: setup._optimizer_file(b.recipe(resume_opt=True)),
    ),
    Case(
        r"or use --resume True$",
        lambda b: setup._optimizer_file(b.recipe(ckpt_path="", resume_opt=True)),
        lambda b: b.resume(),
    ),
    Case(
        r"top_k ranks by validation; set val_while_train to True",
        lambda b: training._check_run_options(b.recipe(ckpt_save_policy="top_k").run),
        lambda b: training._check_run_options(b.recipe(ckpt_save_policy="top_k", val_while_train=True).run),
    ),
    Case(
        r"num_classes 2 is less than the 3 classes .*; give --num_classes 3 or more, or",
        lambda b: setup.fit_class_names(b.recipe(num_classes=2), CLASSES),
        lambda b: [setup.fit_class_names(b.recipe(num_classes=count), CLASSES) for count in (3, 4)],
    ),
    Case(
        r"or leave it out \(--num_classes None\)",
        lambda b: setup.fit_class_names(b.recipe(num_classes=2), CLASSES),
        lambda b: setup.fit_class_names(b.recipe(num_classes=None), CLASSES),
    ),
    Case(
        r"shuffle False deals out unequal shares, .*; set it to True",
        lambda b: train_loader(b, False),
        lambda b: train_loader(b, True),
    ),
    Case(
        r"remove or replace it, or set skip_bad_images",
        lambda b: b.check_files(spoil=True),
        lambda b: b.check_files(spoil=True, skip_bad_images=True),
    ),
    Case(r"; remove or replace it, or", lambda b: b.check_files(spoil=True), lambda b: b.check_files()),
    # ---- going on with a run
    Case(
        r"the run is in its epoch 2, and epoch_size is 1; give --epoch_size 2 or more",
        lambda b: b.resume(epoch_size=1),
        lambda b: [b.resume(epoch_size=count) for count in (2, 3)],
    ),
    Case(
        r"resume: lr was 0.001 and is 0.5 now; resume with the run's own recipe.yaml, or",
        lambda b: b.resume(lr=0.5),
        lambda b: b.resume(),
    ),
    Case(
        r"or start anew in another ckpt_save_dir, with resume False$",
        lambda b: b.resume(lr=0.5),
        lambda b: b.resume("another", lr=0.5, resume=False),
    ),
    *(
        Case(
            rf"{said}; put the run's images back, or start a new run from its checkpoint with --ckpt_path",
            lambda b, changes=changes: b.resume(data=replace(DATA, **changes)),
            lambda b, changes=changes: [
                b.resume(data=DATA),
                b.resume("another", resume=False, data=replace(DATA, **changes)),
            ],
        )
        for said, changes in (
            (r"the classes are not those of the run \(gone: cow\)", {"class_names": ["ant", "bee"]}),
            (r"the run had 24 training images, here are 23", {"num_images": 23}),
            (r"names or classes of the training images are not those of the run", {"files": "other"}),
        )
    ),
    Case(
        r"go on on a machine with 2 processors or more, with --num_parallel_workers 2; or",
        lambda b: b.resume(data=replace(DATA, num_parallel_workers=1)),
        lambda b: b.resume(data=replace(DATA, num_parallel_workers=2), num_parallel_workers=2),
    ),
    # ---- networks of runs
    Case(
        r"images of dataset 'imagenet' are read with 3 channels; set it to 3, or",
        lambda b: b.build(in_channels=1, ckpt_path=""),
        lambda b: b.build(in_channels=3, ckpt_path=""),
    ),
    Case(
        r"or for grey images in_channels to 1 and dataset to mnist or fashion_mnist",
        lambda b: b.build(in_channels=1, ckpt_path=""),
        lambda b: b.build(in_channels=1, ckpt_path="", dataset="mnist"),
    ),
    Case(
        r"reset_head is for training: .*; leave it out",
        lambda b: b.build(reset_head=True),
        lambda b: b.build(),
    ),
    Case(
        r"fuse_bn is for inference: .*; leave it out",
        lambda b: b.build(is_training=True, fuse_bn=True),
        lambda b: b.build(is_training=True),
    ),
    Case(
        r"native_kernels: native kernels are for HaloNets, .*; leave it out",
        lambda b: b.wants_kernels(network=Plain()),
        lambda b: b.wants_kernels(network=Plain(), native_kernels=None),
    ),
    Case(
        r"native_kernels: native kernels are for CPUs, and this runs on GPU; leave it out",
        lambda b: b.wants_kernels("GPU"),
        lambda b: b.wants_kernels("GPU", native_kernels=None),
    ),
    *(
        Case(
            rf"{said}; leave one out",
            lambda b, options=options: b.wants_kernels(**options),
            lambda b, options=options: [b.wants_kernels(), b.wants_kernels(native_kernels=None, **options)],
        )
        for said, options in (
            ("native_kernels: native kernels know no amp level O2", {"amp_level": "O2"}),
            ("native_kernels: native kernels know no amp_cast_list", {"amp_cast_list": ["Dense"]}),
            ("native_kernels: native kernels know no sync_bn", {"sync_bn": True}),
        )
    ),
    Case(
        r"precision bfloat16 is of native_kernels, which are False; leave one out",
        lambda b: b.wants_kernels(native_kernels=False, precision="bfloat16"),
        lambda b: [b.wants_kernels(native_kernels=False), b.wants_kernels(precision="bfloat16")],
    ),
    Case(
        r"precision bfloat16: native kernels are for CPUs, and this runs on GPU; leave it out; elsewhere amp_level O2 "
        "with amp_dtype bfloat16 does",
        lambda b: b.wants_kernels("GPU", native_kernels=None, precision="bfloat16"),
        lambda b: b.wants_kernels("GPU", native_kernels=None),
    ),
    Case(
        r"precision bfloat16: native kernels know no amp level O2; leave one out",
        lambda b: b.wants_kernels(native_kernels=None, precision="bfloat16", amp_level="O2"),
        lambda b: [
            b.wants_kernels(native_kernels=None, precision="bfloat16"),
            b.wants_kernels(native_kernels=None, amp_level="O2"),
        ],
    ),
    # ---- validation
    Case(
        r"validation needs weights: give --ckpt_path FILE",
        lambda b: validate(b, ckpt_path=""),
        lambda b: validate(b, ckpt_path=b.weights),
    ),
    Case(
        r"--report is made by one process; start it without mpirun",
        lambda b: among(evaluation, TWO, lambda: evaluation.validate(b.recipe(), str(b.folder / "report"))),
        lambda b: validate(b, str(b.folder / "report")),
    ),
    Case(
        r"none of the 0 images can be decoded; correct data_dir or val_split",
        lambda b: evaluation.evaluate(Plain(), None, 2),
        evaluate,
    ),
    # ---- labels
    Case(
        r"nothing says which of them these are: .*; give --class_names FILE, with the name of a folder in each line",
        lambda b: b.find_labels(),
        lambda b: b.find_labels(given=b.names(*CLASSES)),
    ),
    Case(
        r"has 4 classes .*, checkpoint .* has 3 classes; move the others away, or",
        lambda b: b.find_labels(found=(*CLASSES, "dog")),
        lambda b: b.find_labels(found=tuple(CLASSES)),
    ),
    Case(
        r"has 3 classes .*, checkpoint .* has 2 classes; .* or correct --num_classes",
        lambda b: b.find_labels(found=tuple(CLASSES), num_classes=2),
        lambda b: b.find_labels(found=tuple(CLASSES), num_classes=3),
    ),
    Case(
        r"num_classes 0: prediction needs a classifier, of at least 1 class",
        lambda b: labels.find_class_names(b.recipe(num_classes=0), None),
        lambda b: labels.find_class_names(b.recipe(num_classes=3), None),
    ),
    Case(
        r"3 names, but num_classes is 4; give --num_classes 3, or",
        lambda b: labels.find_class_names(b.recipe(num_classes=4, ckpt_path=str(b.folder / "named.ckpt")), None),
        lambda b: labels.find_class_names(b.recipe(num_classes=3, ckpt_path=str(b.folder / "named.ckpt")), None),
    ),
    Case(
        r"or the names of 3 classes with --class_names FILE",
        lambda b: labels.find_class_names(b.recipe(num_classes=3), b.names(*CLASSES, "dog")),
        lambda b: labels.find_class_names(b.recipe(num_classes=3), b.names(*CLASSES)),
    ),
    Case(
        r"the names are of other weights: give the right ones with --class_names FILE",
        lambda b: labels.find_class_names(b.recipe(), b.names(*CLASSES, "dog")),
        lambda b: labels.find_class_names(b.recipe(), b.names(*CLASSES)),
    ),
    # ---- prediction
    Case(
        r"image_path absent: there is no such file or folder; check the path",
        lambda b: images.list_images("absent"),
        lambda b: images.list_images(str(b.folder / b.images("val", *CLASSES))),
    ),
    Case(
        r"image_path .*: no image there; give a file or a folder of .*\.png",
        lambda b: images.list_images(str(b.folder / b.images("empty"))),
        lambda b: images.list_images(str(b.folder / b.images("val", *CLASSES) / "ant")),
    ),
    Case(
        r"is no image; it must be uint8, \(height, width, 3\) or \(height, width\)",
        lambda b: images.read_pixels(PIXELS.astype(float)),
        lambda b: [images.read_pixels(pixels) for pixels in (PIXELS, PIXELS[..., 0])],
    ),
    Case(
        r"prediction needs weights: give --ckpt_path FILE, in Python checkpoint_path=FILE",
        lambda b: infer.check_job(b.recipe(ckpt_path="")),
        lambda b: infer.check_job(b.recipe()),
    ),
    Case(
        r"prediction runs in one process; start it without mpirun",
        lambda b: among(infer, TWO, lambda: infer.check_job(b.recipe())),
        lambda b: infer.check_job(b.recipe()),
    ),
    Case(
        r"Predictor: lr 1 is of no use in prediction; leave it out",
        lambda b: Predictor("halonet_test", checkpoint_path=b.weights, mode=1, lr=1),
        lambda b: Predictor("halonet_test", checkpoint_path=b.weights, mode=1),
    ),
    # ---- export
    Case(
        r"export needs weights: give --ckpt_path FILE",
        lambda b: b.export(ckpt_path=""),
        lambda b: b.export(ckpt_path=b.weights),
    ),
    Case(
        r"export writes float32; give --val_amp_level O0 --amp_cast_list None",
        lambda b: b.export(val_amp_level="O2", amp_cast_list=["Dense"]),
        lambda b: b.export(val_amp_level="O0", amp_cast_list=None),
    ),
    Case(
        r"export runs in one process; start it without mpirun",
        lambda b: among(exporting, TWO, b.export),
        lambda b: b.export(),
    ),
    Case(
        r"export is for HaloNets, and own is a Plain; use mindspore.export",
        export_own,
        lambda b: ms.export(
            Plain(), Tensor(np.zeros((1, 3, 8, 8), np.float32)), file_name=str(b.folder / "own"), file_format="MINDIR"
        ),
    ),
    Case(
        r"unknown format 'mindr'; nearest: mindir",
        lambda b: b.export("mindr"),
        lambda b: b.export("mindir"),
    ),
    Case(
        r"give --format mindir, onnx, air, or",
        lambda b: b.export(output="x"),
        lambda b: b.export("mindir", output=None),
    ),
    Case(
        r"or --output with such an ending",
        lambda b: b.export(output="x.zip"),
        lambda b: b.export(output="x.mindir"),
    ),
    Case(
        r"x.zip: the name of this format ends in .mindir",
        lambda b: b.export("mindir", output="x.zip"),
        lambda b: b.export("mindir", output="x.mindir"),
    ),
    Case(
        r"checkpoint absent.ckpt: there is no such file; check the path",
        lambda b: b.export(ckpt_path="absent.ckpt"),
        lambda b: b.export(),
    ),
    Case(
        r"there is no folder .*new; make it first",
        lambda b: b.export(output="new/x.mindir"),
        lambda b: (b.folder / "new").mkdir() or b.export(output="new/x.mindir"),
    ),
    Case(
        r"the name has more than 250 bytes; shorten it",
        lambda b: b.export(output=f"{'x' * 244}.mindir"),
        lambda b: b.export(output=f"{'x' * 243}.mindir"),
    ),
    Case(
        r"it is a folder; give the name of a file",
        lambda b: os.makedirs(b.folder / "y.mindir", exist_ok=True) or b.export(output="y.mindir"),
        lambda b: b.export(output="y.mindir/x.mindir"),
    ),
    # ---- conversion
    Case(r"unknown --to 'tim'; nearest: timm", lambda b: b.convert(to="tim"), lambda b: b.target("x.safetensors")),
    Case(
        r"weights for timm are written as .safetensors; choose such a name",
        lambda b: b.target("y.ckpt"),
        lambda b: b.target("y.safetensors"),
    ),
    Case(
        r"there is no folder .*; make it first",
        lambda b: b.convert("absent/x.ckpt"),
        lambda b: (b.folder / "absent").mkdir() or b.convert("absent/x.ckpt"),
    ),
    Case(r"is the file that is read; choose another name", lambda b: b.convert("x.ckpt"), lambda b: b.convert()),
    Case(
        r"timm has no halonet_test; leave --to out",
        lambda b: b.convert("y.safetensors", to="timm"),
        lambda b: b.convert("y.safetensors"),
    ),
    Case(
        r"trained with mask_padding, which timm lacks; leave --to out",
        lambda b: converting._check_timm(HALONET_26T, DIALECTS["timm"], True, "x"),
        lambda b: b.convert(),
    ),
    Case(
        r"dialect mindcv differs from timm's .*; --dialect timm converts the numbers all the same",
        lambda b: converting._check_timm(HALONET_26T, DIALECTS["mindcv"], False, "x"),
        lambda b: [
            converting._check_timm(HALONET_26T, DIALECTS["timm"], False, "x"),
            b.convert(dialect="timm"),
        ],
    ),
]


@pytest.fixture
def bench(tmp_path) -> Bench:
    before = dict(_models)
    yield Bench(tmp_path)
    _models.clear()
    _models.update(before)


def test_every_remedy_about_runs_works(bench, pynative):
    try_all(CASES, bench, "runs", ELSEWHERE)
