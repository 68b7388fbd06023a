"""Says each thing once: what everybody can repeat does not fill the bus's own log."""

from __future__ import annotations

import logging

MOST = 100
"""Different things that are said, at most."""

logger = logging.getLogger("eventbus")


class Once:
    """Remembers what was said."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def warn(self, text: str) -> str:
        """Write a line, unless it was written before, and return the text."""
        if text not in self._said and len(self._said) < MOST:
            self._said.add(text)
            logger.warning("%s", ascii(text)[1:-1])  # it may repeat what came in a header, which is any bytes
        return text
