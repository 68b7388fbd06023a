"""A file for TLS keys that cannot be written is done without: ``SSLKEYLOGFILE`` is often set for other programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def do_without_if_unwritable() -> None:
    """Forget the setting if its file cannot be opened, and say so.

    Python opens the file for each TLS context (`ssl.create_default_context`). aiohttp makes one as it is imported,
    so this comes before.
    """
    path = os.environ.get("SSLKEYLOGFILE")
    try:
        if path:
            with Path(path).open("a"):
                pass
    except OSError as error:
        del os.environ["SSLKEYLOGFILE"]
        sys.stderr.write(f"SSLKEYLOGFILE={path}: {error.strerror}; TLS keys are not written\n")
