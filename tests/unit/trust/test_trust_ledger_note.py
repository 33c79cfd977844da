"""Signed notes and checkpoints, against the published note of Go's sumdb/note."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from customhouse.core.errors import ConfigError, TamperError, UsageError
from customhouse.trust.keys import Algorithm, PrivateKey, generate
from customhouse.trust.merkle import EMPTY_ROOT, leaf_hash
from customhouse.trust.note import (
    NoteKey,
    checkpoint_body,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)

# golang.org/x/mod/sumdb/note, the example of its documentation (the private key is published there on purpose).
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE = f"{TEXT}\n— PeterNeumann {SIGNATURE}\n"
ORIGIN = "example.com/customhouse"


def test_the_published_note_is_reproduced_and_opened() -> None:
    key = PrivateKey(Ed25519PrivateKey.from_private_bytes(SEED))
    assert NoteKey("PeterNeumann", key.public).vkey == VKEY
    assert sign_note(TEXT, "PeterNeumann", key) == NOTE
    assert open_note(NOTE, NoteKey.from_vkey(VKEY)) == TEXT


@pytest.mark.parametrize("position", range(0, len(NOTE), 7))
def test_a_note_with_one_changed_character_does_not_open(position: int) -> None:
    changed = NOTE[:position] + chr(ord(NOTE[position]) ^ 1) + NOTE[position + 1 :]
    with pytest.raises(TamperError):
        open_note(changed, NoteKey.from_vkey(VKEY))


@pytest.mark.parametrize(
    "vkey",
    [
        VKEY.replace("c74f20a3", "c74f20a4"),
        VKEY.replace("ARpc", "Zxpc"),
        VKEY[:-4],
        VKEY + "=",
        VKEY + "ü",
        "PeterNeumann+c74f20a3",
        "+c74f20a3+" + VKEY.rpartition("+")[2],
    ],
)
def test_a_verifier_key_that_does_not_fit_is_refused(vkey: str) -> None:
    with pytest.raises(ConfigError):
        NoteKey.from_vkey(vkey)


def test_signatures_of_strangers_are_passed_over_but_never_enough() -> None:
    mine, other = generate(), generate()
    note = sign_note("text\n", "a.example", mine)
    both = note + sign_note("text\n", "b.example", other).partition("\n\n")[2]
    assert open_note(both, NoteKey("a.example", mine.public)) == "text\n"
    with pytest.raises(TamperError, match="no signature of a known key"):
        open_note(note, NoteKey("b.example", other.public))
    with pytest.raises(TamperError, match="no signature of a known key"):
        open_note(note, NoteKey("a.example", other.public))


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— name\n",
        "text\n\n— name AAAA\n",
        "text\n\n- name AAAAAAAA\n",
        "te\tx\n\n— name AAAAAAAA\n",
        "text\n\n— name AAAAAAA?\n",
        "text\n\n— name AAAAAAB=\n",
        "x" * 2_000_000 + "\n\n— name AAAAAAAA\n",
        "text\n\n" + "— name AAAAAAAA\n" * 200,
        "\ud800\n\n— name AAAAAAAA\n",
    ],
)
def test_a_malformed_note_is_refused(note: str) -> None:
    with pytest.raises(TamperError):
        open_note(note, NoteKey("name", generate().public))


def test_a_checkpoint_comes_back_as_it_was_signed() -> None:
    key = generate()
    made = sign_checkpoint(ORIGIN, 7, leaf_hash(b"x"), key)
    assert open_checkpoint(made.note, ORIGIN, key.public) == made


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (checkpoint_body("other.example", 7, leaf_hash(b"x")), "another ledger"),
        (checkpoint_body(ORIGIN, 0, leaf_hash(b"x")), "empty ledger"),
        (f"{ORIGIN}\n07\n{base64.b64encode(EMPTY_ROOT).decode()}\n", "not a number"),
        (f"{ORIGIN}\n-1\n{base64.b64encode(EMPTY_ROOT).decode()}\n", "not a number"),
        (f"{ORIGIN}\n7\nAAAA\n", "32 bytes"),
        (f"{ORIGIN}\n7\n!!!!\n", "not base64"),
        (f"{ORIGIN}\n7\n", "three lines"),
    ],
)
def test_a_signed_text_that_is_no_checkpoint_of_this_ledger_is_refused(body: str, said: str) -> None:
    key = generate()
    with pytest.raises(TamperError, match=said):
        open_checkpoint(sign_note(body, ORIGIN, key), ORIGIN, key.public)


def test_a_key_needs_a_plain_name_and_ed25519() -> None:
    for name in ("", "two words", "a+b"):
        with pytest.raises(ConfigError, match="cannot name a key"):
            NoteKey(name, generate().public)
    with pytest.raises(UsageError):
        NoteKey("name", generate(Algorithm.ECDSA_P256).public)
    with pytest.raises(TamperError, match="without control characters"):
        sign_note("no newline", "name", generate())
