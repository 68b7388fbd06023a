"""Sockets to listen on, and a clear word when a port is taken."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

from ..environment import ConfigError
from .port_holder import port_holder

NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

BACKLOG = 4096
"""Connections that may wait to be accepted; the system may allow fewer.

All clients come back when the bus does: one for which there is no room tries again after a second, then two, four …
"""


def listen(host: str, port: int, *, setting: str) -> list[socket.socket]:
    """Open a socket for each address of a host: ``localhost`` is 127.0.0.1 and, where there is IPv6, ::1.

    Args:
        host: A name or address of this machine.
        port: 1 to 65535.
        setting: What the settings' names begin with, such as ``"HTTP_EVENTBUS_SERVER"``.

    Raises:
        ConfigError: The port is taken, or the host is not this machine.
    """
    sockets = []
    for family, address in _addresses(host, port):
        try:
            sockets.append(socket.create_server(address, family=family, backlog=BACKLOG))
        except OSError as error:
            if error.errno not in NOT_HERE:  # a name may stand for addresses that this machine lacks
                _close(sockets)
                raise _refusal(error, host, port, setting) from None
    if not sockets:
        raise ConfigError(f"{setting}_HOST={host}: this is no address of this machine; use localhost or 0.0.0.0")
    return sockets


def _addresses(host: str, port: int) -> Iterable[tuple[socket.AddressFamily, tuple[str, int]]]:
    found = [
        (family, (str(address[0]), port))
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if family in (socket.AF_INET, socket.AF_INET6)
    ]
    return dict.fromkeys(found)  # a hosts file may name an address twice


def _refusal(error: OSError, host: str, port: int, setting: str) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        holder = port_holder(port)
        who = f" ({holder})" if holder else ""
        taken = f"another program is listening on this port of {host}{who}"
        return ConfigError(f"{setting}_PORT={port}: {taken}; stop it, or set another port")
    return ConfigError(f"{setting}_HOST={host}, {setting}_PORT={port}: {error.strerror}; set others")


def _close(sockets: list[socket.socket]) -> None:
    for opened in sockets:
        opened.close()
