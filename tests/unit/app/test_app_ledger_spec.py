"""`ledger` of customhouse.yaml: what is asked for when nothing is said, and what cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.app.configuration import parse
from customhouse.app.configuring import as_document
from customhouse.app.ledger_spec import LedgerSpec
from customhouse.core.errors import ConfigError
from customhouse.trust.cosignature import CosignerKey
from customhouse.trust.keys import generate
from customhouse.trust.note import NoteKey

KEYS = [generate().public for _ in range(3)]


def witness(number: int, **other: str) -> dict[str, str]:
    key = CosignerKey(f"w{number}.example", KEYS[number]).vkey
    return {"name": f"w{number}", "url": f"https://w{number}.example/", "key": key, **other}


def read(ledger: Any) -> LedgerSpec:
    document = {"apiVersion": "customhouse.dev/v1", "policy": {"requireSignedCommits": False}, "ledger": ledger}
    return parse(document, {}).ledger


def test_without_a_number_all_witnesses_but_one_are_asked_for() -> None:
    assert [read({"witnesses": [witness(n) for n in range(count)]}).quorum for count in (0, 1, 2, 3)] == [0, 1, 1, 2]
    assert read(None) == LedgerSpec()
    assert read({"witnesses": [witness(0)], "quorum": 0}).quorum == 0


def test_it_is_shown_as_it_was_written() -> None:
    given = {"witnesses": [witness(0), witness(1)], "quorum": 2, "maxAgeMinutes": 5}
    document = {"apiVersion": "customhouse.dev/v1", "policy": {"requireSignedCommits": False}, "ledger": given}
    shown = as_document(parse(document, {}))["ledger"]
    assert shown == given
    assert read(shown) == read(given)


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ({"witnesses": [witness(0), witness(0)]}, "two witnesses are called 'w0'"),
        ({"witnesses": [witness(0)], "quorum": 2}, "quorum is 2, and 1 witnesses are named"),
        ({"quorum": 1}, "quorum is 1, and 0 witnesses are named"),
        ({"witnesses": [witness(0, key="w0.example+00+AAAA")]}, "not an Ed25519 cosigner's key"),
        ({"witnesses": [witness(0, key=NoteKey("w0.example", KEYS[0]).vkey)]}, "the key of a log, not of a witness"),
        ({"witnesses": [witness(0, url="ftp://w0.example")]}, "url"),
        ({"witnesses": [witness(0, name="w 0")]}, "name"),
        ({"witness": []}, "unknown key 'witness'"),
        ({"witnesses": [witness(0)], "maxAgeMinutes": 0}, "maxAgeMinutes"),
    ],
)
def test_what_cannot_be_meant_is_said(ledger: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(ledger)
    assert said in str(error.value)
