"""What a request may cost, and how it is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from ..errors import UserError


@dataclass(frozen=True)
class Limits:
    """Bounds of one request. Raises UserError for values that would refuse everything."""

    max_bytes: int = 10_000_000  # of an upload
    max_pixels: int = 50_000_000  # of an image; decoded, each takes 3 bytes or more
    timeout: float = 30.0  # seconds for a request's head, for its upload, and for its prediction, waiting included
    max_waiting: int = 8  # requests that wait for or are in computation; more are told to come later

    def __post_init__(self):
        for name in ("max_bytes", "max_pixels", "timeout", "max_waiting"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} {getattr(self, name)} must be above 0")
        # Pillow's own limit holds for the whole process: lifting it for one image would lift it for others, too.
        most = math.inf if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS
        if self.max_pixels > most:
            raise UserError(f"max_pixels {self.max_pixels} must be at most {most}, where Pillow refuses an image")


class RefusedError(Exception):
    """A request that is not answered: its status in HTTP, and a sentence for the sender."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status
