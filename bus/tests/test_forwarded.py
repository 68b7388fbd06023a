"""Whose word counts for where a request comes from."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from bus_under_test import StartBus
from eventbus.config import Settings
from eventbus.limits.hosts import places_of, sending_host
from eventbus.log.by_url import open_log

PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "host"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # nobody's word but a trusted proxy's
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.7"], "198.51.100.7"),  # what came before is the sender's invention
        ("10.0.0.1", ["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 10.0.0.2"], "198.51.100.7"),  # one proxy behind the other
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.7, 10.0.0.2:80"], "198.51.100.7"),  # some write the port, too
        ("10.0.0.1", ["198.51.100.7, [::1]:80"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1, nonsense"], ""),
        ("10.0.0.1", ["1.1.1.1,"], ""),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_sender_is_the_nearest_that_is_no_trusted_proxy(peer: str, forwarded: list[str], host: str) -> None:
    assert sending_host(peer, forwarded, trusted=PROXIES) == host


@pytest.mark.parametrize(
    "same",
    [
        ["192.0.2.1", "192.0.2.1:4001", "192.0.2.1:4002", "::ffff:192.0.2.1", "[::ffff:c000:201]:4001"],
        [
            "2001:db8::1",
            "2001:db8::2",
            "2001:DB8:0:0:ffff::",
            "[2001:db8::3]",
            "[2001:db8::3]:4001",
            "2001:db8::1%eth0",
        ],
        ["unknown", "nonsense", "192.0.2.1:80:80", "192.0.2.256", "x" * 5000, "::1::", "_hidden", ""],
    ],
)
def test_a_host_is_one_however_it_is_written_and_whatever_it_may_choose(same: list[str]) -> None:
    others = ["192.0.2.2", "2001:db8:0:1::1"]

    hosts = {sending_host("10.0.0.1", [written], trusted=PROXIES) for written in same}
    as_peers = {sending_host(written, [], trusted=PROXIES) for written in same}

    assert len(hosts | as_peers) == 1
    assert not hosts & {sending_host(other, [], trusted=PROXIES) for other in others}


@pytest.mark.parametrize(("trusted", "statuses"), [("127.0.0.1", [200, 200]), ("", [200, 429])])
async def test_clients_behind_a_trusted_proxy_are_counted_by_their_own_hosts(
    start: StartBus, trusted: str, statuses: list[int]
) -> None:
    environ = {"EVENTBUS_TRUSTED_PROXIES": trusted, "EVENTBUS_CLIENT_RATE": "5"}
    bus = await start(open_log("memory:"), Settings.from_env(environ))

    async def publish_all_that_a_host_may(host: str) -> int:
        body = [{"name": "hi", "context": {"identifier": await bus.new_token()}} for _ in range(10)]
        return (await bus.post(body * 20, **{"X-Forwarded-For": host})).status

    assert [await publish_all_that_a_host_may(host) for host in ("192.0.2.1", "192.0.2.2")] == statuses


@pytest.mark.parametrize(
    ("host", "places"),
    [
        ("192.0.2.1", (("192.0.2.1", 1),)),
        ("", (("", 1),)),
        ("2001:db8:1:2::/64", (("2001:db8:1:2::/64", 1), ("2001:db8:1::/48", 8))),
    ],
)
def test_a_host_counts_for_its_site_as_well(host: str, places: tuple[tuple[str, int], ...]) -> None:
    assert places_of(host) == places
