"""How long a test waits for what may hang."""

from __future__ import annotations

LAST_RESORT = 1200.0  # seconds; a machine however busy needs less, and no test measures speed by it
