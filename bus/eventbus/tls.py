"""TLS for the bus and the static site: which certificate they show, read from files at the start and on SIGHUP."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import stat
from functools import partial
from pathlib import Path

from .config import ConfigError, Settings

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
    _look_at("EVENTBUS_TLS_CERT", cert)
    mode = _look_at("EVENTBUS_TLS_KEY", key)
    if mode & stat.S_IROTH:
        raise ConfigError(f"EVENTBUS_TLS_KEY={key}: everybody on this machine can read this key; chmod o-r it")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password=lambda: _refuse_a_locked_key(key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"EVENTBUS_TLS_KEY={key}: this key does not fit EVENTBUS_TLS_CERT={cert}") from None
        pem = "expected a certificate and its key in PEM form"
        raise ConfigError(f"EVENTBUS_TLS_CERT={cert}, EVENTBUS_TLS_KEY={key}: {pem} ({error.reason})") from None
    except OSError as error:  # it has vanished since
        raise ConfigError(f"EVENTBUS_TLS_CERT={cert}, EVENTBUS_TLS_KEY={key}: {error.strerror}; try again") from None
    return context


def _look_at(name: str, path: str) -> int:
    """Return the mode of a file that can be read; OpenSSL would not say which of the two files it could not."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
        return Path(path).stat().st_mode
    except OSError as error:
        raise ConfigError(f"{name}={path}: {error.strerror}; name a file in PEM form") from None


def _refuse_a_locked_key(key: str) -> str:
    raise ConfigError(f"EVENTBUS_TLS_KEY={key}: this key is locked with a password; unlock it")  # or OpenSSL would ask
