"""What counts as a domain name, and the form in which it is compared."""
# ruff: noqa: RUF001 - letters that look like others are what this is about

import pytest
from domain_service.names import NotAName, domain_name


@pytest.mark.parametrize(
    ("written", "ascii_form"),
    [
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("MÜNCHEN.DE.", "xn--mnchen-3ya.de"),
        ("mu\N{COMBINING DIAERESIS}nchen.de", "xn--mnchen-3ya.de"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("XN--MNCHEN-3YA.de", "xn--mnchen-3ya.de"),
        ("faß.de", "xn--fa-hia.de"),
        ("ΒΌΛΟΣ.gr", "xn--nxasmq6b.gr"),
        ("İ.example", "xn--i-9bb.example"),
        ("例え。jp", "xn--r8jz45g.jp"),
        ("例え｡jp。", "xn--r8jz45g.jp"),
        ("שלום.example", "xn--9dbne9b.example"),
        ("نامه\N{ZERO WIDTH NON-JOINER}ای.example", "xn--mgba3gch31f060k.example"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("exam\N{SOFT HYPHEN}ple.com", "example.com"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}example.com", "example.com"),
        ("\x85\x1cexample.com\x1f\N{IDEOGRAPHIC SPACE}", "example.com"),
        ("r3---sn-abc.example.com", "r3---sn-abc.example.com"),
        ("r3---sn-abc.münchen.de", "r3---sn-abc.xn--mnchen-3ya.de"),
    ],
)
def test_a_name_has_one_ascii_form_however_it_is_written(written, ascii_form):
    assert domain_name(written) == ascii_form
    assert domain_name(ascii_form) == ascii_form


@pytest.mark.parametrize(
    "name",
    [
        "xn--a.example",  # a control character
        "xn--é.example",
        "xn--.example",
        "xn--abc-.example",  # nothing but ASCII
        "xn--u-ccb.example",  # not composed: u and a diaeresis
        "xn--9fa.example",  # a capital
        "xn--99999999.example",  # stands for nothing
        "xn--mnchen-3ya-.example",
        "xn--xn--mnchen-3ya-.example",
    ],
)
def test_a_part_that_only_looks_like_an_ascii_form_is_refused(name):
    with pytest.raises(NotAName, match=r"not a domain name: .*; expected letters"):
        domain_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "İ" * 200 + ".com",
        "ß" * 63 + ".example",
        "a\N{ZERO WIDTH JOINER}b.example",
        "evil\N{RIGHT-TO-LEFT OVERRIDE}moc.example",
        "1א.example",
        "℀.example",
        "a／b.example",
        "\N{BUG}.example",
        "\N{SOFT HYPHEN}.example",
        "-é.example",
        "a_ö.example",
        "\ud800.example",
        "。",
        "١٢٧.0.0.1",
        "a.0x10",
        "a.0x",
        "１２７.０.０.１",
    ],
)
def test_what_no_registry_takes_is_refused(name):
    with pytest.raises(NotAName, match="not a domain name"):
        domain_name(name)


@pytest.mark.parametrize("name", ["\N{BUG}" * 100_000, "é." * 100_000, "xn--" + "a" * 100_000, "." * 100_000])
def test_a_reason_does_not_grow_with_what_was_given(name):
    with pytest.raises(NotAName) as refusal:
        domain_name(name)

    assert len(str(refusal.value)) < 250
