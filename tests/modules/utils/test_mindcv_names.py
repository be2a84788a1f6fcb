"""What MindCV's users import from mindcv.utils, with the calls that MindCV's own programs make."""

from __future__ import annotations

import bz2
import gzip
import importlib
import inspect
import io
import logging
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from mindspore.dataset import NumpySlicesDataset
from mindspore.train import Model

import mindcv_halo.utils as utils
from mindcv_halo import create_loss, create_optimizer
from mindcv_halo.errors import UserError
from mindcv_halo.training.amp import auto_mixed_precision
from mindcv_halo.training.step import TrainStep as OwnTrainStep
from mindcv_halo.utils import reduce_manager

pytestmark = pytest.mark.usefixtures("pynative")

SUBMODULES = {
    **{"random": "set_seed", "reduce_manager": "AllReduceSum", "trainer_factory": "create_trainer"},
    **{"amp": "auto_mixed_precision", "callbacks": "StateMonitor", "checkpoint_manager": "CheckpointManager"},
    **{"download": "DownLoad", "logger": "set_logger", "path": "detect_file_type", "train_step": "TrainStep"},
}
INPUTS = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
LABELS = np.arange(8, dtype=np.int32) % 6


def make_network() -> nn.Cell:
    weights = np.random.default_rng(1)
    network = nn.SequentialCell(nn.Dense(5, 4), nn.ReLU(), nn.Dense(4, 6))
    for parameter in network.get_parameters():
        parameter.set_data(Tensor(weights.standard_normal(parameter.shape).astype(np.float32)))
    return network


def weights_of(network: nn.Cell) -> dict[str, np.ndarray]:
    return {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}


def make_data(batch_size: int = 4):
    return NumpySlicesDataset((INPUTS, LABELS), shuffle=False).batch(batch_size)


def test_names():
    assert sorted(utils.__all__) == utils.__all__ and set(utils.__all__) <= set(dir(utils))
    for name in utils.__all__:
        value = getattr(utils, name)
        assert value.__doc__ and value.__module__.startswith("mindcv_halo."), name
    for module, name in SUBMODULES.items():
        assert hasattr(importlib.import_module(f"mindcv_halo.utils.{module}"), name), module
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = utils.nothing
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from mindcv_halo.utils import nothing")


def test_names_are_loaded_when_asked_for():
    """The package's own first import must not load MindSpore before `runtime` has acted."""
    code = (
        "import sys, types\n"
        "package = sys.modules['mindcv_halo'] = types.ModuleType('mindcv_halo')\n"
        "package.__path__ = [sys.argv[1]]\n"
        "import mindcv_halo.utils\n"
        "assert 'mindspore' not in sys.modules and 'numpy' not in sys.modules, sorted(sys.modules)\n"
    )
    folder = str(Path(utils.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code, folder], check=True, timeout=600)


@pytest.mark.parametrize("rank", [None, 0, 3])
def test_set_seed(rank):
    utils.set_seed(5, rank)
    first = (random.random(), np.random.rand(), ms.get_seed())
    utils.set_seed(seed=5 + (rank or 0), rank=0)
    assert (random.random(), np.random.rand(), ms.get_seed()) == first


def test_set_logger(tmp_path, capsys):
    logger = utils.set_logger(name="mine", output_dir=str(tmp_path / "new" / "log"), rank=None, color=True)
    logger.info("a line")
    assert capsys.readouterr().out == "a line\n"
    assert (tmp_path / "new" / "log" / "rank0.log").read_text().endswith("a line\n")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("a.tar", (".tar", ".tar", None)),
        ("a.tar.gz", (".tar.gz", ".tar", ".gz")),
        ("a.b.tar.bz2", (".tar.bz2", ".tar", ".bz2")),
        ("a.tgz", (".tgz", ".tar", ".gz")),
        ("a.TBZ2", (".tbz2", ".tar", ".bz2")),
        ("a.zip", (".zip", ".zip", None)),
        ("images.gz", (".gz", None, ".gz")),
    ],
)
def test_detect_file_type(name, expected):
    assert utils.detect_file_type(name) == expected


@pytest.mark.parametrize("name", ["a", "a.jpg", ".tar.", "a.rar"])
def test_no_archive(name):
    with pytest.raises(UserError, match=rf"^{name}: its name must end in .tar, .zip"):
        utils.detect_file_type(name)


def pack(path: Path, names=("a/one.txt", "two.txt")) -> Path:
    """An archive with a text in each of these files."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, name)
        return path
    _, _, compression = utils.detect_file_type(path.name)
    with tarfile.open(path, f"w:{compression[1:]}" if compression else "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".zip"])
def test_archives(suffix, tmp_path):
    archive = pack(tmp_path / f"x{suffix}")
    folder = tmp_path / "out"
    assert utils.DownLoad().extract_archive(str(archive), str(folder)) == str(folder)
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert found == {"a/one.txt": "a/one.txt", "two.txt": "two.txt"} and not (folder / "link").exists()
    for name in ("../out.txt", "/tmp/escaped.txt", "a/../../out.txt", "..\\out.txt"):
        with pytest.raises(UserError, match=r"outside of the folder; it is not to be trusted"):
            utils.DownLoad().extract_archive(pack(archive, ("first.txt", name)), tmp_path / "other")
        assert list((tmp_path / "other").iterdir()) == []
    archive.write_bytes(archive.read_bytes()[:-30] if suffix == ".zip" else b"junk" * 200)
    with pytest.raises(UserError, match=r"cannot be unpacked .*; get it anew"):
        utils.DownLoad().extract_archive(archive, folder)


@pytest.mark.parametrize("suffix, opener", [(".gz", gzip.open), (".bz2", bz2.open)])
def test_compressed_files(suffix, opener, tmp_path):
    with opener(tmp_path / f"x.bin{suffix}", "wb") as file:
        file.write(b"content")
    assert utils.DownLoad().extract_archive(str(tmp_path / f"x.bin{suffix}")) == str(tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == b"content"


def test_downloads(tmp_path, monkeypatch):
    from mindcv_halo.files import download
    from mindcv_halo.models.helpers import get_checkpoint_download_root

    archive = pack(tmp_path / "x.tar.gz")
    served: list[str] = []

    def serve(remote, path, **_):
        served.append(remote.url)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.read_bytes())

    monkeypatch.setattr(download, "download", serve)
    monkeypatch.setattr(download, "_chosen_root", None)
    monkeypatch.setenv("MINDCV_HALO_HOME", str(tmp_path / "cache"))
    assert utils.get_default_download_root() == str(tmp_path / "cache")
    utils.set_default_download_root(tmp_path / "root")
    assert utils.get_default_download_root() == str(tmp_path / "root")
    assert get_checkpoint_download_root() == str(tmp_path / "root" / "weights")
    loader = utils.DownLoad()
    loader.download_url("https://example.org/a/x.tar.gz?b=c")
    assert (tmp_path / "root" / "x.tar.gz").is_file()
    md5 = loader.calculate_md5(str(archive))
    assert loader.check_md5(str(archive), md5) and not loader.check_md5(str(archive), "00")
    (tmp_path / "root" / "x.tar.gz").write_bytes(b"another")
    loader.download_url("https://example.org/x.tar.gz", str(tmp_path / "root"), md5=md5)
    assert loader.check_md5(str(tmp_path / "root" / "x.tar.gz"), md5)
    loader.download_and_extract_archive(
        "https://example.org/y.tar.gz", str(tmp_path / "d"), str(tmp_path / "e"), remove_finished=True
    )
    assert (tmp_path / "e" / "two.txt").is_file() and list((tmp_path / "d").iterdir()) == []
    assert len(served) == 3


@pytest.mark.parametrize("policy, kept", [("top_k", [3, 1]), ("latest_k", [2, 3]), (None, None)])
def test_checkpoint_manager(policy, kept, tmp_path):
    network = make_network()
    manager = utils.CheckpointManager(ckpt_save_policy=policy)
    for number, metric in enumerate((0.5, 0.2, 0.7), 1):
        path = str(tmp_path / f"net-{number}_1.ckpt")
        found = manager.save_ckpoint(network, num_ckpt=2, metric=Tensor(metric), save_path=path)
    names = [f"net-{number}_1.ckpt" for number in (kept or (1, 2, 3))]
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == sorted(names)
    if kept is None:
        assert found is None and manager.ckpoint_num == 0
        return
    paths = [entry[0] if policy == "top_k" else entry for entry in found]
    assert [Path(path).name for path in paths] == names and manager.ckpoint_filelist == found
    assert set(ms.load_checkpoint(paths[0])) == set(weights_of(network))
    manager.save_ckpoint(network, num_ckpt=2, metric=0.9, save_path=paths[0])  # the same file again
    assert manager.ckpoint_num == 2
    manager.remove_oldest_ckpoint_file()
    assert manager.ckpoint_num == 1 and len(list(tmp_path.glob("*.ckpt"))) == 1


def test_checkpoint_manager_refuses(tmp_path):
    with pytest.raises(UserError, match=r"unknown ckpt_save_policy 'best'; "):
        utils.CheckpointManager("best")
    with pytest.raises(UserError, match=r"top_k needs a metric"):
        utils.CheckpointManager("top_k").save_ckpoint(make_network(), save_path=str(tmp_path / "x.ckpt"))
    with pytest.raises(UserError, match=r"save_path .* cannot be written"):
        utils.CheckpointManager().save_ckpoint(make_network(), save_path=str(tmp_path / "absent" / "x.ckpt"))


def update(network: nn.Cell, step: nn.Cell, times: int = 1) -> dict[str, np.ndarray]:
    for _ in range(times):
        step(Tensor(INPUTS), Tensor(LABELS))
    return weights_of(network)


@pytest.mark.parametrize(
    "options, own",
    [
        ({}, {}),
        ({"scale_sense": Tensor(8.0)}, {}),
        ({"scale_sense": nn.FixedLossScaleUpdateCell(1024)}, {}),
        ({"scale_sense": nn.DynamicLossScaleUpdateCell(1024, 2, 10)}, {}),
        ({"clip_grad": True, "clip_value": 0.1}, {"clip_mode": "norm", "clip_value": 0.1}),
        ({"ema": True, "ema_decay": 0.5}, {}),
    ],
)
def test_train_step(options, own):
    """It changes the weights as the step of this library's own runs does."""
    network, other = make_network(), make_network()
    sgd = {"opt": "sgd", "lr": 0.5, "momentum": 0.0}
    step = utils.TrainStep(nn.WithLossCell(network, nn.CrossEntropyLoss()), create_optimizer(network, **sgd), **options)
    expected = update(other, OwnTrainStep(other, nn.CrossEntropyLoss(), create_optimizer(other, **sgd), **own), 2)
    for name, value in update(network, step, 2).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)
    averages = [name for name in step.parameters_dict() if name.startswith("ema.")]
    assert len(averages) == (4 if options.get("ema") else 0)


def test_train_step_accumulates():
    network, other = make_network(), make_network()
    steps = [
        utils.TrainStep(
            nn.WithLossCell(each, nn.CrossEntropyLoss()),
            create_optimizer(each, "sgd", lr=0.5, momentum=0.0),
            gradient_accumulation_steps=times,
        )
        for each, times in ((network, 2), (other, 1))
    ]
    before = weights_of(network)
    for half in (0, 4):
        changed = {name: not np.array_equal(before[name], value) for name, value in weights_of(network).items()}
        assert not any(changed.values())
        steps[0](Tensor(INPUTS[half : half + 4]), Tensor(LABELS[half : half + 4]))
    expected = update(other, steps[1])
    for name, value in weights_of(network).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)


def test_train_step_whose_optimizer_divides():
    network, other = make_network(), make_network()
    optimizer = create_optimizer(network, "sgd", lr=0.5, momentum=0.0, loss_scale=64)
    step = utils.TrainStep(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer, scale_sense=64)
    plain = create_optimizer(other, "sgd", lr=0.5, momentum=0.0)
    expected = update(other, utils.TrainStep(nn.WithLossCell(other, nn.CrossEntropyLoss()), plain))
    for name, value in update(network, step).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale_sense": 8, "of_optimizer": 64}, r"loss_scale \(scale_sense\) 8 is not the loss_scale 64 of the optim"),
        ({"scale_sense": 64, "of_optimizer": 64, "clip_grad": True}, r"does not go with clip_grad"),
        ({"scale_sense": 0}, r"loss_scale \(scale_sense\) 0 must be above 0"),
        ({"gradient_accumulation_steps": 0}, r"gradient_accumulation_steps 0 must be at least 1"),
        ({"clip_grad": True, "clip_value": 0}, r"clip_value 0 must be above 0"),
        ({"ema": True, "ema_decay": 1.0}, r"ema_decay 1.0 must be at least 0 and below 1"),
    ],
)
def test_train_step_refuses(options, message):
    network = make_network()
    optimizer = create_optimizer(network, "sgd", loss_scale=options.pop("of_optimizer", 1.0))
    with pytest.raises(UserError, match=message):
        utils.TrainStep(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer, **options)


def test_small_functions():
    assert list(utils.get_metrics(4)) == ["Top_1_Accuracy"]
    assert list(utils.get_metrics(10)) == ["Top_1_Accuracy", "Top_5_Accuracy"]
    wanted = [{"ema": True}, {"clip_grad": True}, {"gradient_accumulation_steps": 2}, {"amp_cast_list": "[nn.Dense]"}]
    assert all(utils.require_customized_train_step(**options) for options in wanted)
    assert utils.require_customized_train_step() is False
    for level in ("O0", "O2", "O3"):
        network = auto_mixed_precision(make_network(), level)
        loss = utils.add_loss_network(network, create_loss(), level)(Tensor(INPUTS), Tensor(LABELS))
        assert loss.dtype == ms.float32 and np.isfinite(loss.asnumpy())


@pytest.mark.parametrize("classes", ["[nn.Dense]", "(nn.Dense, nn.Conv2d)", [nn.Dense], ["Dense"]])
def test_classes_in_half_precision(classes):
    network = auto_mixed_precision(make_network(), "O0", classes)
    assert network(Tensor(INPUTS)).dtype == ms.float32
    assert any(type(cell).__name__ == "_Float32Output" for _, cell in network.cells_and_names())


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
def test_sums_over_ranks(monkeypatch, mode):
    ms.set_context(mode=mode)
    assert utils.AllReduceSum()(Tensor(5, ms.int32)).asnumpy() == 5

    class Double(nn.Cell):  # two ranks with the same numbers
        def construct(self, x):
            return x + x

    monkeypatch.setattr(reduce_manager, "count_ranks", lambda: 2)
    monkeypatch.setattr(reduce_manager.ops, "AllReduce", lambda _: Double())
    add_up = utils.AllReduceSum()
    for value in (0, 1, 4095, 4096, 1_281_167, 8_000_001):
        assert add_up(Tensor(value, ms.int32)).asnumpy() == 2 * value
    assert add_up(Tensor([0.5, 1.5])).asnumpy().tolist() == [1.0, 3.0]


def train_with(tmp_path, trainer: dict, monitor: dict, epochs: int = 3, lr=0.1) -> tuple[nn.Cell, Model, object]:
    network = make_network()
    optimizer = create_optimizer(network, "momentum", lr=lr, loss_scale=trainer.pop("of_optimizer", 1.0))
    arguments = {"amp_level": "O0", "amp_cast_list": None, "loss_scale_type": "fixed", **trainer}
    model = utils.create_trainer(network, create_loss(), optimizer, utils.get_metrics(6), **arguments)
    options = {"ckpt_save_dir": str(tmp_path), "summary_dir": str(tmp_path / "summary"), "log_interval": 1, **monitor}
    state = utils.StateMonitor(
        model, "net", dataset_val=make_data(), metric_name=["Top_1_Accuracy", "Top_5_Accuracy"], **options
    )
    model.train(epochs, make_data(), callbacks=[state], dataset_sink_mode=False)
    return network, model, state


@pytest.mark.parametrize(
    "trainer",
    [
        {
            **{"ema": True, "clip_grad": True, "gradient_accumulation_steps": 2},
            **{"loss_scale_type": "dynamic", "loss_scale": 1024, "amp_level": "O2"},
        },
        {"loss_scale": 1024, "of_optimizer": 1024, "amp_level": "O3"},
    ],
    ids=str,
)
def test_create_trainer_and_state_monitor(trainer, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "mindcv_halo"):
        logging.getLogger("mindcv_halo").propagate = True
        network, model, state = train_with(
            tmp_path,
            dict(trainer),
            {"model_ema": trainer.get("ema", False), "ckpt_save_policy": "latest_k", "ckpt_keep_max": 2},
        )
    names = {path.name for path in tmp_path.glob("*")}
    assert {"net-2_2.ckpt", "net-3_2.ckpt", "optim_net.ckpt", "result.log"} <= names and "net-1_2.ckpt" not in names
    assert ("net_best.ckpt" in names) == (state.best_epoch > 0)
    lines = (tmp_path / "result.log").read_text().splitlines()
    titles = ["Epoch", "TrainLoss", "Top_1_Accuracy", "Top_5_Accuracy", "TrainTime", "EvalTime", "TotalTime"]
    assert lines[0].split() == titles and [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    saved = ms.load_checkpoint(str(tmp_path / "net-3_2.ckpt"))
    for name, value in weights_of(network).items():
        np.testing.assert_array_equal(saved[name].asnumpy(), value)
    assert any(name.startswith("ema.") for name in saved) == trainer.get("ema", False)
    assert "Epoch: [1/3], batch: [1/2], loss: " in caplog.text and "lr: 0.100000" in caplog.text
    assert set(model.eval(make_data(), dataset_sink_mode=False)) == {"Top_1_Accuracy", "Top_5_Accuracy"}


def test_state_monitor_goes_on(tmp_path):
    rates = [0.1, 0.2, 0.3, 0.4]
    _, _, state = train_with(
        tmp_path,
        {},
        {"last_epoch": 5, "val_interval": 2, "val_start_epoch": 7, "ckpt_save_interval": 4, "save_best_ckpt": False},
        epochs=2,
        lr=rates,
    )
    assert {path.name for path in tmp_path.glob("*.ckpt")} == {"net-7_2.ckpt", "optim_net.ckpt"}  # the last epoch
    rows = [line.split() for line in (tmp_path / "result.log").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["6", "7"] and rows[0][2] == "-" and rows[1][2].endswith("%")
    assert state.best_epoch in (-1, 7)


def test_state_monitor_refuses(tmp_path):
    network = make_network()
    model = utils.create_trainer(
        network, create_loss(), create_optimizer(network), utils.get_metrics(6), amp_level="O0"
    )
    with pytest.raises(UserError, match=r"unknown metric_name of the model 'accuracy'; nearest: "):
        utils.StateMonitor(model, dataset_val=make_data(), ckpt_save_dir=str(tmp_path))


def test_validation_callback(capsys):
    network = make_network()
    model = Model(network, create_loss(), metrics=utils.get_metrics(6))
    model.eval(make_data(2), callbacks=[utils.ValCallback(log_interval=3)], dataset_sink_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["batch: 3/4", "batch: 4/4"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"loss_scale": 0.5}, r"loss_scale 0.5 must be at least 1"),
        ({"loss_scale_type": "none"}, r"unknown loss_scale_type 'none'"),
        ({"amp_level": "O4"}, r"unknown amp_level 'O4'"),
        ({"gradient_accumulation_steps": 0}, r"gradient_accumulation_steps 0 must be at least 1"),
    ],
)
def test_create_trainer_refuses(options, message):
    network = make_network()
    with pytest.raises(UserError, match=message):
        utils.create_trainer(network, create_loss(), create_optimizer(network), None, **{"amp_level": "O0", **options})


def test_the_arguments_are_mindcvs():
    expected = {
        "create_trainer": "network loss optimizer metrics amp_level amp_cast_list loss_scale_type loss_scale "
        "drop_overflow_update ema ema_decay clip_grad clip_value gradient_accumulation_steps",
        "TrainStep": "network optimizer scale_sense ema ema_decay clip_grad clip_value gradient_accumulation_steps",
        "StateMonitor": "model model_name model_ema last_epoch dataset_sink_mode dataset_val metric_name val_interval "
        "val_start_epoch save_best_ckpt ckpt_save_dir ckpt_save_interval ckpt_save_policy ckpt_keep_max summary_dir "
        "log_interval rank_id device_num",
        "CheckpointManager": "ckpt_save_policy",
        "set_logger": "name output_dir rank log_level color",
        "set_seed": "seed rank",
        "add_loss_network": "network loss_fn amp_level",
        "require_customized_train_step": "ema clip_grad gradient_accumulation_steps amp_cast_list",
        "get_metrics": "num_classes",
    }
    for name, arguments in expected.items():
        assert list(inspect.signature(getattr(utils, name)).parameters) == arguments.split(), name
