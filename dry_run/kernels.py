"""What MindSpore wrote down about a graph that it compiled: its kernels in order, and how they were chosen."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def name_variables(folder: Path) -> dict[str, str]:
    """What to set before MindSpore compiles, so that `folder` holds what this module reads."""
    return {
        "MS_DEV_SAVE_GRAPHS": "2",
        "MS_DEV_SAVE_GRAPHS_PATH": str(folder),
        "MS_DEV_DUMP_IR_PASSES": "validate",  # the last of the front end
        "MS_DEV_DUMP_IR_FORMAT": "0",
    }


def count_kernels(folder: Path) -> Counter[str]:
    """How often a step runs each operator's kernel. MindSpore writes the list when its process ends."""
    found: Counter[str] = Counter()
    for file in folder.glob("**/execute_order.csv"):
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if row["node_name"]:
                    found[re.sub(r"-op\d+.*", "", row["node_name"].rpartition("/")[2])] += 1
    return found


def count_front_end(folder: Path, operators: Iterable[str]) -> dict[str, int]:
    """How many of `operators` the graph has before the backend's passes: what network and gradient asked for."""
    text = "\n".join(file.read_text() for file in folder.glob("**/*validate*.ir"))
    return {name: len(re.findall(rf"= (?:PrimFunc_)?{name}\(", text)) for name in operators}


def count_types(log: str) -> dict[str, Counter[str]]:
    """Of Ascend: by operator, how often which kind of kernel was chosen, such as acl_kernel or opapi_kernel (aclnn)."""
    found: dict[str, Counter[str]] = {}
    for operator, kind in re.findall(r"kernel opname:(\w+), kernel type:(\w+)", log):
        found.setdefault(operator, Counter())[kind] += 1
    return found
