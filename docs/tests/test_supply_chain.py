"""What others' code and the containers may do to a machine: nothing moves by itself, and nothing takes all there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from documents import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WHOLE = ["docker-compose.yml", "docker-compose.tls.yml"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_named_by_its_commit_with_its_version_behind_it(workflow: Path) -> None:
    uses = re.findall(r"uses: (.*)$", workflow.read_text(), re.MULTILINE)

    assert uses
    assert [action for action in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []


def test_every_container_has_limits() -> None:
    services = {}
    for file in WHOLE:
        for name, service in yaml.safe_load((ROOT / file).read_text())["services"].items():
            services[name] = services.get(name, {}) | service

    assert [name for name, service in services.items() if not {"mem_limit", "pids_limit"} <= service.keys()] == []


def test_the_well_known_token_is_allowed_beside_ports_for_this_machine_only() -> None:
    bus = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["bus"]

    assert bus["environment"]["EVENTBUS_ALLOW_WORKSHOP_TOKEN"] == "on"
    assert all(port.startswith("127.0.0.1:") for port in bus["ports"])
