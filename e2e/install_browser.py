"""Brings a Chromium for the browser tests: one on PATH, else Playwright's own, else the system's package."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from browser import NAMES

START = """
from browser import chromium_launch_options
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    playwright.chromium.launch(**chromium_launch_options()).close()
"""
ADVICE = f"""No Chromium could be started or installed. Put one of {", ".join(NAMES)} on PATH \
(on Debian: apt install chromium), then run the command again."""


def main() -> None:
    """Try each way in turn until Chromium starts; exit status 1 with one line of advice if none does."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for install in (None, _from_playwright, _from_debian):
        if install is not None:
            install()
        if _starts():
            return
    sys.exit(ADVICE)


def _starts() -> bool:
    """Try it in a program of its own: on a small system even Playwright itself may lack a library."""
    tried = subprocess.run([sys.executable, "-c", START], cwd=Path(__file__).parent, capture_output=True)
    return tried.returncode == 0


def _from_playwright() -> None:
    if not any(map(shutil.which, NAMES)):
        print("Installing Chromium for the browser tests", flush=True)
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def _from_debian() -> None:
    """Bring the browser and what it needs; also where Playwright's own lacks libraries of the system."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "-qq", "update"], check=False)
        packages = ["chromium", "libatomic1"]  # the second is Playwright's need
        subprocess.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages], check=False)


if __name__ == "__main__":
    main()
