"""A visitor asks whether a name is free."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from story import TAKEN, check, fresh_domain, journal, open_page, register, status


def test_a_visitor_checks_a_free_name_and_may_register_it(page: Page) -> None:
    domain = fresh_domain()
    open_page(page)

    check(page, domain)

    expect(status(page)).to_have_text(f"{domain} is available")
    expect(page.get_by_role("heading", name=f"Register {domain}")).to_be_visible()
    expect(page.get_by_role("button", name="Register")).to_be_visible()


def test_a_visitor_checks_a_taken_name_and_may_not_register_it(page: Page) -> None:
    open_page(page)

    check(page, TAKEN)

    expect(status(page)).to_have_text(f"{TAKEN} is not available")
    expect(page.get_by_role("button", name="Register")).to_be_hidden()


def test_a_visitor_reads_why_a_name_is_none(page: Page) -> None:
    open_page(page)

    check(page, "a_b.example")

    expect(status(page)).to_contain_text("a_b.example is not available: not a domain name; expected letters")


def test_a_visitor_checks_and_registers_a_name_in_another_script(page: Page) -> None:
    domain = f"köln-{fresh_domain()}"
    open_page(page)

    register(page, domain.upper())

    expect(status(page)).to_contain_text(f"{domain} is registered until")
    check(page, f" {domain}. ")
    expect(status(page)).to_have_text(f"{domain} is not available")


@pytest.mark.parametrize(
    "name",
    ["İ" * 200 + ".com", "xn--a.example", "♥.example", "evil\N{RIGHT-TO-LEFT OVERRIDE}moc.example", "xn--é.example"],
)
def test_a_visitor_reads_why_a_name_in_another_script_is_none(page: Page, name: str) -> None:
    open_page(page)

    check(page, name)

    expect(status(page)).to_contain_text("is not available: not a domain name")


def test_space_that_only_some_programs_know_makes_no_difference(page: Page) -> None:
    domain = fresh_domain()
    open_page(page)

    check(page, f"\x85{domain}\N{ZERO WIDTH NO-BREAK SPACE}")

    expect(status(page)).to_have_text(f"{domain} is available")


def test_an_answer_and_its_form_go_when_the_visitor_types_another_name(page: Page) -> None:
    open_page(page)
    check(page, fresh_domain())
    expect(page.get_by_role("button", name="Register")).to_be_visible()

    page.get_by_role("textbox", name="Domain name").press_sequentially("x")

    expect(status(page)).to_be_empty()
    expect(page.get_by_role("button", name="Register")).to_be_hidden()


def test_a_visitor_searches_again(page: Page) -> None:
    domain = fresh_domain()
    open_page(page)
    check(page, TAKEN)

    page.get_by_role("button", name="Search again").click()

    expect(status(page)).to_be_empty()
    expect(page.get_by_role("textbox", name="Domain name")).to_be_focused()
    expect(page.get_by_role("textbox", name="Domain name")).to_have_value("")
    check(page, domain)
    expect(status(page)).to_have_text(f"{domain} is available")


def test_a_free_name_found_first_does_not_stay_on_offer_when_a_taken_one_is_asked_for(page: Page) -> None:
    open_page(page)
    check(page, fresh_domain())
    expect(page.get_by_role("button", name="Register")).to_be_visible()

    check(page, TAKEN)

    expect(status(page)).to_have_text(f"{TAKEN} is not available")
    expect(page.get_by_role("button", name="Register")).to_be_hidden()


def test_capitals_and_spaces_around_a_name_make_no_difference(page: Page) -> None:
    domain = fresh_domain()
    open_page(page)

    check(page, f"  {domain.upper()} ")

    expect(status(page)).to_have_text(f"{domain} is available")


@pytest.mark.parametrize("text", ["", "example", "two words.com", "http://example.com/"])
def test_what_is_no_name_is_not_sent(page: Page, text: str) -> None:
    open_page(page)

    check(page, text)

    refused = page.get_by_role("textbox", name="Domain name").and_(page.locator(":invalid"))
    expect(refused).to_be_focused()
    expect(status(page)).to_be_empty()
    expect(journal(page)).to_have_count(0)


@pytest.mark.parametrize("name", ["<img/src=x/onerror=alert(1)>.example", "<b>bold</b>.example", "'\"&lt;.example"])
def test_a_name_with_markup_is_shown_as_text_and_runs_nothing(page: Page, name: str) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    open_page(page)
    # The form lets no slash through; whoever wants to play tricks has other ways.
    page.get_by_role("textbox", name="Domain name").evaluate("field => field.removeAttribute('pattern')")

    check(page, name)

    expect(status(page)).to_contain_text(f"{name} is not available")
    expect(page.locator("main img, main b")).to_have_count(0)


def test_a_visitor_sees_which_events_travelled(page: Page) -> None:
    open_page(page)

    check(page, TAKEN)

    expect(journal(page)).to_have_text([re.compile(r"^#\d+check-domain"), re.compile(r"^#\d+check-domain-completed")])
