"""A bus at an https address: its certificate is looked at, and a line says what to do about one that is not trusted."""

import asyncio
import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from eventbus_client.publisher import Publisher, open_session
from trust import need_openssl

SHOUTER = Path(__file__).parents[2] / "docs" / "examples" / "shouter.py"
AUTHORITY = ["-addext", "keyUsage=critical,keyCertSign", "-subj", "/CN=an authority made for a test"]
SITE = "subjectAltName=DNS:{host}\nauthorityKeyIdentifier=keyid\n"


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """An authority that nobody trusts who is not told to; it certifies hosts."""
    need_openssl()
    folder = tmp_path_factory.mktemp("authority")
    openssl("req", "-x509", *new_key(folder / "authority.key"), *AUTHORITY, "-out", folder / "authority.pem")

    def certify(host, *options):
        """Give a server's side of TLS, in the name of this host."""
        key, request, extensions, certificate = (folder / f"{host}.{end}" for end in ("key", "csr", "ext", "pem"))
        extensions.write_text(SITE.format(host=host))
        openssl("req", "-new", *new_key(key), "-subj", f"/CN={host}", "-out", request)
        signing = ["-CA", folder / "authority.pem", "-CAkey", folder / "authority.key", "-CAcreateserial"]
        openssl("x509", "-req", "-in", request, "-extfile", extensions, *signing, *options, "-out", certificate)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        return tls

    return SimpleNamespace(file=folder / "authority.pem", certify=certify)


def new_key(path):
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


@pytest.fixture
def start_shouter(spawn, free_port):
    async def start(**environ):
        url = f"https://localhost:{free_port}"
        return await spawn(str(SHOUTER), EVENTBUS_URL=url, SHOUTER_TOKEN="secret", **environ)

    return start


async def test_a_service_talks_to_a_bus_whose_certificate_it_can_trust(authority, start_bus, start_shouter):
    bus = await start_bus(authority.certify("localhost"))

    shouter = await start_shouter(SSL_CERT_FILE=str(authority.file))

    await shouter.line(f'^connected to {bus.url} as "shouter"$')
    question = {"name": "shout", "data": "hello", "context": {}, "seq": 1}
    await (await bus.service()).send_json(question)
    assert (await bus.answer())["data"] == "HELLO"
    assert await bus.command() == {"action": "ack", "seq": 1}


async def test_a_certificate_by_an_unknown_authority_is_one_line_that_says_what_to_do(
    authority, start_bus, start_shouter
):
    bus = await start_bus(authority.certify("localhost"))

    shouter = await start_shouter()

    line = await shouter.line("^reconnecting")
    assert line.startswith(f"reconnecting to {bus.url} in ")
    assert " because its certificate cannot be trusted (unable to get local issuer certificate); " in line
    assert line.endswith("; set SSL_CERT_FILE to the file of the CA that signed it, and start again")
    assert shouter.output.count("\n") == 1
    assert bus.said == []  # the token above all
    await shouter.line("^reconnecting .* set SSL_CERT_FILE")


@pytest.mark.parametrize(
    ("host", "options", "reason"),
    [
        ("bus.example", [], "Hostname mismatch, certificate is not valid for 'localhost'"),
        ("localhost", ["-days", "0"], "certificate has expired"),
    ],
)
async def test_what_else_is_wrong_with_a_certificate_is_told_without_that_advice(
    authority, start_bus, start_shouter, host, options, reason
):
    await start_bus(authority.certify(host, *options))

    shouter = await start_shouter(SSL_CERT_FILE=str(authority.file))

    assert (await shouter.line("^reconnecting")).endswith(f" because its certificate cannot be trusted ({reason})")


async def test_publishing_gives_the_same_reason(authority, start_bus, caplog):
    bus = await start_bus(authority.certify("localhost"))
    failed = asyncio.Event()
    async with open_session("secret") as http:
        publisher = Publisher(http, f"{bus.url}/", lambda _: failed.set() or 60.0)
        publishing = asyncio.create_task(publisher.publish({"name": "shout-completed"}))

        await failed.wait()

    publishing.cancel()
    assert (
        "in 60.0 s because its certificate cannot be trusted (unable to get local issuer certificate); set SSL_"
        in caplog.text
    )
    assert bus.published.empty()


async def test_a_bus_without_tls_is_not_taken_for_one_with(bus, start_shouter):
    shouter = await start_shouter()

    await shouter.line("^reconnecting")
    await shouter.line("^reconnecting")
    assert "Traceback" not in shouter.output
    assert bus.said == []
