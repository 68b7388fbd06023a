"""TLS in the bus itself, with a real CA, made as for `make start-tls` and trusted by whoever connects."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from bus_under_test import HANDSHAKE, KEY, PATIENCE, Bus, BusProcess, StartBus, StartProcess
from eventbus.config import Settings
from eventbus.edges.websocket import Connection
from eventbus.log.by_url import open_log
from eventbus.server import door
from eventbus.server.tls import open_tls
from trust import need_openssl
from websockets.asyncio.client import connect

MAKE_CERTIFICATES = Path(__file__).parent.parent / "make-certificates"


def make_certificates(folder: Path, *names: str) -> Path:
    subprocess.run([MAKE_CERTIFICATES, folder, *names], check=True, timeout=30)
    return folder


@pytest.fixture(scope="module", autouse=True)
def openssl() -> None:
    need_openssl()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("made"))


@pytest.fixture
def certificates(made: Path, tmp_path: Path) -> Path:
    """A folder of one's own, to change: the CA, its certificate, and that one's key."""
    return Path(shutil.copytree(made, tmp_path / "certificates"))


@pytest.fixture
def trust(made: Path) -> ssl.SSLContext:
    """What a client that trusts this CA speaks TLS with."""
    return ssl.create_default_context(cafile=made / "ca.pem")


@pytest.fixture
async def http(trust: ssl.SSLContext) -> AsyncIterator[ClientSession]:
    connector = TCPConnector(limit=0, ssl=trust)
    async with ClientSession(connector=connector, timeout=ClientTimeout(total=PATIENCE * 3)) as session:
        yield session


def settings(certificates: Path) -> dict[str, str]:
    return {
        "EVENTBUS_TLS_CERT": str(certificates / "server.pem"),
        "EVENTBUS_TLS_KEY": str(certificates / "server.key"),
    }


async def handshake(bus: Bus, context: ssl.SSLContext, *, name: str = "127.0.0.1") -> ssl.SSLObject:
    """Connect once more, to the bus by this name; return what was agreed on."""
    _, writer = await asyncio.open_connection(*bus.address, ssl=context, server_hostname=name)
    agreed: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return agreed


async def shown_certificate(
    bus: Bus, *, name: str = "127.0.0.1", version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> bytes | None:
    """The certificate that the bus shows to who connects now, whoever signed it."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    anybody.maximum_version = version
    return (await handshake(bus, anybody, name=name)).getpeercert(binary_form=True)


async def test_everything_goes_over_tls(run: StartProcess, certificates: Path) -> None:
    bus = await run(**settings(certificates))

    async with bus.client() as anna, bus.service() as service:
        await bus.publish("check-domain", token=anna.token)
        await bus.publish("check-domain-completed", service="the-service", context={"identifier": anna.address})

        assert await anna.hear_names(2) == ["check-domain", "check-domain-completed"]
        assert await service.hear_names(2) == ["check-domain", "check-domain-completed"]
    assert (await bus.request("GET", "/readyz")).status == 200
    assert bus.output.startswith(f"bus ready at {bus.url}, ")
    assert await bus.stop() == 0


async def test_who_does_not_trust_the_ca_does_not_connect(run: StartProcess, certificates: Path) -> None:
    bus = await run(**settings(certificates))

    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(bus, ssl.create_default_context())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_from_1_2_on_is_spoken(
    run: StartProcess, certificates: Path, trust: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    bus = await run(**settings(certificates))
    trust.minimum_version = trust.maximum_version = version

    assert (await handshake(bus, trust)).version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_older_tls_is_refused(run: StartProcess, certificates: Path, trust: ssl.SSLContext) -> None:
    bus = await run(**settings(certificates))
    trust.set_ciphers("DEFAULT:@SECLEVEL=0")  # or this side would not even ask
    trust.minimum_version = trust.maximum_version = ssl.TLSVersion.TLSv1_1

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await handshake(bus, trust)
    tls = open_tls(Settings.from_env(settings(certificates)))
    assert tls is not None
    assert tls.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_new_certificate_is_shown_after_sighup_and_nobody_is_cut_off(
    run: StartProcess, certificates: Path, trust: ssl.SSLContext
) -> None:
    bus = await run(**settings(certificates))
    old = await shown_certificate(bus)
    async with bus.client() as anna, bus.service() as service:
        shutil.rmtree(certificates)
        make_certificates(certificates)
        bus.process.send_signal(signal.SIGHUP)
        await bus.said("certificate read anew")

        new = await shown_certificate(bus)
        trust.load_verify_locations(certificates / "ca.pem")
        await bus.publish("hi", token=anna.token)
        assert await anna.hear_names(1) == await service.hear_names(1) == ["hi"]

    assert new == ssl.PEM_cert_to_DER_cert((certificates / "server.pem").read_text())
    assert new != old


def replace_by_rsa(certificates: Path, *, bits: int = 2048) -> None:
    """Another type of key: who has both may choose."""
    cert, key = certificates / "server.pem", certificates / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", f"rsa:{bits}", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])  # of an address, a client does not tell the server
async def test_a_certificate_with_another_type_of_key_takes_the_place_of_the_old_one(
    run: StartProcess, certificates: Path, version: ssl.TLSVersion, name: str
) -> None:
    bus = await run(**settings(certificates))
    replace_by_rsa(certificates)

    bus.process.send_signal(signal.SIGHUP)
    await bus.said("certificate read anew")

    shown = await shown_certificate(bus, name=name, version=version)
    assert shown == ssl.PEM_cert_to_DER_cert((certificates / "server.pem").read_text())


@pytest.mark.parametrize("wrong", ["no file", "not fitting"])
async def test_a_wrong_file_at_sighup_is_said_and_the_old_one_stays(
    run: StartProcess, certificates: Path, tmp_path: Path, trust: ssl.SSLContext, wrong: str
) -> None:
    bus = await run(**settings(certificates))
    if wrong == "no file":
        (certificates / "server.pem").unlink()
    else:
        shutil.copy(make_certificates(tmp_path / "others") / "server.key", certificates)

    bus.process.send_signal(signal.SIGHUP)
    await bus.said("the old certificate stays in use: EVENTBUS_TLS_")

    await handshake(bus, trust)
    assert "Traceback" not in bus.output


@pytest.mark.parametrize("change", ["the key vanishes before it is loaded", "the certificate changes right after that"])
async def test_files_that_change_while_they_are_read_do_no_harm(
    start: StartBus,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: str,
) -> None:
    bus = await start(open_log("memory:"), tls=open_tls(Settings.from_env(settings(certificates))))
    others = make_certificates(tmp_path / "others")
    old = await shown_certificate(bus)
    load = ssl.SSLContext.load_cert_chain

    def load_meanwhile(*args: Any, **options: Any) -> None:
        if "before" in change:
            (certificates / "server.key").unlink()
        load(*args, **options)
        shutil.copy(others / "server.pem", certificates)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load_meanwhile)
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(PATIENCE):
        while "certificate" not in caplog.text:
            await shown_certificate(bus)

    assert await shown_certificate(bus) == old
    is_read = "the old certificate stays in use" not in caplog.text
    assert is_read == ("after" in change)


KEY_IS_PUBLIC = "everybody on this machine can read or write this key; chmod o-rw it"
NO_CERTIFICATE = "expected a certificate, and those behind it, in PEM form (-----BEGIN CERTIFICATE-----)"
NO_KEY = "expected a private key in PEM form (-----BEGIN PRIVATE KEY-----)"


def let_all_read(certificates: Path) -> None:
    (certificates / "server.key").chmod(0o644)


def let_all_write(certificates: Path) -> None:
    (certificates / "server.key").chmod(0o602)


def let_all_read_where_it_leads(certificates: Path) -> None:
    (certificates / "server.key").rename(certificates / "elsewhere").chmod(0o644)
    (certificates / "server.key").symlink_to("elsewhere")


def put_a_copy_of_the_key_into_the_certificate(certificates: Path) -> None:
    with (certificates / "server.pem").open("a") as file:
        file.write((certificates / "server.key").read_text())


def lose_the_key(certificates: Path) -> None:
    (certificates / "server.key").unlink()


def mix_up(certificates: Path) -> None:
    shutil.copy(make_certificates(certificates / "others") / "server.key", certificates)


def lock_with_a_password(certificates: Path) -> None:
    key = certificates / "server.key"
    command = ["openssl", "ec", "-in", key, "-out", key, "-aes128", "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True, timeout=10)


def empty_the_certificate(certificates: Path) -> None:
    (certificates / "server.pem").write_text("")


def write_nonsense_for_the_certificate(certificates: Path) -> None:
    (certificates / "server.pem").write_text("nonsense")


def write_the_certificate_as_der(certificates: Path) -> None:
    cert = certificates / "server.pem"
    cert.write_bytes(ssl.PEM_cert_to_DER_cert(cert.read_text()))


def break_the_chain(certificates: Path) -> None:
    with (certificates / "server.pem").open("a") as file:
        file.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def empty_the_key(certificates: Path) -> None:
    (certificates / "server.key").write_text("")


def take_the_certificate_for_the_key(certificates: Path) -> None:
    shutil.copy(certificates / "server.pem", certificates / "server.key")


def take_a_weak_key(certificates: Path) -> None:
    replace_by_rsa(certificates, bits=1024)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (let_all_read, f"EVENTBUS_TLS_KEY={{}}/server.key: {KEY_IS_PUBLIC}"),
        (let_all_write, f"EVENTBUS_TLS_KEY={{}}/server.key: {KEY_IS_PUBLIC}"),
        (let_all_read_where_it_leads, f"EVENTBUS_TLS_KEY={{}}/server.key: {KEY_IS_PUBLIC}"),
        (put_a_copy_of_the_key_into_the_certificate, f"EVENTBUS_TLS_CERT={{}}/server.pem: {KEY_IS_PUBLIC}"),
        (lose_the_key, "EVENTBUS_TLS_KEY={}/server.key: No such file or directory; name a file in PEM form"),
        (mix_up, "EVENTBUS_TLS_KEY={0}/server.key: this key does not fit EVENTBUS_TLS_CERT={0}/server.pem"),
        (lock_with_a_password, "EVENTBUS_TLS_KEY={}/server.key: this key is locked with a password; unlock it"),
        (empty_the_certificate, f"EVENTBUS_TLS_CERT={{}}/server.pem: {NO_CERTIFICATE}"),
        (write_nonsense_for_the_certificate, f"EVENTBUS_TLS_CERT={{}}/server.pem: {NO_CERTIFICATE}"),
        (write_the_certificate_as_der, f"EVENTBUS_TLS_CERT={{}}/server.pem: {NO_CERTIFICATE}"),
        (break_the_chain, f"EVENTBUS_TLS_CERT={{}}/server.pem: {NO_CERTIFICATE}"),
        (empty_the_key, f"EVENTBUS_TLS_KEY={{}}/server.key: {NO_KEY}"),
        (take_the_certificate_for_the_key, f"EVENTBUS_TLS_KEY={{}}/server.key: {NO_KEY}"),
        (take_a_weak_key, "EVENTBUS_TLS_CERT={}/server.pem: OpenSSL refuses this certificate (EE_KEY_TOO_SMALL)"),
    ],
)
async def test_a_certificate_or_key_of_no_use_ends_it_with_one_line(
    run: StartProcess, certificates: Path, spoil: object, said: str
) -> None:
    assert callable(spoil)
    spoil(certificates)

    bus = await run(until_ready=False, **settings(certificates))

    assert await bus.exit_status() == 2
    assert bus.output.startswith(said.format(certificates))
    assert bus.output.count("\n") == 1


@pytest.mark.parametrize(
    ("validity", "said"),
    [
        (("20010101000000Z", "20020101000000Z"), "certificate has expired"),
        (("20980101000000Z", "20990101000000Z"), "certificate is not yet valid"),
    ],
)
async def test_a_certificate_out_of_its_time_is_warned_of_in_one_line(
    run: StartProcess, certificates: Path, validity: tuple[str, str], said: str
) -> None:
    make_valid(certificates, *validity)
    bus = await run(**settings(certificates))

    lines = bus.output.splitlines()

    assert lines[0].startswith(f"EVENTBUS_TLS_CERT={certificates}/server.pem: {said}, so nobody will trust it; ")
    assert lines[1].startswith("bus ready")
    assert await shown_certificate(bus)


def make_valid(certificates: Path, start: str, end: str) -> None:
    """Put a certificate for the same key there that is valid between these times; only `openssl ca` can make it."""
    folder, key = certificates, certificates / "server.key"
    config, request = folder / "ca.cnf", folder / "request"
    config.write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/index\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n"
        f"new_certs_dir={folder}\n[any]\ncommonName=supplied\n[req]\ndistinguished_name=nobody\n[nobody]\n"
    )
    (folder / "index").touch()
    ask = ["openssl", "req", "-new", "-config", config, "-key", key, "-subj", "/CN=localhost", "-out", request]
    sign = ["openssl", "ca", "-selfsign", "-batch", "-config", config, "-keyfile", key, "-in", request, "-notext"]
    for command in (ask, [*sign, "-startdate", start, "-enddate", end, "-out", folder / "server.pem"]):
        subprocess.run(command, check=True, capture_output=True, timeout=30)


# Those who speak badly, or not at all


async def test_what_is_no_tls_is_ordinary_life(run: StartProcess, certificates: Path, trust: ssl.SSLContext) -> None:
    bus = await run(**settings(certificates))

    assert b"HTTP" not in await bus.raw(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP" not in await bus.raw(b"\x16\x03\x01\x02\x00\x01", then_hang_up=True)
    for _ in range(10):
        with socket.create_connection(bus.address):
            pass

    await handshake(bus, trust)
    await bus.stop()
    assert bus.output.endswith("events.db\nbus stopping\n")


async def test_a_peer_that_stopped_reading_does_not_hold_up_the_end(
    run: StartProcess, certificates: Path, trust: ssl.SSLContext
) -> None:
    bus = await run(**settings(certificates))
    async with bus.client() as anna, stopped_reading(bus, trust):
        for _ in range(20):
            await bus.publish("hi", service="the-service", data="x" * 200_000)
        end = asyncio.get_running_loop().time() + 4
        bus.process.send_signal(signal.SIGTERM)

        assert await anna.close_code() == 1012
        assert await bus.exit_status() == 0
        assert asyncio.get_running_loop().time() < end
    assert "Traceback" not in bus.output


@asynccontextmanager
async def stopped_reading(bus: BusProcess | Bus, trust: ssl.SSLContext) -> AsyncIterator[object]:
    """A service whose socket takes little into its own buffers, and then nothing."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, bus.address)
    async with connect(
        "wss://127.0.0.1/ws", sock=raw, ssl=trust, max_queue=1, ping_interval=None, close_timeout=0.1, proxy=None
    ) as slow:
        await slow.send(json.dumps({"action": "authenticate", "credentials": "the-service"}))
        assert json.loads(await slow.recv())["authenticated"]
        yield slow


async def test_one_that_stops_reading_costs_nothing_and_misses_nothing(
    start: StartBus, connections: list[Connection], certificates: Path, trust: ssl.SSLContext
) -> None:
    tls = open_tls(Settings.from_env(settings(certificates)))
    bus = await start(open_log("memory:"), Settings(send_buffer=100_000), tls=tls)
    count = 200  # 10 MB, more than the buffers of the system take

    async with stopped_reading(bus, trust) as slow, bus.service() as quick:
        for number in range(count):
            await bus.publish(f"hi-{number}", service="the-service", data="x" * 50_000)
            assert await quick.hear_names(1) == [f"hi-{number}"]
            assert connections[0].outlet.waiting < 100_000 + 51_000
        assert connections[0].outlet.full

        async with asyncio.timeout(PATIENCE):
            for number in range(count):
                assert json.loads(await slow.recv())["name"] == f"hi-{number}"  # type: ignore[attr-defined]


async def test_one_that_does_not_shake_hands_is_cut_off(
    start: StartBus, certificates: Path, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.server.first_states.FIRST_WORD", 0.2)
    bus = await start(open_log("memory:"), tls=open_tls(Settings.from_env(settings(certificates))))
    reader, writer = await asyncio.open_connection(*bus.address)

    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def test_one_that_is_refused_and_does_not_hang_up_is_cut_off(
    start: StartBus, certificates: Path, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[door.Connection] = []
    gone: asyncio.Queue[door.Connection] = asyncio.Queue()

    class Known(door.Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            known.append(self)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            gone.put_nowait(self)

    monkeypatch.setattr("eventbus.server.running.share_of_a_host", lambda _: 1)  # so that there may be two
    monkeypatch.setattr("eventbus.server.door.Connection", Known)
    bus = await start(open_log("memory:"), tls=open_tls(Settings.from_env(settings(certificates))))
    silent = [await handshake_and_fall_silent(bus, trust) for _ in range(3)]

    async with asyncio.timeout(5):  # it had half a minute, and those that may stay have ten seconds
        assert await gone.get() is known[2]
    for each in silent:
        each.close()


async def test_connections_that_never_shake_hands_keep_no_service_out(
    run: StartProcess, certificates: Path, trust: ssl.SSLContext
) -> None:
    few_files = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
    bus = await run(prefix=few_files, EVENTBUS_LOG="memory:", **settings(certificates))
    with ExitStack() as silent:
        for number in range(400):
            host = f"127.0.0.{2 + number % 2}"
            silent.enter_context(socket.create_connection(bus.address, source_address=(host, 0)))

        for _ in range(5):
            await bus.publish("hi", service="the-service")
    assert "no more connections" not in bus.output


async def handshake_and_fall_silent(bus: Bus, trust: ssl.SSLContext) -> socket.socket:
    """Connect, and neither say nor answer anything more, not even that the other side says goodbye."""
    raw = socket.create_connection(bus.address)
    return await asyncio.to_thread(trust.wrap_socket, raw, server_hostname="127.0.0.1")


async def test_a_connection_that_is_open_takes_little_memory(
    run: StartProcess, certificates: Path, trust: ssl.SSLContext
) -> None:
    bus = await run(EVENTBUS_LOG="memory:", **settings(certificates))
    await handshake(bus, trust)
    before = memory(bus)

    opened = [await asyncio.open_connection(*bus.address, ssl=trust) for _ in range(150)]

    assert (memory(bus) - before) / len(opened) < 150_000
    for _, writer in opened:
        writer.close()


def memory(bus: BusProcess) -> int:
    """Tell how much a program has in memory, in bytes."""
    _, pages, *_ = Path(f"/proc/{bus.process.pid}/statm").read_text().split()
    return int(pages) * resource.getpagesize()


# What `make-certificates` makes


def test_certificates_are_made_once_for_the_same_names(tmp_path: Path) -> None:
    first = make_certificates(tmp_path / "new").joinpath("server.pem").read_text()
    again = make_certificates(tmp_path / "new").joinpath("server.pem").read_text()
    other = make_certificates(tmp_path / "new", "192.168.1.20").joinpath("server.pem").read_text()

    assert first == again
    assert first != other


def test_no_key_but_the_servers_is_left_and_strangers_cannot_read_it(certificates: Path) -> None:
    assert {path.name for path in certificates.iterdir()} == {"ca.pem", "names", "server.key", "server.pem"}
    assert (certificates / "server.key").stat().st_mode & 0o007 == 0


def without_the_key(folder: Path, others: Path) -> None:
    (folder / "server.key").unlink()


def without_the_ca(folder: Path, others: Path) -> None:
    (folder / "ca.pem").unlink()


def with_the_key_of_others(folder: Path, others: Path) -> None:
    shutil.copy(others / "server.key", folder)


def with_the_ca_of_others(folder: Path, others: Path) -> None:
    shutil.copy(others / "ca.pem", folder)


@pytest.mark.parametrize("spoil", [without_the_key, without_the_ca, with_the_key_of_others, with_the_ca_of_others])
async def test_certificates_that_do_not_fit_are_made_anew(
    start: StartBus, certificates: Path, tmp_path: Path, spoil: Callable[[Path, Path], None]
) -> None:
    spoil(certificates, make_certificates(tmp_path / "others"))

    make_certificates(certificates)

    bus = await start(open_log("memory:"), tls=open_tls(Settings.from_env(settings(certificates))))
    await handshake(bus, ssl.create_default_context(cafile=certificates / "ca.pem"))


def test_names_and_addresses_are_told_apart(tmp_path: Path) -> None:
    given = ["10.0.0.5", "10.0.0.5.example.com", "bus1.2.3.4x.example.com", "fd00::5", "*.example.com", "my_host"]

    text = subprocess.check_output(
        [
            "openssl",
            "x509",
            "-noout",
            "-ext",
            "subjectAltName",
            "-in",
            make_certificates(tmp_path, *given) / "server.pem",
        ],
        text=True,
    )

    assert {name.strip() for name in text.splitlines()[1].split(",")} >= {
        "IP Address:10.0.0.5",
        "DNS:10.0.0.5.example.com",
        "DNS:bus1.2.3.4x.example.com",
        "IP Address:FD00:0:0:0:0:0:0:5",
        "DNS:*.example.com",
        "DNS:my_host",
    }


@pytest.mark.parametrize(
    "name", ["x y", "a,DNS:evil", "${ENV::HOME}", "", "192.168.1.20:3001", "[::1]", "fe80::1%eth0"]
)
def test_what_is_neither_a_name_nor_an_address_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    done = subprocess.run([MAKE_CERTIFICATES, tmp_path / "new", name], capture_output=True, text=True, timeout=30)

    assert done.returncode == 2
    assert done.stderr.startswith(f"'{name}' is neither a name nor an address")
    assert (done.stderr + done.stdout).count("\n") == 1
    assert not (tmp_path / "new").exists()


async def test_who_hangs_up_with_much_to_be_answered_is_no_news(
    run: StartProcess, certificates: Path, trust: ssl.SSLContext
) -> None:
    bus = await run(**settings(certificates))
    ping, goodbye = b"\x89\x80\0\0\0\0", b"\x88\x80\0\0\0\0"
    for _ in range(20):
        reader, writer = await asyncio.open_connection(*bus.address, ssl=trust, server_hostname="127.0.0.1")
        writer.write(HANDSHAKE + KEY)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(1000 * ping + goodbye)
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
    assert (await bus.request("GET", "/readyz")).status == 200

    assert await bus.stop() == 0
    assert bus.output.splitlines()[1:] == ["bus stopping"]
