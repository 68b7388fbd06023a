"""The program `domain-service` as it is started, and a real bus beside it."""

import asyncio
import re
import signal
import sqlite3

import pytest


@pytest.fixture
def start_service(spawn, free_port):
    async def start(**environ):
        settings = {
            "HTTP_EVENTBUS_SERVER_PORT": str(free_port),
            "AUTHORIZATION_TOKEN": "secret",
            "DOMAIN_SERVICE_DELAY": "0",
        }
        return await spawn("-m", "domain_service", **settings | environ)

    return start


async def test_a_visitor_checks_a_name_registers_it_and_finds_it_taken(real_bus, start_service, visit):
    await real_bus()
    service = await start_service()
    await service.line(f'^connected to {real_bus.url} as "domain service"$')
    anna = await visit()

    check = await anna.ask("check-domain", ["example.com"])
    [checked] = await anna.answers(1)
    await anna.ask("register-domain", {"name": "example.com", "registrant": {"name": "Anna"}, "options": {}})
    [registered] = await anna.answers(1)
    await anna.ask("check-domain", ["EXAMPLE.com"])
    [checked_again] = await anna.answers(1)

    assert checked["data"] == [{"name": "example.com", "availability": "available"}]
    assert checked["context"]["cause"] == str(check)
    assert checked["source"] == "domain service"
    assert registered["data"]["registered"] is True
    assert checked_again["data"] == [{"name": "example.com", "availability": "not available"}]
    await service.line(f"^answered check-domain #{check}$")


async def test_two_instances_give_one_answer_to_each_question(real_bus, start_service, visit, tmp_path):
    await real_bus()
    instances = [await start_service(), await start_service()]
    for instance in instances:
        await instance.line("^connected to")
    anna, ben = await visit(), await visit()

    for visitor in (anna, ben):
        for number in range(10):
            await visitor.ask("register-domain", {"name": f"n{number}.example"})
    answers = await anna.answers(10), await ben.answers(10)
    granted = [event["data"]["name"] for some in answers for event in some if event["data"]["registered"]]
    assert sorted(granted) == [f"n{number}.example" for number in range(10)]
    with sqlite3.connect(tmp_path / "data" / "registry.db") as db:
        assert db.execute("SELECT count(*) FROM registrations").fetchone() == (10,)
    db.close()
    # Had one of them been answered twice, the second answer would come before this one.
    await anna.ask("check-domain", ["last.example"])
    [last] = await anna.answers(1)
    assert last["name"] == "check-domain-completed"
    for instance in instances:
        await instance.end(signal.SIGTERM)
    answered = re.findall(
        r"^answered register-domain (#\d+)$", "".join(each.output for each in instances), re.MULTILINE
    )
    assert len(answered) == len(set(answered)) == 20


async def test_a_service_that_starts_late_answers_what_waited(real_bus, start_service, visit):
    await real_bus()
    anna = await visit()
    seqs = [await anna.ask("check-domain", [f"n{number}.example"]) for number in range(3)]

    await start_service()

    answers = await anna.answers(3)
    assert sorted(int(answer["context"]["cause"]) for answer in answers) == seqs


async def test_what_an_instance_had_begun_when_it_was_killed_another_finishes(real_bus, start_service, visit):
    await real_bus()
    slow = await start_service(DOMAIN_SERVICE_DELAY="60")
    await slow.line("^connected to")
    anna = await visit()
    seq = await anna.ask("register-domain", {"name": "example.com"})
    other = await start_service()
    await other.line("^connected to")

    await slow.end(signal.SIGKILL)

    await other.line(f"^answered register-domain #{seq}, delivery 2$")
    [answer] = await anna.answers(1)
    assert answer["data"]["registered"] is True


async def test_a_restart_neither_loses_a_question_nor_answers_it_twice(real_bus, start_service, visit):
    await real_bus()
    service = await start_service()
    await service.line("^connected to")
    anna = await visit()
    first = await anna.ask("check-domain", ["a.example"])
    await service.line(f"^answered check-domain #{first}$")
    await service.end(signal.SIGTERM)
    second = await anna.ask("check-domain", ["b.example"])

    service = await start_service()

    await service.line(f"^answered check-domain #{second}$")
    assert f"#{first}" not in service.output
    assert [answer["context"]["cause"] for answer in await anna.answers(2)] == [str(first), str(second)]


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_and_soon(real_bus, start_service, signal_number):
    await real_bus()
    service = await start_service()
    await service.line("^connected to")

    async with asyncio.timeout(5):
        assert await service.end(signal_number) == 0

    assert service.output.endswith("stopped\n")
    assert "Traceback" not in service.output


async def test_a_wrong_token_is_said_in_one_line_and_ends_it(real_bus, start_service):
    await real_bus()
    service = await start_service(AUTHORIZATION_TOKEN="wrong-secret")

    assert await service.end() == 3

    [line] = service.output.splitlines()
    assert line.startswith(f"{real_bus.url} does not accept this service (wrong credentials")
    assert "AUTHORIZATION_TOKEN must be" in line
    assert "wrong-secret" not in line


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"AUTHORIZATION_TOKEN": ""}, "AUTHORIZATION_TOKEN is not set: "),
        ({"DOMAIN_SERVICE_DELAY": "soon"}, "DOMAIN_SERVICE_DELAY=soon: expected a number of seconds"),
        ({"DOMAIN_SERVICE_REGISTRY": "letter.txt"}, "DOMAIN_SERVICE_REGISTRY=letter.txt: file is not a database; "),
        ({"DOMAIN_SERVICE_REGISTRY": "."}, "DOMAIN_SERVICE_REGISTRY=.: unable to open database file; expected"),
        ({"DOMAIN_SERVICE_REGISTRY": "letter.txt/r.db"}, "DOMAIN_SERVICE_REGISTRY=letter.txt/r.db: "),
    ],
)
async def test_a_wrong_setting_is_said_in_one_line_and_ends_it(start_service, tmp_path, setting, line):
    (tmp_path / "letter.txt").write_text("Dear registry, " * 1000)
    service = await start_service(**setting)

    assert await service.end() == 2

    assert len(service.output.splitlines()) == 1
    assert service.output.startswith(line)
