"""Reading one field of a manifest strictly: the type Kubernetes wants, its default, or an error with the pointer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from customhouse.core.errors import DeclarationError

Text = TypeVar("Text", str, None)
Number = TypeVar("Number", int, None)

# Prefixes that the issuers document for their own credentials; the names are what a finding shows.
# What each begins with stands first: looking for a plain text is many times faster than for a pattern.
_CREDENTIALS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = (
    ("a private key", ("-----BEGIN",), re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")),
    ("an AWS access key", ("AKIA", "ASIA"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    (
        "a GitHub token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    ),
    ("a GitLab token", ("glpat-",), re.compile(r"\bglpat-[A-Za-z0-9_-]{16,}")),
    ("a Slack token", ("xox",), re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("a Hugging Face token", ("hf_",), re.compile(r"\bhf_[A-Za-z0-9]{20,}")),
    ("an OpenAI key", ("sk-",), re.compile(r"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,}")),
    ("a Stripe key", ("k_live_", "k_test_"), re.compile(r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}")),
    ("a Google API key", ("AIza",), re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    ("a JSON web token", ("eyJ",), re.compile(r"\beyJ[A-Za-z0-9_-]{8,512}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8}")),
    ("a URL with a password", ("://",), re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^/\s:@]{1,100}:[^/\s:@]{1,200}@")),
)
_BEGINNINGS = re.compile("|".join(re.escape(text) for _, texts, _ in _CREDENTIALS for text in texts))
_SHORT = 512
_SCANNED = 64 * 1024
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|SECRET_?KEY|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)$",
    re.IGNORECASE,
)
_SECRET_ENDS = ("PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "KEY", "TOKEN", "CREDENTIAL", "CREDENTIALS")
# Names that only sound like it: a path, a limit or a switch is no credential.
_HARMLESS_VALUE = re.compile(r"|true|false|yes|no|none|null|\d{1,4}|/[\w./-]*|\$\([A-Za-z_]\w*\)", re.IGNORECASE)


def mapping(values: Mapping[str, Any], key: str, pointer: str) -> Mapping[str, Any]:
    """A field that holds a mapping; empty when absent or null."""
    value = values.get(key)
    if value is None:
        return {}
    if type(value) is not dict and not isinstance(value, Mapping):  # to ask an abstract class takes far longer
        raise DeclarationError(f"{key} is not a mapping", where=f"{pointer}/{key}")
    return value


def entries(values: Mapping[str, Any], key: str, pointer: str) -> list[tuple[Mapping[str, Any], str]]:
    """A list of mappings, each with its JSON pointer."""
    if values.get(key) is None:
        return []
    items = _list(values, key, pointer)
    if not items:
        return []
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise DeclarationError(f"an entry of {key} is not a mapping", where=f"{pointer}/{key}/{index}")
    return [(item, f"{pointer}/{key}/{index}") for index, item in enumerate(items)]


def texts(values: Mapping[str, Any], key: str, pointer: str) -> list[str]:
    """A list of texts, order kept."""
    items = _list(values, key, pointer)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise DeclarationError(f"{item!r} in {key} has to be text; quote it", where=f"{pointer}/{key}/{index}")
    return list(items)


def text(values: Mapping[str, Any], key: str, pointer: str, default: Text) -> str | Text:
    """A text field."""
    value = values.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise DeclarationError(f"{key} is {value!r}; it has to be text: quote it", where=f"{pointer}/{key}")
    return value


def number(values: Mapping[str, Any], key: str, pointer: str, default: Number) -> int | Number:
    """A whole-number field."""
    value = values.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise DeclarationError(f"{key} is {value!r}; write a whole number", where=f"{pointer}/{key}")
    return value


def flag(values: Mapping[str, Any], key: str, pointer: str, *, default: bool) -> bool:
    """A true-or-false field with a default."""
    value = switch(values, key, pointer)
    return default if value is None else value


def switch(values: Mapping[str, Any], key: str, pointer: str) -> bool | None:
    """A true-or-false field for which "not set" means something of its own."""
    value = values.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise DeclarationError(f"{key} is {value!r}; write true or false", where=f"{pointer}/{key}")


def credential(name: str, value: str) -> str | None:
    """What a literal looks like (`a GitHub token`, `a password by its name`), None when it looks like no secret."""
    value = value[:_SCANNED]  # what is longer is refused later; patterns are bounded, so the time is too
    # Of a short text one look tells that none of them is in it; in a long one it is quicker to look for each.
    possible = _CREDENTIALS if len(value) > _SHORT or _BEGINNINGS.search(value) else ()
    for label, beginnings, pattern in possible:
        if any(beginning in value for beginning in beginnings) and pattern.search(value):
            return label
    # Most names end otherwise. Letters of other scripts may be the same to a pattern that ignores case.
    if name.isascii() and not name.upper().rstrip("\n").endswith(_SECRET_ENDS):
        return None
    if _SECRET_NAME.search(name) and not _HARMLESS_VALUE.fullmatch(value):
        return "a credential by its name"
    return None


def redacted(name: str, value: str) -> str:
    """The value, or `(redacted: a GitHub token)`: what looks like a credential must not reach a stored document."""
    found = credential(name, value)
    return value if found is None else f"(redacted: {found})"


def _list(values: Mapping[str, Any], key: str, pointer: str) -> list[Any]:
    value = values.get(key)
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise DeclarationError(f"{key} is not a list", where=f"{pointer}/{key}")
    return list(value)
