"""A stranger verifies the ledger over real HTTP, or in a folder, with nothing but keys."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from customhouse._kit.clock import SystemClock
from customhouse._kit.http import Answer, request
from customhouse.app import wiring
from customhouse.app.ledger_verifying import REMEMBERED, ledger_files, publish_folder, verify_ledger, verify_mirror
from customhouse.app.settings import Settings
from customhouse.app.up import LiveBoard
from customhouse.cli import program
from customhouse.core.errors import ConfigError, TamperError, UsageError
from customhouse.core.ledger import Entry
from customhouse.server.ledger_tiles import ledger_routes
from customhouse.server.serving import Server
from customhouse.store import Store
from customhouse.trust.adapters.tile_layout import Tile, parse_path, tiles_of
from customhouse.trust.cosignature import CosignerKey, cosign
from customhouse.trust.keys import generate
from customhouse.trust.ledger import Ledger
from customhouse.trust.note import sign_checkpoint

CLOCK, WITNESS = SystemClock(), generate()
COSIGNER = CosignerKey("w.example", WITNESS.public)


def entries(start: int, end: int) -> list[Entry]:
    return [Entry(f"key-{n}", "usage", CLOCK.now(), "ada", (), {"n": n}) for n in range(start, end)]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with 300 entries, made once and copied for each test."""
    made = Settings(tmp_path_factory.mktemp("begun") / "state", quiet=True)
    with wiring.store(made) as opened:
        wiring.ledger(made, opened, write=True).append(entries(0, 300))
    return made.state


@pytest.fixture
def settings(begun: Path, tmp_path: Path) -> Settings:
    return Settings(Path(shutil.copytree(begun, tmp_path / "state")), quiet=True)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with wiring.store(settings) as opened:
        yield opened


@pytest.fixture
def ledger(settings: Settings, store: Store) -> Ledger:
    return wiring.ledger(settings, store, write=True)


@pytest.fixture
def served(settings: Settings, store: Store, ledger: Ledger) -> Iterator[str]:
    app = Starlette(routes=ledger_routes(ledger_files(settings, store)))
    with Server(None, app=app) as server:
        yield f"{server.address.url}ledger"


def vkey(settings: Settings) -> str:
    return wiring.ledger_key(settings).vkey


def get(url: str, **headers: str) -> Answer:
    return request("GET", url, headers={name.replace("_", "-"): value for name, value in headers.items()}, retries=0)


def test_every_file_is_served_as_the_specification_says(served: str) -> None:
    checkpoint = get(f"{served}/checkpoint")
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "no-cache"
    for tile in tiles_of(300):
        answer = get(f"{served}/{tile.path}")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream"), tile
        assert "immutable" in answer.headers["cache-control"]
        if tile.level is not None:
            assert len(answer.body) == 32 * tile.width
    # A partial tile of a size that a checkpoint had stays there.
    assert len(get(f"{served}/tile/0/001.p/7").body) == 7 * 32


def test_the_dashboards_server_serves_it_beside_its_pages(settings: Settings, store: Store, ledger: Ledger) -> None:
    with Server(LiveBoard(), ledger=ledger_files(settings, store)) as server:
        answer = get(f"{server.address.url}ledger/checkpoint")
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-cache")
        assert "immutable" in get(f"{server.address.url}ledger/tile/0/000").headers["cache-control"]
        assert verify_mirror(settings, f"{server.address.url}ledger/", vkey(settings), (), None).problems == ()
        refused = get(f"{server.address.url}ledger/checkpoint", Host="elsewhere.example")
        assert refused.status == 400


def test_what_the_checkpoint_does_not_cover_is_not_there(served: str) -> None:
    for path in (
        "tile/0/002",
        "tile/0/001",
        "tile/0/001.p/45",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/1",
        "tile/00/000",
        "tile/1/000",
        "tile/1/001.p/1",
        "tile/64/000",
        "tile/0/x000/000",
        "tile/entries/002",
        "tile/0/../0/000",
        "tile/0/000/",
        "tile/0/%30%30%30%00",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
    ):
        answer = get(f"{served}/{path}")
        assert answer.status == 404, path
        assert "immutable" not in answer.headers.get("cache-control", "")


def test_paths_read_back_only_as_they_are_written() -> None:
    for tile in (Tile(0, 0, 256), Tile(None, 1234067, 1), Tile(63, 999, 255)):
        assert parse_path(tile.path) == tile
    for path in ("", "checkpoint", "tile/0/000.p/256", "tile/0/٠٠٠", "tile/entries/1000", "tile/-1/000"):
        assert parse_path(path) is None


def test_entries_are_compressed_where_that_is_asked_for(served: str) -> None:
    plain = get(f"{served}/tile/entries/000")
    packed = get(f"{served}/tile/entries/000", Accept_Encoding="br, gzip;q=0.8")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "accept-encoding"
    assert gzip.decompress(packed.body) == plain.body
    assert "content-encoding" not in get(f"{served}/tile/entries/000", Accept_Encoding="gzip;q=0").headers
    assert "content-encoding" not in get(f"{served}/tile/0/000", Accept_Encoding="gzip").headers


def test_a_stranger_verifies_an_address_and_goes_on_later(
    settings: Settings, store: Store, ledger: Ledger, served: str, tmp_path: Path
) -> None:
    stranger = Settings(tmp_path / "elsewhere", quiet=True)
    key = vkey(settings)
    report = verify_mirror(stranger, served, key, (), None)
    assert (report.problems, report.size, report.looked_from) == ((), 300, 0)
    kept = tmp_path / "kept"
    kept.write_text(ledger.checkpoint().note)
    ledger.append(entries(300, 1000))
    report = verify_mirror(stranger, served, key, (), kept)
    assert (report.problems, report.size, report.looked_from) == ((), 1000, 300)
    assert "0 to 299 were verified before" in report.notes[0]
    assert not verify_mirror(stranger, served, wiring_key(), (), None).ok
    with pytest.raises(ConfigError):
        verify_mirror(stranger, served, "nonsense", (), None)
    assert not verify_mirror(stranger, f"{served}/nowhere", key, (), None).ok
    assert not verify_mirror(stranger, "http://127.0.0.1:1/ledger", key, (), None).ok


def wiring_key() -> str:
    from customhouse.trust.note import NoteKey

    return NoteKey(wiring.LEDGER_ORIGIN, generate().public).vkey


@pytest.mark.parametrize("size", [300, 2**62, 9 * 10**18])
def test_a_mirror_that_lies_about_its_size_costs_nothing(
    settings: Settings, ledger: Ledger, tmp_path: Path, size: int
) -> None:
    folder = tmp_path / "mirror"
    publish_folder(settings, folder)
    forged = sign_checkpoint(wiring.LEDGER_ORIGIN, size, ledger.root(300), generate())
    (folder / "checkpoint").write_text(forged.note)
    report = verify_mirror(settings, str(folder), vkey(settings), (COSIGNER.vkey,), None)
    assert not report.ok
    assert (report.sealed, report.checkpoints) == (0, 0)


def test_a_ledger_that_was_cut_back_with_its_checkpoints_is_found_by_who_kept_one(
    settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    import sqlite3

    kept = tmp_path / "kept"
    kept.write_text(ledger.checkpoint().note)
    assert verify_ledger(settings).ok
    older = tmp_path / "older.db"
    store.close()
    with sqlite3.connect(store.place) as raw:
        raw.execute("DELETE FROM ledger_entries WHERE position >= 200")
        raw.execute("DELETE FROM ledger_tiles")
        raw.execute("DELETE FROM ledger_checkpoints")
        raw.commit()
    raw.close()
    ledger = wiring.ledger(settings, store, write=True)
    assert ledger.checkpoint().size == 200
    # This machine verified more before, and says so each time; what it remembers is not overwritten by what is left.
    for report in (*(verify_ledger(settings) for _ in range(2)), verify_ledger(settings, incremental=True)):
        assert "300 entries were verified before and 200 are there" in str(report.problems[0])
    (settings.state / REMEMBERED).unlink()
    assert verify_ledger(settings).ok  # by itself it cannot know
    for report in (verify_ledger(settings, since=kept),):
        assert "300 entries were verified before and 200 are there" in str(report.problems[0])
    # A mirror of it, too.
    publish_folder(settings, older)
    report = verify_mirror(settings, str(older), vkey(settings), (), kept)
    assert "rolled back" in str(report.problems[0])
    # Grown to the old size by other entries it is a fork.
    (settings.state / REMEMBERED).write_text(kept.read_text())
    ledger.append(entries(1000, 1150))
    assert "history was changed" in str(verify_ledger(settings).problems[0])
    assert "history was changed" in str(verify_ledger(settings, since=kept).problems[0])
    publish_folder(settings, older)
    assert "forked" in str(verify_mirror(settings, str(older), vkey(settings), (), kept).problems[0])


def test_a_folder_is_published_piece_by_piece_and_never_turned_back(
    settings: Settings, store: Store, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mirror"
    publish_folder(settings, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    ledger.append(entries(300, 900))
    read: list[int] = []
    original = store.ledger.__class__.read

    def counted(self: object, start: int, end: int) -> object:
        read.append(start)
        return original(self, start, end)  # type: ignore[arg-type]

    monkeypatch.setattr(store.ledger.__class__, "read", counted)
    publish_folder(settings, folder)
    assert min(read) >= 256  # what was whole is not read again
    assert (folder / "tile/0/000").stat().st_mtime_ns == before[folder / "tile/0/000"]
    assert not list(folder.rglob("*.p/44"))
    report = verify_mirror(settings, str(folder), vkey(settings), (), None)
    assert (report.problems, report.size) == ((), 900)
    # A folder that is ahead of the ledger, or of another one, is left alone.
    note = (folder / "checkpoint").read_bytes()
    other = Settings(tmp_path / "other", quiet=True)
    with wiring.store(other) as opened:
        wiring.ledger(other, opened, write=True).append(entries(0, 5))
    with pytest.raises(TamperError, match="not of this ledger"):
        publish_folder(other, folder)
    shutil.copytree(settings.keys, other.keys, dirs_exist_ok=True)
    shutil.rmtree(other.state / "keys")
    shutil.copytree(settings.keys, other.keys)
    (other.state / "state.db").unlink()
    with wiring.store(other) as opened:
        wiring.ledger(other, opened, write=True).append(entries(0, 5))
    with pytest.raises(TamperError, match="has 900 entries and the ledger 5"):
        publish_folder(other, folder)
    with wiring.store(other) as opened:
        wiring.ledger(other, opened, write=True).append(entries(2000, 3000))
    with pytest.raises(TamperError, match="forked"):
        publish_folder(other, folder)
    assert (folder / "checkpoint").read_bytes() == note


def test_a_run_that_was_killed_before_its_checkpoint_leaves_nothing_behind(
    settings: Settings, store: Store, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mirror"
    publish_folder(settings, folder)
    ledger.append(entries(300, 310))
    import customhouse.trust.adapters.tiles as tiles

    written, real = [], tiles._write

    def killed(place: Path, content: bytes) -> None:
        if place.name == "checkpoint":
            raise KeyboardInterrupt
        written.append(place)
        real(place, content)

    monkeypatch.setattr(tiles, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        publish_folder(settings, folder)
    assert written
    monkeypatch.undo()
    ledger.append(entries(310, 333))
    publish_folder(settings, folder)
    assert verify_mirror(settings, str(folder), vkey(settings), (), None).problems == ()


def test_a_mirror_says_which_witnesses_cosigned_it(
    settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    head = ledger.checkpoint()
    store.cosignatures.add(head.size, "w.example", cosign(head.note, "w.example", WITNESS, CLOCK.now()))
    publish_folder(settings, tmp_path / "mirror")
    report = verify_mirror(settings, str(tmp_path / "mirror"), vkey(settings), (COSIGNER.vkey,), None)
    assert report.ok
    assert any("w.example cosigned 300 entries" in note for note in report.notes)
    other = CosignerKey("v.example", generate().public).vkey
    report = verify_mirror(settings, str(tmp_path / "mirror"), vkey(settings), (COSIGNER.vkey, other), None)
    assert [str(problem) for problem in report.problems] == ["checkpoint: v.example did not cosign this checkpoint"]


# what the last verification remembers
def test_an_incremental_verification_says_what_it_left_out(settings: Settings, store: Store, ledger: Ledger) -> None:
    report = verify_ledger(settings, incremental=True)
    assert (report.ok, report.looked_from) == (True, 0)
    assert "nothing was verified before: everything was read" in report.notes
    ledger.append(entries(300, 320))
    report = verify_ledger(settings, incremental=True)
    assert (report.ok, report.looked_from, report.size) == (True, 300, 320)
    assert verify_ledger(settings).looked_from == 0


def test_what_is_remembered_cannot_be_made_up(settings: Settings, store: Store, ledger: Ledger) -> None:
    verify_ledger(settings)
    place = settings.state / REMEMBERED
    place.write_text(place.read_text().replace("\n300\n", "\n299\n"))
    with pytest.raises(TamperError, match="no checkpoint of this ledger"):
        verify_ledger(settings, incremental=True)
    assert verify_ledger(settings).ok


def test_a_ledger_that_does_not_verify_is_not_remembered(settings: Settings, store: Store, ledger: Ledger) -> None:
    import sqlite3

    store.close()
    with sqlite3.connect(store.place) as raw:
        raw.execute("UPDATE ledger_entries SET data = X'00' WHERE position = 7")
        raw.commit()
    raw.close()
    assert not verify_ledger(settings, incremental=True).ok
    assert not (settings.state / REMEMBERED).exists()


# the command line
def test_the_commands_of_a_proof_that_stands_alone(
    settings: Settings, store: Store, ledger: Ledger, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    head = ledger.checkpoint()
    store.cosignatures.add(head.size, "w.example", cosign(head.note, "w.example", WITNESS, CLOCK.now()))
    ledger.append(entries(300, 305))  # the checkpoint that a witness has seen is taken, not the newest
    state = ["--state", str(settings.state)]

    def run(*arguments: str) -> tuple[int, bytes]:
        status = program.run(list(arguments))
        return status, capfdbinary.readouterr().out

    proof, entry = tmp_path / "p.tlog-proof", tmp_path / "entry"
    proof.write_bytes(run("ledger", "proof", "123", "--format", "tlog", *state)[1])
    entry.write_bytes(run("ledger", "proof", "123", "--format", "entry", *state)[1])
    assert json.loads(entry.read_bytes())["body"] == {"n": 123}
    key = run("ledger", "key", *state)[1].decode().strip()
    arguments = ["ledger", "verify-proof", str(proof), "--entry", str(entry), "--key", key]
    status, said = run(*arguments, "--witness", COSIGNER.vkey, "-o", "json")
    assert status == 0
    found = json.loads(said)
    assert (found["index"], found["size"], [item["name"] for item in found["cosigned"]]) == (123, 300, ["w.example"])
    assert run(*arguments)[0] == 0
    other = CosignerKey("v.example", generate().public).vkey
    assert run(*arguments, "--witness", COSIGNER.vkey, "--witness", other)[0] == 5
    assert run(*arguments, "--witness", COSIGNER.vkey, "--witness", other, "--quorum", "1")[0] == 0
    assert run(*arguments, "--quorum", "1")[0] == 2
    entry.write_bytes(entry.read_bytes() + b" ")
    assert run(*arguments)[0] == 5
    kept = tmp_path / "kept"
    kept.write_bytes(run("ledger", "checkpoint", *state)[1])
    assert run("ledger", "verify", "--since", str(kept), *state)[0] == 0
    assert run("ledger", "publish", str(tmp_path / "mirror"), *state)[0] == 0
    assert run("ledger", "verify", "--url", str(tmp_path / "mirror"), "--key", key)[0] == 0
    assert run("ledger", "verify", "--key", key, *state)[0] == 2


def test_a_file_that_is_no_checkpoint_is_refused(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        verify_ledger(settings, since=tmp_path / "nowhere")
    (tmp_path / "text").write_bytes(b"\xff\xfe")
    with pytest.raises(TamperError, match="no checkpoint of this ledger"):
        verify_ledger(settings, since=tmp_path / "text")
