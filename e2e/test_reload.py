"""A visitor reloads the page, or comes back to it."""

from __future__ import annotations

import pytest
from machine import wait_until
from playwright.sync_api import Page, expect
from programs import BUS, EXAMPLE_SERVICE, Programs
from story import (
    TAKEN,
    Wire,
    check,
    expect_connection,
    fresh_domain,
    journal,
    open_page,
    reload_page,
    status,
    stored_answers,
    stored_questions,
)


def test_a_reloaded_page_keeps_its_identity(page: Page) -> None:
    wire = Wire(page)
    open_page(page)
    expect_connection(page, "Connected")

    reload_page(page)
    expect_connection(page, "Connected")

    first, second = wire.identities
    assert (first["resumed"], second["resumed"]) == (False, True)
    assert second["address"] == first["address"]
    check(page, TAKEN)
    expect(status(page)).to_have_text(f"{TAKEN} is not available")


def test_a_page_whose_token_the_bus_does_not_know_is_given_a_new_one(page: Page) -> None:
    wire = Wire(page)
    open_page(page)
    expect_connection(page, "Connected")

    page.evaluate(
        "key => sessionStorage.setItem(key, sessionStorage.getItem(key).replace(/token-../, 'token-'))",
        page.evaluate("Object.keys(sessionStorage).find((key) => key.startsWith('eventbus session'))"),
    )
    reload_page(page)
    check(page, TAKEN)

    expect(status(page)).to_have_text(f"{TAKEN} is not available")
    assert len({identity["address"] for identity in wire.identities}) == 2


@pytest.mark.needs_control
def test_a_reload_in_the_middle_of_a_question_keeps_the_conversation(page: Page, programs: Programs) -> None:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    open_page(page)
    check(page, domain)
    expect(journal(page)).to_contain_text("#")

    reload_page(page)
    expect(status(page)).to_have_text(f"Checking {domain}…")
    expect(journal(page)).to_have_count(1)
    programs.start(EXAMPLE_SERVICE)

    expect(status(page)).to_have_text(f"{domain} is available")
    expect(journal(page)).to_have_count(2)


@pytest.mark.needs_control
def test_an_answer_that_came_while_the_visitor_was_on_another_page_is_there_on_coming_back(
    page: Page, programs: Programs
) -> None:
    programs.stop(EXAMPLE_SERVICE)
    domain = fresh_domain()
    open_page(page)
    check(page, domain)
    expect(journal(page)).to_contain_text("#")

    page.goto("about:blank")
    programs.start(EXAMPLE_SERVICE)
    wait_until(lambda: len(stored_answers(programs, domain)) == 1, "the answer is stored")
    page.go_back()

    expect(status(page)).to_have_text(f"{domain} is available")
    expect(journal(page)).to_have_count(2)
    assert len(stored_questions(programs, domain)) == 1


@pytest.mark.needs_control
@pytest.mark.network_errors
def test_a_question_that_waits_for_the_bus_survives_a_reload(page: Page, programs: Programs) -> None:
    domain = fresh_domain()
    open_page(page)
    expect_connection(page, "Connected")
    programs.stop(BUS)
    check(page, domain)
    expect(status(page)).to_contain_text("The bus cannot be reached")

    reload_page(page)
    programs.start(BUS)

    expect(status(page)).to_have_text(f"{domain} is available")
    assert len(stored_questions(programs, domain)) == 1


@pytest.mark.needs_control
@pytest.mark.network_errors
def test_a_question_that_waits_as_its_tab_is_duplicated_is_asked_once(page: Page, programs: Programs) -> None:
    domain = fresh_domain()
    open_page(page)
    expect_connection(page, "Connected")
    programs.stop(BUS)
    check(page, domain)
    expect(status(page)).to_contain_text("The bus cannot be reached")

    with page.expect_popup() as opened:
        page.evaluate("window.open(location.href)")
    expect(status(opened.value)).to_be_empty()
    programs.start(BUS)
    expect_connection(opened.value, "Connected")

    expect(status(page)).to_have_text(f"{domain} is available")
    expect(journal(opened.value)).to_have_count(0)
    assert len(stored_questions(programs, domain)) == 1
