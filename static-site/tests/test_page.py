"""What the page shows, also for answers and silences that the example service does not give."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from obedient_bus import ObedientBus
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect


@pytest.fixture
def site(page: Page, bus: ObedientBus) -> Iterator[Page]:
    """The page, connected, with a clock that a test may turn forward; it must not complain."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(error.message))
    page.clock.install()
    page.goto(bus.url + "/index.html")
    expect(connection(page)).to_have_text("Connected")
    yield page
    page.close()
    assert not complaints


def status(page: Page) -> Locator:
    return page.get_by_role("status")


def connection(page: Page) -> Locator:
    return page.locator("#connection")


def form(page: Page) -> Locator:
    return page.get_by_role("form", name="Register")


def check(page: Page, bus: ObedientBus, domain: str) -> None:
    """Ask, and wait until the question is stored."""
    count = len(bus.posts)
    page.get_by_label("Domain name").fill(domain)
    page.get_by_role("button", name="Check").click()
    bus.wait_for(lambda: len(bus.posts) == count + 1)


def answer(bus: ObedientBus, domain: str, availability: str = "available") -> None:
    bus.push("check-domain-completed", [{"name": domain, "availability": availability}])


def register(page: Page, bus: ObedientBus) -> None:
    """Check example.com, which is available, and register it."""
    check(page, bus, "example.com")
    answer(bus, "example.com")
    page.get_by_label("Registrant name").fill("Anna")
    page.get_by_role("button", name="Register").click()
    bus.wait_for(lambda: bus.posts[-1]["name"] == "register-domain")


def lose_patience(page: Page) -> None:
    """Let the visitor's patience end; it begins when the page hears that its last question is stored."""
    expect(page.get_by_role("listitem").last).to_contain_text("#")
    page.clock.run_for(5_100)


# Checking.


def test_the_question_is_a_domain_event_and_the_page_says_at_once_that_it_is_asked(
    site: Page, bus: ObedientBus
) -> None:
    check(site, bus, " Example.COM. ")

    expect(status(site)).to_have_text("Checking example.com…")
    assert (bus.posts[0]["name"], bus.posts[0]["data"]) == ("check-domain", ["example.com"])


def test_the_pages_own_listener_says_so_before_the_bus_has_the_question(site: Page, bus: ObedientBus) -> None:
    held: list[Route] = []
    site.route(bus.url + "/", lambda route: held.append(route))

    site.get_by_label("Domain name").fill("example.com")
    site.get_by_role("button", name="Check").click()

    expect(status(site)).to_have_text("Checking example.com…")
    assert not bus.posts


def test_a_free_name_brings_the_form_and_the_focus_goes_there(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    answer(bus, "example.com")

    expect(status(site)).to_have_text("example.com is available")
    expect(form(site)).to_be_visible()
    expect(site.get_by_role("heading", name="Register example.com")).to_be_focused()


def test_the_focus_stays_where_the_next_name_is_being_typed(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    site.get_by_label("Domain name").fill("another")

    answer(bus, "example.com")

    expect(form(site)).to_be_visible()
    expect(site.get_by_label("Domain name")).to_be_focused()


def test_the_next_name_is_not_typed_over_an_answer_to_another(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    answer(bus, "example.com")
    expect(form(site)).to_be_visible()

    site.get_by_label("Domain name").press_sequentially("x")

    expect(status(site)).to_be_empty()
    expect(form(site)).to_be_hidden()
    expect(site.get_by_role("button", name="Search again")).to_be_hidden()


def test_a_second_answer_leaves_a_visitor_who_is_filling_in_the_form_alone(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    check(site, bus, "example.com")
    answer(bus, "example.com")
    expect(form(site)).to_be_visible()  # typing does not wait for that
    site.get_by_label("Registrant name").press_sequentially("An")

    answer(bus, "example.com")

    expect(site.get_by_role("listitem")).to_have_count(4)  # it has arrived
    expect(site.get_by_label("Registrant name")).to_be_focused()
    expect(status(site)).to_have_text("example.com is available")


def test_a_name_that_is_none_is_shown_with_the_services_reason(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "münchen.de")
    result = {"name": "münchen.de", "availability": "not available", "error": "not a domain name"}
    bus.push("check-domain-completed", [result])

    expect(status(site)).to_have_text("münchen.de is not available: not a domain name")


def test_a_taken_name_brings_no_form(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    answer(bus, "example.com", "not available")

    expect(status(site)).to_have_text("example.com is not available")
    expect(form(site)).to_be_hidden()


def test_a_late_answer_to_an_older_question_changes_nothing(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "older.com")
    check(site, bus, "newer.com")
    answer(bus, "newer.com", "not available")
    expect(status(site)).to_have_text("newer.com is not available")

    answer(bus, "older.com")

    expect(site.get_by_role("listitem")).to_have_count(4)  # it has arrived
    expect(status(site)).to_have_text("newer.com is not available")
    expect(form(site)).to_be_hidden()


@pytest.mark.parametrize("nonsense", ["", "no-ending", "two words.com", "anna@example.com", "http://example.com"])
def test_what_is_no_domain_name_is_not_sent(site: Page, bus: ObedientBus, nonsense: str) -> None:
    field = site.get_by_label("Domain name")
    field.fill(nonsense)
    site.get_by_role("button", name="Check").click()

    assert field.evaluate("(field) => !field.validity.valid")
    assert not bus.posts


def test_what_others_write_is_shown_as_text(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    answer(bus, "example.com", "<img src=x>")

    expect(status(site)).to_have_text("example.com is <img src=x>")
    expect(site.locator("img")).to_have_count(0)


# Registering.


def test_a_registration_is_a_domain_event(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    answer(bus, "example.com")
    for label, text in {
        "Registrant name": "Anna",
        "Address": "Main Street 1",
        "City": "Bonn",
        "State or province": "NRW",
        "Country": "Germany",
    }.items():
        site.get_by_label(label).fill(text)
    site.get_by_label("Renew automatically").uncheck()
    site.get_by_label("Keep my details private").check()

    site.get_by_role("button", name="Register").click()

    expect(status(site)).to_have_text("Registering example.com…")
    expect(status(site)).to_be_focused()  # the form, which had the focus, is gone
    bus.wait_for(lambda: len(bus.posts) == 2)
    assert bus.posts[1]["name"] == "register-domain"
    assert bus.posts[1]["data"] == {
        "name": "example.com",
        "registrant": {
            "name": "Anna",
            "address": "Main Street 1",
            "city": "Bonn",
            "state": "NRW",
            "country": "Germany",
        },
        "options": {"autorenew": False, "whoisprivacy": True},
    }


@pytest.mark.parametrize(
    ("expiration", "text"),
    [
        ({"expiration": "2027-11-23"}, "example.com is registered until 2027-11-23"),
        ({"expiration": "2027-11-23T00:00:00+00:00"}, "example.com is registered until 2027-11-23"),
        ({"expiration": ""}, "example.com is registered"),
        ({}, "example.com is registered"),
    ],
    ids=["date", "date and time", "empty", "absent"],
)
def test_a_registered_name_is_shown_with_its_expiration(
    site: Page, bus: ObedientBus, expiration: dict[str, str], text: str
) -> None:
    register(site, bus)
    bus.push("register-domain-completed", {"name": "example.com", "registered": True, **expiration})

    expect(status(site)).to_have_text(text)
    expect(form(site)).to_be_hidden()


def test_a_failed_registration_says_why_and_the_form_is_still_filled_in(site: Page, bus: ObedientBus) -> None:
    register(site, bus)
    bus.push("register-domain-completed", {"name": "example.com", "registered": False, "error": "somebody was faster"})

    expect(status(site)).to_have_text("example.com was not registered: somebody was faster")
    expect(site.get_by_label("Registrant name")).to_have_value("Anna")


def test_a_second_answer_to_the_check_does_not_disturb_the_registration(site: Page, bus: ObedientBus) -> None:
    register(site, bus)

    answer(bus, "example.com", "not available")

    expect(site.get_by_role("listitem")).to_have_count(4)
    expect(status(site)).to_have_text("Registering example.com…")


def test_search_again_begins_anew(site: Page, bus: ObedientBus) -> None:
    register(site, bus)
    bus.push("register-domain-completed", {"name": "example.com", "registered": True})

    site.get_by_role("button", name="Search again").click()

    expect(status(site)).to_be_empty()
    expect(site.get_by_label("Domain name")).to_have_value("")
    expect(site.get_by_label("Domain name")).to_be_focused()
    expect(site.get_by_role("button", name="Search again")).to_be_hidden()


# When something is missing.


def test_silence_is_explained_after_five_seconds_and_a_late_answer_still_shown(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    expect(status(site)).to_have_text("Checking example.com…")

    lose_patience(site)
    expect(status(site)).to_contain_text("Nobody has answered yet.")

    answer(bus, "example.com")
    expect(status(site)).to_have_text("example.com is available")


def test_asking_again_after_silence_begins_a_new_wait(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    lose_patience(site)
    expect(status(site)).to_contain_text("Nobody has answered yet.")

    check(site, bus, "example.com")

    expect(status(site)).to_have_text("Checking example.com…")


def test_an_unanswered_registration_can_be_sent_again(site: Page, bus: ObedientBus) -> None:
    register(site, bus)
    lose_patience(site)
    expect(status(site)).to_contain_text("Nobody has answered yet.")

    site.get_by_role("button", name="Register").click()

    bus.wait_for(lambda: len(bus.posts) == 3)
    assert bus.posts[1]["data"] == bus.posts[2]["data"]


@pytest.mark.parametrize("granted_first", [True, False])
def test_a_registration_that_was_sent_twice_is_one_whichever_answer_comes_first(
    site: Page, bus: ObedientBus, granted_first: bool
) -> None:
    register(site, bus)
    lose_patience(site)
    site.get_by_role("button", name="Register").click()
    bus.wait_for(lambda: len(bus.posts) == 3)

    for registered in (granted_first, not granted_first):
        bus.push("register-domain-completed", {"name": "example.com", "registered": registered})

    expect(site.get_by_role("listitem")).to_have_count(6)
    expect(status(site)).to_have_text("example.com is registered")


def test_a_question_asked_while_the_bus_is_gone_waits_and_the_page_says_so(site: Page, bus: ObedientBus) -> None:
    bus.gone = True
    bus.close(1012)
    expect(connection(site)).to_have_text("Reconnecting…")
    site.get_by_label("Domain name").fill("example.com")
    site.get_by_role("button", name="Check").click()
    expect(status(site)).to_contain_text("The bus cannot be reached.")

    bus.gone = False
    site.evaluate("dispatchEvent(new Event('online'))")

    bus.wait_for(lambda: len(bus.posts) == 1)
    expect(status(site)).to_have_text("Checking example.com…")


def test_a_bus_that_takes_nothing_for_five_seconds_cannot_be_reached_either(site: Page, bus: ObedientBus) -> None:
    bus.answer_next(503, Retry_After="60")
    check(site, bus, "example.com")

    site.clock.run_for(5_100)

    expect(status(site)).to_contain_text("The bus cannot be reached.")


def test_what_the_bus_refuses_is_said_with_its_reason(site: Page, bus: ObedientBus) -> None:
    bus.answer_next(403, detail="clients may not publish check-domain")
    check(site, bus, "example.com")

    expect(status(site)).to_have_text("example.com: clients may not publish check-domain")


def test_a_page_that_the_bus_turns_away_for_good_says_so(site: Page, bus: ObedientBus) -> None:
    bus.close(4403)

    expect(connection(site)).to_have_text("Refused by the bus")


def test_a_site_that_does_not_say_where_the_bus_is_is_explained(page: Page, bus: ObedientBus) -> None:
    page.route("**/config.json", lambda route: route.fulfill(status=404))

    page.goto(bus.url + "/index.html")

    expect(status(page)).to_contain_text("This page cannot find the event bus: config.json is answered by 404")


def test_a_visitor_who_is_faster_than_the_settings_loses_nothing(page: Page, bus: ObedientBus) -> None:
    held: list[Route] = []
    page.route("**/config.json", lambda route: held.append(route))
    page.goto(bus.url + "/index.html")
    page.get_by_label("Domain name").fill("example.com")
    page.get_by_role("button", name="Check").click()
    expect(status(page)).to_have_text("Checking example.com…")

    held[0].continue_()

    bus.wait_for(lambda: len(bus.posts) == 1)


def test_an_answer_to_what_was_asked_before_a_reload_is_shown(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    site.reload()
    expect(connection(site)).to_have_text("Connected")

    answer(bus, "example.com")

    expect(status(site)).to_have_text("example.com is available")
    site.get_by_label("Domain name").press_sequentially("x")
    expect(status(site)).to_be_empty()


# For everybody.


def test_the_keyboard_is_enough(site: Page, bus: ObedientBus) -> None:
    expect(site.get_by_label("Domain name")).to_be_focused()
    site.keyboard.type("example.com")
    site.keyboard.press("Enter")
    bus.wait_for(lambda: len(bus.posts) == 1)
    answer(bus, "example.com")
    expect(site.get_by_role("heading", name="Register example.com")).to_be_focused()
    site.keyboard.press("Tab")
    site.keyboard.type("Anna")
    site.keyboard.press("Enter")

    bus.wait_for(lambda: len(bus.posts) == 2)
    assert bus.posts[1]["data"]["registrant"]["name"] == "Anna"


def test_every_field_has_a_label(site: Page) -> None:
    assert site.evaluate("[...document.querySelectorAll('input')].filter((field) => !field.labels.length).length") == 0


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_nothing_is_wider_than_the_screen(site: Page, bus: ObedientBus, width: int) -> None:
    site.set_viewport_size({"width": width, "height": 800})
    check(site, bus, "a-name-that-is-really-very-long-indeed-and-has-no-place-to-break.example.com")
    answer(bus, "a-name-that-is-really-very-long-indeed-and-has-no-place-to-break.example.com")
    expect(form(site)).to_be_visible()

    assert site.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_the_page_says_that_it_needs_them(
    bus: ObedientBus, new_context: Callable[..., BrowserContext]
) -> None:
    page = new_context(java_script_enabled=False).new_page()

    page.goto(bus.url + "/index.html")

    expect(page.locator("noscript p")).to_be_visible()  # Playwright's text locators skip noscript


def test_what_just_happened_lists_the_events_with_their_place_and_source(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    answer(bus, "example.com")

    expect(site.get_by_role("listitem")).to_have_text(
        ["#11check-domainfrom this page", "#12check-domain-completedfrom domain service"]
    )


def test_a_reload_keeps_the_conversation(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.net")
    answer(bus, "example.net", "not available")
    check(site, bus, "example.com")
    expect(site.get_by_role("listitem")).to_have_text(
        [
            "#11check-domainfrom this page",
            "#12check-domain-completedfrom domain service",
            "#13check-domainfrom this page",
        ]
    )
    before = site.get_by_role("listitem").all_text_contents()

    site.reload()

    expect(status(site)).to_have_text("Checking example.com…")
    expect(site.get_by_label("Domain name")).to_have_value("example.com")
    assert site.get_by_role("listitem").all_text_contents() == before
    lose_patience(site)
    expect(status(site)).to_contain_text("Nobody has answered yet.")
    answer(bus, "example.com")
    expect(status(site)).to_have_text("example.com is available")


@pytest.mark.parametrize(
    "kept",
    [
        "5",
        "null",
        "{bad",
        '{"lines": 5}',
        '{"lines": [null, [], 5, {"id": {}}]}',
        '{"question": 5}',
        '{"question": {}}',
        '{"question": {"name": "check-domain", "domain": {}}}',
    ],
)
def test_what_a_reload_kept_is_forgotten_if_it_cannot_be_understood(site: Page, bus: ObedientBus, kept: str) -> None:
    site.evaluate("(kept) => sessionStorage.setItem('conversation', kept)", kept)

    site.reload()

    expect(connection(site)).to_have_text("Connected")
    expect(status(site)).to_be_empty()
    expect(site.get_by_label("Domain name")).to_have_value("")
    expect(site.get_by_role("listitem")).to_have_count(0)
    check(site, bus, "example.com")
    answer(bus, "example.com")
    expect(status(site)).to_have_text("example.com is available")


def test_what_is_over_when_the_page_is_reloaded_is_over(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    answer(bus, "example.com")
    expect(status(site)).to_have_text("example.com is available")

    site.reload()
    expect(connection(site)).to_have_text("Connected")
    answer(bus, "example.com", "not available")

    expect(site.get_by_role("listitem")).to_have_count(3)
    expect(status(site)).to_have_text("")


def test_a_question_that_was_stored_while_the_page_was_reloaded_has_one_line(site: Page, bus: ObedientBus) -> None:
    bus.answer_next(503, Retry_After="60")  # so that the page does not hear that it is stored
    check(site, bus, "example.com")
    site.reload()
    expect(connection(site)).to_have_text("Connected")
    bus.wait_for(lambda: len(bus.posts) == 2)

    bus.push("check-domain", ["example.com"], id=bus.posts[0]["id"], source="client")

    expect(site.get_by_role("listitem")).to_have_text(f"#{bus.head}check-domainfrom this page")
    lose_patience(site)
    expect(status(site)).to_contain_text("Nobody has answered yet.")


def test_events_that_are_gone_are_said_to_who_waits_for_an_answer(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    expect(site.get_by_role("listitem").last).to_contain_text("#")
    bus.identify_extra = {"gap": True, "oldest": 50}
    bus.close(1012)
    site.clock.run_for(5_000)

    expect(status(site)).to_have_text("The bus has lost events, perhaps this question or its answer. Please ask again.")
    bus.identify_extra = {}
    check(site, bus, "example.com")
    expect(status(site)).to_have_text("Checking example.com…")


def test_events_that_are_gone_do_not_concern_who_waits_for_nothing(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    answer(bus, "example.com")
    expect(status(site)).to_have_text("example.com is available")
    bus.identify_extra = {"gap": True, "oldest": 50}
    bus.close(1012)
    expect(connection(site)).to_have_text("Reconnecting…")
    site.clock.run_for(5_000)
    expect(connection(site)).to_have_text("Connected")

    expect(status(site)).to_have_text("example.com is available")
