"""What TLS is for: only who trusts the CA sees the page, and nothing that goes over the wire can be read there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserType, Error, expect
from programs import Processes
from story import check, fresh_domain, open_page, status
from trust import make_home, trusted

Launch = Callable[[Path], Browser]

pytestmark = pytest.mark.needs_control


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """The three programs over TLS, whatever the other stories run over."""
    programs = Processes(tmp_path_factory.mktemp("secure"), tls=True)
    assert programs.ca
    with trusted(programs.ca):
        try:
            for program in ("bus", "static-site", "example-service"):
                programs.start(program)
            yield programs
        finally:
            programs.remove()


@pytest.fixture
def launch(browser_type: BrowserType, browser_type_launch_args: dict[str, Any]) -> Iterator[Launch]:
    """Start a browser whose user has this home."""
    browsers = []

    def launch(home: Path) -> Browser:
        options = browser_type_launch_args | {"env": os.environ | {"HOME": str(home)}}
        browsers.append(browser_type.launch(**options))
        return browsers[-1]

    yield launch
    for browser in browsers:
        browser.close()


def test_who_trusts_the_ca_is_answered_over_wss(secure: Processes, launch: Launch, tmp_path: Path) -> None:
    assert secure.ca
    page = launch(make_home(secure.ca, tmp_path)).new_page()
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    domain = fresh_domain()

    open_page(page, secure.site_url)
    check(page, domain)

    expect(status(page)).to_contain_text(f"{domain} is available")
    assert sockets == [secure.bus_url.replace("https", "wss", 1) + "/ws"]


def test_who_does_not_trust_it_is_warned(secure: Processes, launch: Launch, tmp_path: Path) -> None:
    page = launch(tmp_path).new_page()

    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(secure.site_url)
