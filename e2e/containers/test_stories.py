"""The compose profile `e2e`: the visitors' stories, told from a container to the other three."""

from __future__ import annotations

import os
import re
import shutil

from compose import Compose
from machine import ARTIFACTS


def test_the_stories_pass_in_a_container(compose: Compose) -> None:
    artifacts = compose.directory / "e2e/artifacts"
    artifacts.mkdir()
    compose.settings["E2E_USER"] = f"{os.getuid()}:{os.getgid()}"

    try:
        output = compose.run("--profile", "e2e", "run", "--build", "--rm", "e2e")
    finally:
        shutil.copytree(artifacts, ARTIFACTS / "e2e-container", dirs_exist_ok=True)

    assert re.search(r"=+ [1-9][0-9]* passed", output)
