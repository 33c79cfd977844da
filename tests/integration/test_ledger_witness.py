"""Witnesses over real HTTP: honest ones, and ones that lie, hang, or answer for somebody else."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from customhouse._kit.clock import FixedClock, SystemClock
from customhouse._kit.http import Answer, request
from customhouse.app import wiring
from customhouse.app.ledger_spec import LedgerSpec, WitnessSpec
from customhouse.app.ledger_watch import WitnessClerk
from customhouse.app.ledger_witness_role import Serving
from customhouse.app.ledger_witnesses import ask, cosigned_note, remembered, watch
from customhouse.core.ledger import Entry
from customhouse.server.serving import Server
from customhouse.server.witness import witness_application
from customhouse.store import Store, open_store
from customhouse.trust.cosignature import CosignerKey, cosign, cosignatures
from customhouse.trust.keys import generate
from customhouse.trust.ledger import Ledger
from customhouse.trust.note import NoteKey, sign_checkpoint
from customhouse.trust.witness import SIZE_TYPE, Witness

LOG, KEY, ORIGIN, CLOCK = generate(), generate(), "log.example/one", SystemClock()
COSIGNER = CosignerKey("w1", KEY.public)


def entries(start: int, end: int) -> list[Entry]:
    return [Entry(f"key-{n}", "usage", CLOCK.now(), "ada", (), {}) for n in range(start, end)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "log.db") as opened:
        yield opened


@pytest.fixture
def ledger(store: Store) -> Ledger:
    book = Ledger(store.ledger, LOG, ORIGIN, CLOCK)
    book.append(entries(0, 5))
    return book


@contextmanager
def honest(place: Path) -> Iterator[str]:
    with open_store(place) as own:
        witness = Witness(own.witnessed, KEY, "w1", [NoteKey(ORIGIN, LOG.public)], CLOCK)
        with Server(None, app=witness_application(Serving(witness, own))) as server:
            yield server.address.url


@contextmanager
def answering(
    status: int, body: bytes | Callable[[], bytes], kind: str = "text/plain", **headers: str
) -> Iterator[str]:
    """A server that says the same whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            said = body() if callable(body) else body
            self.send_response(status)
            for name, value in {"content-type": kind, "content-length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spec(url: str, key: str = COSIGNER.vkey) -> LedgerSpec:
    return LedgerSpec((WitnessSpec("w1", url, key),), 1)


def post(url: str, body: bytes) -> Answer:
    return wiring.witness_post(url, body)


def test_a_ledger_is_cosigned_as_it_grows(tmp_path: Path, store: Store, ledger: Ledger) -> None:
    with honest(tmp_path / "witness.db") as url:
        for size in (5, 5, 9, 300):
            ledger.append(entries(0, size))
            (said,) = ask(ledger, store, spec(url), post, CLOCK)
            assert (said.size, said.problem) == (size, "")
        note = cosigned_note(store, ledger.checkpoint())
        assert [item.witness for item in cosignatures(note, [COSIGNER])] == ["w1"]
        seen = watch(store, spec(url), CLOCK.now())
        assert (seen.agreed, seen.size, seen.problem) == (300, 300, "")
        assert [item.size for item in seen.witnesses] == [300]


def test_a_log_that_forgot_how_far_the_witness_is_catches_up_from_what_it_says(
    tmp_path: Path, store: Store, ledger: Ledger
) -> None:
    with honest(tmp_path / "witness.db") as url:
        ask(ledger, store, spec(url), post, CLOCK)
        store.state.put({"ledger/witness/w1": None})
        ledger.append(entries(5, 20))
        (said,) = ask(ledger, store, spec(url), post, CLOCK)
        assert (said.size, said.problem) == (20, "")


def test_a_ledger_that_was_cut_back_with_its_checkpoints_is_found(tmp_path: Path, store: Store, ledger: Ledger) -> None:
    with honest(tmp_path / "witness.db") as url:
        ledger.append(entries(5, 20))
        ask(ledger, store, spec(url), post, CLOCK)
        # Somebody with the key makes a shorter past, with nothing left that speaks of the longer one.
        with open_store(tmp_path / "cut.db") as cut:
            short = Ledger(cut.ledger, LOG, ORIGIN, CLOCK)
            short.append(entries(0, 12))
            assert short.verify().ok
            (said,) = ask(short, cut, spec(url), post, CLOCK)
            assert said.tamper
            assert "cosigned 20 entries, and this ledger has 12: it was cut back" in said.problem
            assert "cut back" in watch(cut, spec(url), CLOCK.now()).problem


@pytest.mark.parametrize("size", [20, 30])
def test_a_fork_is_found(tmp_path: Path, store: Store, ledger: Ledger, size: int) -> None:
    with honest(tmp_path / "witness.db") as url:
        ledger.append(entries(5, 20))
        ask(ledger, store, spec(url), post, CLOCK)
        with open_store(tmp_path / "fork.db") as forked:
            other = Ledger(forked.ledger, LOG, ORIGIN, CLOCK)
            other.append([Entry(f"other-{n}", "usage", CLOCK.now(), "ada", (), {}) for n in range(size)])
            (said,) = ask(other, forked, spec(url), post, CLOCK)
            assert said.tamper
            assert "another tree of 20 entries: this ledger was forked" in said.problem


def other_line(name: str = "w1", text: str | None = None) -> bytes:
    note = sign_checkpoint(text or "elsewhere.example", 5, b"\1" * 32, LOG).note
    return (cosign(note, name, KEY, CLOCK.now()) + "\n").encode()


def flipped(note: str) -> bytes:
    line = cosign(note, "w1", KEY, CLOCK.now())
    raw = bytearray(base64.b64decode(line.rpartition(" ")[2]))
    raw[-1] ^= 1
    return f"— w1 {base64.b64encode(raw).decode()}\n".encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (200, other_line(), "text/plain", "no cosignature that verifies"),  # of another origin
        (200, other_line("w2"), "text/plain", "without a cosignature by the key"),
        (200, b"", "text/plain", "without a cosignature"),
        (200, b"\xff\xfe\n", "text/plain", "no cosignature that verifies"),
        (200, b"thank you\n" * 3, "text/plain", "no cosignature that verifies"),
        (200, b"x" * 100_000, "text/plain", "larger than"),
        (409, b"5\n", "text/plain", "409 without a size"),
        (409, b"many\n", SIZE_TYPE, "409 without a size"),
        (409, b"9" * 40, SIZE_TYPE, "409 without a size"),
        (409, b"3\n", SIZE_TYPE, "refuses a proof from there"),
        (409, b"0\n", SIZE_TYPE, "refuses a proof from there"),
        (404, b"who?\n", "text/plain", "answered 404: who?"),
        (403, b"", "text/plain", "answered 403"),
        (500, b"", "text/plain", "answered 500"),
        (307, b"", "text/plain", "redirected"),
    ],
)
def test_a_witness_that_lies_is_told_and_trusted_with_nothing(
    store: Store, ledger: Ledger, status: int, body: bytes, kind: str, said: str
) -> None:
    headers = {"location": "http://127.0.0.1:1/"} if status == 307 else {}
    with answering(status, body, kind, **headers) as url:
        (found,) = ask(ledger, store, spec(url), post, CLOCK)
    assert said in found.problem
    assert not found.tamper
    assert found.size == 0
    assert store.cosignatures.sizes() == ()
    assert watch(store, spec(url), CLOCK.now()).agreed == 0


def test_a_signature_with_one_bit_changed_or_from_the_future_is_not_kept(store: Store, ledger: Ledger) -> None:
    note = ledger.checkpoint().note
    with answering(200, lambda: flipped(note)) as url:
        (found,) = ask(ledger, store, spec(url), post, CLOCK)
        assert "does not verify" in found.problem
    tomorrow = CLOCK.now() + timedelta(days=1)
    with answering(200, (cosign(note, "w1", KEY, tomorrow) + "\n").encode()) as url:
        (found,) = ask(ledger, store, spec(url), post, CLOCK)
        assert "from the future" in found.problem
    assert store.cosignatures.sizes() == ()


def test_a_witness_that_hangs_or_is_gone_does_not_hold_up_the_others(
    tmp_path: Path, store: Store, ledger: Ledger
) -> None:
    with socket.socket() as silent, honest(tmp_path / "witness.db") as url:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hanging = WitnessSpec("slow", f"http://127.0.0.1:{silent.getsockname()[1]}", COSIGNER.vkey)
        gone = WitnessSpec("gone", "http://127.0.0.1:1", COSIGNER.vkey)

        def impatient(to: str, body: bytes) -> Answer:
            limit = 0.3 if to.startswith(hanging.url) else 60.0
            return request("POST", to, body=body, timeout_s=limit, retries=0)

        both = LedgerSpec((hanging, gone, WitnessSpec("w1", url, COSIGNER.vkey)), 1)
        found = {item.name: item for item in ask(ledger, store, both, impatient, CLOCK)}
    assert "no answer in time" in found["slow"].problem
    assert found["gone"].problem
    assert (found["w1"].size, found["w1"].problem) == (5, "")
    assert watch(store, both, CLOCK.now()).problem == ""


def test_a_quorum_that_is_missing_for_too_long_is_a_problem(tmp_path: Path, store: Store, ledger: Ledger) -> None:
    with honest(tmp_path / "witness.db") as url:
        ask(ledger, store, spec(url), post, CLOCK)
    ledger.append(entries(5, 8))
    now = CLOCK.now()
    assert watch(store, spec(url), now + timedelta(minutes=59)).problem == ""
    found = watch(store, spec(url), now + timedelta(minutes=61))
    assert "they agree on 5 of 8 entries" in found.problem
    two = LedgerSpec((*spec(url).witnesses, WitnessSpec("w2", url, CosignerKey("w2", KEY.public).vkey)), 2)
    assert "agree on 0 of 8" in watch(store, two, now + timedelta(minutes=61)).problem


def test_a_cosignature_whose_checkpoint_is_gone_is_a_problem(tmp_path: Path, store: Store, ledger: Ledger) -> None:
    import sqlite3

    with honest(tmp_path / "witness.db") as url:
        ask(ledger, store, spec(url), post, CLOCK)
    store.close()
    with sqlite3.connect(store.place) as raw:
        raw.execute("DELETE FROM ledger_checkpoints")
    raw.close()
    assert "there is no checkpoint here any more" in watch(store, spec(url), CLOCK.now()).problem


def test_the_clerk_asks_in_a_thread_and_keeps_the_section_for_other_commands(
    tmp_path: Path, store: Store, ledger: Ledger
) -> None:
    with honest(tmp_path / "witness.db") as url:
        clerk = WitnessClerk(ledger, store, post, CLOCK, every_s=0.0)
        clerk.poke(spec(url))
        clerk.close(60.0)
        assert clerk.problem == ""
        assert remembered(store) == spec(url)
        assert store.cosignatures.sizes() == (5,)
        clerk.poke(LedgerSpec())
        assert remembered(store) == LedgerSpec()
    with answering(409, b"99\n", SIZE_TYPE) as url:
        ledger.append(entries(5, 6))
        clerk.poke(spec(url))
        clerk.close(60.0)
        assert "cosigned 99 entries" in clerk.problem


def test_the_server_bounds_what_it_reads(tmp_path: Path) -> None:
    with honest(tmp_path / "witness.db") as url:
        address = url + "add-checkpoint"
        assert request("POST", address, body=b"x" * 100_000, retries=0).status == 413
        assert request("POST", address, body=b"", retries=0).status == 400
        assert request("GET", address, retries=0).status == 405
        assert request("GET", url + "healthz", retries=0).status == 200


def test_the_clock_of_a_witness_is_in_its_cosignature(tmp_path: Path, store: Store, ledger: Ledger) -> None:
    past = CLOCK.now().replace(microsecond=0) - timedelta(days=3)
    with open_store(tmp_path / "witness.db") as own:
        witness = Witness(own.witnessed, KEY, "w1", [NoteKey(ORIGIN, LOG.public)], FixedClock(past))
        with Server(None, app=witness_application(Serving(witness, own))) as server:
            ask(ledger, store, spec(server.address.url), post, CLOCK)
    assert [item.at for item in watch(store, spec("http://127.0.0.1:1"), CLOCK.now()).witnesses] == [past]
