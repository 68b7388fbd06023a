"""By which names the bus may be called, where it listens on this machine only.

A page of another site can have its own name resolve to this machine (DNS rebinding), and would then be the bus's own
page to the browser. Addresses and ``localhost`` cannot be taken over so; any other name has to be known.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from ..config import Settings, is_loopback
from ..problems import NotAllowed
from .once import Once

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]*)?")
_NUMBERS = re.compile(r"[0-9a-fx.]+")


class Hosts:
    """The names that are the bus's.

    Args:
        settings: Where the bus listens, and what others call it.
    """

    def __init__(self, settings: Settings) -> None:
        urls = settings.url, settings.public_url
        self._names = {settings.host.lower(), *(urlsplit(url).hostname for url in urls)}
        self._is_reached_by_others = not is_loopback(settings.host)
        self._once = Once()

    def check(self, said: Sequence[str], *, target: str = "", is_trusted: bool) -> None:
        """Look at what a request calls the bus.

        Args:
            said: What its ``Host`` headers say; that of HTTP/1.0 may be absent.
            target: The host in its target, if that names one (RFC 9112, 3.2.2).
            is_trusted: Does the request hold a service's token? No page of another site can know that.

        Raises:
            NotAllowed: The bus has another name.
        """
        if self._is_reached_by_others or is_trusted:
            return
        for host in [*said, target] if target else said:
            if not self._is_ours(host):
                raise NotAllowed(self._once.warn(
                    f"the bus listens on this machine only, and is not known as {host!r}; "
                    "name it in EVENTBUS_URL or EVENTBUS_PUBLIC_URL, or send a service's token"
                ))  # fmt: skip

    def _is_ours(self, said: str) -> bool:
        match = _HOST.fullmatch(said.strip().lower())
        if match is None:
            return False
        host = match[1].strip("[]").removesuffix(".")
        return host in self._names or host == "localhost" or host.endswith(".localhost") or _is_address(host)


def _is_address(host: str) -> bool:
    """Is this an address in any of its forms? Browsers resolve none of them."""
    try:
        if _NUMBERS.fullmatch(host):  # such as 127.1, as `curl` sends it
            socket.inet_aton(host)
        else:
            ip_address(host)
    except (OSError, ValueError):
        return False
    return True
