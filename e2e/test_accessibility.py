"""The page is usable by ear, by keyboard, and without motion. What it says in a story is tested by that story."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect
from story import check, expect_connection, fresh_domain, open_page, status


def test_the_page_has_the_landmarks_that_screen_readers_jump_to(page: Page) -> None:
    open_page(page)

    expect(page.get_by_role("banner")).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("complementary")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page).to_have_title("Domain registration")
    assert page.locator("html").get_attribute("lang") == "en"


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    open_page(page)
    check(page, fresh_domain())
    expect(page.get_by_role("button", name="Register")).to_be_visible()

    used = {page.get_by_role("textbox"): 6, page.get_by_role("checkbox"): 2, page.get_by_role("button"): 3}
    for everything, count in used.items():
        expect(everything).to_have_count(count)
        for one in everything.all():
            expect(one).to_have_accessible_name(re.compile("[a-z]"))


def test_the_focus_goes_through_the_page_as_the_eye_does(page: Page) -> None:
    open_page(page)
    check(page, fresh_domain())
    expect(page.get_by_role("heading", name="Register")).to_be_focused()

    page.get_by_role("textbox", name="Domain name").focus()
    tops = []
    for _ in range(10):
        tops.append(page.evaluate("document.activeElement.getBoundingClientRect().top + scrollY"))
        page.keyboard.press("Tab")

    assert tops == sorted(tops)
    assert len(set(tops)) > 5


@pytest.mark.parametrize(("motion", "animation"), [("reduce", "none"), ("no-preference", "pulse")])
def test_who_wants_less_motion_gets_none(page: Page, motion: str, animation: str) -> None:
    page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]  # one of the two that it takes
    open_page(page)
    expect_connection(page, "Connected")
    page.route("**", let_it_wait)

    check(page, fresh_domain())

    expect(status(page).filter(has_text="Checking")).to_have_css("animation-name", animation)


def let_it_wait(route: Route) -> None:
    """Answer never, so that the page stays as it is while it waits."""
