"""What every story needs: the demo, running, and a browser whose pages must not complain."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium_launch_options
from machine import ARTIFACTS
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright, WebError, expect
from programs import PROGRAMS, TARGETS, Demo, Programs, running_demo
from story import NETWORK_CHANGED
from trust import make_home

expect.set_options(timeout=20_000)  # a reconnect may take its time: the pause before it grows, and is random

# What a browser prints by itself when nobody listens, or hangs up; no page can prevent it.
NETWORK_ERROR = re.compile(r"net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE)|^WebSocket connection to ")

# pytest-playwright's options: what a failed story leaves, where the command line does not say otherwise.
KEPT_OF_A_FAILURE = {
    "screenshot": ("off", "only-on-failure"),
    "tracing": ("off", "retain-on-failure"),
    "output": ("test-results", str(ARTIFACTS)),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", choices=TARGETS, default="processes", help="what the stories run against")
    parser.addoption("--tls", action="store_true", help="over TLS, with a development CA that is trusted")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_control: stops or starts programs; impossible from inside a container")
    config.addinivalue_line("markers", "network_errors: the browser may print that it cannot reach the bus")
    for option, (default, ours) in KEPT_OF_A_FAILURE.items():
        if config.getoption(option) == default:
            setattr(config.option, option, ours)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the test that needs them first wait until images are built and containers are healthy."""
    for item in items:
        if config.getoption("--target") == "containers" or "containers" in item.path.parts:
            item.add_marker(pytest.mark.timeout(480))


@pytest.fixture(scope="session")
def demo(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The three programs, running."""
    target, tls = pytestconfig.getoption("--target"), pytestconfig.getoption("--tls")
    with running_demo(target, tmp_path_factory.mktemp("demo"), tls=tls) as demo:
        yield demo


@pytest.fixture(scope="session")
def playwright(demo: Demo, playwright: Playwright) -> Playwright:
    """Start Playwright's own program after the demo, whose CA it is to trust: it repeats requests for a story."""
    return playwright


@pytest.fixture(scope="session")
def base_url(demo: Demo) -> str:
    """Say what `page.goto("/")` means."""
    return demo.site_url


@pytest.fixture
def programs(demo: Programs) -> Iterator[Programs]:
    """The three programs, to stop and start; afterwards all of them run again."""
    yield demo
    for program in PROGRAMS:
        demo.start(program)


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any], demo: Demo, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    ours = chromium_launch_options()
    rules = os.environ.get("E2E_HOST_RULES")
    mapping = [f"--host-resolver-rules={rules}"] if rules else []
    ca = getattr(demo, "ca", None)
    home = {"env": os.environ | {"HOME": str(make_home(ca, tmp_path_factory.mktemp("home")))}} if ca else {}
    return browser_type_launch_args | ours | {"args": [*ours["args"], *mapping]} | home


@pytest.fixture
def new_context(
    new_context: Callable[..., BrowserContext], request: pytest.FixtureRequest
) -> Iterator[Callable[..., BrowserContext]]:
    """Make browser contexts, one for each visitor; a story fails where one of their pages complained."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def watched_context(**options: Any) -> BrowserContext:
        context = new_context(**options)
        contexts.append(context)
        _watch(context, complaints)
        return context

    yield watched_context
    for page in [page for context in contexts for page in context.pages]:
        page.evaluate("null")  # what the page complained of before this has arrived when this returns
    complaints = [complaint for complaint in complaints if NETWORK_CHANGED not in complaint]
    if request.node.get_closest_marker("network_errors"):
        complaints = [complaint for complaint in complaints if not NETWORK_ERROR.search(complaint)]
    assert not complaints


@pytest.fixture
def new_visitor(new_context: Callable[..., BrowserContext]) -> Callable[[], Page]:
    """Make pages that share nothing, as those of visitors at different machines."""
    return lambda: new_context().new_page()


def _watch(context: BrowserContext, complaints: list[str]) -> None:
    """Collect console errors and warnings (Chromium reports a breach of the CSP as one), and uncaught exceptions."""

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def on_error(error: WebError) -> None:
        complaints.append(str(error.error))

    context.on("console", on_console)
    context.on("weberror", on_error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what the programs printed beside the screenshot and the trace of a failed story."""
    report = yield
    values: dict[str, Any] = item.funcargs
    if report.failed and hasattr(values.get("demo"), "output") and "output_path" in values:
        _keep_output(values["demo"], Path(values["output_path"]))
    return report


def _keep_output(programs: Programs, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        (directory / f"{program}.log").write_text(programs.output(program))
