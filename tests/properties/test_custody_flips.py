"""Every single-byte change of a custody export is found, and the link that it broke is named."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import custody_world
from custody_world import World
from customhouse._kit.canonical import canonical_json
from customhouse.app.custody import Asked, export, governing
from customhouse.trust.custody_check import Ground, verify_export
from customhouse.trust.custody_check_parts import Folder, Read, check_parts
from customhouse.trust.custody_export import SECTIONS, seal_text
from customhouse.trust.custody_findings import Findings, Trusted, Verification
from customhouse.trust.custody_place import place_of
from customhouse.trust.keys import load_private
from customhouse.trust.note import NoteKey, sign_note
from customhouse.trust.roots import Roots

FLIPS = 2048
"""At places that are spread over the whole file, so that each member is hit."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return custody_world.make(tmp_path_factory.mktemp("custody"))


@pytest.fixture(scope="module")
def whole(world: World) -> bytes:
    """A release's export with rows of its dataset, so that no member is empty but the consistency proof."""
    document = json.loads(export(world.settings, Asked("default/first-model", repo=str(world.root))).data)
    document["rows"] = [{"dataset": custody_world.DATASET, "proof": world.rows.to_json()}]
    return sealed(document, world)


def sealed(document: dict[str, Any], world: World) -> bytes:
    """What somebody who holds the ledger's key would write."""
    key = load_private(world.state / "keys" / "ledger.key")
    document["seal"] = sign_note(seal_text(document), "customhouse.dev/ledger", key)
    return canonical_json(document)


def look(data: bytes, key: NoteKey | None) -> Verification:
    def parts(ground: Ground, findings: Findings) -> None:
        check_parts(ground, findings, believed)

    return verify_export(data, Trusted(keys=() if key is None else (key,)), parts)


_known: dict[bytes, tuple[Roots, bytes | None]] = {}


def believed(read: Read, folder: Folder) -> tuple[Roots, bytes | None]:
    """As the command reads it, once for the same rules: parsing YAML is most of the time of two thousand looks."""
    text = b"".join(read(name) for name in ("customhouse.yaml", "trust/evidence.pub", "trust/allowed_signers"))
    if text not in _known:
        _known[text] = governing(read, folder)
    return _known[text]


def key_of(data: bytes) -> NoteKey:
    return NoteKey.from_vkey(json.loads(data)["keys"][0])


def member_at(data: bytes, offset: int) -> str:
    """The top-level member that holds an offset."""
    return place_of(data, offset).split("/")[1]


def test_the_untouched_export_holds_and_has_something_of_everything(whole: bytes) -> None:
    found = look(whole, key_of(whole))
    assert found.ok, found.broken
    assert found.vouched
    proved = {link.step for link in found.links if link.state == "proved"}
    assert proved == set(range(1, 11))
    assert 20_000 < len(whole) < 200_000


def test_without_a_key_nobody_is_vouched_for(whole: bytes) -> None:
    found = look(whole, None)
    assert found.ok
    assert not found.vouched
    assert any(link.step == 3 and link.state == "claimed" for link in found.links)


def test_every_changed_byte_is_found_and_its_member_named(whole: bytes) -> None:
    key, chance = key_of(whole), random.Random(6)
    step = len(whole) / FLIPS
    hit: dict[str, int] = {}
    exact = 0
    for number in range(FLIPS):
        at = int(number * step + chance.random() * step)
        changed = bytearray(whole)
        changed[at] ^= 1 << number % 8
        found = look(bytes(changed), key)
        member = member_at(whole, at)
        assert not found.ok, f"byte {at} in /{member}, bit {number % 8}"
        assert not found.vouched or found.broken
        names = " ".join(link.name for link in found.broken)
        exact += f"/{member}" in names
        # What did not break the form is always named by the member whose digest was sealed.
        if all(link.step > 1 for link in found.broken):
            assert f"/{member}" in names, (member, names)
        hit[member] = hit.get(member, 0) + 1
    # What broke the form is named by where the reader stumbled: another name only where the byte was part of a name.
    assert exact >= 0.98 * FLIPS
    assert set(hit) >= set(SECTIONS) - {"consistency", "format", "walk", "found", "reference", "keys"}


@given(st.data())
@settings(max_examples=150)
def test_what_is_added_taken_away_or_moved_is_found(whole: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    long = data.draw(st.integers(1, 200))
    change = data.draw(st.sampled_from(["insert", "delete", "truncate", "double", "space", "swap"]))
    made = {
        "insert": lambda: whole[:at] + data.draw(st.binary(min_size=1, max_size=20)) + whole[at:],
        "delete": lambda: whole[:at] + whole[at + long :],
        "truncate": lambda: whole[:at],
        "double": lambda: whole[:at] + whole[at : at + long] + whole[at:],
        "space": lambda: whole[:at] + b" " + whole[at:],
        "swap": lambda: whole[:at] + whole[at + long : at + 2 * long] + whole[at : at + long] + whole[at + 2 * long :],
    }[change]()
    if made != whole:
        assert not look(made, key_of(whole)).ok


def small(whole: bytes, change: Callable[[dict[str, Any]], object], world: World) -> Verification:
    """The file changed in one place and sealed again: what the ledger's own key could write, and must not get past."""
    document = json.loads(whole)
    change(document)
    return look(sealed(document, world), key_of(whole))


def other(text: str) -> str:
    """Base64 of as many other bytes."""
    return base64.b64encode(bytes(255 - byte for byte in base64.b64decode(text))).decode()


def exchanged(one: dict[str, Any], other: dict[str, Any]) -> None:
    one["proof"], other["proof"] = other["proof"], one["proof"]


def resized(note: str) -> str:
    """The checkpoint with one entry more."""
    origin, size, rest = note.split("\n", 2)
    return f"{origin}\n{int(size) + 1}\n{rest}"


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an entry's text": (
        lambda d: d["entries"][2].update(entry=d["entries"][2]["entry"].replace("verified", "VERIFIED")),
        "entry 2",
    ),
    "an entry's number": (lambda d: d["entries"][-1].update(index=d["entries"][-1]["index"] + 1), "entry"),
    "an entry taken away": (lambda d: d["entries"].pop(0), "/nodes"),
    "two proofs exchanged": (
        lambda d: exchanged(d["entries"][1], d["entries"][2]),
        "entry 1",
    ),
    "the order of entries": (lambda d: d["entries"].reverse(), "entry"),
    "a node's alias": (lambda d: d["nodes"][0]["aliases"].append("better"), "/nodes/0"),
    "a node more": (lambda d: d["nodes"].append(dict(d["nodes"][-1], id="model:mine")), "/nodes"),
    "a link turned round": (
        lambda d: d["edges"][0].update({"from": d["edges"][0]["to"], "to": d["edges"][0]["from"]}),
        "/edges/0",
    ),
    "a claim called proved": (lambda d: [e.update(state="proved") for e in d["edges"]], "/edges"),
    "a link away": (lambda d: d["edges"].pop(), "/edges"),
    "what was found": (lambda d: d["found"].append("model:mine"), "/found"),
    "how it was walked": (lambda d: d["walk"].update(down=False), "/"),
    "a verdict": (
        lambda d: d["decisions"][0].update(body=d["decisions"][0]["body"].replace("allow", "deny!")),
        "decision",
    ),
    "Facts": (
        lambda d: d["decisions"][0].update(facts=d["decisions"][0]["facts"].replace("first", "worst")),
        "decision",
    ),
    "a decision more": (
        lambda d: d["decisions"].append({"digest": "sha256:" + "f" * 64, "body": "{}", "facts": "{}"}),
        "decision",
    ),
    "evidence": (lambda d: d["evidence"][0].update(data=other(d["evidence"][0]["data"])), "evidence"),
    "evidence of nothing": (
        lambda d: d["evidence"].append({"digest": "sha256:" + "f" * 64, "path": "x", "data": ""}),
        "evidence sha256:f",
    ),
    "evidence twice": (lambda d: d["evidence"].append(d["evidence"][-1]), "/evidence"),
    "a git object": (
        lambda d: d["objects"].update({k: other(v) for k, v in list(d["objects"].items())[:1]}),
        "",
    ),
    "a git object more": (lambda d: d["objects"].update({"f" * 40: "eA=="}), "object f"),
    "a file that the commit has not": (lambda d: d["commits"][0]["paths"].append("models/zzz.yaml"), "commit"),
    "a commit that nobody names": (
        lambda d: d["commits"].append({"commit": "f" * 40, "governance": [], "paths": []}),
        "commit f",
    ),
    "the rows of a charge": (
        lambda d: d["charges"][0].update(rows=d["charges"][0]["rows"].replace("0.0125", "0.0001")),
        "charge of entry",
    ),
    "the range of rows": (lambda d: d["rows"][0]["proof"].update(end=202), "rows 0"),
    "the checkpoint": (lambda d: d.update(checkpoint=resized(d["checkpoint"])), "/checkpoint"),
    "a member more": (lambda d: d.update(note="trust me"), "/note"),
    "the format": (lambda d: d.update(format="customhouse.dev/custody/v2"), "/format"),
    "a key that is a number": (lambda d: d.update(keys=[1.5]), "/keys"),
    "a decision whose digest is a list": (lambda d: d["decisions"][0].update(digest=["x"]), "/decisions"),
    "evidence whose digest is an object": (lambda d: d["evidence"][0].update(digest={"x": 1}), "/evidence"),
    "a commit that is a list": (lambda d: d["commits"][0].update(commit=[]), "/commits"),
    "a charge of an entry that is a list": (lambda d: d["charges"][0].update(entry=[]), "/charges"),
    "a charge of an entry that is true": (lambda d: d["charges"][0].update(entry=True), "/charges"),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_lie_that_is_sealed_is_found_at_its_place(whole: bytes, world: World, name: str) -> None:
    change, place = CHANGES[name]
    found = small(whole, change, world)
    assert not found.ok
    assert any(place in link.name for link in found.broken), found.broken


@pytest.mark.parametrize("name", ["default/other-model", "", "entry:0", "model", "a" * 64])
def test_another_name_for_what_was_found_is_nobodys_but_the_sealers(whole: bytes, world: World, name: str) -> None:
    assert look(whole, key_of(whole)).named
    found = small(whole, lambda d: d.update(reference=name), world)
    assert (found.ok, found.named) == (True, False)
    assert [link.state for link in found.links if link.name == "the reference"] == ["claimed"]


def test_a_second_signature_on_the_seal_is_found(whole: bytes) -> None:
    document = json.loads(whole)
    document["seal"] += document["seal"].splitlines()[-1].replace("customhouse", "somebody") + "\n"
    found = look(canonical_json(document), key_of(whole))
    assert [link.name for link in found.broken] == ["/seal"]


def test_the_seal_of_another_ledger_is_not_the_one_that_was_named(whole: bytes, world: World, tmp_path: Path) -> None:
    stranger = custody_world.make(tmp_path)
    theirs = export(stranger.settings, Asked("default/first-model", repo=str(stranger.root))).data
    assert look(theirs, key_of(theirs)).ok
    found = look(theirs, key_of(whole))
    assert [link.name for link in found.broken] == ["the ledger's key"]
    # Parts of one in the other, sealed by either.
    mine, other_file = json.loads(whole), json.loads(theirs)
    for section in ("entries", "checkpoint", "decisions", "evidence", "objects", "charges"):
        mixed = {**mine, section: other_file[section]}
        if canonical_json(mixed) != canonical_json(mine):
            assert not look(sealed(mixed, world), key_of(whole)).ok, section
