"""The registry: one file, several instances, and each question answered once and for all."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time

import pytest
from domain_service.handlers import HANDLERS, Registration
from domain_service.registry import RegistryFile

REGISTER = HANDLERS["register-domain"]


def question(seq, name="a.example", *, epoch="e", time="2026-11-23T09:00:00.000Z"):
    return {"name": "register-domain", "seq": seq, "epoch": epoch, "time": time, "context": {}, "data": {"name": name}}


def register(registry, seq, name="a.example", **more):
    [event] = registry.answer(question(seq, name, **more), REGISTER)
    return event["data"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "registry.db"


@pytest.fixture
def registry(path):
    registry = RegistryFile(path)
    yield registry
    registry.close()


@pytest.fixture
def other(path, registry):
    """Another instance that uses the same file."""
    other = RegistryFile(path)
    yield other
    other.close()


def test_a_name_is_registered_once(registry):
    assert register(registry, 1) == {"name": "a.example", "registered": True, "expiration": "2027-11-23"}

    assert register(registry, 2)["error"] == "it is already registered"


def test_the_same_question_gets_the_same_answer(registry, other):
    granted, refused = register(registry, 1), register(registry, 2)

    assert granted["registered"] is True
    assert refused["registered"] is False
    assert register(registry, 1) == register(other, 1) == granted
    assert register(registry, 2) == register(other, 2) == refused


def test_the_same_question_gets_the_same_answer_after_a_restart(path):
    first = RegistryFile(path)
    granted = register(first, 1)
    first.close()

    second = RegistryFile(path)
    assert register(second, 1) == granted
    assert register(second, 2)["registered"] is False
    second.close()


def test_the_same_seq_in_another_log_is_another_question(registry):
    register(registry, 1, epoch="one")

    assert register(registry, 1, epoch="two")["registered"] is False
    assert register(registry, 1, "b.example", epoch="two")["registered"] is True


def test_what_one_instance_registers_is_taken_for_the_other(registry, other):
    assert register(registry, 1)["registered"] is True

    assert register(other, 2)["registered"] is False


def test_a_handler_sees_all_that_is_registered(registry):
    registered = {"name": "Anna", "address": "", "city": "", "state": "", "country": ""}
    asked = question(1) | {"data": {"name": "a.example", "registrant": {"name": "Anna"}}}
    registry.answer(asked, REGISTER)
    register(registry, 2, "b.example")
    seen = {}

    def look(_, names):
        seen.update(names)
        return [{"name": "counted", "data": len(names)}], []

    assert registry.answer(question(3), look) == [{"name": "counted", "data": 2}]
    assert list(seen) == ["a.example", "b.example"]
    options = {"autorenew": False, "whoisprivacy": False}
    assert seen["a.example"] == Registration("a.example", registered, options, "2027-11-23")


def test_each_registration_knows_the_question_that_made_it(path, registry):
    register(registry, 7, epoch="abc")

    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT name, epoch, seq FROM registrations").fetchall()
    db.close()
    assert rows == [("a.example", "abc", 7)]


def test_a_question_is_answered_whole_or_not_at_all(registry):
    twice = Registration("b.example", {}, {}, ""), Registration("b.example", {}, {}, "")

    with pytest.raises(sqlite3.IntegrityError):
        registry.answer(question(1), lambda *_: ([], list(twice)))

    assert register(registry, 2, "b.example")["registered"] is True


def test_a_handler_that_fails_leaves_the_registry_as_it_was(registry, other):
    with pytest.raises(ZeroDivisionError):
        registry.answer(question(1), lambda *_: 1 / 0)

    assert register(other, 2)["registered"] is True


def test_a_question_waits_while_another_instance_writes(path, registry, monkeypatch):
    monkeypatch.setattr("domain_service.registry.BUSY_SECONDS", 0.01)
    hurried = RegistryFile(path)

    def ask_meanwhile(*_):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            register(hurried, 2)
        return [], []

    registry.answer(question(1), ask_meanwhile)
    assert register(hurried, 2)["registered"] is True
    hurried.close()


async def test_questions_at_the_same_time_are_answered_one_after_the_other(registry, other):
    asked = [asyncio.to_thread(register, which, seq) for seq, which in enumerate([registry, other] * 20)]

    answers = await asyncio.gather(*asked)

    assert sum(answer["registered"] for answer in answers) == 1


# One of several programs that all want the same names: it starts when told, and tells which names it got.
CUSTOMER = """
import json, pathlib, sys
from domain_service.handlers import register_domain
from domain_service.registry import RegistryFile

registry = RegistryFile(pathlib.Path(sys.argv[1]))
first_seq = int(sys.stdin.readline())
got = []
for seq in range(first_seq, first_seq + 100):
    question = {"seq": seq, "epoch": "e", "time": "2026-11-23T09:00:00Z", "data": {"name": f"n{seq % 100}.example"}}
    [event] = registry.answer(question, register_domain)
    got += [event["data"]["name"]] * event["data"]["registered"]
print(json.dumps(got))
"""


def test_programs_that_race_for_the_same_names_each_get_others(path):
    # They open the file, which is not there yet, at the same time too.
    command = [sys.executable, "-c", CUSTOMER, str(path)]
    programs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        for number, program in enumerate(programs):
            program.stdin.write(f"{number * 100}\n")
            program.stdin.flush()

        got = [name for program in programs for name in json.loads(program.communicate(timeout=30)[0])]
    finally:
        for program in programs:
            program.kill()

    assert sorted(got) == sorted(f"n{number}.example" for number in range(100))


def test_opening_waits_for_an_instance_that_is_making_the_same_file(path, monkeypatch):
    path.parent.mkdir()
    maker = sqlite3.connect(path, isolation_level=None)
    maker.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(time, "sleep", lambda _: maker.rollback())

    registry = RegistryFile(path)

    assert register(registry, 1)["registered"] is True
    registry.close()
    maker.close()


def test_opening_does_not_wait_for_ever(path, monkeypatch):
    path.parent.mkdir()
    maker = sqlite3.connect(path, isolation_level=None)
    maker.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("domain_service.registry.BUSY_SECONDS", 0.05)

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        RegistryFile(path)
    maker.close()


def test_what_is_no_database_is_not_opened(path):
    path.parent.mkdir()
    path.write_text("a letter " * 1000)

    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        RegistryFile(path)
