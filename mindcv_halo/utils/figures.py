"""matplotlib, which is optional, through figure objects alone: no global state, no display."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def has_matplotlib() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def require_matplotlib(purpose: str) -> None:
    """Raise UserError, which says that `purpose` needs it, if matplotlib is missing."""
    if not has_matplotlib():
        raise UserError(f"{purpose} needs matplotlib; pip install mindcv_halo[plot]")


def make_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, which arranges its parts so that none covers another."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = io.BytesIO()
    with warnings.catch_warnings():
        # Names in scripts that matplotlib's font lacks become boxes; one warning for each letter would help nobody.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        FigureCanvasAgg(figure).print_png(content)
    write_whole(path, content.getvalue())
