"""What a domain name is, and the one form in which names are compared, stored and answered: ASCII, lower case."""

from __future__ import annotations

import re

import idna

LONGEST_NAME = 253
LONGEST_REASON = 100  # it quotes what was given

# Parts of 1 to 63 characters, at least two; the last is no number, or an IP address would be a name.
_PART = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN_NAME = re.compile(rf"(?:{_PART}\.)+(?!(?:[0-9]+|0x[0-9a-f]*)\Z){_PART}")
_EXPECTED = "expected letters, digits and hyphens between dots, such as example.com"


class NotAName(ValueError):
    """What was given is not a domain name; the text says why, to the visitor."""


def domain_name(asked: object) -> str:
    """Bring a domain name into its one form: in ASCII and lower case, no spaces around it, no last dot.

    Raises:
        NotAName: It is not a domain name.
    """
    if not isinstance(asked, str):
        raise NotAName('expected a domain name as text, such as "example.com"')
    text = asked.strip()
    if text in ("", "."):
        raise NotAName("the name is empty; expected one such as example.com")
    name = _in_ascii(text) if len(text) <= LONGEST_NAME + 1 else text
    if len(name) > LONGEST_NAME or not _DOMAIN_NAME.fullmatch(name):
        raise NotAName(f"not a domain name; {_EXPECTED}")
    return name


def _in_ascii(text: str) -> str:
    """Write each part in ASCII: a part in another script becomes one that begins with xn--, as browsers do it."""
    try:
        # The mapping of UTS 46: capitals, full-width letters and dots, what cannot be seen, and the like.
        mapped = text.lower() if text.isascii() else idna.uts46_remap(text, transitional=False)
        return ".".join(_part_in_ascii(part) for part in mapped.removesuffix(".").split("."))
    except UnicodeError as error:
        raise NotAName(f"not a domain name: {str(error)[:LONGEST_REASON]}; {_EXPECTED}") from error


def _part_in_ascii(part: str) -> str:
    if part.isascii() and not part.startswith("xn--"):
        return part
    written = idna.alabel(part).decode()
    # A part in ASCII form must be the ASCII form of what it stands for, or one name would have two.
    if idna.alabel(idna.ulabel(written)).decode() != written:
        raise idna.IDNAError(f"{part} is not the ASCII form of {idna.ulabel(written)}")
    return written
