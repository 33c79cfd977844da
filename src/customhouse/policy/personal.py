"""Personal data in text: payment cards and IBANs by check digits, lists of e-mail addresses and telephone numbers.

One address is a contact, five different ones are a list: the line between an owner's annotation and a table of
customers has to be drawn somewhere, and is drawn here. What is found is counted and never repeated.
"""

from __future__ import annotations

import re

MAX_TEXT = 4 * 1024 * 1024
"""Characters that are looked at; data files longer than this are refused for their size anyway."""
MANY = 5
"""Different addresses, or numbers, that make a list."""
_CARD = re.compile(
    r"(?<![\w.+/-])[2-6]\d{3}(?:([ -]?)\d{4}\1\d{4}\1\d{4}|[ -]?\d{6}[ -]?\d{5})(?![\w+/=-]|\.\d)", re.ASCII
)
_IBAN = re.compile(r"(?<![\w+/=-])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![\w+/=])", re.ASCII)
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@((?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24})\b", re.ASCII)
_PHONE = re.compile(r"(?<![\w.+/=])\+[1-9]\d{0,2}[ ()./-]{0,2}\d(?:[ ()./-]{0,2}\d){6,12}(?![\w/=])", re.ASCII)
_NOBODY = ("example.com", "example.org", "example.net", "example", "invalid", "test", "localhost", "local")
"""Names that RFC 2606 reserves, and machines; addresses there belong to nobody."""
_LENGTHS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28
EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26
IT27 JO30 KW30 KZ20 LB28 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15
PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 SK24 SM27 TN24 TR26 UA29 VA22 VG24 XK20
"""
_IBAN_LENGTHS = {word[:2]: int(word[2:]) for word in _LENGTHS.split()}
"""Of the IBAN registry (ISO 13616)."""


def personal_data(text: str, *, addresses: bool = True) -> str | None:
    """What personal data a text holds, in words (`2 payment card numbers and 7 e-mail addresses`); None for none.

    Without `addresses` a list of e-mail addresses is none.
    """
    text = text[:MAX_TEXT]
    counts = (
        (len(_cards(text)), 1, "payment card number"),
        (len(_ibans(text)), 1, "IBAN"),
        (len(_mails(text)) if addresses else 0, MANY, "e-mail address"),
        (len(_phones(text)), MANY, "telephone number"),
    )
    found = [f"{count} {_several(word, count)}" for count, enough, word in counts if count >= enough]
    return " and ".join(found) if found else None


def _several(word: str, count: int) -> str:
    if count == 1:
        return word
    return f"{word}es" if word.endswith("s") else f"{word}s"


def _cards(text: str) -> set[str]:
    found = set()
    for match in _CARD.finditer(text):
        digits = re.sub(r"[ -]", "", match[0])
        if _issued(digits) and _luhn(digits):
            found.add(digits)
    return found


def _issued(digits: str) -> bool:
    """Numbers that the large schemes give out (ISO/IEC 7812): Visa, Mastercard, American Express, Discover, JCB."""
    if len(set(digits)) < 4:
        return False  # filler such as 4444 4444 4444 4448
    if len(digits) == 15:
        return digits[:2] in ("34", "37")
    first4 = int(digits[:4])
    return (
        digits[0] == "4"
        or 5100 <= first4 <= 5599
        or 2221 <= first4 <= 2720
        or first4 == 6011
        or digits[:2] == "65"
        or 3528 <= first4 <= 3589
    )


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = [int(digit) for digit in reversed(digits)]
    return sum(sum(divmod(digit * 2, 10)) if odd % 2 else digit for odd, digit in enumerate(doubled)) % 10 == 0


def _ibans(text: str) -> set[str]:
    found = set()
    for match in _IBAN.finditer(text):
        compact = match[0].replace(" ", "")
        length = _IBAN_LENGTHS.get(compact[:2])
        if length is None or len(compact) < length:
            continue
        compact = compact[:length] if " " in match[0] else compact
        if len(compact) == length and _mod97(compact):
            found.add(compact)
    return found


def _mod97(iban: str) -> bool:
    """ISO 13616: letters are numbers from 10, the first four characters go to the end, the rest of 97 is 1."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def _mails(text: str) -> set[str]:
    found = set()
    for match in _MAIL.finditer(text) if "@" in text else ():
        domain = match[1].lower()
        if not any(domain == nobody or domain.endswith(f".{nobody}") for nobody in _NOBODY):
            found.add(match[0].lower())
    return found


def _phones(text: str) -> set[str]:
    """E.164: a plus, a country code, eight to fifteen digits in all."""
    numbers = (re.sub(r"\D", "", match[0]) for match in _PHONE.finditer(text))
    return {number for number in numbers if 8 <= len(number) <= 15}
