"""A small part of tests/drills/fuzz_images.py."""

from __future__ import annotations

import re
import subprocess
import sys


def test_no_file_ends_a_process(pytestconfig):
    drill = pytestconfig.rootpath / "tests" / "drills" / "fuzz_images.py"
    done = subprocess.run(
        [sys.executable, drill, "--files", "108", "--only", "train, skip"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    row = re.search(r"skip_bad_images +(\d+) +(\d+) +(\d+) +(\d+)", done.stdout)
    files, decoded, named, crashes = map(int, row.groups())
    assert (files, crashes) == (108, 0) and named > 15 and decoded == files - named
