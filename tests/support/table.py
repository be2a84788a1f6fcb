"""Many small cases in one test, which names every case that fails.

A test per case costs pytest a few milliseconds in each worker, before a line of it runs; where the case itself takes
microseconds, or shares one compilation with its neighbours, a table is the better form.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping

import pytest


def check_all(cases: Mapping | Iterable, check: Callable[..., object]) -> None:
    """Call `check(name)` for every case, or `check(name, case)` where they are a mapping; then fail for all that did.

    A table without a case fails, too: what it is made of has gone.
    """
    pairs = [(name, (name, case)) for name, case in cases.items()] if isinstance(cases, Mapping) else None
    calls = pairs if pairs is not None else [(case, (case,)) for case in cases]
    failures = []
    for name, arguments in calls:
        try:
            check(*arguments)
        except (Exception, pytest.fail.Exception):
            failures.append(f"{name}:\n{traceback.format_exc(limit=-2)}")
    if failures or not calls:
        pytest.fail(f"{len(failures)} of {len(calls)} cases:\n\n" + "\n".join(failures), pytrace=False)
