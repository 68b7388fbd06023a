"""What `docker compose up` promises, seen from outside: by requests, and by what the engine knows of the containers."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from pathlib import Path

import pytest
from compose import Compose
from web import Answer, request, visit

SERVICES = ["bus", "static-site", "example-service"]
TOKEN = "workshop-only"

every_service = pytest.mark.parametrize("service", SERVICES)


def stored_ids(compose: Compose) -> list[str]:
    answer = request("GET", f"{compose.bus_url}/events?name=check-domain&limit=1000", Authorization=TOKEN)
    return [event["id"] for event in answer.json()]


# They run and talk to each other.


def test_a_question_is_answered_through_all_containers(compose: Compose) -> None:
    with visit(compose.bus_url) as visitor:
        [answer] = visitor.ask("check-domain", ["example.com"])

    assert answer == {"name": "example.com", "availability": "available"}


def test_the_page_is_told_the_published_address_of_the_bus(compose: Compose) -> None:
    answer = request("GET", f"{compose.site_url}/config.json")

    assert answer.json() == {"eventbus": compose.bus_url}


@every_service
def test_every_service_is_healthy(compose: Compose, service: str) -> None:
    assert compose.inspect(service)["State"]["Health"]["Status"] == "healthy"


# Two origins.


def test_the_bus_lets_the_page_in(compose: Compose) -> None:
    preflight = request("OPTIONS", compose.bus_url, Origin=compose.site_url, Access_Control_Request_Method="POST")
    with visit(compose.bus_url) as visitor:
        body = {"name": "hello", "context": {"identifier": visitor.token}}
        published = request("POST", compose.bus_url, body=body, Origin=compose.site_url)

    assert (preflight.status, published.status) == (204, 200)
    for answer in (preflight, published):
        assert answer.headers["Access-Control-Allow-Origin"] == compose.site_url


def test_the_bus_lets_no_other_page_in(compose: Compose) -> None:
    answer = request("OPTIONS", compose.bus_url, Origin="http://evil.example", Access_Control_Request_Method="POST")

    assert answer.headers["Access-Control-Allow-Origin"] != "http://evil.example"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/eventbus.js", 200), ("GET", "/missing", 404), ("POST", "/", 405)],
)
def test_every_answer_of_the_site_names_the_bus(compose: Compose, method: str, path: str, status: int) -> None:
    answer = request(method, compose.site_url + path)

    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == compose.bus_url
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"
    assert {compose.bus_url, compose.bus_url.replace("http", "ws", 1)} <= connect_sources(answer)


def connect_sources(answer: Answer) -> set[str]:
    """Return where the page's scripts may connect to."""
    [directive] = [part for part in answer.headers["Content-Security-Policy"].split(";") if "connect-src" in part]
    return set(directive.split())


# Nobody gets more rights than needed.


@every_service
def test_nothing_runs_as_root(compose: Compose, service: str) -> None:
    assert int(compose.run("exec", "-T", service, "id", "-u")) != 0


@every_service
def test_the_file_system_cannot_be_written_to(compose: Compose, service: str) -> None:
    with pytest.raises(AssertionError, match="Read-only file system"):
        compose.run("exec", "-T", "--user", "root", service, "touch", "/new")


@every_service
def test_no_capability_is_kept_and_none_can_be_gained(compose: Compose, service: str) -> None:
    status = compose.run("exec", "-T", "--user", "root", service, "cat", "/proc/self/status")
    values = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("CapBnd", "NoNewPrivs")))

    assert int(values["CapBnd"], 16) == 0
    assert values["NoNewPrivs"] == "1"


@every_service
def test_ports_are_published_on_this_machine_only(compose: Compose, service: str) -> None:
    published = compose.inspect(service)["NetworkSettings"]["Ports"] or {}
    addresses = {place["HostIp"] for places in published.values() for place in places or []}

    assert addresses == (set() if service == "example-service" else {"127.0.0.1"})


@every_service
def test_no_service_can_take_all_memory_or_all_processes_of_the_machine(compose: Compose, service: str) -> None:
    host = compose.inspect(service)["HostConfig"]

    assert 0 < host["Memory"] <= 1024**3
    assert 0 < host["PidsLimit"] <= 256


@every_service
def test_a_service_that_fails_is_started_again(compose: Compose, service: str) -> None:
    host = compose.inspect(service)["HostConfig"]

    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Init"] is True


# More than one of a kind.


def test_three_instances_share_the_work_and_when_one_is_killed_the_others_finish_it(compose: Compose) -> None:
    domains = [f"{secrets.token_hex(8)}.example" for _ in range(60)]

    compose.run("up", "--wait", "--scale", "example-service=3")
    with visit(compose.bus_url) as visitor:
        for domain in domains[:30]:
            visitor.publish("register-domain", {"name": domain})
        instance, *others = compose.run("ps", "--quiet", "example-service").split()
        subprocess.run(["docker", "kill", instance], check=True, capture_output=True, timeout=60)
        for domain in domains[30:]:
            visitor.publish("register-domain", {"name": domain})
        for _ in domains:
            visitor.next("register-domain-completed", within=60)  # a whole ack wait, and the other instance's work
        visitor.ask("check-domain", domains[:1])
        answers = [event["data"] for event in visitor.heard if event.get("name") == "register-domain-completed"]
    printed = compose.run("logs", "--no-color", "example-service")
    compose.run("up", "--wait", "--scale", "example-service=1")

    assert len(others) == 2
    assert sorted(answer["name"] for answer in answers) == sorted(domains)
    assert all(answer["registered"] for answer in answers)
    assert len(set(re.findall(r"(example-service-\d+)\s+\| answered register-domain", printed))) >= 2


# What must last, lasts.


@every_service
def test_a_stopped_service_ends_by_itself_and_well(compose: Compose, service: str) -> None:
    compose.run("stop", service)
    ended = compose.inspect(service)["State"]["ExitCode"]
    compose.up()

    assert ended == 0  # 137 where the engine lost patience and killed it


def test_a_stored_event_survives_a_restart_and_new_containers(compose: Compose) -> None:
    with visit(compose.bus_url) as visitor:
        published = visitor.publish("check-domain", ["example.com"]).json()["id"]

    compose.run("restart", "bus")
    compose.up()
    after_the_restart = stored_ids(compose)
    compose.run("down")
    compose.up()
    in_new_containers = stored_ids(compose)

    assert after_the_restart.count(published) == in_new_containers.count(published) == 1


def test_a_registered_name_stays_registered_in_new_containers(compose: Compose) -> None:
    domain = f"{secrets.token_hex(8)}.example"
    registrant = {"name": "Anna", "address": "Main Street 1", "city": "Bonn", "state": "NRW", "country": "DE"}
    order = {"name": domain, "registrant": registrant, "options": {"autorenew": True, "whoisprivacy": False}}
    with visit(compose.bus_url) as visitor:
        registered = visitor.ask("register-domain", order)

    compose.run("down")
    compose.up()
    with visit(compose.bus_url) as visitor:
        [checked] = visitor.ask("check-domain", [domain])

    assert registered["registered"] is True
    assert checked["availability"] == "not available"


# Settings.


def test_an_env_file_written_for_foreman_does_not_mislead_the_containers(engine: None, tmp_path: Path) -> None:
    compose = Compose(tmp_path / "eventbus")
    settings = compose.settings | {
        "HTTP_FILE_SERVER_HOST": "127.0.0.1",
        "HTTP_EVENTBUS_SERVER_HOST": "localhost",
        "EVENTBUS_URL": compose.bus_url,
        "EVENTBUS_LOG": "sqlite:/home/anna/events.db",
        "EVENTBUS_SERVICES": "/home/anna/services.json",
        "EVENTBUS_CLIENT_EVENTS": "check-domain,register-domain",
        "DOMAIN_SERVICE_REGISTRY": "/home/anna/registry.db",
        "AUTHORIZATION_TOKEN": "another-token",
    }
    compose.settings.clear()  # a shell that sets nothing
    (compose.directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    try:
        compose.up()
        with visit(compose.bus_url) as visitor:
            [answer] = visitor.ask("check-domain", ["example.com"])
            unlisted = visitor.publish("not-in-the-list", None)
        guessed = request("GET", compose.bus_url + "/events", Authorization=TOKEN)
    finally:
        compose.remove()

    assert answer["availability"] == "available"
    assert (unlisted.status, guessed.status) == (403, 401)


def test_nothing_needs_to_be_set(engine: None, tmp_path: Path) -> None:
    compose = Compose(tmp_path / "eventbus")
    compose.settings.clear()

    services = json.loads(compose.run("config", "--format", "json"))["services"]

    assert services["static-site"]["ports"][0]["published"] == "3000"
    assert services["bus"]["ports"][0]["published"] == "3001"
    assert services["bus"]["environment"]["EVENTBUS_PUBLIC_URL"] == "http://localhost:3001"
    for service in ("bus", "example-service"):
        assert services[service]["environment"]["AUTHORIZATION_TOKEN"] == TOKEN
