"""Everything that a service says to the event bus, so that its author writes only what it answers. See `serve`."""

from .key_log import do_without_if_unwritable

do_without_if_unwritable()

from .answers import Event, Handler, NotNow  # noqa: E402 - what these import may read what was just mended
from .program import serve  # noqa: E402

__all__ = ["Event", "Handler", "NotNow", "serve"]
