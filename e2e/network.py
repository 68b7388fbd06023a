"""A network between a browser and the bus that a test can take away, as a tunnel or a sleeping laptop does."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class Network:
    """Passes on, byte for byte, what a browser and the bus say to each other, as long as there is a network.

    Args:
        bus_url: Where a browser finds the bus; it must come through this network instead, see `chromium_argument`.
    """

    def __init__(self, bus_url: str) -> None:
        bus = urlsplit(bus_url)
        assert bus.hostname
        assert bus.port
        self._bus = (bus.hostname, bus.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listening.getsockname()[1]
        self._lines: list[Line] = []
        self._accepting = self._accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._refuse()
        for line in self._lines:
            line.hang_up()

    @property
    def chromium_argument(self) -> str:
        """Let a browser find the bus here; it does not see the difference."""
        host, port = self._bus
        return f"--host-resolver-rules=MAP {host}:{port} 127.0.0.1:{self._port}"

    def cut(self) -> None:
        """Take the network away; both sides are told, and no connection can be made."""
        self._refuse()
        for line in self._lines:
            line.hang_up()

    def vanish(self) -> None:
        """Take the network away, and tell nobody: connections look open, and nothing comes over them ever again."""
        self._refuse()
        for line in self._lines:
            line.vanish()

    def come_back(self) -> None:
        """Let connections be made again. Those that were there before stay dead."""
        self._listening = socket.create_server(("127.0.0.1", self._port))
        self._accepting = self._accept()

    @property
    def hang_ups(self) -> int:
        """How many connections the bus has ended, whether or not the browser was told."""
        return sum(line.bus_has_hung_up for line in self._lines)

    def _accept(self) -> threading.Thread:
        thread = threading.Thread(target=self._accept_all, args=[self._listening])
        thread.start()
        return thread

    def _accept_all(self, listening: socket.socket) -> None:
        with listening, suppress(OSError):  # shut down
            while True:
                browser, _ = listening.accept()
                try:
                    self._lines.append(Line(browser, socket.create_connection(self._bus)))
                except OSError:
                    browser.close()

    def _refuse(self) -> None:
        with suppress(OSError):  # has been done
            self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join()


class Line:
    """A connection from the browser, and the one to the bus that goes on from it.

    Attributes:
        bus_has_hung_up: The bus's end of it is closed.
    """

    def __init__(self, browser: socket.socket, bus: socket.socket) -> None:
        self.bus_has_hung_up = False
        self._browser, self._bus = browser, bus
        self._vanished = False
        self._ways = [threading.Thread(target=self._pass_on, args=ends) for ends in ((browser, bus), (bus, browser))]
        for way in self._ways:
            way.start()

    def vanish(self) -> None:
        self._vanished = True

    def hang_up(self) -> None:
        for end in (self._browser, self._bus):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for way in self._ways:
            way.join()
        self._browser.close()
        self._bus.close()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if not self._vanished:
                    sink.sendall(data)
        if source is self._bus:
            self.bus_has_hung_up = True
        if not self._vanished:
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
