"""What the service answers: one pure function for each event, in a dict by event name. Start reading here.

A handler takes a question (an event) and the registry, and returns the events that answer it and the registrations to
add to the registry. It sends nothing, stores nothing and looks at no clock: that is done around it, in `service` and
`registry`. So a handler can be read, tested and replaced on its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from .names import LONGEST_NAME, NotAName, domain_name


@dataclass(frozen=True, slots=True)
class Registration:
    """A name and whose it is: the one kind of change that a handler can ask for.

    Attributes:
        name: In the form that `domain_name` gives it.
        registrant: Who registered it: name, address, city, state and country, as text.
        options: What was ordered with it: autorenew and whoisprivacy.
        expiration: The last day, such as ``"2027-11-23"``.
    """

    name: str
    registrant: dict[str, str]
    options: dict[str, bool]
    expiration: str


class Refused(Exception):
    """What was asked is not to be had; the text says why, to the visitor."""


Event = dict[str, Any]
Registry = Mapping[str, Registration]
Answer = tuple[list[Event], list[Registration]]
Handler = Callable[[Event, Registry], Answer]

# Nobody can register these: they were somebody's before this registry was opened.
WELL_KNOWN = frozenset({"example.net", "example.org", "github.com", "google.com", "python.org", "wikipedia.org"})

REGISTRANT = ("name", "address", "city", "state", "country")
OPTIONS = ("autorenew", "whoisprivacy")

# An answer must fit into one event, and says more about a name than the question did.
MOST_NAMES = 50


def check_domain(event: Event, registry: Registry) -> Answer:
    """Say of each name in a list whether one could register it."""
    asked = event["data"]
    if isinstance(asked, list) and len(asked) <= MOST_NAMES:
        results = [_availability(name, registry) for name in asked]
    else:
        expected = f'expected a list of at most {MOST_NAMES} names, such as ["example.com"]'
        results = [{"name": _shown(asked), "availability": "not available", "error": expected}]
    return [{"name": "check-domain-completed", "data": results}], []


def register_domain(event: Event, registry: Registry) -> Answer:
    """Register one name for a year, unless it is taken or the request is not one."""
    asked = event["data"] if isinstance(event["data"], dict) else {"name": event["data"]}
    try:
        registration = _registration(asked, registry, expiration=_a_year_after(event["time"]))
    except (NotAName, Refused) as error:
        refused = {"name": _shown(asked.get("name")), "registered": False, "error": str(error)}
        return [{"name": "register-domain-completed", "data": refused}], []
    done = {"name": registration.name, "registered": True, "expiration": registration.expiration}
    return [{"name": "register-domain-completed", "data": done}], [registration]


# Every event that this service answers. To answer one more, write a function like those above and name it here.
# The bus hands us only events that our entry in services.json lists under "subscribe", and takes from us only events
# that fit a pattern under "publish": add the new question there (and its answer, unless it ends in "-completed").
HANDLERS: dict[str, Handler] = {
    "check-domain": check_domain,
    "register-domain": register_domain,
}


def _is_taken(name: str, registry: Registry) -> bool:
    return name in WELL_KNOWN or name in registry


def _availability(asked: object, registry: Registry) -> dict[str, str]:
    try:
        name = domain_name(asked)
    except NotAName as error:
        return {"name": _shown(asked), "availability": "not available", "error": str(error)}
    return {"name": name, "availability": "not available" if _is_taken(name, registry) else "available"}


def _registration(asked: Mapping[str, object], registry: Registry, *, expiration: str) -> Registration:
    name = domain_name(asked.get("name"))
    if _is_taken(name, registry):
        raise Refused("it is already registered")
    registrant = _object(asked, "registrant")
    options = _object(asked, "options")
    return Registration(
        name=name,
        registrant={field: _as_text(registrant.get(field)) for field in REGISTRANT},
        options={option: _is_on(options.get(option)) for option in OPTIONS},
        expiration=expiration,
    )


def _object(asked: Mapping[str, object], key: str) -> dict[str, object]:
    """A form that leaves every field of a group empty sends no group at all."""
    value = asked.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{key}: expected an object, such as {{}}")
    return value


def _is_on(value: object) -> bool:
    """A checkbox is ``"on"`` in a form, and true in JSON."""
    return value is True or value in ("on", "true")


def _as_text(value: object) -> str:
    """Take text as it is, and anything else as JSON; nothing is no text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _shown(asked: object) -> str:
    """Show what was asked, whatever it was, but no more of it than a name may have."""
    return _as_text(asked)[:LONGEST_NAME]


def _a_year_after(time: str) -> str:
    """The day, counted from the question's own time, so that the same question has the same answer on any day."""
    day = date.fromisoformat(time[:10])
    if (day.month, day.day) == (2, 29):
        day = day.replace(day=28)
    return day.replace(year=min(day.year + 1, date.max.year)).isoformat()
