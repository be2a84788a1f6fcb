"""A recipe as flat names: `from config import parse_args`, in scripts beside this file that were written for MindCV."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from mindcv_halo.config import create_parser, make_recipe, parse_args

__all__ = ["create_parser", "parse_args"]


def _check_cfgs_in_parser(cfgs: Mapping[str, Any], parser: ArgumentParser) -> None:
    """Raises KeyError for a key that no recipe has."""
    make_recipe(cfgs)
