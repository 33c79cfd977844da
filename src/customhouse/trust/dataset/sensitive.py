"""Columns that hold personal data, by their names and by what their values look like. No value is ever told.

A pattern alone finds too much (any sixteen digits are a card), so card numbers, IBANs and several national numbers are
held against their check digits: Luhn (ISO/IEC 7812-1), mod 97 (ISO 13616), the numbers' own rules.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from customhouse.trust.dataset.finding import Finding
from customhouse.trust.dataset.schema import Schema
from customhouse.trust.dataset.table import Sample

_LOOKED_AT = 2000
_SHARE = 0.3
"""From this part of a sample's values on a column is of that kind; in longer text one in fifty is enough."""
_SHARE_IN_TEXT = 0.02

_NAMES = (
    ("pii", "name", "(first|last|full|family|given|middle|maiden|customer|patient)_?name|surname|vorname|nachname"),
    ("pii", "e-mail", "e_?mail(_?address)?"),
    ("pii", "phone", "(tele)?phone(_?number)?|mobile(_?number)?|fax|msisdn"),
    ("pii", "address", "((street|home|postal|mailing|billing|shipping)_)?address|street|strasse|(zip|post)_?code|plz"),
    ("pii", "birth date", "date_?of_?birth|birth_?(date|day)|dob|geburtsdatum"),
    ("pii", "account", "iban|(account|card|routing)_?number|pan|credit_?card|bank_?account"),
    ("pii", "identity number", "ssn|social_?security(_?number)?|national_?id|passport(_?number)?"),
    ("pii", "identity number", "tax_?id|nino|steuer_?id|driver_?licen[cs]e"),
    ("pii", "network address", "ip(_?addr(ess)?)?|mac_?address|(device|advertising|cookie)_?id|imei"),
    ("pii", "position", "lat(itude)?|lon(gitude)?|gps(_.*)?|geo_?location"),
    ("special", "health", "diagnos[ie]s|icd(_?10)?(_?code)?|blood_?(type|group|pressure)|medication"),
    ("special", "health", "disability|hiv|health_?status"),
    ("special", "origin", "race|ethnicity|ethnic_?(group|origin)|skin_?colou?r"),
    ("special", "belief", "religion|religious.*|political_?(party|opinion|views?)|(trade_?)?union_?member.*"),
    ("special", "sex life", "sexual_?orientation|gender_?identity"),
    ("special", "biometrics", "(finger|voice|face)_?print|iris_?scan|biometric.*|genotype|dna.*"),
    ("pii", "sex or age", "gender|sex|age|marital_?status|nationality"),
)
_NAMED = tuple(
    (kind, what, re.compile(rf"(?:.*[._ -])?(?:{pattern})", re.IGNORECASE)) for kind, what, pattern in _NAMES
)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,4}")
_PHONE = re.compile(
    r"(\+|00)[1-9]\d{0,2}[ ()/.-]{0,2}\d([ ()/.-]{0,2}\d){5,12}|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4}"
)
_IBAN = re.compile(r"[A-Z]{2}\d{2}( ?[A-Z0-9]{4}){2,7}( ?[A-Z0-9]{1,3})?")
_CARD = re.compile(r"[3-6]\d{3}([ -]?\d{4}){2}[ -]?\d{3,4}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5}")
_US_SSN = re.compile(r"(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}")
_UK_NINO = re.compile(r"[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]")
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(\.\d{1,3}){3}(?![\d.])")


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0 and len(set(digits)) > 1


def iban(text: str) -> bool:
    """Whether the remainder by 97 is 1."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def _card(text: str) -> bool:
    return luhn(re.sub(r"\D", "", text))


def _ip(text: str) -> bool:
    try:
        found = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified)


def _any(_: str) -> bool:
    return True


_PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("e-mail addresses", _EMAIL, _any),
    ("IBANs", _IBAN, iban),
    ("card numbers", _CARD, _card),
    ("US social security numbers", _US_SSN, _any),
    ("UK national insurance numbers", _UK_NINO, _any),
    ("IP addresses", _IPV4, _ip),
    ("phone numbers", _PHONE, _any),
)


@dataclass(frozen=True, slots=True)
class Sensitive:
    """A column that holds personal data: `kind` is `pii` or `special`, `by` is declared, name or values."""

    column: str
    kind: str
    what: str
    by: str

    def to_json(self) -> dict[str, str]:
        """The column's name and kind; no value."""
        return {"column": self.column, "kind": self.kind, "what": self.what, "by": self.by}


def sensitive(sample: Sample, schema: Schema) -> tuple[Sensitive, ...]:
    """The sensitive columns: what the schema declares, else what values and names say."""
    found = []
    for name in sample.columns:
        rule = schema.column(name)
        if rule is not None and rule.sensitive:
            if rule.sensitive != "none":
                found.append(Sensitive(name, rule.sensitive, "declared", "declared"))
            continue
        seen = by_values(sample.column(name)) or by_name(name)
        if seen is not None:
            found.append(Sensitive(name, *seen))
    return tuple(found)


def by_name(name: str) -> tuple[str, str, str] | None:
    """What a column's name says."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip()).replace(" ", "_").replace("-", "_")
    for kind, what, pattern in _NAMED:
        if pattern.fullmatch(plain):
            return kind, what, "name"
    return None


def by_values(values: Sequence[str | None]) -> tuple[str, str, str] | None:
    """What its values look like, by the first of the patterns that enough of them meet."""
    step = max(1, len(values) // _LOOKED_AT)
    texts = [value[:2000] for value in values[::step] if value]
    if len(texts) < 3:
        return None
    long = sum(map(len, texts)) / len(texts) > 40
    for what, pattern, proved in _PATTERNS:
        if long:
            count = sum(any(proved(hit[0]) for hit in pattern.finditer(text)) for text in texts)
        else:
            count = sum((hit := pattern.fullmatch(text.strip())) is not None and proved(hit[0]) for text in texts)
        if count >= max(2, len(texts) * (_SHARE_IN_TEXT if long else _SHARE)):
            return "pii", what, "values"
    return None


def findings(columns: Sequence[Sensitive], schema: Schema) -> Iterator[Finding]:
    """Each sensitive column is named; one that a schema does not declare is a warning, or an error by its values."""
    for item in columns:
        if item.by == "declared":
            kind = "a special category of personal data" if item.kind == "special" else "personal data"
            yield Finding("sensitive-column", "note", f"Declared as {kind}.", "", item.column)
            continue
        says = "Its name says" if item.by == "name" else "Its values look like"
        message = f"{says} {item.what}, and the schema does not say that it is sensitive."
        fix = "Declare `sensitive: pii`, `special` or, when it is neither, `none`; or leave the column out."
        severe = "error" if schema.columns and item.by == "values" else "warning"
        yield Finding("sensitive-undeclared", severe, message, fix, item.column)
