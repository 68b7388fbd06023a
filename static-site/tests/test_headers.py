"""The static site, as `serve.py` and as nginx serve it: the same headers on every response, and the same files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from web import Answer, request

BUS_URL = "http://bus.example:8080"
TEMPLATE = Path(__file__).parent.parent / "nginx.conf.template"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' http://bus.example:8080 ws://bus.example:8080; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Access-Control-Allow-Origin": BUS_URL,
    "Access-Control-Allow-Headers": "Content-Type",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@pytest.fixture(params=["serve_py", "nginx"])
def site(request: pytest.FixtureRequest) -> str:
    """Return the address of a running server."""
    url: str = request.getfixturevalue(request.param)
    return url


def sent(answer: Answer) -> dict[str, str | None]:
    return {name: answer.headers[name] for name in HEADERS}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/eventbus.js", 200),
        ("GET", "/config.json", 200),
        ("GET", "/missing", 404),
        ("POST", "/", 405),
    ],
)
def test_every_response_has_the_headers(site: str, method: str, path: str, status: int) -> None:
    answer = request(method, site + path)

    assert answer.status == status
    assert sent(answer) == HEADERS


def test_the_nginx_configuration_sends_the_headers_of_serve_py_from_one_place_with_every_status() -> None:
    config = TEMPLATE.read_text()
    config = config.replace("${EVENTBUS_PUBLIC_URL}", BUS_URL).replace("${EVENTBUS_WEBSOCKET_URL}", "ws" + BUS_URL[4:])
    server, *locations = re.split(r"\n    location ", config)

    headers = dict(re.findall(r'^    add_header (\S+) "?(.*?)"? always;$', server, re.MULTILINE))

    assert headers == {**HEADERS, "Cache-Control": "$cache_control"}
    assert len(re.findall(r"^ *add_header ", server, re.MULTILINE)) == len(headers)
    assert not [location for location in locations if re.search(r"^ *add_header ", location, re.MULTILINE)]


def test_browsers_ask_each_time_and_a_file_that_is_the_same_is_not_sent_again(site: str) -> None:
    first = request("GET", site + "/app.js")
    again = request("GET", site + "/app.js", If_None_Match=first.headers["ETag"])

    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status, again.text) == (304, "")
    assert sent(again) == HEADERS


def test_the_page_is_told_where_the_bus_is_and_may_not_keep_it(site: str) -> None:
    answer = request("GET", site + "/config.json")

    assert answer.json() == {"eventbus": BUS_URL}
    assert answer.headers.get_content_type() == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "html"), ("/app.js", "javascript"), ("/style.css", "css"), ("/favicon.svg", "svg+xml")]
)
def test_files_are_served_as_what_they_are(site: str, path: str, kind: str) -> None:
    assert request("GET", site + path).headers.get_content_subtype() == kind


@pytest.mark.parametrize(
    "path",
    [
        *["/.env", "/link-out", "/link-in.js", "/../serve.py", "/%2e%2e/serve.py", "/..%2fserve.py", "//etc/passwd"],
        *["/%00", "/" + 300 * "a", "/" + 3000 * "a/"],
    ],
)
def test_nothing_but_plain_files_of_the_public_folder_is_served(site: str, path: str) -> None:
    answer = request("GET", site + path)

    assert answer.status in (400, 403, 404)
    assert sent(answer) == HEADERS
