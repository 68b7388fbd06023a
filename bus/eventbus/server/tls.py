"""TLS for the bus and the static site: which certificate they show, read from files at the start and on SIGHUP."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..config import Settings
from ..environment import ConfigError

OUT_OF_TIME = (9, 10)
"""What OpenSSL calls a certificate that is not valid yet, or has expired (X509_V_ERR_CERT_…)."""

logger = logging.getLogger("eventbus")


def open_tls(settings: Settings) -> ssl.SSLContext | None:
    """Make the context that servers speak TLS by; None without a certificate. SIGHUP reads the files anew.

    Raises:
        ConfigError: The certificate or the key cannot be used.
    """
    loop = asyncio.get_running_loop()
    if not settings.tls_cert:
        nothing = "SIGHUP changes nothing: there is no certificate to read anew (EVENTBUS_TLS_CERT)"
        loop.add_signal_handler(signal.SIGHUP, logger.info, nothing)  # else it would kill the program
        return None
    context = _context(settings)
    loop.add_signal_handler(signal.SIGHUP, _read_anew, context, settings)
    return context


def _read_anew(context: ssl.SSLContext, settings: Settings) -> None:
    """Show new certificates from the next handshake on; connections that are open keep theirs."""
    try:
        # Not into the one in use: it would keep the old certificate beside one whose key is of another type.
        new = _context(settings)
    except ConfigError as error:
        logger.error("the old certificate stays in use: %s", error)  # noqa: TRY400 - one line
    else:
        context.sni_callback = partial(_switch, new)  # called in each handshake, even if no server is named
        logger.info("certificate read anew from %s", settings.tls_cert)


def _switch(new: ssl.SSLContext, connection: ssl.SSLObject, _server: str | None, _old: ssl.SSLContext) -> None:
    connection.context = new


def _context(settings: Settings) -> ssl.SSLContext:
    cert, key = settings.tls_cert, settings.tls_key
    for name, path in (("EVENTBUS_TLS_CERT", cert), ("EVENTBUS_TLS_KEY", key)):
        _look_at(name, path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        client = _client_that_trusts(cert)
        context.load_cert_chain(cert, key, password=lambda: _refuse_a_locked_key(key))
    except ssl.SSLError as error:
        raise ConfigError(_explain(error, cert, key)) from None
    except OSError as error:  # it has vanished since
        raise ConfigError(f"EVENTBUS_TLS_CERT={cert}, EVENTBUS_TLS_KEY={key}: {error.strerror}; try again") from None
    if reason := _out_of_time(client, context):
        logger.warning("EVENTBUS_TLS_CERT=%s: %s, so nobody will trust it; renew it, or set the clock", cert, reason)
    return context


def _look_at(name: str, path: str) -> None:
    """Refuse a file that cannot be read, as OpenSSL would not say which one, and a key that is no secret."""
    try:
        with Path(path).open("rb") as file:
            content, mode = file.read(), os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise ConfigError(f"{name}={path}: {error.strerror}; name a file in PEM form") from None
    if b"PRIVATE KEY-----" in content and mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(f"{name}={path}: everybody on this machine can read or write this key; chmod o-rw it")


def _refuse_a_locked_key(key: str) -> str:
    raise ConfigError(f"EVENTBUS_TLS_KEY={key}: this key is locked with a password; unlock it")  # or OpenSSL would ask


def _client_that_trusts(cert: str) -> ssl.SSLContext:
    try:
        client = ssl.create_default_context(cafile=cert)
    except ssl.SSLError:
        expected = "expected a certificate, and those behind it, in PEM form (-----BEGIN CERTIFICATE-----)"
        raise ConfigError(f"EVENTBUS_TLS_CERT={cert}: {expected}") from None
    client.check_hostname = False
    client.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed it
    return client


def _explain(error: ssl.SSLError, cert: str, key: str) -> str:
    """Tell what is wrong with the key, or a certificate that could be read."""
    if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):  # of the same type, and of another
        return f"EVENTBUS_TLS_KEY={key}: this key does not fit EVENTBUS_TLS_CERT={cert}"
    if error.reason:
        return f"EVENTBUS_TLS_CERT={cert}: OpenSSL refuses this certificate ({error.reason}); take another"
    return f"EVENTBUS_TLS_KEY={key}: expected a private key in PEM form (-----BEGIN PRIVATE KEY-----)"


def _out_of_time(client: ssl.SSLContext, server: ssl.SSLContext) -> str | None:
    """Let the two shake hands in memory: nothing else in `ssl` tells of a certificate when it counts."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (*sides, sides[0]):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message if error.verify_code in OUT_OF_TIME else None
    except ssl.SSLError:
        pass  # these two may not understand each other; others may
    return None
