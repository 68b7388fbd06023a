"""The handlers, as functions: an event and a registry go in, events and changes come out."""

import json

import pytest
from domain_service.handlers import HANDLERS, WELL_KNOWN, Registration

CHECK = HANDLERS["check-domain"]
REGISTER = HANDLERS["register-domain"]

TAKEN = {"taken.example": Registration("taken.example", {}, {}, "2027-01-01")}


def question(data, time="2026-11-23T09:00:00.123Z"):
    return {"data": data, "time": time, "seq": 42, "context": {}}


def check(data, registry=TAKEN):
    [event], changes = CHECK(question(data), registry)
    assert event["name"] == "check-domain-completed"
    assert changes == []
    return event["data"]


def register(data, registry=TAKEN, **more):
    [event], changes = REGISTER(question(data, **more), registry)
    assert event["name"] == "register-domain-completed"
    return event["data"], changes


def test_a_free_name_is_available():
    assert check(["example.com"]) == [{"name": "example.com", "availability": "available"}]


def test_well_known_and_registered_names_are_not_available():
    assert check(["google.com", "example.org", "taken.example"]) == [
        {"name": "google.com", "availability": "not available"},
        {"name": "example.org", "availability": "not available"},
        {"name": "taken.example", "availability": "not available"},
    ]


def test_the_name_of_the_examples_is_free():
    assert "example.com" not in WELL_KNOWN


def test_an_empty_list_gets_an_empty_answer():
    assert check([]) == []


@pytest.mark.parametrize(
    "written",
    ["Google.COM", "  google.com\n", "google.com.", " GOOGLE.com. ", "google。com", "\x85google.com"],
)
def test_the_same_name_is_known_however_it_is_written(written):
    assert check([written]) == [{"name": "google.com", "availability": "not available"}]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", ""),
        (" . ", " . "),
        ("example", "example"),
        ("example.com..", "example.com.."),
        (".example.com", ".example.com"),
        ("-a.example", "-a.example"),
        ("a-.example", "a-.example"),
        ("a b.example", "a b.example"),
        ("a_b.example", "a_b.example"),
        ("♥.example", "♥.example"),
        ("<b>.example", "<b>.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("a\0.example", "a\0.example"),
        ("a" * 64 + ".example", "a" * 64 + ".example"),
        ("a." * 124 + "toolong", ("a." * 124 + "toolong")[:253]),
        ("x" * 100_000, "x" * 253),
        (5, "5"),
        (None, ""),
        (True, "true"),
        (["example.com"], '["example.com"]'),
        ({"name": "example.com"}, '{"name": "example.com"}'),
    ],
)
def test_what_is_no_domain_name_is_not_available_and_says_why(name, shown):
    [result] = check([name])

    assert result["name"] == shown
    assert result["availability"] == "not available"
    assert "expected" in result["error"]


@pytest.mark.parametrize(
    "name", ["a.example", "a" * 63 + ".example", "xn--exmple-cua.com", "3m.com", "a-b.c-d.example"]
)
def test_unusual_names_are_names(name):
    assert check([name]) == [{"name": name, "availability": "available"}]


def test_one_odd_name_in_a_list_does_not_spoil_the_others():
    first, odd, last = check(["example.com", 7, "google.com"])

    assert first == {"name": "example.com", "availability": "available"}
    assert odd["error"]
    assert last == {"name": "google.com", "availability": "not available"}


@pytest.mark.parametrize("data", [None, 7, True, "example.com", {"name": "example.com"}, ["example.com"] * 51])
def test_a_check_of_what_is_no_list_of_names_gets_an_answer_that_says_so(data):
    [result] = check(data)

    assert result["availability"] == "not available"
    assert "expected a list of at most 50 names" in result["error"]


def test_a_name_in_another_script_is_answered_and_registered_in_its_ascii_form():
    assert check(["Köln.example"]) == [{"name": "xn--kln-sna.example", "availability": "available"}]

    answer, [registration] = register({"name": "Köln.example"})

    assert answer["name"] == registration.name == "xn--kln-sna.example"
    taken = {registration.name: registration}
    assert [result["availability"] for result in check(["KÖLN.example", "xn--kln-sna.example"], taken)] == [
        "not available",
        "not available",
    ]


@pytest.mark.parametrize("name", ["\N{BUG}" * 5000, "\N{BUG}" * 63 + "." + "\N{BUG}" * 63 + ".example"])
def test_the_longest_answer_to_a_check_fits_into_an_event(name):
    assert len(json.dumps(check([name] * 50))) < 200 * 1024


def test_a_free_name_is_registered_for_a_year_from_the_question_on():
    registrant = {"name": "Anna", "address": "Way 1", "city": "Rome", "state": "RM", "country": "Italy"}

    answer, changes = register({"name": "Example.com.", "registrant": registrant, "options": {"autorenew": True}})

    assert answer == {"name": "example.com", "registered": True, "expiration": "2027-11-23"}
    options = {"autorenew": True, "whoisprivacy": False}
    assert changes == [Registration("example.com", registrant, options, "2027-11-23")]


def test_a_clock_at_the_end_of_the_calendar_registers_no_further():
    answer, _ = register({"name": "example.com"}, time="9999-12-31T23:59:59.000Z")

    assert answer["expiration"] == "9999-12-31"


def test_a_year_from_a_leap_day_ends_the_day_before():
    answer, _ = register({"name": "example.com"}, time="2028-02-29T23:59:59.999Z")

    assert answer["expiration"] == "2029-02-28"


@pytest.mark.parametrize("name", ["taken.example", "TAKEN.example.", "google.com"])
def test_a_taken_name_is_refused(name):
    answer, changes = register({"name": name})

    assert answer["registered"] is False
    assert answer["error"].endswith("is already registered")
    assert changes == []


@pytest.mark.parametrize(
    ("value", "on"),
    [(True, True), ("on", True), ("true", True), (False, False), ("off", False), (None, False), ([], False)],
)
def test_an_option_is_on_in_the_words_of_json_and_of_forms(value, on):
    _, [registration] = register({"name": "example.com", "options": {"autorenew": value}})

    assert registration.options == {"autorenew": on, "whoisprivacy": False}


@pytest.mark.parametrize("data", [{"name": "a.example"}, {"name": "a.example", "registrant": None, "options": None}])
def test_a_form_that_was_left_empty_registers_all_the_same(data):
    answer, [registration] = register(data)

    assert answer["registered"] is True
    assert registration.registrant == {"name": "", "address": "", "city": "", "state": "", "country": ""}


def test_of_the_registrant_only_the_known_fields_are_kept_and_as_text():
    _, [registration] = register({"name": "a.example", "registrant": {"name": 7, "city": "x" * 1000, "card": "4111"}})

    assert registration.registrant == {"name": "7", "address": "", "city": "x" * 1000, "state": "", "country": ""}


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (None, ""),
        ([], "[]"),
        (7, "7"),
        ("nonsense", "nonsense"),
        ({}, ""),
        ({"name": 7}, "7"),
        ({"name": ""}, ""),
        ({"name": "no name"}, "no name"),
        ({"name": "a.example", "registrant": "Anna"}, "a.example"),
        ({"name": "a.example", "registrant": []}, "a.example"),
        ({"name": "a.example", "options": "on"}, "a.example"),
    ],
)
def test_an_odd_registration_is_refused_and_says_why(data, shown):
    answer, changes = register(data)

    assert answer["name"] == shown
    assert answer["registered"] is False
    assert "expected" in answer["error"]
    assert changes == []
