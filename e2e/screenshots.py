"""Photographs the page in all its states, at three widths, light and dark: `python e2e/screenshots.py FOLDER`."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from browser import chromium_launch_options
from playwright.sync_api import Browser, Page, expect, sync_playwright
from programs import BUS, EXAMPLE_SERVICE, PROGRAMS, Processes
from story import TAKEN, check, expect_connection, fill_in_registrant, fresh_domain, journal, status

SIZES = {"phone": (390, 844), "laptop": (1280, 800), "projector": (1920, 1080)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Photograph the page in all its states.")
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        programs = Processes(Path(directory))
        try:
            browser = playwright.chromium.launch(**chromium_launch_options())
            photograph(browser, programs, folder, log=Path(directory) / "events.db")
            browser.close()
        finally:
            programs.remove()


def photograph(browser: Browser, programs: Processes, folder: Path, *, log: Path) -> None:
    """Bring every page into a state, then take its picture; programs stop and start once for all pages."""
    for program in PROGRAMS:
        programs.start(program)
    pages = {
        f"{size}-{scheme}": open_page(browser, programs.site_url, size, scheme)
        for size in SIZES
        for scheme in ("light", "dark")
    }

    def take(state: str, bring_about: Callable[[Page], None]) -> None:
        for name, page in pages.items():
            bring_about(page)
            page.screenshot(path=folder / f"{state}-{name}.png", full_page=True)

    take("1-start", lambda page: expect_connection(page, "Connected"))
    take("2-not-available", not_available)
    take("3-available", available)
    take("4-registered", registered)
    take("4-another-script", in_another_script)
    take("4-no-name", no_name)
    take("4-filled-in", filled_in)
    programs.stop(EXAMPLE_SERVICE)
    take("4-asked-again", asked_again)
    take("5-checking", checking)
    take("6-nobody-answered", nobody_answered)
    take("7-reloaded", reloaded)
    programs.stop(BUS)
    log.unlink()
    programs.start(BUS)
    take("8-events-are-gone", gone)
    programs.stop(BUS)
    take("9-offline", offline)


def open_page(browser: Browser, url: str, size: str, scheme: str) -> Page:
    width, height = SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page.clock.install()
    page.goto(url)
    return page


def not_available(page: Page) -> None:
    check(page, TAKEN)
    expect(status(page)).to_have_text(f"{TAKEN} is not available")


def available(page: Page) -> None:
    check(page, fresh_domain())
    expect(status(page)).to_contain_text("is available")


def registered(page: Page) -> None:
    fill_in_registrant(page)
    page.get_by_role("button", name="Register").click()
    expect(status(page)).to_contain_text("is registered")


def in_another_script(page: Page) -> None:
    name = f"größe-{fresh_domain()}"
    check(page, name)
    expect(status(page)).to_have_text(f"{name} is available")


def no_name(page: Page) -> None:
    check(page, "xn--a.example")
    expect(status(page)).to_contain_text("xn--a.example is not available: not a domain name")


def filled_in(page: Page) -> None:
    check(page, "קניון.example")
    expect(status(page)).to_contain_text("is available")
    fill_in_registrant(page)


def asked_again(page: Page) -> None:
    page.get_by_role("button", name="Register").click()
    nobody_answered(page)
    page.get_by_role("button", name="Register").click()
    expect(status(page)).to_contain_text("Registering")


def checking(page: Page) -> None:
    check(page, fresh_domain())
    expect(status(page)).to_contain_text("Checking")


def nobody_answered(page: Page) -> None:
    expect(journal(page).filter(has_text="…")).to_have_count(0)
    page.clock.fast_forward(5_000)
    expect(status(page)).to_contain_text("Nobody has answered yet")


def reloaded(page: Page) -> None:
    page.reload()
    expect_connection(page, "Connected")
    nobody_answered(page)


def gone(page: Page) -> None:
    page.clock.fast_forward(5_000)
    expect(status(page)).to_contain_text("The bus has lost events")


def offline(page: Page) -> None:
    expect_connection(page, "Reconnecting…")
    check(page, fresh_domain())
    expect(status(page)).to_contain_text("The bus cannot be reached")


if __name__ == "__main__":
    main()
