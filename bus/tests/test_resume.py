"""Coming back: what waited is delivered once, in order, and who may have missed something is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bus_under_test import Bus, Socket, StartBus, StartProcess
from eventbus.config import Settings
from eventbus.log import Log

SERVICE = {"action": "authenticate", "credentials": "the-service"}


@pytest.fixture
async def bus(start: StartBus, log: Log) -> Bus:
    return await start(log)


async def publish_many(bus: Bus, *names: str, token: str | None = None) -> list[int]:
    service = None if token else "the-service"
    return [(await bus.publish(name, token=token, service=service))["seq"] for name in names]


async def trim(log: Log, *, keep: int) -> None:
    while await log.trim(keep=keep):
        pass


async def seqs(socket: Socket, count: int) -> list[int]:
    return [(await socket.hear())["seq"] for _ in range(count)]


async def test_a_client_that_comes_back_gets_what_waited_for_it_and_nothing_else(bus: Bus) -> None:
    async with bus.client() as anna, bus.client() as bert:
        [seen] = await publish_many(bus, "seen", token=anna.token)
    await publish_many(bus, "for-bert", token=bert.token)
    await publish_many(bus, "waited-1", "waited-2", token=anna.token)
    await publish_many(bus, "for-nobody")

    async with bus.socket() as again:
        answer = await again.ask({"action": "identify", "token": anna.token, "after": seen})

        assert (answer["resumed"], answer["address"]) == (True, anna.address)
        assert "gap" not in answer
        assert "oldest" not in answer
        assert await again.hear_names(2) == ["waited-1", "waited-2"]
        await publish_many(bus, "live", token=anna.token)
        assert await again.hear_names(1) == ["live"]


async def test_a_client_that_sends_no_position_gets_live_events_only(bus: Bus) -> None:
    token = await bus.new_token()
    await publish_many(bus, "missed", token=token)

    async with bus.client(token) as anna:
        await publish_many(bus, "live", token=token)

        assert await anna.hear_names(1) == ["live"]


async def test_a_client_whose_token_is_not_known_begins_anew(bus: Bus) -> None:
    await publish_many(bus, "hi")

    async with bus.socket() as anna:
        answer = await anna.ask({"action": "identify", "token": "token-unknown", "after": 0})
        assert not answer["resumed"]
        assert answer["seq"] == 1
        await publish_many(bus, "live", token=answer["token"])

        assert await anna.hear_names(1) == ["live"]


async def test_a_service_reads_the_log_from_a_position_on(bus: Bus) -> None:
    [first, *_] = await publish_many(bus, "a", "b", "c")

    async with bus.socket() as service:
        answer = await service.ask(SERVICE | {"after": first})
        await publish_many(bus, "live")

        assert answer["seq"] == 3
        assert await service.hear_names(3) == ["b", "c", "live"]


async def test_a_service_gets_only_the_names_that_it_asks_for(bus: Bus) -> None:
    await publish_many(bus, "check-domain", "renew-domain")

    async with bus.socket() as service:
        await service.ask(SERVICE | {"after": 0, "names": ["check-*", "register-domain"]})
        await publish_many(bus, "renew-domain", "register-domain")

        assert await service.hear_names(2) == ["check-domain", "register-domain"]


async def test_names_only_narrow_what_the_services_file_allows(bus: Bus) -> None:
    await publish_many(bus, "register-domain", "check-domain")

    async with bus.socket() as some:
        await some.ask({"action": "authenticate", "credentials": "the-answerer", "names": ["*"], "after": 0})
        await publish_many(bus, "renew-domain", "check-name")

        assert await some.hear_names(3) == ["register-domain", "check-domain", "check-name"]


async def test_a_name_that_is_no_pattern_is_an_error_and_the_connection_stays(bus: Bus) -> None:
    async with bus.socket() as service:
        answer = await service.ask(SERVICE | {"names": ["check domain"]})

        assert answer["action"] == "authenticate"
        assert "'check domain' is no name pattern" in answer["error"]
        assert (await service.ask(SERVICE))["authenticated"]


async def test_a_replay_goes_over_into_live_events_without_gap_or_repeat_under_load(bus: Bus) -> None:
    waited = await publish_many(bus, *[f"waited-{n}" for n in range(300)])

    async with bus.socket() as early, bus.socket() as late:
        await early.ask(SERVICE | {"after": 0})
        publishing = asyncio.gather(*[publish_many(bus, *[f"live-{n}-{m}" for m in range(50)]) for n in range(8)])
        await asyncio.sleep(0)
        await late.ask(SERVICE | {"after": waited[99]})
        live = sorted(seq for some in await publishing for seq in some)

        assert await seqs(early, 700) == waited + live
        assert await seqs(late, 600) == waited[100:] + live


async def test_many_clients_come_back_at_once_and_each_gets_its_own(bus: Bus) -> None:
    tokens = [await bus.new_token() for _ in range(50)]
    expected = {token: await publish_many(bus, "one", "two", "three", token=token) for token in tokens}

    async def come_back(token: str) -> list[int]:
        async with bus.socket() as client:
            await client.ask({"action": "identify", "token": token, "after": 0})
            return await seqs(client, 3)

    assert dict(zip(tokens, await asyncio.gather(*map(come_back, tokens)), strict=True)) == expected


class TestWhatIsGone:
    @pytest.mark.parametrize("keys", [{"after": 5}, {"after": 0, "epoch": "another"}], ids=["head", "epoch"])
    async def test_a_position_in_another_log_is_a_gap(self, bus: Bus, keys: dict[str, Any]) -> None:
        await publish_many(bus, "a", "b")

        async with bus.socket() as service:
            answer = await service.ask(SERVICE | keys)

            assert (answer["gap"], answer["oldest"]) == (True, 1)
            assert await service.hear_names(2) == ["a", "b"]

    async def test_a_group_goes_on_in_another_log_and_its_member_is_told(self, bus: Bus) -> None:
        await publish_many(bus, "a", "b")
        async with bus.socket() as member:
            await member.ask(SERVICE | {"group": "g", "after": 0})
            assert await member.hear_names(2) == ["a", "b"]
            await member.say({"action": "ack", "seq": [1, 2]})
            assert "error" in await member.ask({"action": "identify"})  # by now the ack was heard

        async with bus.socket() as same, bus.socket() as other:
            epoch = (await _head(bus))["epoch"]
            assert "gap" not in await same.ask(SERVICE | {"group": "g", "epoch": epoch})
            answer = await other.ask(SERVICE | {"group": "g", "epoch": "another"})

        assert (answer["gap"], answer["oldest"]) == (True, 3)

    async def test_a_service_is_told_what_retention_took_and_begins_at_the_oldest(self, bus: Bus, log: Log) -> None:
        positions = await publish_many(bus, *"abcd")
        await trim(log, keep=2)

        async with bus.socket() as service, bus.socket() as newer:
            answer = await service.ask(SERVICE | {"after": positions[0], "epoch": log.epoch})
            assert (answer["gap"], answer["oldest"]) == (True, positions[2])
            assert await service.hear_names(2) == ["c", "d"]

            assert "gap" not in await newer.ask(SERVICE | {"after": positions[1], "epoch": log.epoch})
            assert await newer.hear_names(2) == ["c", "d"]

    async def test_a_client_is_told_only_of_what_was_for_it(self, bus: Bus, log: Log) -> None:
        anna, bert = await bus.new_token(), await bus.new_token()
        [lost] = await publish_many(bus, "lost", token=anna)
        await publish_many(bus, "for-nobody")
        [kept] = await publish_many(bus, "kept", token=bert)
        await trim(log, keep=1)

        async with bus.socket() as idle, bus.socket() as behind, bus.socket() as up_to_date:
            assert "gap" not in await idle.ask({"action": "identify", "token": bert, "after": 0})
            assert await idle.hear_names(1) == ["kept"]
            answer = await behind.ask({"action": "identify", "token": anna, "after": lost - 1})
            assert (answer["gap"], answer["oldest"]) == (True, kept)
            assert "gap" not in await up_to_date.ask({"action": "identify", "token": anna, "after": lost})

    async def test_a_log_of_which_everything_went_still_knows_it(self, bus: Bus, log: Log) -> None:
        await publish_many(bus, "a", "b")
        await trim(log, keep=0)

        async with bus.socket() as service:
            answer = await service.ask(SERVICE | {"after": 1})

            assert (answer["gap"], answer["oldest"], answer["seq"]) == (True, 3, 2)

    async def test_one_that_retention_overtakes_in_a_replay_is_closed_and_told_when_it_comes_back(
        self, start: StartBus, log: Log
    ) -> None:
        bus = await start(log, settings=Settings(send_buffer=10_000))
        large = {"data": "x" * 200_000}
        for name in ("a", "b", "c", *["d"] * 100):
            await bus.publish(name, service="the-service", **large)

        async with bus.socket() as slow:
            await slow.ask(SERVICE | {"after": 0})
            first = await slow.hear()
            await trim(log, keep=1)
            last = first["seq"]
            while (message := await slow.ws.receive()).type.name == "TEXT":
                last = message.json()["seq"]
            code = slow.ws.close_code

        assert code == 4408
        assert last < log.trimmed
        async with bus.socket() as again:
            answer = await again.ask(SERVICE | {"after": last, "epoch": log.epoch})
            assert (answer["gap"], answer["oldest"]) == (True, log.trimmed + 1)


async def test_a_client_finds_its_events_after_the_bus_was_killed(run: StartProcess) -> None:
    bus = await run()
    async with bus.client() as anna:
        token = anna.token
        [seen] = await publish_many(bus, "seen", token=token)
        await publish_many(bus, "waited", token=token)
    epoch = (await _head(bus))["epoch"]
    await bus.kill()

    bus = await run()

    async with bus.socket() as again:
        answer = await again.ask({"action": "identify", "token": token, "after": seen, "epoch": epoch})
        assert answer["resumed"]
        assert "gap" not in answer
        assert await again.hear_names(1) == ["waited"]


async def _head(bus: Bus) -> Any:
    async with bus.socket() as service:
        return await service.ask(SERVICE)
