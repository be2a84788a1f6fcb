"""Our own names: nothing to translate. A file of ours says itself which dialect its weights were trained in."""

from __future__ import annotations

from ..rules import Source

SOURCE = Source("mindcv_halo", signature=r"stages\.0\.0\.reduce\.conv\.weight", dialect="timm", rules=())
