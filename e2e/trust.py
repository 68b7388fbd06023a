"""Trust in the development CA: what a user does who imports it. No error of a certificate is ever ignored."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import ROOT, untested

MAKE_CERTIFICATES = ROOT / "bus" / "make-certificates"


def make_certificates(folder: Path) -> None:
    """Do what `make start-tls` does first."""
    need_openssl()
    subprocess.run([MAKE_CERTIFICATES, folder], check=True, capture_output=True, timeout=60)


def need_openssl() -> None:
    """Skip what makes certificates where that is impossible."""
    if shutil.which("openssl") is None:
        untested("TLS", "there is no openssl (on Debian: apt install openssl)")


@contextmanager
def trusted(ca: Path) -> Iterator[None]:
    """Let programs trust a CA for a while: this one, and those in Python or Node.js that are started meanwhile."""
    variables = {"SSL_CERT_FILE": str(ca), "NODE_EXTRA_CA_CERTS": str(ca)}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def make_home(ca: Path, directory: Path) -> Path:
    """Make a home whose user has told Chromium to trust a CA (chromium.org, docs/linux/cert_management.md)."""
    if shutil.which("certutil") is None:
        untested("TLS in a browser", "there is no certutil (on Debian: apt install libnss3-tools)")
    database = directory / ".pki" / "nssdb"
    database.mkdir(parents=True)
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True, timeout=60)
    subprocess.run([*certutil, "-A", "-n", "development", "-t", "C,,", "-i", ca], check=True, timeout=60)
    return directory
