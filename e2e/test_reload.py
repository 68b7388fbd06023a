"""A visitor reloads the page, or comes back to it."""

from __future__ import annotations

from playwright.sync_api import Page, expect
from story import TAKEN, Wire, check, expect_connection, status


def test_a_reloaded_page_keeps_its_identity(page: Page) -> None:
    wire = Wire(page)
    page.goto("/")
    expect_connection(page, "Connected")

    page.reload()
    expect_connection(page, "Connected")

    first, second = wire.identities
    assert (first["resumed"], second["resumed"]) == (False, True)
    assert second["address"] == first["address"]
    check(page, TAKEN)
    expect(status(page)).to_have_text(f"{TAKEN} is not available")


def test_a_page_whose_token_the_bus_does_not_know_is_given_a_new_one(page: Page) -> None:
    wire = Wire(page)
    page.goto("/")
    expect_connection(page, "Connected")

    page.evaluate(
        "key => sessionStorage.setItem(key, sessionStorage.getItem(key).replace(/token-../, 'token-'))",
        page.evaluate("Object.keys(sessionStorage)[0]"),
    )
    page.reload()
    check(page, TAKEN)

    expect(status(page)).to_have_text(f"{TAKEN} is not available")
    assert len({identity["address"] for identity in wire.identities}) == 2
