"""Parts of the demo are missing or restarted under the page: it says so, and goes on."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect
from programs import BUS, EXAMPLE_SERVICE, Programs, wait_for_an_answer
from story import (
    Wire,
    check,
    expect_connection,
    expect_stored,
    fill_in_registrant,
    fresh_domain,
    journal,
    open_page,
    status,
    stored_answers,
    stored_questions,
    stored_registrations,
)
from web import request

pytestmark = pytest.mark.needs_control

NOBODY = "Nobody has answered yet"
UNREACHABLE = "The bus cannot be reached"
network_errors = pytest.mark.network_errors


def expect_nobody_answers(page: Page, stored: int) -> None:
    """Let the visitor's patience end, without waiting for it; the page's clock must be installed."""
    expect_stored(page, stored)
    page.clock.fast_forward(5_000)
    expect(status(page)).to_contain_text(NOBODY)


# No service is there.


def test_the_page_says_that_it_checks_before_anybody_has_answered(page: Page, programs: Programs) -> None:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    open_page(page)

    check(page, domain)

    expect(status(page)).to_have_text(f"Checking {domain}…")


def test_after_five_seconds_the_page_says_that_nobody_has_answered(page: Page, programs: Programs) -> None:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    page.clock.install(time=0)
    open_page(page)
    expect_connection(page, "Connected")
    page.clock.pause_at(60)
    check(page, domain)
    expect_stored(page, 1)

    page.clock.run_for(4_999)
    expect(status(page)).to_have_text(f"Checking {domain}…")
    page.clock.run_for(1)

    expect(status(page)).to_contain_text(NOBODY)


def test_a_service_that_was_off_when_the_form_was_sent_answers_when_it_starts(page: Page, programs: Programs) -> None:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    page.clock.install()
    open_page(page)
    check(page, domain)
    expect_nobody_answers(page, 1)

    programs.start(EXAMPLE_SERVICE)

    expect(status(page)).to_have_text(f"{domain} is available")
    assert len(stored_questions(programs, domain)) == 1


def test_a_question_that_nobody_answered_can_be_sent_again(page: Page, programs: Programs) -> None:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    page.clock.install()
    open_page(page)
    check(page, domain)
    expect_nobody_answers(page, 1)

    programs.start(EXAMPLE_SERVICE)
    page.get_by_role("button", name="Check").click()

    expect(status(page)).to_have_text(f"{domain} is available")


def test_a_registration_that_nobody_answered_can_be_sent_again_and_is_one(page: Page, programs: Programs) -> None:
    domain = fresh_domain()
    page.clock.install()
    open_page(page)
    check(page, domain)
    fill_in_registrant(page)
    programs.stop(EXAMPLE_SERVICE)
    page.get_by_role("button", name="Register").click()
    expect_nobody_answers(page, 2)

    page.get_by_role("button", name="Register").click()
    expect(status(page)).to_have_text(f"Registering {domain}…")
    programs.start(EXAMPLE_SERVICE)

    expect(status(page)).to_contain_text(f"{domain} is registered until")
    expect(journal(page).filter(has_text="register-domain-completed")).to_have_count(1)
    assert len(stored_registrations(programs, domain)) == 1


# A member of the service's group dies.


def test_what_a_killed_service_had_begun_another_member_of_its_group_finishes(page: Page, programs: Programs) -> None:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    page.clock.install()
    open_page(page)

    with programs.slow_member():  # the only one that there is, so it gets the question
        check(page, domain)
        expect_stored(page, 1)
        programs.start(EXAMPLE_SERVICE)
        expect_nobody_answers(page, 1)
    # Now it has been killed.

    expect(status(page)).to_have_text(f"{domain} is available")
    expect(journal(page)).to_have_count(2)
    [question] = stored_questions(programs, domain)
    assert len(stored_answers(programs, domain)) == 1
    assert f"answered check-domain #{question['seq']}, delivery 2" in programs.output(EXAMPLE_SERVICE)


# The bus goes away under the page, and comes back.


@network_errors
def test_a_question_whose_bus_is_killed_before_the_answer_is_answered_when_it_is_back(
    page: Page, programs: Programs
) -> None:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    open_page(page)
    with programs.slow_member():
        check(page, domain)
        expect_stored(page, 1)
        programs.kill(BUS)
        expect_connection(page, "Reconnecting…")

    programs.start(BUS)
    programs.start(EXAMPLE_SERVICE)

    expect(status(page)).to_have_text(f"{domain} is available")
    expect(journal(page)).to_have_count(2)
    assert len(stored_questions(programs, domain)) == len(stored_answers(programs, domain)) == 1


@network_errors
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_page_whose_bus_is_restarted_goes_on_with_the_same_identity(page: Page, programs: Programs, end: str) -> None:
    domain = fresh_domain()
    wire = Wire(page)
    open_page(page)
    expect_connection(page, "Connected")

    getattr(programs, end)(BUS)
    expect_connection(page, "Reconnecting…")
    programs.start(BUS)
    expect_connection(page, "Connected")

    first, second = wire.identities
    assert second["resumed"] is True
    assert second["address"] == first["address"]
    wait_for_an_answer(programs)
    check(page, domain)
    expect(status(page)).to_have_text(f"{domain} is available")


@network_errors
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_is_sent_while_the_bus_is_away_goes_out_once_when_it_is_back(
    page: Page, programs: Programs, end: str
) -> None:
    domain = fresh_domain()
    open_page(page)
    expect_connection(page, "Connected")
    getattr(programs, end)(BUS)

    check(page, domain)
    expect(status(page)).to_contain_text(UNREACHABLE)
    programs.start(BUS)

    expect_stored(page, 1)
    expect(status(page)).not_to_contain_text(UNREACHABLE)
    assert len(stored_questions(programs, domain)) == 1


@network_errors
def test_a_page_that_is_opened_without_a_bus_says_so_and_recovers(page: Page, programs: Programs) -> None:
    programs.stop(BUS)
    domain = fresh_domain()

    open_page(page)
    expect_connection(page, "Reconnecting…")
    check(page, domain)
    expect(status(page)).to_contain_text(UNREACHABLE)
    programs.start(BUS)

    expect_connection(page, "Connected")
    expect_stored(page, 1)
    assert len(stored_questions(programs, domain)) == 1


@network_errors
def test_questions_sent_while_the_bus_is_away_arrive_in_their_order(page: Page, programs: Programs) -> None:
    domains = [fresh_domain() for _ in range(3)]
    open_page(page)
    expect_connection(page, "Connected")
    programs.stop(BUS)

    for domain in domains:
        check(page, domain)
    programs.start(BUS)

    expect_stored(page, 3)
    stored = [stored_questions(programs, domain) for domain in domains]
    assert [len(questions) for questions in stored] == [1, 1, 1]
    assert [questions[0]["seq"] for questions in stored] == sorted(questions[0]["seq"] for questions in stored)


@network_errors
def test_a_question_whose_receipt_is_lost_is_sent_again_and_stored_once(page: Page, programs: Programs) -> None:
    domain = fresh_domain()
    posts: list[int] = []

    def lose_the_echo(socket: WebSocketRoute) -> None:
        """Keep the question's own frame from the page, for which it is as good as the receipt."""
        bus = socket.connect_to_server()
        bus.on_message(lambda frame: None if '"name":"check-domain"' in str(frame) else socket.send(frame))

    def lose_the_first_receipt(route: Route) -> None:
        answer = route.fetch()
        posts.append(answer.status)
        if len(posts) == 1:
            route.abort("connectionreset")
        else:
            route.fulfill(response=answer)

    page.route_web_socket("**/ws", lose_the_echo)
    page.route(f"{programs.bus_url}/", lose_the_first_receipt)
    open_page(page)
    check(page, domain)

    expect_stored(page, 1)
    assert posts == [200, 200]
    assert len(stored_questions(programs, domain)) == 1


# The answer comes late.


def test_the_answer_to_an_older_question_does_not_overwrite_the_newer_one(page: Page, programs: Programs) -> None:
    programs.stop(EXAMPLE_SERVICE)
    older, newer = fresh_domain(), fresh_domain()
    open_page(page)
    check(page, older)
    check(page, newer)
    expect_stored(page, 2)

    answer(programs, older)
    expect(journal(page).filter(has_text="check-domain-completed")).to_have_count(1)
    expect(status(page)).not_to_contain_text(older)
    answer(programs, newer)

    expect(status(page)).to_have_text(f"{newer} is available")


def test_a_late_answer_still_counts(page: Page, programs: Programs) -> None:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    page.clock.install()
    open_page(page)
    check(page, domain)
    expect_nobody_answers(page, 1)

    answer(programs, domain)

    expect(status(page)).to_have_text(f"{domain} is available")


def answer(programs: Programs, domain: str) -> None:
    """Be a slow service: say only now that a name is free."""
    [question] = stored_questions(programs, domain)
    event = {
        "name": "check-domain-completed",
        "data": [{"name": domain, "availability": "available"}],
        "context": question["context"],
    }
    assert request("POST", programs.bus_url, body=event, Authorization=programs.token).status == 200
