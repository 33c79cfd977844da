"""A witness by the letter of C2SP tlog-witness, and cosignatures by that of tlog-cosignature."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse._kit.clock import FixedClock
from customhouse.core.errors import ConfigError, TamperError
from customhouse.core.ledger import Checkpoint
from customhouse.store import Store, open_store
from customhouse.trust.cosignature import CosignerKey, cosign, cosignatures, with_lines
from customhouse.trust.keys import generate
from customhouse.trust.merkle import MerkleTree, leaf_hash
from customhouse.trust.note import NoteKey, open_checkpoint, sign_checkpoint
from customhouse.trust.witness import SIZE_TYPE, Witness, WitnessAnswer, request_body

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOG, OTHER, WITNESS = generate(), generate(), generate()
ORIGIN, NAME = "log.example/one", "witness.example/w1"
COSIGNER = CosignerKey(NAME, WITNESS.public)
TREE = MerkleTree(leaf_hash(b"%d" % n) for n in range(300))
FORK = MerkleTree(leaf_hash(b"other %d" % n) for n in range(300))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "state.db") as opened:
        yield opened


@pytest.fixture
def witness(store: Store) -> Witness:
    return Witness(store.witnessed, WITNESS, NAME, [NoteKey(ORIGIN, LOG.public)], FixedClock(AT))


def signed(size: int, tree: MerkleTree = TREE) -> Checkpoint:
    return sign_checkpoint(ORIGIN, size, tree.root(size), LOG)


def add(witness: Witness, old: int, size: int, tree: MerkleTree = TREE) -> WitnessAnswer:
    proof = tree.consistency_proof(old, size) if 0 < old <= size else ()
    return witness.add_checkpoint(request_body(old, proof, signed(size, tree).note))


def test_a_cosignature_is_the_specifications_bytes() -> None:
    note = signed(7).note
    line = cosign(note, NAME, WITNESS, AT)
    assert line.startswith(f"— {NAME} ")
    raw = base64.b64decode(line.rpartition(" ")[2])
    assert raw[:4] == hashlib.sha256(NAME.encode() + b"\n\x04" + WITNESS.public.raw).digest()[:4]
    assert int.from_bytes(raw[4:12], "big") == int(AT.timestamp())
    body = note.rpartition("\n\n")[0] + "\n"
    message = f"cosignature/v1\ntime {int(AT.timestamp())}\n{body}".encode()
    assert WITNESS.public.verify(message, raw[12:])
    both = with_lines(note, [line, line])
    (found,) = cosignatures(both, [COSIGNER])
    assert (found.witness, found.at) == (NAME, AT)
    # A cosigned checkpoint is a checkpoint still, and a line twice is a line once.
    assert open_checkpoint(both, ORIGIN, LOG.public).size == 7
    assert both.count(NAME) == 1


def test_a_cosigners_key_reads_back_and_a_logs_key_is_told_apart() -> None:
    assert CosignerKey.from_vkey(COSIGNER.vkey) == COSIGNER
    with pytest.raises(ConfigError, match="the key of a log"):
        CosignerKey.from_vkey(NoteKey(NAME, WITNESS.public).vkey)
    for broken in ("", "a", "a+b+c", COSIGNER.vkey[:-4], COSIGNER.vkey.replace(NAME, "another.example")):
        with pytest.raises(ConfigError):
            CosignerKey.from_vkey(broken)


def test_a_wrong_cosignature_of_a_known_witness_is_refused_and_an_unknown_one_passed_over() -> None:
    note = signed(7).note
    line = cosign(note, NAME, OTHER, AT)
    assert cosignatures(with_lines(note, [line]), [COSIGNER]) == ()
    raw = bytearray(base64.b64decode(cosign(note, NAME, WITNESS, AT).rpartition(" ")[2]))
    for position in (4, 11, 12, len(raw) - 1):
        changed = bytearray(raw)
        changed[position] ^= 1
        spoilt = f"— {NAME} {base64.b64encode(changed).decode()}"
        with pytest.raises(TamperError):
            cosignatures(with_lines(note, [spoilt]), [COSIGNER])
    with pytest.raises(TamperError, match="does not verify"):  # of another checkpoint
        cosignatures(with_lines(signed(8).note, [cosign(note, NAME, WITNESS, AT)]), [COSIGNER])


def test_it_walks_with_the_log(witness: Witness, store: Store) -> None:
    for old, new in ((0, 3), (3, 3), (3, 64), (64, 65), (65, 300)):
        answer = add(witness, old, new)
        assert answer.status == 200, answer
        (found,) = cosignatures(with_lines(signed(new).note, [answer.body.strip("\n")]), [COSIGNER])
        assert found.at == AT
        seen = store.witnessed.seen(ORIGIN)
        assert seen is not None
        assert (seen.size, seen.root) == (new, TREE.root(new))


def test_it_may_begin_with_an_empty_log(witness: Witness) -> None:
    assert add(witness, 0, 0).status == 200
    assert add(witness, 0, 5).status == 200


def test_another_old_size_is_409_with_the_size_that_it_saw(witness: Witness) -> None:
    assert add(witness, 5, 9) == WitnessAnswer(409, "0\n", SIZE_TYPE)
    assert add(witness, 0, 9).status == 200
    for old, new in ((0, 9), (5, 9), (0, 12), (3, 3)):
        assert add(witness, old, new) == WitnessAnswer(409, "9\n", SIZE_TYPE)


def test_a_fork_and_a_log_that_was_cut_back_are_not_cosigned(witness: Witness, store: Store) -> None:
    assert add(witness, 0, 9).status == 200
    assert add(witness, 9, 9, FORK) == WitnessAnswer(409, "9\n", SIZE_TYPE)
    assert add(witness, 9, 20, FORK).status == 422
    assert add(witness, 9, 7).status == 400
    assert add(witness, 7, 7).status == 409
    wrong = request_body(9, TREE.consistency_proof(9, 20)[:-1], signed(20).note)
    assert witness.add_checkpoint(wrong).status == 422
    seen = store.witnessed.seen(ORIGIN)
    assert seen is not None
    assert seen.size == 9
    assert add(witness, 9, 20).status == 200


def test_a_proof_from_nothing_must_be_empty(witness: Witness) -> None:
    body = request_body(0, TREE.consistency_proof(3, 9), signed(9).note)
    assert witness.add_checkpoint(body).status == 422


def test_an_unknown_log_is_404_and_an_unknown_key_403(witness: Witness) -> None:
    other = sign_checkpoint("log.example/two", 3, TREE.root(3), LOG)
    assert witness.add_checkpoint(request_body(0, (), other.note)).status == 404
    forged = sign_checkpoint(ORIGIN, 3, TREE.root(3), OTHER)
    assert witness.add_checkpoint(request_body(0, (), forged.note)).status == 403
    spoilt = signed(3).note.replace("\n3\n", "\n4\n")
    assert witness.add_checkpoint(request_body(0, (), spoilt)).status == 403


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"old 1",
        b"old -1\n\n",
        b"old 01\n\n",
        b"old 1 \n\n",
        b"Old 1\n\n",
        b"old 1\nx\n\n",
        b"old 1\n\xff\n\n",
        b"old 1\n" + base64.b64encode(b"x" * 31) + b"\n\n",
        b"old 1\n" + b"A" * 43 + b"B\n\n",
        b"old 1\n" + (base64.b64encode(b"x" * 32) + b"\n") * 64 + b"\n",
        b"old 9999999999999999999\n\n",
    ],
)
def test_what_is_no_request_is_400_and_changes_nothing(witness: Witness, store: Store, head: bytes) -> None:
    assert witness.add_checkpoint(head + signed(3).note.encode()).status == 400
    assert store.witnessed.seen(ORIGIN) is None


def test_a_checkpoint_that_is_signed_and_malformed_is_400(witness: Witness) -> None:
    from customhouse.trust.note import sign_note

    note = sign_note(f"{ORIGIN}\nmany\nAAAA\n", ORIGIN, LOG)
    assert witness.add_checkpoint(request_body(0, (), note)).status == 400


def test_a_large_request_is_refused(witness: Witness) -> None:
    assert witness.add_checkpoint(b"old 0\n\n" + b"x" * 70_000).status == 413


def test_of_two_at_once_one_is_told_to_come_again(store: Store) -> None:
    """tlog-witness: comparing with the last checkpoint and storing the next are one step, or leaves are rolled back."""
    witnesses = [
        Witness(store.witnessed, WITNESS, NAME, [NoteKey(ORIGIN, LOG.public)], FixedClock(AT)) for _ in range(8)
    ]
    ready, found = threading.Barrier(8), list[tuple[int, int]]()

    def race(worker: int) -> None:
        ready.wait(60)
        size = 10 + worker
        found.append((add(witnesses[worker], 0, size).status, size))

    threads = [threading.Thread(target=race, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    won = [size for status, size in found if status == 200]
    assert sorted(status for status, _ in found) == [200] + [409] * 7
    seen = store.witnessed.seen(ORIGIN)
    assert seen is not None
    assert [seen.size] == won


def test_it_stores_before_it_answers(store: Store) -> None:
    """A witness that dies after its answer must know what it said: nothing is cosigned that was not stored."""

    class Full:
        def seen(self, origin: str) -> Checkpoint | None:
            return None

        def advance(self, old: Checkpoint | None, new: Checkpoint) -> bool:
            raise OSError("the disk is full")

    witness = Witness(Full(), WITNESS, NAME, [NoteKey(ORIGIN, LOG.public)], FixedClock(AT))
    with pytest.raises(OSError, match="full"):
        add(witness, 0, 3)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.booleans()), max_size=12))
def test_whatever_is_sent_it_never_cosigns_two_pasts(requests: list[tuple[int, int, bool]]) -> None:
    """A law: the sizes that it cosigned only grow, and all of them are of one tree."""

    class Memory:
        last: Checkpoint | None = None

        def seen(self, origin: str) -> Checkpoint | None:
            return self.last

        def advance(self, old: Checkpoint | None, new: Checkpoint) -> bool:
            self.last = new
            return True

    witness = Witness(Memory(), WITNESS, NAME, [NoteKey(ORIGIN, LOG.public)], FixedClock(AT + timedelta(days=1)))
    cosigned: list[tuple[int, bytes]] = []
    for old, new, forked in requests:
        tree = FORK if forked else TREE
        if add(witness, old, new, tree).status == 200:
            cosigned.append((new, tree.root(new)))
    assert [size for size, _ in cosigned] == sorted(size for size, _ in cosigned)
    for tree in (TREE, FORK):
        if all(root == tree.root(size) for size, root in cosigned):
            return
    raise AssertionError(cosigned)
