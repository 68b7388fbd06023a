"""The command line of the programs: questions about themselves. Settings come from the environment alone."""

from __future__ import annotations

import argparse

from .. import __version__


def read_command_line(program: str, what: str) -> None:
    """Answer ``--help`` and ``--version`` and end with status 0; end with 2 at anything else.

    Args:
        program: Its name.
        what: What it does, in a sentence.
    """
    parser = argparse.ArgumentParser(
        prog=program, description=what, epilog="Settings are environment variables: see docs/settings.md."
    )
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")
    parser.parse_args()
