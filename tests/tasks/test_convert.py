"""`mindcv-halo convert`, and weights on their way through training and validation."""

from __future__ import annotations

import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from mindspore.nn.utils import no_init_parameters
from safetensors import safe_open
from safetensors.numpy import save_file
from support.constant_weights import create_constant
from support.drawn_norms import draw_norms
from support.small_run import command

from mindcv_halo import create_model, get_pretrained_cfg, list_models
from mindcv_halo.cli import main
from mindcv_halo.config.options import list_options
from mindcv_halo.errors import UserError
from mindcv_halo.models.weights import READERS, find_packaged, open_weights, read_weights, save_network, to_timm


def arrays_of(network) -> dict[str, np.ndarray]:
    return {name: parameter.asnumpy().copy() for name, parameter in network.parameters_dict().items()}


def refuse(capsys, argv: list[str]) -> str:
    assert main(argv) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def timm_file(tmp_path_factory):
    """timm's halonet26t for 4 classes and grey images, and what it holds."""
    weights = to_timm(arrays_of(create_model("halonet_26t", num_classes=4, in_channels=1)))
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file(weights, path)
    return path, weights


@pytest.mark.parametrize("middle", ["a.ckpt", "a.safetensors"])
def test_there_and_back(capsys, tmp_path, timm_file, middle):
    path, weights = timm_file
    ours, back = tmp_path / middle, tmp_path / "back.safetensors"
    assert main(["convert", str(path), str(ours)]) == 0
    summary = capsys.readouterr().out.splitlines()[-1]
    count = sum(not name.endswith("num_batches_tracked") for name in weights)
    assert summary == f"{ours}: halonet_26t from timm's names, dialect timm, {count} arrays"
    assert main(["convert", str(ours), str(back), "--to", "timm", "--model", "halonet26t"]) == 0
    found = read_weights(str(back))
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        np.testing.assert_array_equal(found[name], value)
    with safe_open(back, "numpy") as file:
        assert file.metadata()["format"] == "pt"


def test_between_our_two_kinds(tmp_path):
    first, second, third = (str(tmp_path / name) for name in ("a.ckpt", "b.safetensors", "c.ckpt"))
    network = create_model("halonet_test", num_classes=3, dialect="keras", block_size=4, halo_size=1)
    save_network(network, first)
    assert main(["convert", first, second]) == 0 == main(["convert", second, third])
    for path in (second, third):
        file = open_weights(path)
        assert (file.dialect, file.halo.block_size, file.halo.halo_size) == ("keras", 4, 1)
        assert file.arrays.keys() == network.parameters_dict().keys()
        for name, value in arrays_of(network).items():
            np.testing.assert_array_equal(file.arrays[name], value)


def test_half_precision_stays(tmp_path):
    weights = {name: value.astype(np.float16) for name, value in arrays_of(create_model("halonet_test", 3)).items()}
    save_file(weights, tmp_path / "a.safetensors")
    assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "b.ckpt")]) == 0
    found = read_weights(str(tmp_path / "b.ckpt"))
    assert {value.dtype for value in found.values()} == {np.dtype(np.float16)}
    assert all(np.array_equal(found[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    "shapes, notes, message",
    [
        ({"classifier.weight": (2_000_000_000, 0)}, {}, "is no weight"),
        ({"a." * 400 + "b": (1,)}, {}, "'a.a.a"),
        ({"classifier.weight": (3_000_000, 1)}, {}, "classifier.weight: (3000000, 1), not (1, 96)"),
        ({}, {"block_size": "500", "halo_size": "500"}, "none has more than 256 pixels a side"),
    ],
    ids=["a side of nothing", "a long name", "classes", "windows"],
)
def test_a_file_that_claims_too_much(capsys, tmp_path, shapes, notes, message):
    """It asks for much more memory than it has bytes."""
    arrays = arrays_of(create_model("halonet_test", num_classes=3))
    arrays |= {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    save_file(arrays, tmp_path / "a.safetensors", {"dialect": "timm", **notes})
    error = refuse(capsys, ["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "b.ckpt")])
    assert message in error and error.count("\n") == 1


def test_a_target_that_cannot_be_reached(capsys, tmp_path):
    save_network(create_model("halonet_test", num_classes=3), tmp_path / "a.ckpt")
    error = refuse(capsys, ["convert", str(tmp_path / "a.ckpt"), str(tmp_path / ("b" * 300) / "b.ckpt")])
    assert "there is no folder" in error and error.count("\n") == 1


def test_masked_windows_are_not_forgotten(capsys, tmp_path):
    source, target = str(tmp_path / "a.ckpt"), str(tmp_path / "b.safetensors")
    save_network(create_constant("halonet_26t", num_classes=2, mask_padding=True), source)
    with (
        no_init_parameters(),
        pytest.raises(UserError, match=r"trained with mask_padding True; set mask_padding to True"),
    ):
        create_model("halonet_26t", num_classes=2, checkpoint_path=source)
    assert main(["convert", source, target]) == 0
    assert open_weights(target).mask_padding
    with no_init_parameters():
        assert create_model("halonet_26t", num_classes=2, checkpoint_path=target, mask_padding=True).mask_padding
    assert "mask_padding, which timm lacks" in refuse(capsys, ["convert", source, target, "--to", "timm"])


def test_averaged_weights(tmp_path):
    live = arrays_of(create_model("halonet_test", 3))
    save_file({**live, **{f"ema.{name}": value + 1 for name, value in live.items()}}, tmp_path / "a.safetensors")
    for ema, shift in ((["--ema", "True"], 1), (["--ema"], 1), (["--ema", "off"], 0)):
        assert main(["convert", *ema, str(tmp_path / "a.safetensors"), str(tmp_path / "b.ckpt")]) == 0
        np.testing.assert_array_equal(
            read_weights(str(tmp_path / "b.ckpt"))["classifier.weight"], live["classifier.weight"] + shift
        )


@pytest.mark.parametrize(
    "model, dialect, differences",
    [
        ("halonet_26t", "mindcv", "the order of its windows"),  # a ReLU leaves nothing below a border of zeros
        ("halonet_26t", "keras", ""),
        ("halonet_50t", "keras", "the border of its max pool"),
        ("halonet_50t", "mindcv", "the order of its windows and the border of its max pool"),
        ("halonet_se33t", "keras", "the activation in its squeeze-and-excitation"),
        ("haloregnetz_b", "keras", ""),
    ],
)
def test_what_timm_would_compute_otherwise_is_not_written_for_it(capsys, tmp_path, model, dialect, differences):
    source, target = str(tmp_path / "a.ckpt"), str(tmp_path / "b.safetensors")
    save_network(create_constant(model, num_classes=2, dialect=dialect), source)
    argv = ["convert", source, target, "--to", "timm"]
    if differences:
        assert f"its dialect {dialect} differs from timm's in {differences}, so that timm" in refuse(capsys, argv)
        if model != "halonet_26t":  # which shows the way out for all
            return
        argv += ["--dialect", "timm"]
    assert main(argv) == 0
    assert open_weights(target).source.name == "timm"


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], r"the following arguments are required: FILE, OUT; see --help"),
        (["FILE"], r"the following arguments are required: OUT"),
        (["FILE", "OUT.ckpt", "--tow", "timm"], r"unrecognized arguments: --tow timm"),
        (["FILE", "OUT.ckpt", "--ema=maybe"], r"--ema: 'maybe' is not True or False"),
        (["FILE", "OUT.ckpt", "--ema", "maybe"], r"unrecognized arguments: maybe"),
        (["FILE", "OUT.ckpt", "--to", "tim"], r"unknown --to 'tim'; nearest: timm"),
        (["FILE", "OUT.ckpt", "--to", "timm"], r"weights for timm are written as .safetensors"),
        (["FILE", "OUT.safetensors", "--to", "timm"], r"timm has no halonet_test; leave --to out"),
        (["FILE", "OUT.pth"], r"OUT.pth: weights are written as .ckpt or .safetensors"),
        (["FILE", "absent/OUT.ckpt"], r"there is no folder .*absent; make it first"),
        (["FILE", "FILE"], r"model.ckpt is the file that is read; choose another name"),
        (["absent.ckpt", "OUT.ckpt"], r"absent.ckpt: there is no such file"),
        (["FILE", "OUT.ckpt", "--model", "halonet_50"], r"unknown model 'halonet_50'; nearest: halonet_50t"),
        (["FILE", "OUT.ckpt", "--model", "halonet_26t"], r"does not fit halonet_26t: \d+ missing in the file"),
        (["FILE", "OUT.ckpt", "--dialect", "lisp"], r"unknown dialect 'lisp'"),
        (["OTHER", "OUT.ckpt"], r"other.safetensors: no HaloNet of Keras, MindCV, mindcv_halo, timm"),
    ],
)
def test_bad_input(capsys, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    save_network(create_model("halonet_test", num_classes=3), tmp_path / "model.ckpt")
    save_file({"conv.weight": np.ones(1, np.float32)}, tmp_path / "other.safetensors")
    names = {"FILE": "model.ckpt", "OTHER": "other.safetensors"}
    error = refuse(capsys, ["convert", *(names.get(word, word) for word in argv)])
    assert re.search(message, error) and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ckpt", "other.safetensors"]


def test_a_fine_tuned_checkpoint_keeps_its_dialect(pynative, capsys, flags, tmp_path):
    """From weights in MindCV's dialect through training to validate.py, which is told nothing of it."""
    start = tmp_path / "start.ckpt"
    save_network(draw_norms(create_model("halonet_test", num_classes=5, dialect="mindcv")), start)
    changes = {"epoch_size": "1", "lr": "0.05", "num_classes": "3", "ckpt_path": str(start), "ema": "True"}
    flags = {**flags, **changes, "val_while_train": "False"}
    assert main(command("train", flags)) == 0
    output = capsys.readouterr().out
    assert "start.ckpt: its classifier of 5 classes is left out; the one for 3 classes starts anew" in output
    last = str(tmp_path / "run" / "halonet_test_last.ckpt")
    assert open_weights(last).dialect == "mindcv"
    images = Tensor(np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32))
    logits = {}
    for dialect in (None, "mindcv", "timm"):
        network = create_model("halonet_test", num_classes=3, checkpoint_path=last, dialect=dialect)
        logits[dialect] = network.set_train(False)(images).asnumpy()
    np.testing.assert_array_equal(logits[None], logits["mindcv"])
    assert not np.allclose(logits[None], logits["timm"], atol=1e-4)

    flags = {key: flags[key] for key in ("model", "data_dir", "image_resize", "batch_size", "device_target", "mode")}
    accuracy = {}
    for dialect in ("", "mindcv", "timm"):
        given = {"dialect": dialect} if dialect else {}
        assert main(command("validate", {**flags, "ckpt_path": last, **given})) == 0
        accuracy[dialect] = capsys.readouterr().out.splitlines()[-1]
    assert accuracy[""] == accuracy["mindcv"] != accuracy["timm"]


def test_fine_tuning_with_another_window(pynative, capsys, flags, tmp_path):
    start = tmp_path / "start.ckpt"
    save_network(create_model("halonet_test", num_classes=3), start)
    flags = {**flags, "epoch_size": "1", "ckpt_path": str(start), "block_size": "4", "halo_size": "2"}
    assert "set them to the file's, or resize_pos to True" in refuse(capsys, command("train", flags))
    assert main(command("train", {**flags, "resize_pos": "True"})) == 0
    last = str(tmp_path / "run" / "halonet_test_last.ckpt")
    keys = ("model", "data_dir", "image_resize", "batch_size", "device_target", "mode")
    validation = {key: flags[key] for key in keys}
    message = "its windows have block_size 4 and halo_size 2, halonet_test was built with 2 and 1"
    assert message in refuse(capsys, command("validate", {**validation, "ckpt_path": last}))
    window = {"block_size": "4", "halo_size": "2"}
    assert main(command("validate", {**validation, "ckpt_path": last, **window})) == 0


def test_a_new_head_needs_a_word(capsys, flags, tmp_path):
    """num_classes in validation says how many there are; it does not make a classifier that knows nothing."""
    ms.save_checkpoint(create_model("halonet_test", num_classes=5), str(tmp_path / "start.ckpt"))
    given = {"ckpt_path": str(tmp_path / "start.ckpt"), "num_classes": "3"}
    assert "its classifier has 5 classes, halonet_test was built for 3" in refuse(
        capsys, command("validate", {**flags, **given})
    )
    del given["num_classes"]
    error = refuse(capsys, command("train", {**flags, **given}))
    assert "or reset_head to True to fine-tune with a new classifier" in error


def test_what_the_documentation_says(pytestconfig, capsys):
    text = (pytestconfig.rootpath / "docs" / "weights.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    known = {*re.findall(r"--(\w+)", capsys.readouterr().out), *list_options()}
    assert set(re.findall(r"--(\w+)", text)) <= known
    rows = re.findall(r"^\| `([\w.]+)` \| .* \| ([\d.]+) \|$", text.partition("## Published")[2], re.MULTILINE)
    fetched = {name for name in list_models(pretrained=True) if not find_packaged(get_pretrained_cfg(name))}
    assert dict(rows).keys() == fetched
    assert all(float(top1) == get_pretrained_cfg(name)["top1"] for name, top1 in rows)
    assert {f"`{suffix}`" for suffix in READERS} <= set(re.findall(r"`\.\w+`", text))
