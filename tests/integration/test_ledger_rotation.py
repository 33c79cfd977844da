"""A ledger under a new key: whoever knew the old one can follow, and the old one signs nothing any more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.app import ledger_rotation, wiring
from customhouse.app.exclusive import Exclusive
from customhouse.app.ledger_rotation import rotate_key
from customhouse.app.ledger_verifying import publish_folder, verify_ledger, verify_mirror
from customhouse.app.settings import Settings
from customhouse.core.errors import ConfigError, StateError, TamperError, UsageError
from customhouse.core.ledger import Entry
from customhouse.trust.keys import PrivateKey, generate, load_private
from customhouse.trust.ledger import Ledger
from customhouse.trust.ledger_keys import KIND, handed_on, rotation
from customhouse.trust.note import NoteKey, open_checkpoint, sign_checkpoint

CLOCK, ORIGIN = SystemClock(), wiring.LEDGER_ORIGIN


def grow(settings: Settings, start: int, end: int) -> None:
    with wiring.store(settings) as opened:
        made = [Entry(f"key-{n}", "usage", CLOCK.now(), "ada", (), {}) for n in range(start, end)]
        wiring.ledger(settings, opened, write=True).append(made)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with 300 entries, made once and copied for each test."""
    made = Settings(tmp_path_factory.mktemp("begun") / "state", quiet=True)
    grow(made, 0, 300)
    return made.state


@pytest.fixture
def settings(begun: Path, tmp_path: Path) -> Settings:
    return Settings(Path(shutil.copytree(begun, tmp_path / "state")), quiet=True)


def private(settings: Settings) -> PrivateKey:
    return load_private(settings.keys / f"{wiring.LEDGER_KEY}.key")


def test_the_ledger_goes_on_and_all_of_it_verifies(settings: Settings, tmp_path: Path) -> None:
    first = wiring.ledger_key(settings)
    kept = tmp_path / "kept"
    with wiring.store(settings) as opened:
        kept.write_text(wiring.ledger(settings, opened, write=False).checkpoint().note)
    vkeys = [first.vkey]
    for step in range(2):
        found = rotate_key(settings, "ada")
        assert found["old"] == vkeys[-1]
        vkeys.append(found["new"])
        grow(settings, 300 + step, 301 + step)
        report = verify_ledger(settings)
        assert (report.problems, report.size) == ((), 302 + 2 * step)
    assert wiring.ledger_key(settings).vkey == vkeys[2]
    assert sorted(path.name for path in settings.keys.iterdir()) == [
        "ledger.key",
        "ledger.pub",
        "ledger.retired-1.pub",
        "ledger.retired-2.pub",
    ]
    assert verify_ledger(settings, since=kept).ok  # of the first key, and a beginning still
    assert verify_ledger(settings, incremental=True).ok
    # A stranger who knows any of the keys follows to the one that signs now; another key leads nowhere.
    publish_folder(settings, tmp_path / "mirror")
    for vkey in vkeys:
        assert verify_mirror(settings, str(tmp_path / "mirror"), vkey, (), None).problems == ()
    stranger = NoteKey(ORIGIN, generate().public).vkey
    assert "none of those that this ledger had" in str(
        verify_mirror(settings, str(tmp_path / "mirror"), stranger, (), None).problems[0]
    )
    # So does one who kept a checkpoint of any time; one of another ledger leads nowhere.
    with wiring.store(settings) as opened:
        notes = [item.note for item in opened.ledger.checkpoints()]
    for vkey in ("", *vkeys):
        for note in (notes[0], notes[len(notes) // 2], notes[-1]):
            kept.write_text(note)
            found = verify_mirror(settings, str(tmp_path / "mirror"), vkey, (), kept)
            assert found.problems == (), (vkey, note)
    other = generate()
    kept.write_text(sign_checkpoint(ORIGIN, 300, open_checkpoint(notes[0], ORIGIN, first.key).root, other).note)
    (problem,) = verify_mirror(settings, str(tmp_path / "mirror"), vkeys[2], (), kept).problems
    assert "nor by one that it follows" in problem.message
    # Proofs under checkpoints of any time.
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=False)
        for checkpoint in opened.ledger.checkpoints():
            assert ledger.prove(5, checkpoint).checkpoint.size == checkpoint.size


def test_the_checkpoint_of_the_change_is_signed_by_both(settings: Settings) -> None:
    old = wiring.ledger_key(settings).key
    size = rotate_key(settings, "ada")["size"]
    new = wiring.ledger_key(settings).key
    with wiring.store(settings) as opened:
        latest = opened.ledger.latest_checkpoint()
        assert latest is not None
        assert [open_checkpoint(latest.note, ORIGIN, key).size for key in (old, new)] == [size, size]


def test_the_old_key_signs_nothing_any_more(settings: Settings) -> None:
    thief = private(settings)
    rotate_key(settings, "ada")
    with wiring.store(settings) as opened:
        ledger = Ledger(opened.ledger, thief, ORIGIN, CLOCK)
        with pytest.raises(StateError, match="another key by now"):
            ledger.append([Entry("stolen", "usage", CLOCK.now(), "mallory", ())])
        # By hand, past the ledger's own care:
        tree_root = wiring.ledger(settings, opened, write=False).root(opened.ledger.size())
        opened.ledger.append([Entry("stolen", "usage", CLOCK.now(), "mallory", ())])
        reader = wiring.ledger(settings, opened, write=False)
        forged = sign_checkpoint(ORIGIN, opened.ledger.size(), reader.root(opened.ledger.size()), thief)
        assert tree_root != forged.root
        opened.ledger.save_checkpoint(forged)
    assert any("no signature of a known key" in str(problem) for problem in verify_ledger(settings).problems)
    with pytest.raises(TamperError):
        grow(settings, 400, 401)


def test_an_entry_that_hands_on_wrongly_is_found(settings: Settings) -> None:
    mallory = generate()
    entry = rotation(ORIGIN, mallory, generate(), CLOCK.now(), "mallory")
    grow_with(settings, [entry])
    assert "to a key that is not this ledger's" in str(verify_ledger(settings).problems[0])


def test_an_entry_whose_signatures_are_wrong_is_found(settings: Settings) -> None:
    good = rotation(ORIGIN, private(settings), generate(), CLOCK.now(), "ada")
    for name in ("signature", "accepted", "old", "new"):
        body = {**good.body, name: rotation(ORIGIN, generate(), generate(), CLOCK.now(), "x").body[name]}
        with pytest.raises(TamperError):
            handed_on(Entry(good.key, KIND, good.at, "x", (), body), ORIGIN)
        with pytest.raises(TamperError):
            handed_on(Entry(good.key, KIND, good.at, "x", (), {**good.body, name: "x"}), ORIGIN)
    with pytest.raises(TamperError):
        handed_on(good, "another.example")
    grow_with(settings, [Entry("k", KIND, CLOCK.now(), "x", (), {**good.body, "signature": "AAAA"})])
    assert verify_ledger(settings).problems[0].index == 300


def grow_with(settings: Settings, entries: list[Entry]) -> None:
    with wiring.store(settings) as opened:
        wiring.ledger(settings, opened, write=True).append(entries)


@pytest.mark.parametrize("step", ["keys", "copy", "private"])
def test_a_rotation_that_was_killed_is_completed_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    real, calls = ledger_rotation.os.replace, 0

    def second(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched:
        if step == "keys":
            patched.setattr(ledger_rotation, "_put_in_place", killed)
        elif step == "copy":
            patched.setattr(ledger_rotation.os, "replace", killed)
        else:
            patched.setattr(ledger_rotation.os, "replace", second)
        with pytest.raises(KeyboardInterrupt):
            rotate_key(settings, "ada")
    found = rotate_key(settings, "ada")
    assert (found["size"], wiring.ledger_key(settings).vkey) == (301, found["new"])
    assert private(settings).public == wiring.ledger_key(settings).key
    grow(settings, 300, 301)
    report = verify_ledger(settings)
    assert (report.problems, report.size) == ((), 302)
    assert [path.name for path in settings.keys.glob("ledger.retired-*")] == ["ledger.retired-1.pub"]


def test_it_is_refused_while_a_control_plane_runs_and_without_the_private_key(settings: Settings) -> None:
    lock = Exclusive(settings.state)
    try:
        with pytest.raises(StateError, match="another control plane"):
            rotate_key(settings, "ada")
    finally:
        lock.release()
    (settings.keys / "ledger.key").unlink()
    with pytest.raises(UsageError, match="does not have the ledger's private key"):
        rotate_key(settings, "ada")


def test_a_lost_private_key_ends_the_ledger_and_never_its_proofs(settings: Settings, tmp_path: Path) -> None:
    """docs/ledger.md: what is there verifies for ever; what comes after begins a new ledger in another state."""
    (settings.keys / "ledger.key").unlink()
    assert verify_ledger(settings).ok
    with pytest.raises(ConfigError, match="private key is not here"):
        grow(settings, 300, 301)
    assert not (settings.keys / "ledger.key").exists()
    copy = tmp_path / "copy"
    shutil.copytree(settings.state, copy)
    (copy / "keys" / "ledger.pub").unlink()
    with pytest.raises(TamperError):  # a new key does not take the old ledger over
        grow(Settings(copy, quiet=True), 300, 301)
