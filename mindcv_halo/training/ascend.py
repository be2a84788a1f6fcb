"""What the generations of Ascend differ in."""

from __future__ import annotations

import mindspore
from mindspore._c_expression import MSContext

from ..runtime import asks_to_saturate

# Before A2, as MindSpore calls them: Atlas training products (910A), Atlas inference products and Atlas 200I/500 A2.
# Source: CANN's documentation of ToBfloat16 and of aclrtFloatOverflowMode.
_FIRST_CHIPS = ("ascend910", "ascend310", "ascend310p", "ascend310b")


def name_chip() -> str:
    """As MindSpore calls it, such as ascend910b; empty on other devices."""
    on_ascend = mindspore.get_context("device_target") == "Ascend"
    return MSContext.get_instance().get_ascend_soc_version() if on_ascend else ""


def has_bfloat16() -> bool:
    """Of an Ascend."""
    return name_chip() not in _FIRST_CHIPS


def saturates() -> bool:
    """Whether what overflows becomes the largest number, and leaves its mark on the chip alone.

    Newer chips do so only if MindSpore's variable says it.
    """
    chip = name_chip()
    return chip in _FIRST_CHIPS or (chip != "" and asks_to_saturate())
