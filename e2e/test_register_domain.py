"""A visitor registers a free name."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime

from playwright.sync_api import Page, expect
from story import Wire, check, fill_in_registrant, fresh_domain, open_page, register, status


def test_a_visitor_registers_a_free_name_for_a_year(page: Page) -> None:
    domain = fresh_domain()
    open_page(page)

    register(page, domain)

    expect(status(page)).to_have_text(re.compile(rf"^{domain} is registered until \d{{4}}-\d\d-\d\d$"))
    expiration = date.fromisoformat((status(page).text_content() or "")[-10:])
    assert 364 <= (expiration - datetime.now(UTC).date()).days <= 366
    expect(page.get_by_role("button", name="Register")).to_be_hidden()


def test_the_form_goes_out_as_the_event_that_services_know(page: Page) -> None:
    domain = fresh_domain()
    wire = Wire(page)
    open_page(page)
    check(page, domain)

    fill_in_registrant(page)
    page.get_by_label("Renew automatically").uncheck()
    page.get_by_label("Keep my details private").check()
    page.get_by_role("button", name="Register").click()

    expect(status(page)).to_contain_text("is registered")
    [order] = [event for event in wire.events if event["name"] == "register-domain"]
    assert order["data"] == {
        "name": domain,
        "registrant": {
            "name": "Ada Lovelace",
            "address": "12 St James's Square",
            "city": "London",
            "state": "Greater London",
            "country": "United Kingdom",
        },
        "options": {"autorenew": False, "whoisprivacy": True},
    }


def test_a_registered_name_is_free_no_more(page: Page) -> None:
    domain = fresh_domain()
    open_page(page)
    register(page, domain)
    expect(status(page)).to_contain_text("is registered")

    page.get_by_role("button", name="Search again").click()
    check(page, domain)

    expect(status(page)).to_have_text(f"{domain} is not available")


def test_who_comes_second_is_told_kindly_that_the_name_is_gone(new_visitor: Callable[[], Page]) -> None:
    domain = fresh_domain()
    first, second = new_visitor(), new_visitor()
    for visitor in (first, second):
        open_page(visitor)
        check(visitor, domain)
        fill_in_registrant(visitor)

    first.get_by_role("button", name="Register").click()
    expect(status(first)).to_contain_text("is registered")
    second.get_by_role("button", name="Register").click()

    expect(status(second)).to_have_text(f"{domain} was not registered: it is already registered")
    expect(second.get_by_label("Registrant name")).to_have_value("Ada Lovelace")  # nothing typed is lost


def test_the_keyboard_alone_suffices(page: Page) -> None:
    domain = fresh_domain()
    open_page(page)

    page.keyboard.type(domain)  # the field has the focus from the start
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Register {domain}")).to_be_focused()
    for text in ("Ada Lovelace", "12 St James's Square", "London", "Greater London", "United Kingdom"):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("Renew automatically")).not_to_be_checked()
    expect(page.get_by_label("Keep my details private")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Register")).to_be_focused()
    page.keyboard.press("Enter")

    expect(status(page)).to_contain_text(f"{domain} is registered until")
    expect(status(page)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Search again")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Domain name")).to_be_focused()
