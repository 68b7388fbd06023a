"""Everything that a service says to the event bus, so that its author writes only what it answers. See `serve`."""

from .answers import Event, Handler, NotNow
from .program import serve

__all__ = ["Event", "Handler", "NotNow", "serve"]
