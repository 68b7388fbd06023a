"""Two visitors use the page at the same time, each in a browser of their own."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect
from story import Wire, check, fresh_domain, journal, open_page, status


def test_two_visitors_never_see_each_others_answers(new_visitor: Callable[[], Page]) -> None:
    anna, bob = new_visitor(), new_visitor()
    wires = [Wire(anna), Wire(bob)]
    domains = [fresh_domain(), fresh_domain()]
    for visitor in (anna, bob):
        open_page(visitor)

    # Both at once; then once more in turn, so that whatever had gone astray would have come before the last answer.
    for lines in (2, 4):
        for visitor, domain in zip((anna, bob), domains, strict=True):
            check(visitor, domain)
        for visitor, domain in zip((anna, bob), domains, strict=True):
            expect(journal(visitor)).to_have_count(lines)
            expect(status(visitor)).to_have_text(f"{domain} is available")
    for visitor in (anna, bob):
        expect(journal(visitor).filter(has_text="…")).to_have_count(0)

    addresses = [identity["address"] for wire in wires for identity in wire.identities]
    assert len(set(addresses)) == 2
    for wire, address, domain in zip(wires, addresses, domains, strict=True):
        assert {event["context"]["identifier"] for event in wire.events} == {address}
        assert all(domain in str(event["data"]) for event in wire.events)
        assert [event["name"] for event in wire.events].count("check-domain-completed") == 2


def test_two_tabs_of_one_visitor_are_two_clients(page: Page) -> None:
    domain = fresh_domain()
    other_tab = page.context.new_page()
    wires = [Wire(page), Wire(other_tab)]
    for tab in (page, other_tab):
        open_page(tab)

    check(page, domain)
    expect(status(page)).to_have_text(f"{domain} is available")
    check(other_tab, "example.org")
    expect(status(other_tab)).to_have_text("example.org is not available")

    assert len({identity["address"] for wire in wires for identity in wire.identities}) == 2
    assert all("example.org" in str(event["data"]) for event in wires[1].events)
