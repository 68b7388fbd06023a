"""The configurations for other web servers in docs/running.md."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from documents import ROOT, blocks
from machine import ended, free_port, untested, wait_until
from programs import running_demo
from trust import make_certificates
from trust import trusted as trusting
from web import request, visit


def listing(language: str) -> str:
    found = [block for block in blocks(ROOT / "docs" / "running.md") if block.language == language]
    [text] = [block.text for block in found if "test" in block.options]
    return text


def load_serve_py() -> ModuleType:
    spec = spec_from_file_location("serve", ROOT / "static-site" / "serve.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_apache_sends_the_headers_of_the_site() -> None:
    headers = dict(re.findall(r'^Header always set ([\w-]+) "(.*)"$', listing("apache"), re.MULTILINE))

    assert headers == load_serve_py().site_headers("https://bus.example.com")


@contextmanager
def proxied(bus_url: str, certificates: Path, folder: Path) -> Iterator[str]:
    """Run the page's nginx in front of a bus, with a certificate of ours; give its address."""
    if shutil.which("nginx") is None:
        untested("nginx in front of the bus", "there is no nginx (on Debian: apt install nginx)")
    port, server = free_port(), listing("nginx")
    for old, new in {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "http://127.0.0.1:3001": bus_url.replace("localhost", "127.0.0.1"),
        "/etc/ssl/certs/bus.example.com.pem": str(certificates / "server.pem"),
        "/etc/ssl/private/bus.example.com.key": str(certificates / "server.key"),
    }.items():
        assert old in server
        server = server.replace(old, new)
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    bodies = "".join(f"{name}_temp_path {folder}/{name};\n" for name in names)
    config = folder / "nginx.conf"
    config.write_text(
        f"pid {folder}/pid; error_log {folder}/errors; events {{}}\nhttp {{ access_log off;\n{bodies}{server} }}\n"
    )
    command = ["nginx", "-e", str(folder / "errors"), "-c", str(config), "-g", "daemon off; master_process off;"]
    with ended(subprocess.Popen(command)):
        yield f"https://127.0.0.1:{port}"


@pytest.mark.parametrize(("trusted", "last"), [("127.0.0.1", 200), ("", 429)])
def test_nginx_in_front_of_the_bus(tmp_path: Path, trusted: str, last: int) -> None:
    """What is encrypted on the way to nginx comes through; and its clients are told apart where it is trusted."""
    certificates = tmp_path / "certificates"
    make_certificates(certificates)
    settings = {"EVENTBUS_TRUSTED_PROXIES": trusted, "EVENTBUS_CLIENT_RATE": "6"}  # 24 new identities at once
    with (
        trusting(certificates / "ca.pem"),
        running_demo("processes", tmp_path, settings=settings) as demo,
        proxied(demo.bus_url, certificates, tmp_path) as url,
    ):
        wait_until(lambda: is_alive(url), "nginx listens")
        with visit(url) as visitor:
            [answer] = visitor.ask("check-domain", ["example.com"])
        statuses = [publish_all_that_a_host_may(url, sender) for sender in ("127.0.0.2", "127.0.0.3")]

    assert answer["availability"] == "available"
    assert statuses == [200, last]


@pytest.mark.parametrize("size", [300_000, 1_500_000, 5_000_000])
def test_nginx_lets_the_bus_refuse_what_is_too_large(tmp_path: Path, size: int) -> None:
    """A page can read why: the bus's answers carry CORS headers, and nginx's own do not."""
    certificates = tmp_path / "certificates"
    make_certificates(certificates)
    with (
        trusting(certificates / "ca.pem"),
        running_demo("processes", tmp_path) as demo,
        proxied(demo.bus_url, certificates, tmp_path) as url,
    ):
        wait_until(lambda: is_alive(url), "nginx listens")
        answer = request("POST", url, body={"name": "hello", "data": "x" * size}, Origin=demo.site_url)

    assert answer.status == 413
    assert answer.headers["Access-Control-Allow-Origin"] == demo.site_url


def publish_all_that_a_host_may(url: str, sender: str) -> int:
    """Publish, from one of this machine's many addresses, for more clients than a host may have at that rate."""
    batch = []
    for _ in range(10):
        with visit(url) as visitor:
            batch.append({"name": "hello", "context": {"identifier": visitor.token}})
    host, port = url.removeprefix("https://").split(":")
    connection = http.client.HTTPSConnection(host, int(port), source_address=(sender, 0))
    with closing(connection):
        connection.request("POST", "/", json.dumps(batch * 24))
        return connection.getresponse().status


def is_alive(url: str) -> bool:
    try:
        return request("GET", f"{url}/healthz").status == 200
    except OSError:
        return False
