"""What the page shows, also for answers and silences that the example service does not give."""
# ruff: noqa: RUF001 - letters that look like others are part of what names are made of

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from domain_service.names import NotAName, domain_name
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
    answer(bus, "example.com")
    expect(form(site)).to_be_visible()  # typing does not wait for that
    site.get_by_label("Registrant name").press_sequentially("An")

    answer(bus, "example.com")

    expect(site.get_by_role("listitem")).to_have_count(3)  # it has arrived
    expect(site.get_by_label("Registrant name")).to_be_focused()
    expect(status(site)).to_have_text("example.com is available")


def test_a_name_that_is_none_is_shown_with_the_services_reason(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "a_b.de")
    result = {"name": "a_b.de", "availability": "not available", "error": "not a domain name"}
    bus.push("check-domain-completed", [result])

    expect(status(site)).to_have_text("a_b.de is not available: not a domain name")


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


# Which answer is whose.


def because_of(bus: ObedientBus, number: int = -1) -> dict[str, Any]:
    """Return the context of an answer to one of the questions that were published."""
    return {"context": {"cause": str(bus.stored[bus.posts[number]["id"]])}}


@pytest.mark.parametrize("asked", ["İ" * 200 + ".com", "\x85example.com", "Example.com"])
def test_an_answer_that_says_its_cause_is_known_whatever_it_calls_the_name(
    site: Page, bus: ObedientBus, asked: str
) -> None:
    check(site, bus, asked)
    expect(site.get_by_role("listitem")).to_contain_text("#")

    result = {"name": "as the service writes it", "availability": "not available"}
    bus.push("check-domain-completed", [result], **because_of(bus))

    expect(status(site)).to_contain_text("is not available")


def test_an_answer_with_another_cause_is_not_this_questions(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    expect(site.get_by_role("listitem")).to_contain_text("#")

    for cause in ("1", "undefined", "", "12"):
        result = {"name": "example.com", "availability": "not available"}
        bus.push("check-domain-completed", [result], context={"cause": cause})

    expect(site.get_by_role("listitem")).to_have_count(5)  # they have arrived
    expect(status(site)).to_have_text("Checking example.com…")
    bus.push("check-domain-completed", [{"name": "x", "availability": "available"}], **because_of(bus))
    expect(status(site)).to_have_text("example.com is available")


def test_a_late_answer_to_the_same_name_asked_earlier_is_not_taken(site: Page, bus: ObedientBus) -> None:
    for domain in ("example.com", "other.com", "example.com"):
        check(site, bus, domain)
    expect(site.get_by_role("listitem").last).to_contain_text("#13")

    bus.push("check-domain-completed", [{"name": "example.com", "availability": "available"}], **because_of(bus, 0))

    expect(site.get_by_role("listitem")).to_have_count(4)
    expect(status(site)).to_have_text("Checking example.com…")


def test_an_answer_that_comes_before_the_receipt_is_kept_for_it(site: Page, bus: ObedientBus) -> None:
    held: list[Route] = []
    site.route(bus.url + "/", lambda route: held.append(route))
    site.get_by_label("Domain name").fill("example.com")
    with site.expect_request(bus.url + "/"):
        site.get_by_role("button", name="Check").click()
    bus.head += 1  # the bus stores it, and the service is quicker than the bus's own answer
    stored = bus.head
    result = {"name": "example.com.", "availability": "not available"}
    bus.push("check-domain-completed", [{**result, "availability": "available"}], context={"cause": str(stored - 1)})
    bus.push("check-domain-completed", [result], context={"cause": str(stored)})
    expect(site.get_by_role("listitem")).to_have_count(3)
    expect(status(site)).to_have_text("Checking example.com…")

    held[0].fulfill(json={"id": "any", "seq": stored})

    expect(status(site)).to_have_text("example.com is not available")


def test_an_answer_is_shown_although_the_receipt_never_comes(site: Page, bus: ObedientBus) -> None:
    held: list[Route] = []
    site.route(bus.url + "/", lambda route: held.append(route))
    site.get_by_label("Domain name").fill("example.com")
    with site.expect_request(bus.url + "/"):
        site.get_by_role("button", name="Check").click()
    expect(status(site)).to_have_text("Checking example.com…")
    sent = held[0].request.post_data_json

    bus.push("check-domain", sent["data"], id=sent["id"], source="client", seq=11)
    bus.push("check-domain-completed", [{"name": "x", "availability": "available"}], context={"cause": "11"})

    expect(status(site)).to_have_text("example.com is available")


def lose_events(page: Page, bus: ObedientBus, **more: object) -> None:
    """Let the page come back to a bus that has lost events."""
    bus.identify_extra = {"gap": True, "oldest": 11, **more}
    count = len(bus.commands)
    bus.close(1012)
    expect(connection(page)).to_have_text("Reconnecting…")
    page.clock.run_for(5_000)
    bus.wait_for(lambda: len(bus.commands) == count + 1)
    expect(connection(page)).to_have_text("Connected")
    bus.identify_extra = {}


def test_after_a_gap_the_place_of_a_question_means_nothing_any_more(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    expect(site.get_by_role("listitem")).to_contain_text("#11")
    lose_events(site, bus, epoch="epoch-2")
    expect(status(site)).to_contain_text("The bus has lost events")

    somebody_elses = {"name": "another.com", "availability": "not available"}
    bus.push("check-domain-completed", [somebody_elses], context={"cause": "11"})

    expect(site.get_by_role("listitem")).to_have_count(2)
    expect(status(site)).to_contain_text("The bus has lost events")
    site.reload()
    expect(connection(site)).to_have_text("Connected")
    expect(status(site)).to_contain_text("The bus has lost events")


def test_an_answer_held_for_the_receipt_is_forgotten_with_the_log_that_it_was_in(site: Page, bus: ObedientBus) -> None:
    bus.answer_next(503, Retry_After="60")
    check(site, bus, "example.com")
    bus.push("check-domain-completed", [{"name": "x", "availability": "available"}], context={"cause": "12"})
    expect(site.get_by_role("listitem")).to_have_count(2)

    lose_events(site, bus, epoch="epoch-2")

    bus.wait_for(lambda: len(bus.posts) == 2)
    expect(site.get_by_role("listitem").first).to_contain_text("#12")
    # It was stored after the gap, so nothing of it is lost; on a busy machine the visitor's patience may be over.
    expect(status(site)).to_have_text(re.compile("^Checking example.com…|^Nobody has answered yet"))


def test_what_was_stored_before_a_gap_may_be_lost_although_the_receipt_comes_after_it(
    site: Page, bus: ObedientBus
) -> None:
    bus.answer_next(503, Retry_After="60")
    check(site, bus, "example.com")
    bus.stored[bus.posts[0]["id"]] = 5  # stored all the same

    lose_events(site, bus)

    bus.wait_for(lambda: len(bus.posts) == 2)
    expect(status(site)).to_contain_text("The bus has lost events")


@pytest.mark.parametrize("data", [None, 7, "text", [], [None], ["text"], {}, [[]]])
def test_nonsense_of_a_service_breaks_nothing(site: Page, bus: ObedientBus, data: object) -> None:
    check(site, bus, "example.com")
    expect(site.get_by_role("listitem")).to_contain_text("#")

    bus.push("check-domain-completed", data, **because_of(bus))
    bus.push("check-domain-completed", data)

    expect(site.get_by_role("listitem")).to_have_count(3)


# Names in all scripts.


@pytest.mark.parametrize(
    ("typed", "sent", "shown"),
    [
        ("münchen.de", "xn--mnchen-3ya.de", "münchen.de"),
        (" MÜNCHEN.de. ", "xn--mnchen-3ya.de", "münchen.de"),
        ("mu\u0308nchen.de", "xn--mnchen-3ya.de", "münchen.de"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("ΒΌΛΟΣ.gr", "xn--nxasmq6b.gr", "βόλοσ.gr"),
        ("例え。jp", "xn--r8jz45g.jp", "例え.jp"),
        ("例え｡jp。", "xn--r8jz45g.jp", "例え.jp"),
        ("exam\u00adple.com", "example.com", "example.com"),
        ("mün\u00adchen.de", "xn--mnchen-3ya.de", "münchen.de"),
        ("נדל״ן.example", "xn--7dbsjb6h.example", "נדל״ן.example"),
        ("نامه\u200cای.example", "xn--mgba3gch31f060k.example", "نامه\u200cای.example"),
        ("\ufeff\x85Example.com\x1f", "example.com", "example.com"),
        # What is no name goes out as it was typed: the service says why.
        ("%C3%BC.ö.com", "%C3%BC.ö.com", "%C3%BC.ö.com"),
        ("１.２", "１.２", "１.２"),
        ("0x7f.1", "0x7f.1", "0x7f.1"),
        ("example.com?ü", "example.com?ü", "example.com?ü"),
        ("evil\u202emoc.com", "evil\u202emoc.com", "evil\u202emoc.com"),
    ],
)
def test_a_name_goes_out_as_programs_write_it_and_is_shown_as_people_do(
    site: Page, bus: ObedientBus, typed: str, sent: str, shown: str
) -> None:
    check(site, bus, typed)
    expect(status(site)).to_have_text(f"Checking {shown}…")
    assert bus.posts[0]["data"] == [sent]
    answer(bus, sent)  # of a service that knows nothing of causes

    expect(status(site)).to_have_text(f"{shown} is available")
    expect(site.get_by_role("heading", name=f"Register {shown}")).to_be_focused()
    site.get_by_label("Registrant name").fill("Anna")
    site.get_by_role("button", name="Register").click()
    bus.wait_for(lambda: len(bus.posts) == 2)
    assert bus.posts[1]["data"]["name"] == sent


def test_letters_that_run_from_right_to_left_do_not_turn_what_stands_beside_them(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "evil\u202e.com")
    expect(site.get_by_role("listitem")).to_contain_text("#")
    result = {"availability": "not available", "error": "\u202e is not allowed"}
    bus.push("check-domain-completed", [result], **because_of(bus))

    expect(status(site)).to_contain_text("is not available")
    assert status(site).locator("bdi").all_text_contents() == [
        "evil\u202e.com",
        "not available",
        ": \u202e is not allowed",
    ]


def test_the_parts_of_a_name_stand_in_their_order_whatever_their_script(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "קניון.example")
    answer(bus, "xn--9dbhtb8a.example")
    expect(form(site)).to_be_visible()

    names = site.locator("bdi").filter(has_text="קניון.example")
    expect(names).to_have_count(2)
    for name in names.all():
        expect(name).to_have_css("direction", "ltr")


def test_the_browser_and_the_service_write_a_name_in_the_same_way(site: Page) -> None:
    """Of each letter of all scripts that the service takes."""
    letters = [chr(code) for code in range(0x80, 0x30000) if chr(code).isalnum()]
    mine = {letter: ascii_name(f"b{letter}b.example") for letter in letters}
    known = [letter for letter in letters if mine[letter]]
    assert len(known) > 50_000

    pages = site.evaluate(
        """async (letters) => {
          const { readName } = await import("/names.js");
          return letters.map((letter) => readName(`b${letter}b.example`));
        }""",
        known,
    )

    differ = {
        letter: (mine[letter], page) for letter, page in zip(known, pages, strict=True) if mine[letter] != page["ascii"]
    }
    assert differ == {}


def ascii_name(text: str) -> str | None:
    try:
        return domain_name(text)
    except NotAName:
        return None


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
    assert bus.posts[1]["id"] == bus.posts[2]["id"]  # so the bus adds it once
    expect(status(site)).to_have_text("Registering example.com…")
    bus.push("register-domain-completed", {"name": "example.com", "registered": True}, **because_of(bus, 1))
    expect(status(site)).to_have_text("example.com is registered")
    expect(site.get_by_role("listitem")).to_have_count(4)


def test_a_double_click_asks_once(site: Page, bus: ObedientBus) -> None:
    site.get_by_label("Domain name").fill("example.com")
    site.get_by_role("button", name="Check").dblclick()
    expect(site.get_by_role("listitem")).to_contain_text("#")

    answer(bus, "example.com")

    expect(status(site)).to_have_text("example.com is available")
    assert len(bus.stored) == 1
    expect(site.get_by_role("listitem")).to_have_count(2)


def test_who_presses_twice_before_the_settings_are_there_asks_once(page: Page, bus: ObedientBus) -> None:
    held: list[Route] = []
    page.route("**/config.json", lambda route: held.append(route))
    page.goto(bus.url + "/index.html")
    page.get_by_label("Domain name").fill("example.com")
    page.get_by_role("button", name="Check").dblclick()
    expect(status(page)).to_have_text("Checking example.com…")

    held[0].continue_()

    expect(page.get_by_role("listitem")).to_contain_text("#")
    assert len(bus.posts) == 1


def test_pressing_again_while_the_bus_is_gone_adds_nothing(site: Page, bus: ObedientBus) -> None:
    register(site, bus)
    site.get_by_role("button", name="Register").wait_for(state="hidden")
    bus.push("register-domain-completed", {"name": "example.com", "registered": False, "error": "not today"})
    bus.gone = True
    bus.close(1012)
    expect(connection(site)).to_have_text("Reconnecting…")
    for _ in range(2):
        site.get_by_role("button", name="Register").click()
        expect(status(site)).to_contain_text("The bus cannot be reached.")
        site.clock.run_for(5_100)

    bus.gone = False
    site.evaluate("dispatchEvent(new Event('online'))")

    expect(site.get_by_role("listitem")).to_have_count(5)
    expect(site.get_by_role("listitem").last).to_contain_text("#")
    assert len({post["id"] for post in bus.posts if post["name"] == "register-domain"}) == 2  # refused, and this one


def test_a_registration_is_the_same_after_a_reload_until_a_field_is_changed(site: Page, bus: ObedientBus) -> None:
    register(site, bus)
    lose_patience(site)
    expect(form(site)).to_be_visible()
    site.get_by_label("City").fill("Bonn")
    site.get_by_label("Renew automatically").uncheck()
    site.get_by_role("button", name="Register").click()
    bus.wait_for(lambda: len(bus.posts) == 3)
    lose_patience(site)
    site.reload()
    expect(connection(site)).to_have_text("Connected")
    site.clock.run_for(5_100)

    site.get_by_role("button", name="Register").click()

    bus.wait_for(lambda: len(bus.posts) == 4)
    first, changed, again = bus.posts[1:]
    assert first["id"] != changed["id"]
    assert (again["id"], again["data"]) == (changed["id"], changed["data"])
    assert changed["data"]["registrant"]["city"] == "Bonn"


@pytest.mark.parametrize("granted_first", [True, False])
def test_who_changed_a_field_and_asked_again_reads_that_the_domain_is_registered(
    site: Page, bus: ObedientBus, granted_first: bool
) -> None:
    register(site, bus)
    lose_patience(site)
    site.get_by_label("City").fill("Bonn")
    site.get_by_role("button", name="Register").click()
    bus.wait_for(lambda: len(bus.posts) == 3)
    expect(site.get_by_role("listitem").last).to_contain_text("#")
    granted, refused = because_of(bus, 1), because_of(bus, 2)

    for registered in (granted_first, not granted_first):
        result = {"name": "example.com", "registered": registered, "error": "it is already registered"}
        bus.push("register-domain-completed", result, **(granted if registered else refused))

    expect(site.get_by_role("listitem")).to_have_count(6)
    expect(status(site)).to_have_text("example.com is registered")


@pytest.mark.parametrize("over", ["answered", "refused", "lost", "given up"])
def test_who_asks_after_the_end_of_a_question_asks_a_new_one(site: Page, bus: ObedientBus, over: str) -> None:
    if over == "refused":
        bus.answer_next(403, detail="not today")
    check(site, bus, "example.com")
    if over == "answered":
        answer(bus, "example.com", "not available")
        expect(status(site)).to_have_text("example.com is not available")
    elif over == "refused":
        expect(status(site)).to_have_text("example.com: not today")
    elif over == "lost":
        expect(site.get_by_role("listitem")).to_contain_text("#")
        lose_events(site, bus)
        expect(status(site)).to_contain_text("The bus has lost events")
    else:
        lose_patience(site)
        site.get_by_role("button", name="Search again").click()

    check(site, bus, "example.com")

    assert bus.posts[0]["id"] != bus.posts[1]["id"]
    expect(site.get_by_role("listitem").last).to_contain_text("#")
    bus.push("check-domain-completed", [{"name": "x", "availability": "available"}], **because_of(bus))
    expect(status(site)).to_have_text("example.com is available")


def test_an_identity_that_expired_while_somebody_waited_asks_anew_and_is_answered(site: Page, bus: ObedientBus) -> None:
    register(site, bus)
    lose_patience(site)
    bus.answer_next(401)
    bus.resumes = False
    bus.stored.clear()  # ids are told apart by client
    site.get_by_role("button", name="Register").click()

    bus.wait_for(lambda: len(bus.posts) == 4)
    expect(status(site)).to_have_text("Registering example.com…")
    bus.push("register-domain-completed", {"name": "x", "registered": True}, **because_of(bus))
    expect(status(site)).to_have_text("example.com is registered")


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

    expect(site.get_by_role("listitem")).to_have_count(5)
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


def test_a_connected_bus_that_takes_nothing_for_five_seconds_is_not_said_to_be_out_of_reach(
    site: Page, bus: ObedientBus
) -> None:
    bus.answer_next(503, Retry_After="60")
    check(site, bus, "example.com")

    site.clock.run_for(5_100)

    expect(status(site)).to_have_text("The bus has not taken the question yet. It waits here and is sent again.")


@pytest.fixture
def stuck(site: Page, bus: ObedientBus) -> list[str]:
    """Ask for poison.com until the page says that this does not get through; what is taken off this list does."""
    blocked = ["poison"]

    def answer(route: Route) -> None:
        is_blocked = any(word in (route.request.post_data or "") for word in blocked)
        (route.abort if is_blocked else route.continue_)()

    site.route(bus.url + "/", answer)
    site.get_by_label("Domain name").fill("poison.com")
    site.get_by_role("button", name="Check").click()
    for _ in range(5):
        site.clock.run_for(5_000)
    expect(status(site)).to_contain_text("This question does not get through to the bus, though others do.")
    return blocked


def test_a_question_that_does_not_get_through_does_not_hold_up_the_next_one(
    site: Page, bus: ObedientBus, stuck: list[str]
) -> None:
    site.get_by_label("Domain name").fill("example.com")
    site.get_by_role("button", name="Check").click()
    expect(site.get_by_role("listitem").last).to_contain_text("#11")
    answer(bus, "example.com")

    expect(status(site)).to_have_text("example.com is available")


def test_a_question_that_gets_through_late_is_a_question_as_any_other(
    site: Page, bus: ObedientBus, stuck: list[str]
) -> None:
    stuck.clear()
    bus.close(1012)
    expect(connection(site)).to_have_text("Reconnecting…")

    site.clock.run_for(5_000)

    lose_patience(site)
    expect(status(site)).to_contain_text("Nobody has answered yet.")


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


def test_a_duplicated_tab_begins_with_nothing_and_the_first_goes_on(site: Page, bus: ObedientBus) -> None:
    check(site, bus, "example.com")
    with site.expect_popup() as opened:
        site.evaluate("window.open(location.href)")

    expect(connection(opened.value)).to_have_text("Connected")
    expect(status(opened.value)).to_be_empty()
    expect(opened.value.get_by_role("listitem")).to_have_count(0)
    expect(opened.value.get_by_label("Domain name")).to_have_value("")
    expect(status(site)).to_have_text("Checking example.com…")
    assert bus.commands[-1] == {"action": "identify"}


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
    bus.wait_for(lambda: len(bus.stored) == 1)

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
