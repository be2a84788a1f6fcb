"""Libraries that stand in for CANN and CUDA, so that MindSpore's own plugins load on a machine that has neither.

MindSpore's wheel holds its Ascend and its GPU plugin. Under DryRun (MS_SIMULATION_LEVEL=1) they choose kernels and plan
memory without a device, but they are linked against the vendor's libraries. Here every function that they ask for is
made: those of stubs/*.c, and for the rest one that returns 0. They are compiled once for each MindSpore into the cache
folder.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from mindcv_halo.files.path import find_cache_folder

SOURCES = Path(__file__).parent / "stubs"
MINDSPORE = "2.10"  # whose plugins the fixed parts fit
NEEDED = ("gcc", "nm", "readelf", "strings", "c++filt")
_CANN = (
    "ge_runner",
    "graph",
    "msprofiler",
    "hccl",
    "acl_op_compiler",
    "acl_tdt_channel",
    "nnopbase",
    "opapi",
    "runtime",
    "platform",
    "c_sec",
    "ascend_hal",
    "profapi",
)
# Functions of C++ that return an object: the caller gives its place as a hidden first argument.
_RETURNS_OBJECT = re.compile(r"::(GetShape|GetDims|GetTensorDesc|CreateOperator)\(|Operator::Get(Name|OpType)\(\)")


def say_why_not() -> str:
    """Why the plugins cannot be loaded here, in a sentence; "" where they can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"MindSpore's Ascend and GPU plugins are for Linux on x86-64, and this is {platform.machine()}"
    if not version("mindspore").startswith(f"{MINDSPORE}."):
        return f"the stub libraries fit MindSpore {MINDSPORE}, and this is {version('mindspore')}"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)} (gcc and binutils) to make the stub libraries"
    if not (_find_plugins() / "libmindspore_ascend.so.2").is_file():
        return "this MindSpore comes without its Ascend plugin"
    return ""


def make_libraries() -> Path:
    """The folder that holds ascend/latest/lib64, cuda/lib64, cuda/bin, python and host.so; made if need be."""
    digest = hashlib.sha256(version("mindspore").encode() + Path(__file__).read_bytes())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    folder = find_cache_folder() / "dry_run" / digest.hexdigest()[:16]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            done = Path(temporary) / "done"
            _make_ascend(done / "ascend" / "latest" / "lib64")  # MindSpore looks for "latest" in the path
            _make_cuda(done / "cuda")
            _run("gcc", "-O1", "-shared", "-fPIC", "-o", done / "host.so", SOURCES / "host.c", "-ldl")
            package = done / "python" / "hccl"  # whose version MindSpore asks for before it joins ranks
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / "sys_version.py").write_text('__sys_version__ = "0"\n')
            try:
                done.rename(folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    raise
    return folder


def _make_ascend(folder: Path) -> None:
    plugins = _find_plugins()
    users = [
        plugins / "libmindspore_ascend.so.2",
        plugins / "libmindspore_ops_ascend.so",
        *(plugins / "ascend").glob("lib*.so"),
        *(plugins / "ascend").glob("*/**/libshmem.so"),
    ]
    fixed = (SOURCES / "ascend.c").read_text()
    names: set[str] = set()
    for user in users:
        names |= {name for name in _list_undefined(user) if re.match(r"acl|Hccl|(hal|rt)[A-Z]|_ZNK?2ge", name)}
        # What a plugin looks up by name while it runs stands in it as text.
        looked_up = re.findall(r"^(?:acl|Hccl|Msprof)[A-Za-z0-9_]+$", _run("strings", "-n", "5", user), re.MULTILINE)
        names |= {*looked_up, *(f"{name}GetWorkspaceSize" for name in looked_up if name.startswith("aclnn"))}
    names -= {"aclDataType"}  # a type's name
    _compile(fixed, names, _write_ascend_function, folder, ["libascendcl.so", *(f"lib{name}.so" for name in _CANN)])


def _write_ascend_function(name: str, plain: str) -> str:
    owner, _, method = plain.split("(")[0].rpartition("::")
    if name.startswith("aclCreate"):
        body = "return map;"
    elif name == "aclGetRecentErrMsg" or plain.startswith("ge::AscendString::GetString"):
        body = 'return "";'
    elif owner == "ge::StatusFactory":
        body = "return find_errors();"
    elif (owner, method) == ("ge::Operator", "Operator") or method == "CreateOperator":
        body = "return make_operator(first);"
    elif owner.endswith(f"::{method}"):  # a constructor
        body = "return first;" if method.endswith("Register") else "return clear(first, 16);"
    elif _RETURNS_OBJECT.search(plain):
        is_text = owner == "ge::Operator" and "()" in plain and "AscendString" not in plain
        body = "return make_text(first);" if is_text else "return clear(first, 24);"
    elif owner == "ge::Operator" and not method.startswith("Get"):
        body = "return first;"  # the operator itself
    else:
        body = "return 0;"
    return f"(void *first) {{ {body} }}"


def _make_cuda(folder: Path) -> None:
    plugin = _find_plugins() / "libmindspore_gpu.so.11.6"
    fixed = (SOURCES / "cuda.c").read_text()
    users = (plugin, _find_plugins() / "gpu" / "libcuda_ops.so.11")
    names = {
        name
        for user in users
        for name in _list_undefined(user)
        if name.startswith(("cu", "nvrtc")) and not name.startswith("curl")
    }
    needed = re.findall(r"\(NEEDED\).*\[(lib(?:cu|nvrtc)[^\]]*)\]", _run("readelf", "-d", plugin))
    libraries = [library for library in needed if "cuda_ops" not in library]
    _compile(fixed, names, _write_cuda_function, folder / "lib64", libraries)
    compiler = folder / "bin" / "nvcc"  # MindSpore asks it for CUDA's version
    compiler.parent.mkdir(parents=True)
    compiler.write_text('#!/bin/sh\necho "Cuda compilation tools, release 11.6, V11.6.55"\n')
    compiler.chmod(0o755)


def _write_cuda_function(name: str, plain: str) -> str:
    makes = "Create" in name and not name.startswith("cuda")
    return "(void **first) { return make(first); }" if makes else "(void **first) { return 0; }"


def _compile(
    fixed: str, names: Iterable[str], write: Callable[[str, str], str], folder: Path, libraries: list[str]
) -> None:
    """All functions go into the first library, which the others only name."""
    folder.mkdir(parents=True)
    names = sorted(set(names) - set(re.findall(r"\w+", fixed)))
    lines = [fixed]
    for number, (name, plain) in enumerate(zip(names, _run("c++filt", *names).splitlines(), strict=True)):
        declaration = f'const void *stub{number}() __asm__("{name}");'
        lines.append(f"{declaration} const void *stub{number}{write(name, plain)}")
    source = folder / "stub.c"
    source.write_text("\n".join(lines))
    first, *others = libraries
    shared = ("gcc", "-w", "-O1", "-shared", "-fPIC")
    _run(*shared, "-o", folder / first, source, f"-Wl,-soname,{first}")
    for name in others:
        link = (f"-Wl,-soname,{name}", "-Wl,--no-as-needed", folder / first, "-Wl,-rpath,$ORIGIN")
        _run(*shared, "-o", folder / name, "-x", "c", "/dev/null", "-x", "none", *link)


def _list_undefined(library: Path) -> set[str]:
    listing = _run("nm", "-D", "--undefined-only", library)
    return {line.split()[-1].split("@")[0] for line in listing.splitlines()}


def _find_plugins() -> Path:
    return Path(find_spec("mindspore").origin).parent / "lib" / "plugin"


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")
    return done.stdout
