"""Canonical JSON against the vectors that RFC 8785 prints."""

from __future__ import annotations

import struct

import pytest

from customhouse._kit.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, CanonicalError, canonical_json

# RFC 8785 appendix B: the bits of an IEEE 754 double, and how it is written.
APPENDIX_B = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), APPENDIX_B)
def test_numbers_are_written_as_in_appendix_b(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number).decode() == text


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_nan_and_infinity_have_no_form(bits: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    with pytest.raises(CanonicalError, match="not a JSON number"):
        canonical_json(number)


def test_the_sample_of_section_3_2_4() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\x0f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert (
        canonical_json(value)
        == (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )


def test_keys_are_ordered_by_utf16_code_units_as_in_section_3_2_3() -> None:
    value = {
        "€": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "ö": "Latin Small Letter O With Diaeresis",
    }
    text = canonical_json(value).decode()
    order = [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]
    places = [text.index(name) for name in order]
    assert places == sorted(places)


def test_control_characters_are_escaped_the_short_way_where_there_is_one() -> None:
    assert canonical_json("\b\t\n\f\r\x00\x1f\x7f/").decode() == '"\\b\\t\\n\\f\\r\\u0000\\u001f\x7f/"'


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, {"b": MAX_SAFE_INTEGER + 1}]}, r"\$\.a\[1\]\.b"),
        ({"a": object()}, r"\$\.a"),
        ({"a": b"bytes"}, r"\$\.a"),
        ({1: "a"}, "key 1"),
        ([{"x": {2, 3}}], r"\$\[0\]\.x"),
    ],
)
def test_what_json_does_not_have_is_refused_with_its_place(value: object, where: str) -> None:
    with pytest.raises(CanonicalError, match=where):
        canonical_json(value)


@pytest.mark.parametrize("value", ["\ud800", {"\udc00": 1}, ["a\udfffb"]])
def test_a_lone_surrogate_is_refused(value: object) -> None:
    with pytest.raises(CanonicalError, match="surrogate"):
        canonical_json(value)


def test_the_largest_exact_integers_are_written() -> None:
    assert canonical_json([MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER]) == b"[9007199254740991,-9007199254740991]"


def test_a_document_nested_without_end_is_refused_and_does_not_exhaust_the_stack() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CanonicalError, match=f"deeper than {MAX_DEPTH}"):
        canonical_json(value)
