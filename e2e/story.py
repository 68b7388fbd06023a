"""The steps that many stories share, in the words of a visitor; and what a page was told by the bus."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Error, Locator, Page, Request, WebSocket, expect
from programs import WITNESS, Demo
from web import request

TAKEN = "example.org"  # somebody's, before the registry was opened
# What Chromium calls it when an interface of this machine comes or goes, as one does with each container. Requests that
# were just connecting then fail, and the page lacks what they were to bring.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"


def fresh_domain() -> str:
    """Make up a name that nobody has asked for yet."""
    return f"{secrets.token_hex(5)}.example"


def open_page(page: Page, url: str = "/") -> None:
    """Go to the page, as often as it takes to have all of it."""
    _load_whole(page, lambda: page.goto(url))


def reload_page(page: Page) -> None:
    """Press 'reload', as often as it takes to have all of the page."""
    _load_whole(page, page.reload)


def _load_whole(page: Page, load: Callable[[], object]) -> None:
    dropped: list[str] = []

    def note(request: Request) -> None:
        if request.failure == NETWORK_CHANGED:
            dropped.append(request.url)

    page.on("requestfailed", note)
    for _ in range(10):
        dropped.clear()
        try:
            load()
        except Error as error:
            # The browser's own attempt to load it again comes in between.
            if NETWORK_CHANGED not in error.message and "interrupted by another navigation" not in error.message:
                raise
        else:
            if not dropped:
                page.remove_listener("requestfailed", note)
                return
    pytest.fail(f"the machine's network does not come to rest: {dropped} were dropped at the last of ten attempts")


def check(page: Page, domain: str) -> None:
    page.get_by_role("textbox", name="Domain name").fill(domain)
    page.get_by_role("button", name="Check").click()


def register(page: Page, domain: str) -> None:
    """Ask for a free name, fill in the form that appears, and send it."""
    check(page, domain)
    fill_in_registrant(page)
    page.get_by_role("button", name="Register").click()


def fill_in_registrant(page: Page) -> None:
    page.get_by_label("Registrant name").fill("Ada Lovelace")
    page.get_by_label("Address").fill("12 St James's Square")
    page.get_by_label("City").fill("London")
    page.get_by_label("State or province").fill("Greater London")
    page.get_by_label("Country").fill("United Kingdom")


def status(page: Page) -> Locator:
    """What the page says about the visitor's question."""
    return page.get_by_role("status")


def journal(page: Page) -> Locator:
    """The lines of 'What just happened', one for each event."""
    return page.get_by_role("complementary").get_by_role("listitem")


def expect_connection(page: Page, text: str) -> None:
    expect(page.get_by_role("banner").get_by_text(text)).to_be_visible()


def expect_stored(page: Page, count: int) -> None:
    """Wait until the bus has confirmed so many questions of the page: each shows its place in the log."""
    expect(journal(page).filter(has_text="from this page").filter(has_text="#")).to_have_count(count)


class Wire:
    """What the bus told a page, frame by frame; made before the page goes anywhere."""

    def __init__(self, page: Page) -> None:
        self.frames: list[dict[str, Any]] = []
        page.on("websocket", self._listen)

    @property
    def identities(self) -> list[dict[str, Any]]:
        """The answers to `identify`, one for each connection."""
        return [frame for frame in self.frames if frame.get("action") == "identify"]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if "action" not in frame]

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self.frames.append(json.loads(frame)))


def stored_questions(demo: Demo, domain: str) -> list[dict[str, Any]]:
    """Return each event of the log that asks whether this name is free."""
    return [event for event in _read_log(demo, "check-domain") if event["data"] == [domain]]


def stored_registrations(demo: Demo, domain: str) -> list[dict[str, Any]]:
    """Return each event of the log that wants to register this name."""
    return [event for event in _read_log(demo, "register-domain") if event["data"]["name"] == domain]


def stored_answers(demo: Demo, domain: str) -> list[dict[str, Any]]:
    """Return each event of the log that says whether this name is free."""
    answers = _read_log(demo, "check-domain-completed")
    return [event for event in answers if [result["name"] for result in event["data"]] == [domain]]


def _read_log(demo: Demo, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while events := _read_part(demo, name, after=found[-1]["seq"] if found else 0):
        found += events
    return found


def _read_part(demo: Demo, name: str, *, after: int) -> list[dict[str, Any]]:
    answer = request(
        "GET", f"{demo.bus_url}/events?name={name}&after={after}&limit=1000", Authorization=WITNESS["token"]
    )
    assert answer.status == 200, answer.text
    events: list[dict[str, Any]] = answer.json()
    return events
