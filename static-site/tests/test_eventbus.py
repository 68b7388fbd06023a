"""What `eventbus.js` promises a page, each promise in a real browser against a server that misbehaves as told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from obedient_bus import BROKEN, ObedientBus
from playwright.sync_api import Error, Page, Route

# A page that keeps all it is told, in `statuses` and `heard`; it retries at once unless a test says otherwise.
START = """async (options) => {
  const { EventBus } = await import("/eventbus.js");
  Object.assign(window, { statuses: [], heard: [] });
  window.bus = new EventBus(location.origin, options ?? { retryDelay: () => 0 });
  bus.onStatus((status) => statuses.push(status));
  bus.on("answer", ({ data }) => heard.push(data));
  bus.connect();
}"""
NEVER = "() => 1e9"


@pytest.fixture
def client(page: Page, bus: ObedientBus) -> Iterator[Page]:
    """A page that is connected to the bus."""
    page.goto(bus.url + "/blank")
    page.evaluate(START)
    connected(page)
    yield page
    page.close()  # before the bus is gone


def connected(page: Page) -> None:
    page.wait_for_function("bus.status === 'connected'")


def reconnected(page: Page, bus: ObedientBus, times: int) -> None:
    bus.wait_for(lambda: len(bus.commands) == times)
    connected(page)


def has_heard(page: Page, *data: object) -> None:
    """Wait until the page's listener was called so often; it must have been with these data, in this order."""
    page.wait_for_function(f"heard.length >= {len(data)}")
    assert page.evaluate("heard") == list(data)


def send(page: Page, data: object = None) -> Any:
    """Send and wait for what became of it: the receipt, or the error's message."""
    return page.evaluate("(data) => bus.send('question', data).catch((error) => error.message)", data)


def with_delay(delay: str) -> str:
    """Return a script that starts a page whose retry delay is this JavaScript function."""
    return f"() => ({START})({{ retryDelay: {delay} }})"


# Connecting.


def test_a_page_identifies_itself_and_says_how_it_stands(client: Page, bus: ObedientBus) -> None:
    assert client.evaluate("statuses") == ["closed", "connecting", "connected"]
    assert bus.commands == [{"action": "identify"}]


@pytest.mark.parametrize("code", [1001, 1008, 1011, 1012, 4401, 4408])
def test_it_comes_back_as_the_same_client(client: Page, bus: ObedientBus, code: int) -> None:
    bus.push("answer", 1)
    has_heard(client, 1)

    bus.close(code)

    reconnected(client, bus, times=2)
    assert bus.commands[1] == {"action": "identify", "token": "token-1", "after": 11, "epoch": "epoch-1"}
    assert client.evaluate("statuses.slice(2)") == ["connected", "reconnecting", "connected"]


@pytest.mark.parametrize("code", [1003, 1007, 1009, 4403])
def test_it_does_not_come_back_where_that_would_change_nothing(client: Page, bus: ObedientBus, code: int) -> None:
    client.clock.install()

    bus.close(code)

    client.wait_for_function("bus.status === 'refused'")
    client.clock.run_for(3_600_000)
    assert send(client) == "the bus has refused this page"
    assert len(bus.commands) == 1
    assert not bus.posts


def test_a_connection_that_never_opens_is_given_up_after_ten_seconds(page: Page, bus: ObedientBus) -> None:
    bus.hanging = True
    page.clock.install()
    page.goto(bus.url + "/blank")
    page.evaluate(START)
    bus.wait_for(lambda: bus.attempts == 1)
    bus.hanging = False

    page.clock.run_for(10_000)

    reconnected(page, bus, times=1)
    assert bus.attempts == 2


def test_a_bus_that_does_not_answer_is_given_up_after_ten_seconds(page: Page, bus: ObedientBus) -> None:
    bus.silent = True
    page.clock.install()
    page.goto(bus.url + "/blank")
    page.evaluate(START)
    bus.wait_for(lambda: len(bus.commands) == 1)
    bus.silent = False

    page.clock.run_for(10_000)

    reconnected(page, bus, times=2)


def test_it_waits_longer_after_each_failure_and_never_more_than_five_seconds(page: Page, bus: ObedientBus) -> None:
    page.goto(bus.url + "/blank")
    bus.gone = True
    page.evaluate("""() => {
      const { setTimeout } = window;
      window.delays = [];
      window.setTimeout = (callback, ms) => {
        const isDelay = ms !== 10_000; // else it is the limit for opening a connection
        if (isDelay) delays.push(ms);
        return setTimeout(callback, isDelay ? 0 : ms);
      };
      Math.random = () => 1; // the longest that full jitter may come to
    }""")

    page.evaluate(f"() => ({START})({{}})")

    page.wait_for_function("delays.length >= 6")
    assert page.evaluate("delays.slice(0, 6)") == [500, 1000, 2000, 4000, 5000, 5000]


def test_it_waits_anything_between_nothing_and_that(page: Page, bus: ObedientBus) -> None:
    page.goto(bus.url + "/blank")
    bus.gone = True
    page.evaluate("Math.random = () => 0")

    page.evaluate(f"() => ({START})({{}})")

    bus.wait_for(lambda: bus.attempts >= 10)


@pytest.mark.parametrize(("seconds", "failures"), [(5, [0, 0, 0]), (4, [0, 1, 2])])
def test_a_connection_that_lasts_ends_the_count_of_failures(
    page: Page, bus: ObedientBus, seconds: int, failures: list[int]
) -> None:
    page.clock.install()
    page.goto(bus.url + "/blank")
    page.evaluate("window.failures = []")
    page.evaluate(with_delay("(count) => (failures.push(count), 0)"))
    connected(page)
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))

    for times in (2, 3, 4):
        page.clock.run_for(seconds * 1000)
        bus.close(1012)
        page.wait_for_function(f"failures.length === {times - 1}")
        page.clock.run_for(1)
        reconnected(page, bus, times=times)

    assert page.evaluate("failures") == failures


@pytest.mark.parametrize("sign", ["window, 'online'", "document, 'visibilitychange'"])
def test_it_comes_back_at_once_when_the_browser_gives_a_sign(page: Page, bus: ObedientBus, sign: str) -> None:
    page.goto(bus.url + "/blank")
    page.evaluate(with_delay(NEVER))
    connected(page)
    bus.close(1012)
    page.wait_for_function("bus.status === 'reconnecting'")

    page.evaluate(f"((target, type) => target.dispatchEvent(new Event(type)))({sign})")

    reconnected(page, bus, times=2)


def test_being_online_again_replaces_a_connection_that_only_looks_open(client: Page, bus: ObedientBus) -> None:
    client.evaluate("dispatchEvent(new Event('online'))")

    reconnected(client, bus, times=2)
    bus.wait_for(lambda: bus.connections == 1)  # the end of the old one must not be taken for the end of the new one
    bus.push("answer", "once")
    has_heard(client, "once")
    assert bus.attempts == 2


def quiet_for(page: Page, seconds: int) -> None:
    """Let so much time pass for the page; its clock must be installed."""
    page.clock.run_for(seconds * 1000)


def test_a_quiet_connection_is_asked_for_a_sign_and_stays_if_it_gives_one(client: Page, bus: ObedientBus) -> None:
    client.clock.install()
    bus.push("answer", "the last for a while")
    has_heard(client, "the last for a while")

    for times in range(1, 4):
        quiet_for(client, 20)
        bus.wait_for(lambda times=times: len(bus.commands) == 1 + times)  # type: ignore[misc]
        client.evaluate("new Promise((resolve) => setTimeout(resolve))")

    assert bus.commands[1:] == [{"action": "ping"}] * 3
    assert bus.attempts == 1


def test_a_connection_that_gives_no_sign_is_left_after_ten_seconds(client: Page, bus: ObedientBus) -> None:
    client.clock.install()
    bus.push("answer", "the last")
    has_heard(client, "the last")
    bus.silent = True
    quiet_for(client, 20)
    bus.wait_for(lambda: len(bus.commands) == 2)
    bus.silent = False

    quiet_for(client, 10)

    reconnected(client, bus, times=3)
    assert bus.commands[2] == {"action": "identify", "token": "token-1", "after": 11, "epoch": "epoch-1"}


def test_a_page_that_is_looked_at_again_asks_at_once(client: Page, bus: ObedientBus) -> None:
    client.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    bus.wait_for(lambda: len(bus.commands) == 2)
    assert bus.commands[1] == {"action": "ping"}


def test_a_connection_over_which_a_published_event_does_not_come_back_is_left(client: Page, bus: ObedientBus) -> None:
    client.clock.install()
    send(client)  # this bus brings nothing back by itself
    quiet_for(client, 9)
    send(client, "again, as the impatient do")
    assert bus.attempts == 1

    quiet_for(client, 1)

    reconnected(client, bus, times=2)


def test_a_connection_over_which_a_published_event_comes_back_stays(client: Page, bus: ObedientBus) -> None:
    client.clock.install()
    send(client)
    bus.push("answer", "after the echo")
    has_heard(client, "after the echo")

    quiet_for(client, 15)

    assert bus.attempts == 1


def test_close_leaves_for_good_and_connect_returns(client: Page, bus: ObedientBus) -> None:
    client.evaluate("bus.close()")
    client.evaluate("dispatchEvent(new Event('online'))")
    assert client.evaluate("statuses.at(-1)") == "closed"

    client.evaluate("bus.connect()")

    reconnected(client, bus, times=2)
    assert client.evaluate("statuses.slice(-3)") == ["closed", "connecting", "connected"]


def test_what_still_comes_over_a_socket_that_was_left_is_not_heard(client: Page, bus: ObedientBus) -> None:
    client.evaluate("WebSocket.prototype.close = () => {}")  # the old socket lives on
    client.evaluate("bus.close()")
    bus.push("answer", "after leaving")
    client.evaluate("bus.connect()")
    reconnected(client, bus, times=2)

    bus.push("answer", "after coming back")

    has_heard(client, "after coming back")


# What a reload keeps.


def test_a_reload_keeps_the_identity_and_the_place(client: Page, bus: ObedientBus) -> None:
    bus.push("answer", 1)
    has_heard(client, 1)

    client.reload()
    client.evaluate(START)

    reconnected(client, bus, times=2)
    assert bus.commands[1] == {"action": "identify", "token": "token-1", "after": 11, "epoch": "epoch-1"}


def test_what_waited_to_be_sent_is_sent_after_a_reload_once(client: Page, bus: ObedientBus) -> None:
    bus.gone = True
    bus.close(1012)
    client.wait_for_function("bus.status === 'reconnecting'")
    client.evaluate("() => { for (const data of ['first', 'second']) bus.send('question', data); }")

    client.reload()
    bus.gone = False
    client.evaluate(START)
    send(client, "third")
    client.reload()
    client.evaluate(START)
    send(client, "fourth")

    assert [post["data"] for post in bus.posts] == ["first", "second", "third", "fourth"]
    first, second, *_ = (post["id"] for post in bus.posts)
    assert first.removesuffix("-1") == second.removesuffix("-2")


def test_another_window_is_another_client(client: Page, bus: ObedientBus) -> None:
    other = client.context.new_page()
    other.goto(bus.url + "/blank")
    other.evaluate(START)

    reconnected(other, bus, times=2)
    assert bus.commands[1] == {"action": "identify"}
    other.close()


# One identity, one instance.


def duplicate(page: Page) -> Page:
    """Open a tab that has a copy of this one's storage, as 'Duplicate tab' does, and start a page in it."""
    with page.expect_popup() as opened:
        page.evaluate("window.open(location.href)")
    opened.value.wait_for_load_state()
    opened.value.evaluate(START)
    return opened.value


def identifiers(bus: ObedientBus) -> list[str]:
    return [post["context"]["identifier"] for post in bus.posts]


def go_offline(page: Page, bus: ObedientBus) -> None:
    bus.gone = True
    bus.close(1012)
    page.wait_for_function("bus.status === 'reconnecting'")


def test_a_duplicated_tab_is_another_client_and_sends_nothing_of_the_firsts(client: Page, bus: ObedientBus) -> None:
    client.evaluate("() => { window.WebSocket = class { close() {} }; }")  # so that the first stays away
    bus.close(1012)
    client.wait_for_function("bus.status === 'reconnecting'")
    client.evaluate("() => { bus.send('question', 'once'); }")

    other = duplicate(client)
    connected(other)
    assert send(other, "of the second")["seq"] == 11
    other.reload()
    other.evaluate(START)
    connected(other)

    assert send(other, "of the second, again")["seq"] == 12
    assert [post["data"] for post in bus.posts] == ["of the second", "of the second, again"]
    assert identifiers(bus) == ["token-2", "token-2"]
    kept = "JSON.parse(sessionStorage.getItem('eventbus outbox ' + location.origin)).map(({ data }) => data)"
    assert client.evaluate(kept) == ["once"]


def test_a_duplicated_tab_is_told_that_it_is_one(client: Page, bus: ObedientBus) -> None:
    with client.expect_popup() as opened:
        client.evaluate("window.open(location.href)")
    other = opened.value
    other.wait_for_load_state()
    other.evaluate(f"""async () => {{
      await ({START})();
      window.gaps = [];
      bus.onGap((why) => gaps.push(why));
    }}""")
    connected(other)

    assert other.evaluate("gaps") == ["copied"]
    client.evaluate("() => { window.gaps = []; bus.onGap((why) => gaps.push(why)); }")
    bus.close(1012)
    bus.wait_for(lambda: len(bus.commands) == 4)
    connected(client)
    assert client.evaluate("gaps") == []


def test_a_tab_that_was_closed_and_opened_again_is_the_same_client(client: Page, bus: ObedientBus) -> None:
    go_offline(client, bus)
    client.evaluate("() => { bus.send('question', 'once'); }")
    with client.expect_popup() as opened:
        client.evaluate("window.open(location.href)")  # what is restored has the storage of the one before
    client.close()
    bus.gone = False

    opened.value.wait_for_load_state()
    opened.value.evaluate(START)

    bus.wait_for(lambda: len(bus.posts) == 1)
    assert identifiers(bus) == ["token-1"]


def test_two_instances_on_a_page_are_two_clients_and_a_reload_keeps_both(client: Page, bus: ObedientBus) -> None:
    start = f"async () => {{ const first = window.bus; await ({START})(); window.second = bus; window.bus = first; }}"
    client.evaluate(start)
    client.wait_for_function("second.status === 'connected'")
    go_offline(client, bus)
    client.wait_for_function("second.status === 'reconnecting'")
    client.evaluate("() => { bus.send('question', 'of the first'); second.send('question', 'of the second'); }")

    client.reload()
    bus.gone = False
    client.evaluate(START)
    client.evaluate(start)

    bus.wait_for(lambda: len(bus.posts) == 2)
    clients = {post["data"]: post["context"]["identifier"] for post in bus.posts}
    assert clients == {"of the first": "token-1", "of the second": "token-2"}


@pytest.mark.parametrize("locks", ["navigator.locks", "undefined"], ids=["with locks", "without locks"])
def test_instances_that_are_made_and_left_one_after_the_other_are_one_client(
    page: Page, bus: ObedientBus, locks: str
) -> None:
    page.goto(bus.url + "/blank")
    page.evaluate(f"Object.defineProperty(navigator, 'locks', {{ value: {locks} }}); 0")
    page.evaluate(START)
    connected(page)

    for _ in range(3):  # as a framework does that mounts everything twice
        page.evaluate(f"() => {{ bus.close(); bus.connect(); bus.close(); return ({START})(); }}")

    connected(page)
    assert send(page)["seq"] == 11
    assert identifiers(bus) == ["token-1"]


def test_what_is_sent_while_the_place_is_taken_comes_after_what_was_kept(client: Page, bus: ObedientBus) -> None:
    go_offline(client, bus)
    client.evaluate("() => { bus.send('question', 'kept'); }")
    client.reload()
    bus.gone = False

    client.evaluate(f"() => {{ ({START})(); }}")
    client.wait_for_function("window.bus")
    client.evaluate("bus.send('question', 'sent at once')")

    assert [post["data"] for post in bus.posts] == ["kept", "sent at once"]


def test_where_locks_are_forbidden_a_reload_keeps_the_identity(page: Page, bus: ObedientBus) -> None:
    page.add_init_script("LockManager.prototype.request = async () => { throw new DOMException('', 'SecurityError') }")
    page.goto(bus.url + "/blank")
    for times in (1, 2):
        page.evaluate(START)
        reconnected(page, bus, times=times)
        page.reload()

    assert bus.commands[1]["token"] == "token-1"


@pytest.mark.parametrize(
    "storage",
    ["() => { throw new DOMException('denied', 'SecurityError') }", "() => ({ getItem: () => 'null', setItem() {} })"],
    ids=["forbidden", "nonsense"],
)
def test_it_works_without_storage(page: Page, bus: ObedientBus, storage: str) -> None:
    page.add_init_script(f"Object.defineProperty(window, 'sessionStorage', {{ get: {storage} }})")
    page.goto(bus.url + "/blank")

    page.evaluate(START)

    connected(page)
    assert send(page)["seq"] == 11


@pytest.mark.parametrize("kept", ["5", "{}", "true", '"abc"', "[null]", "[5]", '[{"name": 5}]', "[[1]]", "{bad"])
def test_what_a_reload_kept_to_be_sent_is_forgotten_if_it_cannot_be_understood(
    page: Page, bus: ObedientBus, kept: str
) -> None:
    page.goto(bus.url + "/blank")
    page.evaluate("(kept) => sessionStorage.setItem('eventbus outbox ' + location.origin, kept)", kept)
    page.evaluate(START)

    assert send(page, "mine")["seq"] == 11

    assert [post["data"] for post in bus.posts] == ["mine"]


@pytest.mark.parametrize(
    "kept", ['{"token": 5}', '{"token": "token-1", "after": "x", "epoch": "epoch-1"}', '{"action": "ping"}', "5", "[5]"]
)
def test_an_identity_that_the_bus_does_not_understand_is_forgotten(page: Page, bus: ObedientBus, kept: str) -> None:
    page.goto(bus.url + "/blank")
    page.evaluate("(kept) => sessionStorage.setItem('eventbus session ' + location.origin, kept)", kept)

    page.evaluate(START)

    connected(page)
    assert send(page)["seq"] == 11
    assert bus.posts[0]["context"] == {"identifier": "token-1"}


def test_an_identity_that_the_bus_does_not_take_for_the_moment_is_kept(client: Page, bus: ObedientBus) -> None:
    client.evaluate("() => { window.gaps = 0; bus.onGap(() => gaps++); }")
    bus.refusals.append("this client has 20 connections already; close some")

    bus.close(1012)

    reconnected(client, bus, times=3)
    assert bus.commands[-1]["token"] == "token-1"
    assert client.evaluate("gaps") == 0


def test_who_had_an_identity_that_the_bus_never_takes_is_told_of_a_gap(client: Page, bus: ObedientBus) -> None:
    client.evaluate("() => { window.gaps = 0; bus.onGap(() => gaps++); }")
    bus.refusals.extend(["expected `int`, got `str`"] * 2)

    bus.close(1012)

    reconnected(client, bus, times=4)
    assert client.evaluate("gaps") == 1
    assert bus.posts == []


def test_it_waits_longer_and_longer_for_a_bus_that_always_answers_with_an_error(page: Page, bus: ObedientBus) -> None:
    bus.refusals.extend(["new identities come too fast"] * 4)
    page.goto(bus.url + "/blank")
    page.evaluate("window.failures = []")

    page.evaluate(with_delay("(count) => (failures.push(count), 0)"))

    reconnected(page, bus, times=5)
    assert page.evaluate("failures") == [0, 1, 2, 3]


# What comes in.


def test_events_are_heard_once_and_in_order(client: Page, bus: ObedientBus) -> None:
    for seq in (11, 12, 12, 11, 13):
        bus.push("answer", seq, seq=seq)

    has_heard(client, 11, 12, 13)


def test_what_was_heard_is_not_heard_again_after_coming_back(client: Page, bus: ObedientBus) -> None:
    bus.push("answer", "old")
    has_heard(client, "old")
    bus.close(1012)
    reconnected(client, bus, times=2)

    bus.push("answer", "old", seq=11)
    bus.push("answer", "new")

    has_heard(client, "old", "new")


def test_a_new_identity_begins_at_the_place_the_bus_names(client: Page, bus: ObedientBus) -> None:
    bus.resumes, bus.epoch, bus.head = False, "epoch-2", 3  # a new, shorter log
    bus.close(1012)
    reconnected(client, bus, times=2)

    bus.push("answer", "first of the new log")

    has_heard(client, "first of the new log")
    stored = client.evaluate("JSON.parse(sessionStorage.getItem('eventbus session ' + location.origin))")
    assert stored == {"token": "token-2", "epoch": "epoch-2", "after": 4}


def test_a_known_client_of_another_log_begins_at_its_head(client: Page, bus: ObedientBus) -> None:
    bus.epoch, bus.head = "epoch-2", 3
    bus.close(1012)
    reconnected(client, bus, times=2)

    bus.push("answer", "first of the new log")

    has_heard(client, "first of the new log")


def test_after_a_gap_it_begins_at_the_oldest_event_that_is_left(client: Page, bus: ObedientBus) -> None:
    bus.identify_extra = {"gap": True, "oldest": 5, "seq": 20}
    bus.epoch = "epoch-2"
    bus.close(1012)
    reconnected(client, bus, times=2)

    bus.push("answer", "replayed", seq=5)

    has_heard(client, "replayed")


@pytest.mark.parametrize("lost", ["events", "the identity"])
def test_the_page_is_told_that_something_may_be_gone(client: Page, bus: ObedientBus, lost: str) -> None:
    client.evaluate("() => { window.gaps = 0; bus.onGap(() => gaps++); }")
    if lost == "events":
        bus.identify_extra = {"gap": True, "oldest": 5}
    else:
        bus.resumes = False

    bus.close(1012)

    client.wait_for_function("gaps === 1")
    assert client.evaluate("bus.status") == "connected"


def test_the_page_is_told_of_no_gap_where_there_is_none(page: Page, bus: ObedientBus) -> None:
    page.goto(bus.url + "/blank")
    page.evaluate(START)
    page.evaluate("() => { window.gaps = 0; window.stop = bus.onGap(() => gaps++); }")
    connected(page)

    bus.close(1012)
    reconnected(page, bus, times=2)
    page.evaluate("stop()")
    bus.identify_extra = {"gap": True, "oldest": 5}
    bus.close(1012)
    reconnected(page, bus, times=3)

    assert page.evaluate("gaps") == 0


def test_a_listener_that_throws_stops_nobody_and_is_reported(client: Page, bus: ObedientBus) -> None:
    client.evaluate("""() => {
      window.order = [];
      bus.on("news", () => { throw new Error("my own fault"); });
      bus.on("news", ({ data }) => order.push(data));
    }""")

    with client.expect_event("pageerror") as reported:
        bus.push("news", "still told")

    client.wait_for_function("order.length === 1")
    assert reported.value.message == "my own fault"
    assert client.evaluate("bus.status") == "connected"


def test_a_listener_can_stop(client: Page, bus: ObedientBus) -> None:
    client.evaluate("window.once = []; window.stop = bus.on('answer', ({ data }) => { once.push(data); stop(); }); 0")

    bus.push("answer", 1)
    bus.push("answer", 2)

    has_heard(client, 1, 2)
    assert client.evaluate("once") == [1]


def test_a_status_listener_can_stop(client: Page, bus: ObedientBus) -> None:
    client.evaluate("window.mine = []; bus.onStatus((status) => mine.push(status))()")

    bus.close(1012)

    reconnected(client, bus, times=2)
    assert client.evaluate("mine") == ["connected"]


# What goes out.


def send_as(page: Page, chosen: str, data: object = None) -> Any:
    """Send by an id of the caller's."""
    return page.evaluate("([data, id]) => bus.send('question', data, { id })", [data, chosen])


def test_what_still_waits_is_not_sent_again_by_the_same_id_and_both_get_the_receipt(
    client: Page, bus: ObedientBus
) -> None:
    client.evaluate("() => { bus.on('question', ({ data }) => heard.push(data)) }")

    receipts = client.evaluate(
        "Promise.all([bus.send('question', 1, { id: 'mine' }), bus.send('question', 1, { id: 'mine' })])"
    )

    assert receipts == [{"id": "mine", "seq": 11}] * 2
    assert [post["id"] for post in bus.posts] == ["mine"]
    has_heard(client, 1)


def test_what_waits_since_before_a_reload_is_not_sent_again_by_the_same_id(client: Page, bus: ObedientBus) -> None:
    bus.gone = True
    bus.close(1012)
    client.wait_for_function("bus.status === 'reconnecting'")
    client.evaluate("() => { bus.send('question', 1, { id: 'mine' }) }")
    client.reload()
    bus.gone = False
    client.evaluate(START)

    receipt = send_as(client, "mine", 1)

    # It may have reached the bus as the page was left; then this is a duplicate.
    assert (receipt["id"], receipt["seq"]) == ("mine", 11)
    assert {post["id"] for post in bus.posts} == {"mine"}


def test_what_the_bus_has_already_is_sent_again_by_the_same_id_and_known_as_a_duplicate(
    client: Page, bus: ObedientBus
) -> None:
    first = send_as(client, "mine")
    client.evaluate("() => { bus.on('after', () => heard.push('after')) }")
    bus.push("question", id="mine", source="client", seq=first["seq"])
    bus.push("after")
    client.wait_for_function("heard.includes('after')")  # and so the echo, which would be as good as a receipt

    assert send_as(client, "mine") == {**first, "duplicate": True}


def test_the_echo_of_what_was_sent_by_an_id_of_the_callers_is_not_heard_again(client: Page, bus: ObedientBus) -> None:
    client.evaluate("bus.send('answer', 'mine', { id: 'my-own' })")
    bus.wait_for(lambda: len(bus.posts) == 1)

    bus.push("answer", "mine", id="my-own", source="client", seq=11)
    bus.push("answer", "from another tab", id="their-own", source="client")

    has_heard(client, "mine", "from another tab")


def test_an_echo_is_a_receipt_where_the_answer_to_the_post_does_not_come(client: Page, bus: ObedientBus) -> None:
    held: list[Route] = []
    client.route(bus.url + "/", lambda route: held.append(route))
    with client.expect_request(bus.url + "/"):
        client.evaluate("() => { window.sent = bus.send('question', 1, { id: 'mine' }) }")

    bus.push("question", 1, id="mine", source="client", seq=11)

    assert client.evaluate("sent") == {"id": "mine", "seq": 11}
    held[0].abort()
    client.unroute(bus.url + "/")
    send(client, "next")
    assert [post["data"] for post in bus.posts] == ["next"]


def test_an_event_carries_the_token_and_an_id_and_comes_back_as_a_receipt(client: Page, bus: ObedientBus) -> None:
    receipt = send(client, {"some": ["data"]})

    [post] = bus.posts
    assert post["name"] == "question"
    assert post["data"] == {"some": ["data"]}
    assert post["context"] == {"identifier": "token-1"}
    assert receipt == {"id": post["id"], "seq": 11}


def test_this_pages_listeners_hear_it_at_once(client: Page, bus: ObedientBus) -> None:
    assert client.evaluate("(bus.send('answer', 'mine'), [...heard])") == ["mine"]


def test_its_echo_is_not_heard_again_but_anybody_elses_event_is(client: Page, bus: ObedientBus) -> None:
    client.evaluate("bus.send('answer', 'mine')")
    bus.wait_for(lambda: len(bus.posts) == 1)
    echo = bus.posts[0]["id"]

    bus.push("answer", "mine", id=echo, source="client")
    bus.push("answer", "from a service that took the same id", id=echo)
    bus.push("answer", "from another tab", source="client")

    has_heard(client, "mine", "from a service that took the same id", "from another tab")


def test_listeners_and_the_bus_get_what_the_data_was_when_it_was_sent(client: Page, bus: ObedientBus) -> None:
    client.evaluate(
        "() => { const data = ['as sent']; const sent = bus.send('answer', data); data[0] = 'changed'; return sent; }"
    )

    has_heard(client, ["as sent"])
    assert bus.posts[0]["data"] == ["as sent"]


def test_it_needs_no_randomuuid_which_plain_http_lacks(page: Page, bus: ObedientBus) -> None:
    page.add_init_script("delete Crypto.prototype.randomUUID")
    page.goto(bus.url + "/blank")
    page.evaluate(START)

    ids = [send(page)["id"], send(page)["id"]]

    assert len(set(ids)) == 2


def test_no_two_page_loads_make_the_same_ids(client: Page, bus: ObedientBus) -> None:
    first = send(client)["id"]
    client.reload()
    client.evaluate(START)

    assert send(client)["id"] != first


@pytest.mark.parametrize("status", [BROKEN, 408, 429, 500, 502, 503])
def test_a_failure_that_may_pass_is_tried_again_with_the_same_id(client: Page, bus: ObedientBus, status: int) -> None:
    bus.answer_next(status, status)

    receipt = send(client)

    assert [post["id"] for post in bus.posts] == [receipt["id"]] * 3


@pytest.mark.parametrize("body", ["<title>Sign in to the Wi-Fi</title>", "", "null", "{}", '{"seq": "1"}'])
def test_only_a_receipt_counts_as_published(client: Page, bus: ObedientBus, body: str) -> None:
    client.route(bus.url + "/", lambda route: route.fulfill(status=200, body=body), times=1)

    receipt = send(client)

    [post] = bus.posts
    assert receipt == {"id": post["id"], "seq": 11}


def test_a_failed_publish_waits_as_long_as_the_bus_asks(page: Page, bus: ObedientBus) -> None:
    bus.answer_next(429, Retry_After="7")
    page.clock.install()
    page.goto(bus.url + "/blank")
    page.evaluate("window.failure = new Promise((resolve) => { window.fail = resolve; }); 0")
    page.evaluate(with_delay("() => (fail(), 0)"))
    connected(page)
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    page.evaluate("void bus.send('question')")
    page.evaluate("failure")

    page.clock.run_for(6_900)
    page.evaluate("void bus.send('must not overtake')")
    assert len(bus.posts) == 1
    page.clock.run_for(200)

    bus.wait_for(lambda: len(bus.posts) == 3)
    assert [post["name"] for post in bus.posts] == ["question", "question", "must not overtake"]


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [("61", 60), ("3000000", 60), ("1e999", 60), ("-5", 0), ("abc", 0), ("", 0)]
)
def test_it_waits_for_a_minute_at_most_whatever_the_bus_asks(
    client: Page, bus: ObedientBus, retry_after: str, seconds: int
) -> None:
    client.evaluate("""() => {
      const { setTimeout } = window;
      window.delays = [];
      window.setTimeout = (callback, ms) => setTimeout(callback, (delays.push(ms), 0));
    }""")
    bus.answer_next(503, Retry_After=retry_after)

    assert send(client)["seq"] == 11

    assert client.evaluate("delays")[0] == seconds * 1000


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_a_refusal_is_reported_and_does_not_hold_up_what_follows(client: Page, bus: ObedientBus, status: int) -> None:
    bus.answer_next(status, detail="not this name")

    assert send(client, 1) == "not this name"
    assert send(client, 2)["seq"] == 11
    assert [post["data"] for post in bus.posts] == [1, 2]


def test_whose_token_has_expired_is_told_of_the_gap_and_sends_once_more_with_a_new_one(
    client: Page, bus: ObedientBus
) -> None:
    client.evaluate("() => { window.gaps = 0; bus.onGap(() => gaps++); }")
    bus.resumes = False
    bus.answer_next(401)

    receipt = send(client)

    assert [command.get("token") for command in bus.commands] == [None, "token-1"]
    assert client.evaluate("gaps") == 1
    assert [post["context"]["identifier"] for post in bus.posts] == ["token-1", "token-2"]
    assert {post["id"] for post in bus.posts} == {receipt["id"]}


def test_what_is_sent_does_not_follow_a_redirect(client: Page, bus: ObedientBus) -> None:
    bus.answers.append((307, {"Location": f"{bus.url}/elsewhere"}, ""))

    assert send(client)["seq"] == 11
    assert len(bus.posts) == 2


def test_a_new_token_that_is_refused_too_is_an_error(client: Page, bus: ObedientBus) -> None:
    bus.answer_next(401, 401, detail="no right")

    assert send(client) == "no right"
    assert len(bus.posts) == 2


def test_what_is_sent_before_there_is_a_token_waits_in_order(page: Page, bus: ObedientBus) -> None:
    bus.silent = True
    page.goto(bus.url + "/blank")
    page.evaluate(START)
    bus.wait_for(lambda: len(bus.commands) == 1)
    page.evaluate("window.sent = Promise.all([1, 2, 3].map((data) => bus.send('question', data))); 0")
    assert not bus.posts
    bus.silent = False

    bus.close(1012)

    page.evaluate("sent")
    assert [(post["data"], post["context"]["identifier"]) for post in bus.posts] == [
        (data, "token-1") for data in (1, 2, 3)
    ]


def test_what_is_sent_offline_waits_in_order_and_keeps_its_place_before_what_follows(
    client: Page, bus: ObedientBus
) -> None:
    bus.gone = True
    bus.close(1012)
    client.wait_for_function("bus.status === 'reconnecting'")
    client.evaluate("window.sent = [1, 2, 3].map((data) => bus.send('question', data)); 0")
    assert not bus.posts

    bus.gone = False
    connected(client)
    send(client, 4)

    client.evaluate("Promise.all(sent)")
    assert [post["data"] for post in bus.posts] == [1, 2, 3, 4]


def test_a_publish_that_failed_is_tried_again_as_soon_as_the_bus_is_back(page: Page, bus: ObedientBus) -> None:
    page.goto(bus.url + "/blank")
    page.evaluate("window.slow = false")
    page.evaluate(with_delay("() => (slow ? 1e9 : 0)"))
    connected(page)
    page.evaluate("slow = true")
    bus.answer_next(503)
    page.evaluate("window.sent = bus.send('question'); 0")
    bus.wait_for(lambda: len(bus.posts) == 1)

    page.evaluate("slow = false")
    bus.close(1012)

    assert page.evaluate("sent")["seq"] == 11


# What is sent as the page is left.


def leave(page: Page, script: str = "() => 0") -> None:
    """Follow a link to another site, right after this script."""
    page.evaluate(f"() => {{ ({script})(); location.href = 'about:blank'; }}")
    page.wait_for_url("about:blank")


def test_what_waits_as_the_page_is_left_reaches_the_bus(client: Page, bus: ObedientBus) -> None:
    leave(client, "() => { for (const data of [1, 2, 3]) bus.send('question', data); }")

    bus.wait_for(lambda: len(bus.stored) == 3)
    assert {post["data"] for post in bus.posts} == {1, 2, 3}
    assert set(identifiers(bus)) == {"token-1"}


def test_what_is_sent_by_a_listener_of_pagehide_reaches_the_bus(client: Page, bus: ObedientBus) -> None:
    client.evaluate("() => addEventListener('pagehide', () => { bus.send('question', 'farewell'); })")

    leave(client)

    bus.wait_for(lambda: len(bus.stored) == 1)
    assert {post["data"] for post in bus.posts} == {"farewell"}


def test_what_does_not_fit_takes_nothing_else_along_as_the_page_is_left(client: Page, bus: ObedientBus) -> None:
    bus.answer_next(503, Retry_After="60")
    client.evaluate("() => { bus.send('question', 'x'.repeat(70_000)); }")
    bus.wait_for(lambda: len(bus.posts) == 1)

    leave(client, "() => { for (const size of [40_000, 40_000, 10_000]) bus.send('question', 'y'.repeat(size)); }")

    bus.wait_for(lambda: len(bus.stored) == 2)
    assert {len(post["data"]) for post in bus.posts[1:]} == {40_000, 10_000}


def test_what_the_bus_refuses_takes_nothing_else_along_as_the_page_is_left(client: Page, bus: ObedientBus) -> None:
    bus.answer_next(403)

    leave(client, "() => { for (const data of [1, 2, 3]) bus.send('question', data); }")

    bus.wait_for(lambda: len(bus.stored) >= 2)


def test_what_was_sent_as_the_page_was_left_is_one_event_if_it_comes_back(client: Page, bus: ObedientBus) -> None:
    client.evaluate("() => { for (const data of [1, 2, 3]) bus.send('question', data); location.reload(); }")
    bus.wait_for(lambda: len(bus.posts) >= 3)
    client.wait_for_function("!window.bus")
    client.evaluate(START)
    connected(client)

    send(client, 4)

    assert len(bus.stored) == 4
    assert client.evaluate("sessionStorage.getItem('eventbus outbox ' + location.origin)") == "[]"


def test_without_leaving_each_event_is_sent_once(client: Page, bus: ObedientBus) -> None:
    client.evaluate("dispatchEvent(new Event('pagehide'))")  # as before a page is kept in the browser's memory
    client.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    send(client)

    assert len(bus.posts) == 1


# What never gets through.


def limited_to(bus: ObedientBus, limit: int) -> None:
    """Let the bus say this limit to the page that comes next."""
    bus.identify_extra = {"max_event": limit}


def test_an_event_as_large_as_the_bus_takes_is_sent_and_a_larger_one_is_refused_before(
    page: Page, bus: ObedientBus
) -> None:
    limited_to(bus, 1000)
    page.goto(bus.url + "/blank")
    page.evaluate(START)
    connected(page)
    receipt = send(page)
    rest = 1000 - len(json.dumps(bus.posts[0], separators=(",", ":")))  # null makes room for two quotes and two letters

    assert send(page, "é" + "x" * rest)["seq"] == receipt["seq"] + 1
    assert send(page, "é" + "x" * (rest + 1)) == "the event has 1001 bytes; the bus takes 1000"
    assert len(bus.posts) == 2


@pytest.mark.parametrize("kept", [False, True], ids=["sent before it is connected", "kept from before a reload"])
def test_what_turns_out_to_be_too_large_is_refused_then_and_holds_up_nothing(
    page: Page, bus: ObedientBus, kept: bool
) -> None:
    bus.silent = True
    page.goto(bus.url + "/blank")
    page.evaluate(START)
    bus.wait_for(lambda: len(bus.commands) == 1)
    limited_to(bus, 1000)
    if kept:
        event = {"name": "question", "data": "x" * 1000, "context": {}, "id": "kept"}
        page.evaluate(
            "(kept) => sessionStorage.setItem('eventbus outbox ' + location.origin, kept)", json.dumps([event])
        )
        page.reload()
        page.evaluate(START)
    else:
        page.evaluate("window.sent = bus.send('question', 'x'.repeat(1000)).catch((error) => error.message); 0")
    bus.silent = False
    bus.close(1012)

    assert send(page, "small")["seq"] == 11

    assert [post["data"] for post in bus.posts] == ["small"]
    assert kept or "the bus takes 1000" in page.evaluate("sent")
    assert page.evaluate("sessionStorage.getItem('eventbus outbox ' + location.origin)") == "[]"


NOT_THE_BUS = {
    "an answer that the page may not read": lambda route: route.abort(),
    "a gateway's 502": lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"),
    "a gateway's 503": lambda route: route.fulfill(status=503, body="<h1>Try later</h1>"),
    "a sign-in page": lambda route: route.fulfill(status=200, body="<h1>Sign in</h1>"),
}


def block(
    page: Page, bus: ObedientBus, word: str, answer: Callable[[Route], None] = NOT_THE_BUS["a gateway's 502"]
) -> Callable[[], None]:
    """Let something between the page and the bus answer in its place whatever holds this word, until that is lifted."""
    blocked = [word]

    def handle(route: Route) -> None:
        is_blocked = any(word in (route.request.post_data or "") for word in blocked)
        (answer if is_blocked else Route.continue_)(route)

    page.route(bus.url + "/", handle)
    return blocked.clear


def note_what_is_stuck(page: Page) -> None:
    page.evaluate("() => { window.stuck = []; window.calm = bus.onStuck(({ data }) => stuck.push(data)); }")


@pytest.mark.parametrize("answer", NOT_THE_BUS.values(), ids=NOT_THE_BUS)
def test_an_event_that_does_not_get_through_while_others_do_stands_aside(
    client: Page, bus: ObedientBus, answer: Callable[[Route], None]
) -> None:
    block(client, bus, "poison", answer)
    note_what_is_stuck(client)

    client.evaluate("() => { bus.send('question', 0); bus.send('question', 'poison'); }")
    client.evaluate("Promise.all([1, 2, 3].map((data) => bus.send('question', data)))")

    assert [post["data"] for post in bus.posts] == [0, 1, 2, 3]
    assert client.evaluate("stuck") == ["poison"]
    assert send(client, 4)["seq"] == 15


def test_what_is_stuck_is_told_even_if_nothing_waits_behind_it(client: Page, bus: ObedientBus) -> None:
    block(client, bus, "poison")
    note_what_is_stuck(client)

    client.evaluate("() => { bus.send('question', 'poison'); }")

    client.wait_for_function("stuck.length === 1")
    assert send(client, "healthy")["seq"] == 11


def test_what_stands_aside_is_kept_and_goes_out_when_it_may(client: Page, bus: ObedientBus) -> None:
    lift = block(client, bus, "poison")
    note_what_is_stuck(client)
    client.evaluate("() => { window.sent = bus.send('question', 'poison'); }")
    send(client, "healthy")
    lift()

    bus.close(1012)

    assert client.evaluate("sent")["seq"] == 12
    assert client.evaluate("sessionStorage.getItem('eventbus outbox ' + location.origin)") == "[]"


def test_what_stands_aside_is_tried_again_after_a_minute(client: Page, bus: ObedientBus) -> None:
    lift = block(client, bus, "poison")
    client.clock.install()
    client.evaluate("() => { bus.close(); bus.connect(); }")
    reconnected(client, bus, times=2)
    client.evaluate("() => { window.sent = bus.send('question', 'poison'); }")
    client.clock.run_for(1_000)
    send(client, "healthy")
    lift()

    client.clock.run_for(60_000)

    assert client.evaluate("sent")["seq"] == 12


def test_what_stands_aside_does_so_after_a_reload_as_well(client: Page, bus: ObedientBus) -> None:
    lift = block(client, bus, "poison")
    client.evaluate("() => { bus.send('question', 'poison'); }")
    send(client, "healthy")

    client.reload()
    client.evaluate(START)
    note_what_is_stuck(client)

    assert send(client, "healthy, too")["seq"] == 12
    client.wait_for_function("stuck.length === 1")
    lift()
    bus.close(1012)
    client.wait_for_function("sessionStorage.getItem('eventbus outbox ' + location.origin) === '[]'")
    assert set(bus.posts[2]) == {"name", "data", "context", "id"}


@pytest.mark.parametrize("status", [408, 429, 503])
def test_what_the_bus_itself_puts_off_is_not_stuck_however_often(client: Page, bus: ObedientBus, status: int) -> None:
    note_what_is_stuck(client)
    bus.answer_next(*[status] * 20)

    client.evaluate("Promise.all([1, 2, 3].map((data) => bus.send('question', data)))")

    assert [post["data"] for post in bus.posts[-3:]] == [1, 2, 3]
    assert client.evaluate("stuck") == []


@pytest.mark.parametrize("failures", [4, 5, 6, 19, 20])
def test_while_nothing_gets_through_nothing_overtakes(client: Page, bus: ObedientBus, failures: int) -> None:
    note_what_is_stuck(client)
    bus.answer_next(*[BROKEN] * failures)

    client.evaluate("Promise.all([1, 2, 3].map((data) => bus.send('question', data)))")

    assert [post["data"] for post in bus.posts[-3:]] == [1, 2, 3]
    assert client.evaluate("stuck") == []


def test_leaving_gives_up_what_still_waits(client: Page, bus: ObedientBus) -> None:
    bus.gone = True
    bus.close(1012)
    client.wait_for_function("bus.status === 'reconnecting'")
    client.evaluate("window.sent = bus.send('question').catch((error) => error.message); 0")

    client.evaluate("bus.close()")

    assert client.evaluate("sent") == "the connection to the bus is closed"


def test_data_that_is_no_json_is_the_senders_error(client: Page, bus: ObedientBus) -> None:
    with pytest.raises(Error, match="circular"):
        client.evaluate("() => { const data = {}; data.self = data; return bus.send('question', data); }")

    assert not bus.posts
