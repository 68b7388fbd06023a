"""The network between the page and the bus goes away and comes back: a tunnel, a laptop that sleeps, another Wi-Fi.

An answer that comes meanwhile is stored, and appears as soon as the page has found its way back.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from machine import wait_until
from network import Network
from playwright.sync_api import Browser, BrowserType, Page, expect
from programs import BUS, EXAMPLE_SERVICE, Demo, Programs
from story import (
    TAKEN,
    Wire,
    check,
    expect_connection,
    expect_stored,
    fresh_domain,
    journal,
    open_page,
    status,
    stored_answers,
    stored_questions,
)

pytestmark = [pytest.mark.needs_control, pytest.mark.network_errors]


@pytest.fixture
def network(demo: Demo) -> Iterator[Network]:
    """The network through which this story's browser comes to the bus."""
    with Network(demo.bus_url) as network:
        yield network


@pytest.fixture
def browser(browser_type: BrowserType, browser_type_launch_args: dict[str, Any], network: Network) -> Iterator[Browser]:
    """A browser for one story alone, on the far side of the network."""
    options = browser_type_launch_args | {"args": [*browser_type_launch_args["args"], network.chromium_argument]}
    browser = browser_type.launch(**options)
    yield browser
    browser.close()


@contextmanager
def asleep(browser: Browser) -> Iterator[None]:
    """Let nothing of a browser run for a while, as in a laptop that is closed; touch no page meanwhile."""
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    processes = [process["id"] for process in found["processInfo"]]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def ask_while_nobody_answers(page: Page, programs: Programs) -> str:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    open_page(page)
    check(page, domain)
    expect_stored(page, 1)
    return domain


def let_it_be_answered(programs: Programs, domain: str) -> None:
    programs.start(EXAMPLE_SERVICE)
    wait_until(lambda: len(stored_answers(programs, domain)) == 1, "the answer is stored")


def expect_the_answer_once(page: Page, wire: Wire, programs: Programs, domain: str) -> None:
    expect(status(page)).to_have_text(f"{domain} is available")
    check(page, TAKEN)  # whatever had gone astray would come before the answer to this
    expect(status(page)).to_have_text(f"{TAKEN} is not available")
    expect(journal(page)).to_have_count(4)
    assert [event["name"] for event in wire.events] == ["check-domain", "check-domain-completed"] * 2
    assert len(stored_questions(programs, domain)) == len(stored_answers(programs, domain)) == 1


def test_an_answer_that_came_while_the_page_was_offline_appears_once_it_is_online(
    page: Page, network: Network, programs: Programs
) -> None:
    wire = Wire(page)
    domain = ask_while_nobody_answers(page, programs)
    network.cut()
    expect_connection(page, "Reconnecting…")
    let_it_be_answered(programs, domain)
    assert [event["name"] for event in wire.events] == ["check-domain"]

    network.come_back()

    expect_the_answer_once(page, wire, programs, domain)


def test_an_answer_that_came_while_the_browser_slept_appears_when_it_wakes_up(
    page: Page, browser: Browser, network: Network, programs: Programs
) -> None:
    programs.start(BUS, EVENTBUS_HEARTBEAT="0.5")
    wire = Wire(page)
    domain = ask_while_nobody_answers(page, programs)
    before = network.hang_ups

    with asleep(browser):
        wait_until(lambda: network.hang_ups > before, "the bus gives up the sleeper")
        let_it_be_answered(programs, domain)

    expect_the_answer_once(page, wire, programs, domain)
    assert len(wire.identities) == 2


def test_an_answer_that_came_while_the_whole_machine_slept_appears_when_the_page_finds_its_connection_dead(
    page: Page, browser: Browser, network: Network, programs: Programs
) -> None:
    programs.start(BUS, EVENTBUS_HEARTBEAT="0.5")
    wire = Wire(page)
    page.clock.install()
    domain = ask_while_nobody_answers(page, programs)
    before = network.hang_ups

    with asleep(browser):
        network.vanish()
        wait_until(lambda: network.hang_ups > before, "the bus gives up the sleeper")
        let_it_be_answered(programs, domain)
        network.come_back()
    expect_connection(page, "Connected")  # so it believes
    page.clock.run_for(30_000)

    expect_the_answer_once(page, wire, programs, domain)
    assert len(wire.identities) == 2


def test_a_page_whose_network_vanished_without_a_word_notices_within_half_a_minute(
    page: Page, network: Network, programs: Programs
) -> None:
    wire = Wire(page)
    page.clock.install()
    domain = ask_while_nobody_answers(page, programs)
    network.vanish()
    let_it_be_answered(programs, domain)
    assert [event["name"] for event in wire.events] == ["check-domain"]
    network.come_back()
    expect_connection(page, "Connected")  # so it believes

    page.clock.run_for(30_000)

    expect_the_answer_once(page, wire, programs, domain)


def test_a_question_that_gets_through_beside_a_dead_connection_is_answered_within_ten_seconds(
    page: Page, network: Network, programs: Programs
) -> None:
    wire = Wire(page)
    domain = fresh_domain()
    page.clock.install()
    open_page(page)
    expect_connection(page, "Connected")
    network.vanish()
    network.come_back()
    check(page, domain)
    expect_stored(page, 1)
    wait_until(lambda: len(stored_answers(programs, domain)) == 1, "the answer is stored")
    expect_connection(page, "Connected")  # so it believes
    assert not wire.events

    page.clock.run_for(10_000)

    expect_the_answer_once(page, wire, programs, domain)
