"""Finds the Chromium that the browser tests run in. What they do in it is not in here."""

from __future__ import annotations

import os
import shutil
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")

# A quiet browser: nothing goes anywhere but where a test sends it.
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def chromium_launch_options() -> dict[str, Any]:
    """Say how Playwright is to start Chromium: the one on PATH, else Playwright's own download."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to run as root with it, as in a container
    return {"executable_path": found, "args": [*QUIET, *sandbox]}
