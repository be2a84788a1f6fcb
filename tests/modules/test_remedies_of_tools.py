"""What errors about precision, launchers, downloads, states of runs and the server say to do, tried."""

from __future__ import annotations

import logging
import socket
import sys
import tarfile
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from support.remedies import Case, try_all

from mindcv_halo import create_optimizer, runtime, utils
from mindcv_halo.distributed import join as distributed
from mindcv_halo.distributed.launchers import Topology, find_topology
from mindcv_halo.files import archives, download, path
from mindcv_halo.files.safetensors_file import require_safetensors
from mindcv_halo.report.pictures import require_matplotlib
from mindcv_halo.runs import state as run_state
from mindcv_halo.runs.tensorboard import require_tensorboard
from mindcv_halo.serving import server
from mindcv_halo.training import amp

ELSEWHERE = {
    "it is not to be trusted": "names no way out",
    "cannot download {}: {}; {}": "of a server that does not answer, with a way out that the caller says",
    "again and again; {}": "of a server that breaks off, with a way out that the caller says: test_download.py",
    "MindSpore already runs on {} in this process": "of another device: test_runtime.py",
}
LOGGER = logging.getLogger("test_remedies")
HYDRA = {"PMI_RANK": "0", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "0"}
MSRUN = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "4", "MS_NODE_ID": "2"}
SLURM = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
RANKS = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.7"}
PLACE = {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "23456"}


class Bench:
    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "file").touch()

    def network(self) -> nn.Cell:
        return nn.SequentialCell(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))

    def tar(self, name: str = "x.tar", content: bytes | None = None) -> str:
        if content is None:
            with tarfile.open(self.folder / name, "w") as tar:
                tar.add(self.folder / "file", "file")
        else:
            (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def step(self, of_optimizer: float = 1, **options) -> utils.TrainStep:
        optimizer = create_optimizer([Parameter(Tensor([1.0]), name="x")], "sgd", loss_scale=of_optimizer)
        return utils.TrainStep(nn.WithLossCell(nn.Dense(1, 1), nn.MSELoss()), optimizer, **options)

    def trainer(self, **options) -> ms.train.Model:
        network = nn.Dense(1, 1)
        optimizer = create_optimizer(network, "sgd")
        return utils.create_trainer(network, nn.MSELoss(), optimizer, utils.get_metrics(2), "O0", **options)

    def monitor(self, ema: bool) -> None:
        data = ms.dataset.NumpySlicesDataset(
            (np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32)), ["image", "label"]
        ).batch(2)
        network = nn.Dense(1, 1)
        step = utils.TrainStep(
            nn.WithLossCell(network, nn.MSELoss()), create_optimizer(network, "sgd"), ema=ema, scale_sense=1.0
        )
        evaluation = nn.WithEvalCell(network, nn.MSELoss())
        model = ms.train.Model(step, eval_network=evaluation, metrics={"loss": nn.Loss()}, eval_indexes=[0, 1, 2])
        utils.StateMonitor(
            model, "x", True, dataset_val=data, metric_name=["loss"], ckpt_save_dir=str(self.folder / "ckpt")
        ).apply_eval()

    def save_best(self, policy: str, **options) -> None:
        manager = utils.CheckpointManager(policy)
        manager.save_ckpoint(nn.Dense(1, 1), save_path=str(self.folder / "x.ckpt"), **options)

    def fetch(self, content: bytes, name: str = "fetched", **known) -> None:
        """With a server that sends this content."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(download, "_fetch", lambda remote, part, advice: part.write_bytes(content))
            download.download(
                download.RemoteFile("https://example.org/x", **known), self.folder / name, advice="get it by hand"
            )

    def state(self, folder: str = "run") -> Path:
        (self.folder / folder).mkdir(exist_ok=True)
        run_state.save_state(parameters(), {"epoch": 1}, self.folder / folder, "net", 1, 0)
        return self.folder / folder


def parameters(size: int = 2) -> dict[str, Parameter]:
    return {"x": Parameter(Tensor(np.zeros(size, np.float32)), name="x")}


def lacking(module: str, call) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module, None)
        call()


def half(chip: bool = False, **options) -> None:
    """Half precision on this device, or on an Ascend whose chip does not know bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        if chip:
            patch.setattr(amp.mindspore, "get_context", lambda _: "Ascend")
            patch.setattr(amp, "has_bfloat16", lambda: False)
            patch.setattr(amp, "name_chip", lambda: "Ascend910A")
        amp.auto_mixed_precision(nn.SequentialCell(nn.Dense(1, 1)), **options)


def cast(*names: str) -> None:
    """A list of classes on a GPU, where MindSpore lacks batch norm in half precision."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amp.mindspore, "get_context", lambda _: "GPU")
        amp.auto_mixed_precision(nn.SequentialCell(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)), amp_cast_list=names)


def home(folder: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINDCV_HALO_HOME", folder)
        path.find_cache_folder()


def choose(masters: tuple[str, ...]) -> None:
    distributed._choose_scheduler(Topology("mpirun", 0, 2, 0, 1, masters=masters, job="x"))


def listen(host: str = "127.0.0.1", port: int = 0) -> None:
    server.listen(host, port).close()


def listen_twice(other: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen(port=0 if other else taken.getsockname()[1])


EIGHT = Topology("mpirun", 0, 8, 0, 8)
CASES = [
    # ---- precision
    Case(r"unknown amp_level 'O4'; nearest: O", lambda b: half(amp_level="O4"), lambda b: half(amp_level="O3")),
    Case(
        r"unknown amp_dtype 'float'; nearest: float16",
        lambda b: half(amp_level="O2", amp_dtype="float"),
        lambda b: half(amp_level="O2", amp_dtype="float16"),
    ),
    *(
        Case(
            rf"amp_dtype bfloat16: {said}; use float16, or {way}$",
            lambda b, chip=chip, given=given: half(chip, amp_dtype="bfloat16", **given),
            lambda b, chip=chip, given=given, other=other: [
                half(chip, amp_dtype="float16", **given),
                half(chip, amp_dtype="bfloat16", **other),
            ],
        )
        for said, chip in (("MindSpore has no such kernels on a CPU", False), ("Ascend910A does not .*", True))
        for given, way, other in (
            ({"amp_level": "O2"}, "amp_level O0", {"amp_level": "O0"}),
            ({"amp_cast_list": ["Dense"]}, "leave amp_cast_list out", {}),
        )
    ),
    Case(
        r"unknown cell class in amp_cast_list 'BatchNorm'; nearest: BatchNorm2d",
        lambda b: amp.auto_mixed_precision(b.network(), amp_cast_list=["BatchNorm"]),
        lambda b: amp.auto_mixed_precision(b.network(), amp_cast_list=["BatchNorm2d"]),
    ),
    Case(
        r"amp_cast_list BatchNorm2d: MindSpore has no such kernel for .*; leave it out",
        lambda b: cast("Conv2d", "BatchNorm2d"),
        lambda b: cast("Conv2d"),
    ),
    # ---- files
    Case(
        r"x.rar: its name must end in .*; unpack it by hand",
        lambda b: archives.extract_archive(b.folder / "x.rar"),
        lambda b: archives.extract_archive(b.tar()),
    ),
    Case(
        r"x.tar cannot be unpacked .*; get it anew",
        lambda b: archives.extract_archive(b.tar(content=b"1234")),
        lambda b: archives.extract_archive(b.tar()),
    ),
    Case(
        r"explain is empty; name a folder",
        lambda b: path.make_folder("explain", ""),
        lambda b: path.make_folder("explain", str(b.folder / "new")),
    ),
    Case(
        r"choose a folder that can be written",
        lambda b: path.make_folder("explain", str(b.folder / "file")),
        lambda b: path.make_folder("explain", str(b.folder / "new")),
    ),
    Case(
        r"there is no such home folder; name another folder",
        lambda b: home("~nobody-of-that-name/x"),
        lambda b: home(str(b.folder)),
    ),
    Case(
        r"https://example.org/x has 4 bytes instead of 5; get it by hand",
        lambda b: b.fetch(b"1234", size=5),
        lambda b: b.fetch(b"1234", name="file", size=5),
    ),
    Case(
        r"has the MD5 .* instead of abc: .*; try again, or",
        lambda b: b.fetch(b"1234", md5="abc"),
        lambda b: b.fetch(b"abc", md5="900150983cd24fb0d6963f7d28e17f72"),
    ),
    Case(
        r"or get it by hand$",
        lambda b: b.fetch(b"1", name="again", md5="b"),
        lambda b: b.fetch(b"1", name="file", md5="a"),
    ),
    Case(
        r"cannot write .*; make room, or choose another folder",
        lambda b: b.fetch(b"1234", name="file/x"),
        lambda b: b.fetch(b"1234", name="other/x"),
    ),
    *(
        Case(
            rf"needs {name}; pip install mindcv_halo\[{extra}\]",
            lambda b, module=module, call=call: lacking(module, call),
            lambda b, call=call: call(),
        )
        for name, module, extra, call in (
            ("matplotlib", "matplotlib", "plot", lambda: require_matplotlib("--report")),
            ("safetensors", "safetensors", "files", lambda: require_safetensors("x")),
            ("tensorboardX", "tensorboardX", "tensorboard", require_tensorboard),
            ("starlette and uvicorn", "uvicorn", "serve", server.require_server_library),
        )
    ),
    # ---- MindCV's names
    Case(
        r"unknown metric_name of the model 'Top_1_Acc'; nearest: Top_1_Accuracy",
        lambda b: utils.StateMonitor(b.trainer(), dataset_val=object(), metric_name=["Top_1_Acc"]),
        lambda b: utils.StateMonitor(
            b.trainer(),
            dataset_val=object(),
            metric_name=["Top_1_Accuracy"],
            ckpt_save_dir=str(b.folder / "run"),
        ),
    ),
    Case(
        r"model_ema=True needs a TrainStep with ema=True",
        lambda b: b.monitor(ema=False),
        lambda b: b.monitor(ema=True),
    ),
    Case(
        r"unknown ckpt_save_policy 'top'; nearest: top_k",
        lambda b: utils.CheckpointManager("top"),
        lambda b: utils.CheckpointManager("top_k"),
    ),
    Case(
        r"unknown ckpt_save_policy 'all'; known: None, latest_k, top_k",
        lambda b: utils.CheckpointManager("all"),
        lambda b: [b.save_best(policy, metric=1.0) for policy in ("None", None, "latest_k", "top_k")],
    ),
    Case(
        r"top_k needs a metric; pass metric=, or",
        lambda b: b.save_best("top_k"),
        lambda b: b.save_best("top_k", metric=1.0),
    ),
    Case(r"or take latest_k", lambda b: b.save_best("top_k"), lambda b: b.save_best("latest_k")),
    Case(
        r"unknown loss_scale_type 'dynamical'; nearest: dynamic",
        lambda b: b.trainer(loss_scale_type="dynamical"),
        lambda b: b.trainer(loss_scale_type="dynamic"),
    ),
    Case(
        r"8 is not the loss_scale 64 of the optimizer; create the optimizer with the same, or with 1",
        lambda b: b.step(64, scale_sense=8),
        lambda b: [b.step(8, scale_sense=8), b.step(1, scale_sense=8)],
    ),
    *(
        Case(
            r"which does not go with clip_grad, nor with a scale that leaves out updates; create it with loss_scale 1",
            lambda b, options=options: b.step(8, **options()),
            lambda b, options=options: b.step(1, **options()),
        )
        for options in (
            lambda: {"clip_grad": True, "scale_sense": 64.0},
            lambda: {"clip_grad": True, "scale_sense": 8.0},
            lambda: {"scale_sense": nn.FixedLossScaleUpdateCell(64)},
        )
    ),
    # ---- states of runs
    Case(
        r"should hold a state of net .*, there are none; set resume to False to start anew",
        lambda b: run_state.load_newest_state(b.folder, "net", LOGGER),
        lambda b: run_state.load_newest_state(b.state(), "net", LOGGER),
    ),
    Case(
        r"use the recipe.yaml of the run, or start anew in another ckpt_save_dir, with resume False",
        lambda b: run_state.restore(parameters(3), run_state.load_newest_state(b.state(), "net", LOGGER)[0]),
        lambda b: run_state.restore(parameters(2), run_state.load_newest_state(b.state(), "net", LOGGER)[0]),
    ),
    # ---- devices and launchers
    Case(
        r"device_target 'TPU' is not available here: .* has CPU; choose one of these, or",
        lambda b: runtime.find_device("TPU"),
        lambda b: runtime.find_device("CPU"),
    ),
    Case(r"or leave the flag out$", lambda b: runtime.find_device("TPU"), lambda b: runtime.find_device()),
    Case(
        r"distribute True needs a launcher: mpirun -n 2 .*; for one process",
        lambda b: distributed.check_launch(None, True),
        lambda b: distributed.check_launch(Topology("mpirun", 0, 2, 0, 2), True),
    ),
    Case(
        r"for one process set --distribute False",
        lambda b: distributed.check_launch(None, True),
        lambda b: distributed.check_launch(None, False),
    ),
    Case(
        r"mpirun started 8 processes and distribute is False, .*; set --distribute True, or",
        lambda b: distributed.check_launch(EIGHT, False),
        lambda b: distributed.check_launch(EIGHT, True),
    ),
    Case(
        r"or start one process without mpirun",
        lambda b: distributed.check_launch(EIGHT, False),
        lambda b: distributed.check_launch(None, False),
    ),
    Case(
        r"start at most 2 on this machine \(mpirun: --map-by ppr:2:node\)",
        lambda b: distributed.check_devices(EIGHT, "GPU", 2),
        lambda b: distributed.check_devices(Topology("mpirun", 0, 8, 0, 2), "GPU", 2),
    ),
    Case(
        r"set the environment variable MASTER_ADDR to an address of it",
        lambda b: choose(("192.0.2.1",)),
        lambda b: choose(("127.0.0.1",)),
    ),
    Case(
        r"RANK and WORLD_SIZE are set, MASTER_PORT is not; set it to a free port",
        lambda b: find_topology(RANKS),
        lambda b: find_topology({**RANKS, "MASTER_PORT": "23456"}),
    ),
    Case(
        r"left the environment variable PMI_RANK out; set it, or",
        lambda b: find_topology({"PMI_SIZE": "1"}),
        lambda b: find_topology({"PMI_SIZE": "1", "PMI_RANK": "0"}),
    ),
    Case(
        r"port 80 of rank 0's machine must be from 1024 to 65535; set MASTER_PORT",
        lambda b: find_topology({**RANKS, "MASTER_PORT": "80"}),
        lambda b: find_topology({**RANKS, "MASTER_PORT": "1024"}),
    ),
    Case(
        r"port 80 of rank 0's machine .*; give msrun another --master_port",
        lambda b: find_topology({**MSRUN, "MS_SCHED_PORT": "80", "MASTER_PORT": "1024"}),
        lambda b: find_topology({**MSRUN, "MS_SCHED_PORT": "1024"}),
    ),
    *(
        Case(
            r"does not tell where rank 0 is; set .* MASTER_ADDR to its address and MASTER_PORT to a free port there",
            lambda b, environ=environ: find_topology(environ),
            lambda b, environ=environ: find_topology({**environ, **PLACE}),
        )
        for environ in (HYDRA, SLURM, {"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "1024"})
    ),
    Case(
        r"mpiexec does not name its job; set the environment variable MASTER_PORT to a free port",
        lambda b: find_topology({**HYDRA, "MASTER_ADDR": "10.0.0.7"}),
        lambda b: find_topology({**HYDRA, **PLACE}),
    ),
    # ---- files
    Case(
        r"^weights: there is no such file; check the path$",
        lambda b: path.check_file("weights", b.folder / "absent"),
        lambda b: path.check_file("weights", b.folder / "file"),
    ),
    Case(
        r"^weights: it is no ordinary file, but a folder; give a file$",
        lambda b: path.check_file("weights", b.folder),
        lambda b: path.check_file("weights", b.folder / "file"),
    ),
    # ---- the server
    Case(r"leave --host out for this machine alone, or", lambda b: listen(""), lambda b: listen()),
    Case(r"or give 0.0.0.0 for all addresses", lambda b: listen(""), lambda b: listen("0.0.0.0")),
    Case(
        r"port 65536 must be .*; leave --port out for 8000",
        lambda b: listen(port=65536),
        lambda b: 8000 < 2**16 and listen(),
    ),
    Case(r"choose another --host or", lambda b: listen("a..b"), lambda b: listen("localhost")),
    Case(r"or --port$", lambda b: listen_twice(other=False), lambda b: listen_twice(other=True)),
]


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


def test_every_remedy_about_tools_works(bench, pynative):
    try_all(CASES, bench, "tools", ELSEWHERE)
