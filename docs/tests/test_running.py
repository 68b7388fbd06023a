"""The configurations for other web servers in docs/running.md."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from documents import ROOT, blocks
from machine import free_port, wait_until
from programs import running_demo
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
def proxied(bus_url: str, port: str, folder: Path) -> Iterator[str]:
    """Run the page's nginx in front of a bus, without its certificate; give its address."""
    server = re.sub(r"^ *(?:ssl_certificate|server_name).*\n", "", listing("nginx"), flags=re.MULTILINE)
    server = server.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace("http://127.0.0.1:3001", bus_url)
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    bodies = "".join(f"{name}_temp_path {folder}/{name};\n" for name in names)
    config = folder / "nginx.conf"
    config.write_text(
        f"pid {folder}/pid; error_log {folder}/errors; events {{}}\nhttp {{ access_log off;\n{bodies}{server} }}\n"
    )
    command = ["nginx", "-e", str(folder / "errors"), "-c", str(config), "-g", "daemon off; master_process off;"]
    with subprocess.Popen(command) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


# Where nginx is not installed, the listing is compared as text only.
@pytest.mark.parametrize("server", ["text", "nginx"] if shutil.which("nginx") else ["text"])
def test_nginx_in_front_of_the_bus(server: str, tmp_path: Path) -> None:
    upgrade = {"proxy_http_version 1.1;", "Upgrade $http_upgrade;", "Connection $connection_upgrade;"}
    assert all(directive in listing("nginx") for directive in upgrade)
    if server == "text":
        return
    port = str(free_port())
    with running_demo("processes", tmp_path) as demo, proxied(demo.bus_url, port, tmp_path) as url:
        wait_until(lambda: is_alive(url), "nginx listens")
        with visit(url) as visitor:
            [answer] = visitor.ask("check-domain", ["example.com"])

    assert answer["availability"] == "available"


def is_alive(url: str) -> bool:
    try:
        return request("GET", f"{url}/healthz").status == 200
    except OSError:
        return False
