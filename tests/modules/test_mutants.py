"""The deliberate faults of tests/drills/mutants.py can still be made, and are all over the package."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from drills.faults import FAULTS, PACKAGE, ROOT


def test_every_fault_changes_its_file_in_one_place():
    for fault in FAULTS:
        fault.check()
        missing = [name for name in fault.test_files if not (ROOT / name).exists()]
        assert fault.test_files and not missing, f"{fault.name}: {missing}"


def test_a_fault_that_would_change_nothing_or_more_is_refused():
    for changes in ({"old": "what stands nowhere"}, {"old": "self"}, {"old": "return", "new": "return"}):
        with pytest.raises(ValueError, match=FAULTS[0].name):
            replace(FAULTS[0], **changes).check()
    with pytest.raises(ValueError, match="is what stands there"):
        replace(FAULTS[0], new=FAULTS[0].old).check()


def test_names_tell_faults_apart():
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []


def test_every_folder_of_the_package_has_a_fault():
    package = ROOT / PACKAGE
    sources = [path for path in package.rglob("*") if path.suffix in (".py", ".cpp") and path.name != "__init__.py"]
    folders = {path.parent for path in sources if path.parent != package}
    assert len(folders) > 15
    assert folders - {(ROOT / fault.file).parent for fault in FAULTS} == set()
