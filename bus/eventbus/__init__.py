"""One event bus from the browser to the back end: HTTP in, a durable log, WebSockets out."""

from .server.key_log import do_without_if_unwritable

__version__ = "0.1.0"

do_without_if_unwritable()
