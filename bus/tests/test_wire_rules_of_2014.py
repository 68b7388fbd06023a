"""What the original page and services say on the wire, byte by byte; they know nothing newer."""

from __future__ import annotations

from bus_under_test import ORIGIN, Bus


async def test_the_page_identifies_itself_and_sends_a_form_that_is_json(bus: Bus) -> None:
    async with bus.socket(headers={"Origin": ORIGIN}) as page:
        await page.ws.send_str('{"action":"identify"}')
        answer = await page.hear()
        assert answer["action"] == "identify"

        published = await bus.post(
            {"name": "check-domain", "context": {"identifier": answer["token"]}, "data": ["example.com"]},
            Origin=ORIGIN,
            **{"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"},
        )

        assert published.status == 200
        assert isinstance(published.json, dict)  # jQuery was told to expect JSON
        event = await page.hear()
        assert "action" not in event
        assert (event["name"], event["data"]) == ("check-domain", ["example.com"])


async def test_the_page_that_has_no_token_yet_is_refused(bus: Bus) -> None:
    answer = await bus.post({"name": "check-domain", "context": {}, "data": ["example.com"]}, Origin=ORIGIN)

    assert answer.status == 401


async def test_the_node_service_sends_the_page_s_origin_and_answers_with_a_raw_token(bus: Bus) -> None:
    async with bus.client() as anna, bus.socket(headers={"Origin": ORIGIN}) as service:
        await service.ws.send_str('{"action":"authenticate","credentials":"the-answerer"}')
        answer = await service.hear()
        assert (answer["action"], answer["authenticated"]) == ("authenticate", True)
        assert "name" not in answer  # it looks at the name of everything it hears

        await bus.publish("check-domain", token=anna.token, data=["example.com"])
        event = await service.hear()
        results = [{"name": name, "availability": "available"} for name in event["data"]]
        message = {"name": "check-domain-completed", "data": results, "context": event["context"]}
        delivered = await bus.post(message, authorization="the-answerer", **{"Content-Type": "application/json"})

        assert delivered.status == 200
        assert await anna.hear_names(1) == ["check-domain"]
        assert (await anna.hear())["data"] == [{"name": "example.com", "availability": "available"}]


async def test_the_ruby_service_sends_no_origin(bus: Bus) -> None:
    async with bus.service("the-answerer") as service, bus.client() as anna:
        await bus.publish("register-domain", token=anna.token, data={"name": "example.com"})

        event = await service.hear()

        assert {"name", "data", "context"} <= event.keys()
        assert event["context"]["identifier"]


async def test_what_node_s_request_write_sends_is_an_event(bus: Bus) -> None:
    """`http.request(...)`, `write(json)` and `end()`: no length, one chunk, and the last one, which is empty."""
    event = b'{"name":"check-domain-completed","data":["example.com"],"context":{}}'

    answer = await bus.raw(
        b"POST / HTTP/1.1\r\nAuthorization: the-answerer\r\nOrigin: %b\r\nHost: localhost:3001\r\n"
        b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (ORIGIN.encode(), len(event), event)
    )

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [stored["name"] for stored in await bus.events()] == ["check-domain-completed"]


async def test_an_unknown_action_is_answered_with_an_error(bus: Bus) -> None:
    async with bus.socket() as socket:
        answer = await socket.ask({"action": "dance"})

    assert answer["action"] == "dance"
    assert isinstance(answer["error"], str)


async def test_an_answer_s_context_is_the_question_s(bus: Bus) -> None:
    async with bus.client() as anna, bus.service() as service:
        await bus.publish("hi", token=anna.token)
        context = (await service.hear())["context"]

        assert all(isinstance(value, str) for value in context.values())
