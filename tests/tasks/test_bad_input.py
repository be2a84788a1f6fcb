"""Bad input ends with one line, status 2, and nothing written."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import mindspore as ms
import pytest
from support.constant_weights import create_constant
from support.small_run import command

from mindcv_halo import create_model
from mindcv_halo.cli import main


def refuse(capsys, arguments: list[str]) -> str:
    """Run a command that must fail; the line that it says, but for one about flags that are for training."""
    assert main(arguments) == 2
    error = re.sub(r"^no effect: --epoch_size 2 .*\n", "", capsys.readouterr().err)
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "halonet_5t"}, "unknown model 'halonet_5t'; nearest: halonet_50t"),
        ({"batch_sise": "8"}, "unknown flag 'batch_sise'; nearest: batch_size"),
        ({"lr": "fast"}, "--lr: 'fast' is not a number"),
        ({"data_dir": "/nowhere"}, "data_dir '/nowhere' is no folder"),
        ({"val_split": "test"}, "split 'test' is no folder in"),
        ({"num_classes": "2"}, "num_classes 2 is less than the 3 classes of dataset 'imagenet' in"),
        ({"in_channels": "1"}, "in_channels 1: images of dataset 'imagenet' are read with 3 channels"),
        ({"device_target": "Ascend"}, "device_target 'Ascend' is not available here"),
        ({"gradient_accumulation_steps": "0"}, "gradient_accumulation_steps 0 must be at least 1"),
        ({"clip_grad": "True", "clip_value": "0"}, "clip_value 0.0 must be above 0"),
        ({"ema_decay": "1"}, "ema_decay 1.0 must be at least 0 and below 1"),
        ({"amp_level": "O2", "amp_dtype": "bfloat16"}, "amp_dtype bfloat16: MindSpore has no such kernels on a CPU"),
        ({"amp_cast_list": "Conv2"}, "unknown cell class in amp_cast_list 'Conv2'; nearest: Conv2d"),
        ({"aug_splits": "3"}, "aug_splits 3 needs the loss JSD"),
        ({"loss": "jsd"}, "loss JSD compares augmented copies of an image; set aug_splits to 3"),
        ({"mixup": "-0.2"}, "mixup=-0.2 and cutmix=0.0 must be finite and at least 0"),
        ({"cutmix_prob": "7"}, "cutmix_prob=7.0 must be a probability"),
        ({"aug_repeats": "-3"}, "aug_repeats (num_aug_repeats) -3 must be at least 0"),
        ({"color_jitter": "-0.4"}, "color_jitter=-0.4 must be at least 0"),
        ({"color_jitter": "0.1,0.1,0.1,0.9"}, "its hue at most 0.5"),
        ({"config": ""}, "recipe . cannot be read"),
        ({"ckpt_save_policy": "top_k", "val_while_train": "False"}, "top_k ranks by validation"),
        ({"distribute": "True"}, "distribute True needs a launcher: mpirun -n 2 python"),
        ({"data_timeout": "0"}, "data_timeout 0 must be above 0"),
        ({"lr_base_size": "0"}, "lr_base_size 0 must be at least 1"),
        ({"lr_scaling": "cubic"}, "--lr_scaling: 'cubic' is none of linear, sqrt"),
        ({"resume": "True"}, "should hold a state of halonet_test"),
        ({"resume_opt": "True"}, "resume_opt needs ckpt_path"),
        ({"opt": "adamm"}, "unknown optimizer (opt) 'adamm'; nearest: adam"),
        ({"scheduler": "cosine"}, "unknown scheduler 'cosine'"),
        ({"loss": "MSE"}, "unknown loss 'mse'"),
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic'"),
        ({"batch_size": "100"}, "batch_size 100 is more than the 24 samples"),
        ({"batch_size": "0"}, "batch_size 0 must be a whole number of at least 1"),
        ({"label_smoothing": "1.5"}, "label_smoothing"),
        ({"ckpt_path": "absent.ckpt"}, "checkpoint absent.ckpt: there is no such file"),
        ({"pretrained": "True"}, "no weights of this model have been published"),
        ({"image_resize": "0"}, "image_resize"),
        ({"epoch_size": "0"}, "epoch_size 0 must be at least 1"),
        ({"ckpt_save_dir": "/proc/run"}, "ckpt_save_dir /proc/run"),
        ({"conv_stages": "1"}, "conv_stages (1,) is for the H models and halonet_mini only"),
        ({"seed": "5000000000"}, "seed 5000000000 must be at least 0 and below 2^31"),
        ({"scale": "0.5,0.1"}, "scale (0.5, 0.1) must be two numbers above 0, the smaller first"),
        ({"ratio": "0,1"}, "ratio (0.0, 1.0) must be two numbers above 0"),
        ({"hflip": "2"}, "hflip 2.0 must be a probability"),
        ({"mean": "1,2"}, "mean (1.0, 2.0) and std"),
        ({"std": "0,0,0"}, "std above 0"),
        ({"ckpt_save_dir": ""}, "ckpt_save_dir is empty"),
    ],
)
def test_refused_before_anything_is_written(capsys, flags, changes, message):
    assert message in refuse(capsys, command("train", {**flags, **changes}))
    assert not Path(flags["ckpt_save_dir"]).exists()


def test_an_empty_class_folder(capsys, flags, image_folder, tmp_path):
    shutil.copytree(image_folder, tmp_path / "data")
    (tmp_path / "data" / "train" / "yellow").mkdir()
    error = refuse(capsys, command("train", {**flags, "data_dir": str(tmp_path / "data")}))
    assert f"class folder {tmp_path}/data/train/yellow holds no image" in error


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_image_that_is_none(capsys, flags, image_folder, tmp_path, split):
    """Found before the first step, in both splits."""
    shutil.copytree(image_folder, tmp_path / "data")
    bad = tmp_path / "data" / split / "red" / "01.png"
    bad.write_bytes(b"this is no image")
    error = refuse(capsys, command("train", {**flags, "data_dir": str(tmp_path / "data")}))
    assert str(bad) in error and "skip_bad_images" in error
    assert not Path(flags["ckpt_save_dir"]).exists()


@pytest.mark.parametrize("name", ["train", "infer"])
def test_an_image_that_is_damaged_inside(capsys, flags, image_folder, tmp_path, name):
    """Its ends are those of an image, so that only the decoder finds out; the file is named all the same."""
    shutil.copytree(image_folder, tmp_path / "data")
    bad = tmp_path / "data" / "train" / "red" / "07.png"
    content = bytearray(bad.read_bytes())
    content[60:-40] = bytes(len(content) - 100)
    bad.write_bytes(content)
    changes = {"data_dir": str(tmp_path / "data")}
    if name == "infer":
        ms.save_checkpoint(create_model("halonet_test", num_classes=3), str(tmp_path / "model.ckpt"))
        changes |= {"ckpt_path": str(tmp_path / "model.ckpt"), "num_classes": "3", "image_path": str(bad)}
    assert main(command(name, {**flags, **changes})) == 2
    assert str(bad) in capsys.readouterr().err.splitlines()[-1]


def test_bad_images_are_skipped_if_asked(capsys, flags, image_folder, tmp_path):
    """Each is named once, in the log file too; training has a step as if it were good, validation an image less."""
    shutil.copytree(image_folder, tmp_path / "data")
    bad = [tmp_path / "data" / split / "red" / "03.png" for split in ("train", "val")]
    content = bytearray(bad[0].read_bytes())
    content[60:-40] = bytes(len(content) - 100)
    bad[0].write_bytes(content)
    bad[1].write_bytes(b"this is no image")
    (tmp_path / "data" / "train" / "red" / "notes.txt").touch()
    flags = {**flags, "data_dir": str(tmp_path / "data"), "skip_bad_images": "True", "mode": "1"}
    assert main(command("train", flags)) == 0
    out = capsys.readouterr().out
    for said in (out, (Path(flags["ckpt_save_dir"]) / "rank0.log").read_text()):
        assert said.count(f"bad image file {bad[0]}: it is damaged: the checksum of its IDAT chunk is wrong; ") == 1
        assert said.count(f"bad image file {bad[1]}: ") == 1
        assert "another image stands in for it (skip_bad_images, 1 so far)" in said
        assert "it is left out (skip_bad_images, 1 so far)" in said
        assert f"left out 1 file: 1 without the extension of an image, such as {tmp_path}" in said
        assert "2 epochs of 3 steps of 8 images" in said and said.count("on 14 images (1 left out)") == 2


def test_a_new_head_is_not_validated(capsys, flags, tmp_path):
    """The recipe of a fine-tuning run asks for one."""
    ms.save_checkpoint(create_model("halonet_test", num_classes=5), str(tmp_path / "model.ckpt"))
    changes = {"ckpt_path": str(tmp_path / "model.ckpt"), "reset_head": "True"}
    assert "5 classes" in refuse(capsys, command("validate", {**flags, **changes}))


@pytest.mark.parametrize(
    "kind, message", [("truncated", "model.ckpt"), ("classes", "5 classes"), ("model", "does not fit")]
)
@pytest.mark.parametrize("name", ["train", "validate"])
def test_checkpoints_that_do_not_fit(capsys, flags, tmp_path, kind, message, name):
    path = tmp_path / "model.ckpt"
    if kind == "model":  # whose weights nobody gets as far as reading
        network = create_constant("halonet_26t", num_classes=3)
    else:
        network = create_model("halonet_test", num_classes=5 if kind == "classes" else 3)
    ms.save_checkpoint(network, str(path))
    if kind == "truncated":
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1000])
    assert message in refuse(capsys, command(name, {**flags, "ckpt_path": str(path)}))
    assert not Path(flags["ckpt_save_dir"]).exists()


@pytest.mark.parametrize("name", ["validate", "infer"])
def test_weights_are_needed(capsys, flags, name):
    extra = {"image_path": flags["data_dir"]} if name == "infer" else {}
    assert "give --ckpt_path FILE" in refuse(capsys, command(name, {**flags, **extra}))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["trane"], "unknown command 'trane'; nearest: train"),
        (["infer", "--top_k", "3"], "give --image_path PATH"),
        (["infer", "--image_path", "x", "--top_k", "many"], "--top_k: 'many' is not a whole number"),
        (["infer", "--image_path", "x", "--ckpt_path", "y", "--batch_size", "0"], "batch_size 0 must be at least 1"),
        (["info"], "info needs a model's name"),
        (["info", "halonet"], "unknown model 'halonet'"),
    ],
)
def test_commands(capsys, arguments, message):
    assert message in refuse(capsys, arguments)


@pytest.mark.parametrize("script", ["train.py", "validate.py", "infer.py"])
def test_scripts_end_with_status_2_and_no_traceback(pytestconfig, capsys, monkeypatch, script):
    """In this process; test_export.py runs one in its own, and so does test_ranks.py."""
    monkeypatch.setattr(sys, "argv", [script, "--modle", "x"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(pytestconfig.rootpath / script), run_name="__main__")
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith("error: unknown flag 'modle'; nearest: mode, model") and error.count("\n") == 1


def test_list_and_info(capsys):
    assert main(["list", "halonet_h?"]) == 0
    assert capsys.readouterr().out.split() == [f"halonet_h{number}" for number in range(8)]
    assert main(["info", "halonet50ts"]) == 0
    assert capsys.readouterr().out.startswith("halonet_50t: 22,733,280 parameters\n")
    assert main([]) == 0
    assert "usage: mindcv-halo COMMAND" in capsys.readouterr().out
