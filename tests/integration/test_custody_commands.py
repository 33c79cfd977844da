"""`customhouse trace` and `customhouse verify` as people and strangers type them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gate_world import Said

import custody_world
from custody_world import DATASET, World
from customhouse.app import wiring
from customhouse.cli.program import run
from customhouse.trust.custody import Node, entry

PROGRAM = str(Path(sys.executable).parent / "customhouse")


Command = Callable[..., Said]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return custody_world.make(tmp_path_factory.mktemp("custody"))


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("CUSTOMHOUSE_STATE", str(world.state))

    def typed(*arguments: str | Path) -> Said:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Said(status, printed.out, printed.err)

    return typed


@pytest.fixture
def exported(command: Command, tmp_path: Path) -> Path:
    file = tmp_path / "release.json"
    assert command("trace", "default/first-model", "--repo", ".", "--export", file).status == 0
    return file


def kinds(said: Said) -> set[str]:
    return {node["kind"] for node in said.json["nodes"]}


def test_a_release_leads_back_to_its_data_and_on_to_its_charge(command: Command) -> None:
    found = command("trace", "default/first-model", "-o", "json")
    assert kinds(found) == {
        *("dataset", "training-run", "model", "evidence", "commit", "decision", "policy-bundle"),
        *("deployment", "pod", "predictions", "usage", "charge"),
    }
    (charged,) = [node for node in found.json["nodes"] if node["kind"] == "predictions"]
    assert charged["aliases"] == ["1234 predictions, 1 errors"]
    assert {edge["state"] for edge in found.json["edges"]} == {"proved", "claimed"}


@pytest.mark.parametrize(
    "reference",
    [
        *("entry:4", "#4", "transactions", DATASET, DATASET[7:17], f"dataset:{DATASET}", "dataset:transactions"),
        *("transactions#rows=5-9", f"dataset@{DATASET}#rows=0"),
    ],
)
def test_a_dataset_is_named_in_many_ways(command: Command, reference: str) -> None:
    assert command("trace", reference, "-o", "json").json["found"] == [f"dataset:{DATASET}"]


def test_pods_commits_files_and_charges_are_named_too(command: Command, world: World) -> None:
    assert command("trace", "first-model-2", "-o", "json").json["found"] == ["pod:default/first-model-2"]
    assert command("trace", world.commit[:8], "-o", "json").json["found"] == [f"commit:{world.commit}"]
    for path in ("artifacts/first-model/v1", world.model[7:]):
        assert f"model:{world.model}" in command("trace", path, "-o", "json").json["found"]
    of_file = command("trace", "models/first-model.yaml", "--repo", ".", "-o", "json").json
    assert of_file["found"] == [f"commit:{world.commit}"]
    (charge,) = [n["id"] for n in command("trace", "first-model", "-o", "json").json["nodes"] if n["kind"] == "charge"]
    assert command("trace", charge, "--up", "-o", "json").json["found"] == [charge]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("first-models", "first-model"),
        ("entry:999", "no entry 999"),
        ("transactions#rows=9-5", "no range"),
        ("first-model#rows=1-2", "is not one dataset"),
        ("trust/evidence.pub", "no entry of the ledger speaks of"),
        ("", "name something"),
        ("-", "nothing is known"),
        ("a\x00b", "nothing is known"),
    ],
)
def test_what_nobody_knows_is_said_with_what_is_near(command: Command, reference: str, words: str) -> None:
    said = command("trace", "--", reference)
    assert said.status == 2
    assert words in said.err


def test_a_name_of_different_things_lists_them(world: World, command: Command, tmp_path: Path) -> None:
    shutil.copytree(world.state, tmp_path / "state")
    settings = wiring_settings(tmp_path / "state")
    with wiring.store(settings) as opened:
        image = Node.of("image", "sha256:" + "1a" * 32, "transactions")
        wiring.ledger(settings, opened, write=True).append(
            [entry("image", "image", custody_world.AT, "ada", nodes=[image])]
        )
    said = command("trace", "transactions", "--state", tmp_path / "state")
    assert said.status == 2
    assert "names 2 different things" in said.err
    assert f"dataset:{DATASET}" in said.err
    assert command("trace", "image:transactions", "--state", tmp_path / "state").status == 0


def wiring_settings(state: Path) -> Any:
    from customhouse.app.settings import Settings

    return Settings(state=state, environment=dict(os.environ))


def test_ways_depth_and_kinds_narrow_it(command: Command) -> None:
    up = command("trace", "default/first-model", "--up", "-o", "json")
    assert "charge" not in kinds(up)
    assert "dataset" in kinds(up)
    down = command("trace", "default/first-model", "--down", "-o", "json")
    assert "dataset" not in kinds(down)
    near = command("trace", "default/first-model", "--depth", "1", "-o", "json")
    assert "dataset" not in kinds(near)
    assert kinds(command("trace", "default/first-model", "--kind", "pod", "-o", "json")) == {"pod"}
    assert command("trace", "default/first-model", "--depth", "0", "-o", "json").json["edges"] == []


def test_drawings_have_every_link_and_claims_are_dashed(command: Command) -> None:
    found = command("trace", "default/first-model", "-o", "json").json
    dot, mermaid = (command("trace", "default/first-model", "-o", form).out for form in ("dot", "mermaid"))
    assert dot.startswith("digraph custody {")
    assert dot.count(" -> ") == len(found["edges"]) == sum(mermaid.count(arrow) for arrow in ("-->", "-.->"))
    assert dot.count("style=dashed") == mermaid.count("-.->") == 1


def test_the_index_is_grown_made_again_and_done_without(world: World, command: Command, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(world.state, state)
    asked = ("trace", "default/first-model", "-o", "json", "--state", state)
    before = command(*asked).out
    assert command(*asked, "--full").out == before
    settings = wiring_settings(state)
    with wiring.store(settings) as opened:
        more = entry(
            "note", "n", custody_world.AT, "ada", nodes=[Node("pod", "default/first-model-1", aliases=("it",))]
        )
        wiring.ledger(settings, opened, write=True).append([more])
    assert command("trace", "it", "-o", "json", "--state", state).json["found"] == ["pod:default/first-model-1"]
    after = command(*asked).out
    for damage in (b"", b"not a database" * 500, (state / "custody.db").read_bytes()[:5000]):
        (state / "custody.db").write_bytes(damage)
        assert command(*asked).out == after
    (state / "custody.db").unlink()
    assert command(*asked).out == after


def test_an_index_that_makes_something_up_is_not_believed(world: World, command: Command, tmp_path: Path) -> None:
    import sqlite3

    state = tmp_path / "state"
    shutil.copytree(world.state, state)
    assert command("trace", "default/first-model", "--state", state).status == 0
    with sqlite3.connect(state / "custody.db") as index:
        index.execute("INSERT INTO nodes VALUES (999, 'model:evil', '')")
        index.execute("INSERT INTO names VALUES ('evil', 999)")
        index.execute("INSERT INTO spoken VALUES (999, 3)")
        index.execute("INSERT INTO links VALUES (999, 999, 1, 'served-as')")
    said = command("trace", "evil", "--state", state)
    assert said.status == 3
    assert "does not say" in said.err
    assert "evil" not in command("trace", "default/first-model", "-o", "json", "--state", state).out


def test_a_changed_entry_is_not_traced(world: World, command: Command, tmp_path: Path) -> None:
    import sqlite3

    state = tmp_path / "state"
    shutil.copytree(world.state, state)
    with sqlite3.connect(state / "state.db") as rows:
        rows.execute(
            "UPDATE ledger_entries SET data = replace(data, 'transactions', 'TRANSACTIONS') WHERE position = 4"
        )
    said = command("trace", "default/first-model", "--state", state)
    assert said.status == 5
    assert "entry 4" in said.err


def test_a_stranger_verifies_it_in_an_empty_folder_without_git_or_state(
    exported: Path, world: World, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()

    def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, "verify", *arguments],
            cwd=tmp_path / "empty",
            env={"PATH": "/nonexistent", "HOME": str(tmp_path / "empty")},
            capture_output=True,
            text=True,
            check=False,
        )

    done = typed(str(exported), "--key", str(world.key))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is broken" in done.stdout
    assert not list((tmp_path / "empty").iterdir())
    alone = typed(str(exported))
    assert alone.returncode == 3
    assert "nobody vouches" in alone.stderr


def test_the_key_may_be_a_text_a_fingerprint_or_a_file(exported: Path, world: World, command: Command) -> None:
    found = command("verify", exported, "--key", world.key, "-o", "json").json
    assert found["ok"]
    assert found["vouched"]
    (key,) = json.loads(exported.read_bytes())["keys"]
    for text in (key, found["ledger"]["fingerprint"], "sha256:" + found["ledger"]["fingerprint"]):
        assert command("verify", exported, "--key", text).status == 0
    place = exported.with_suffix(".vkey")
    place.write_text(key + "\n")
    assert command("verify", exported, "--key", place).status == 0
    assert command("verify", exported, "--key", "0" * 64).status == 5
    assert command("verify", exported, "--key", "nonsense").status == 2
    # Whoever is believed beside it: of several keys one is enough.
    assert command("verify", exported, "--key", "0" * 64, "--key", key).status == 0


def test_evidence_counts_under_the_keys_that_the_stranger_names(
    exported: Path, world: World, command: Command, tmp_path: Path
) -> None:
    asked = ("verify", exported, "--key", world.key, "-o", "json")
    named = command(*asked, "--root", f"evidence={world.root / 'trust' / 'evidence.pub'}").json
    assert not [link for link in named["links"] if link["step"] == 8 and link["state"] == "claimed"]
    other = command(*asked, "--root", world.key).json
    assert other["ok"]
    assert [link["state"] for link in other["links"] if link["name"].startswith("signature of evidence")] == [
        "claimed"
    ] * 3


def test_the_export_is_the_same_every_time_and_says_what_is_missing(command: Command, tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for file in files[:2]:
        assert command("trace", "default/first-model", "--repo", ".", "--export", file).status == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    without = command("trace", "default/first-model", "--export", files[2])
    assert without.status == 0
    assert "not in the file: commit" in without.err
    found = command("verify", files[2], "-o", "json").json
    assert found["ok"]
    assert any(link["step"] == 7 and link["state"] == "claimed" for link in found["links"])


def test_a_checkpoint_that_was_kept_must_fit(world: World, command: Command, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(world.state, state)
    kept = tmp_path / "kept"
    kept.write_text(command("ledger", "checkpoint", "--state", state).out)
    settings = wiring_settings(state)
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=True)
        size = ledger.size
        ledger.append([entry("note", f"n{number}", custody_world.AT, "ada") for number in range(5)])
    file = tmp_path / "file"
    asked = ("trace", "default/first-model", "--export", file, "--state", state)
    looked = ("verify", file, "--key", world.key, "--checkpoint", kept, "-o", "json")

    def third() -> str:
        (link,) = [link for link in command(*looked).json["links"] if link["name"] == "the checkpoint that you kept"]
        return str(link["state"])

    assert command(*asked).status == 0
    assert third() == "claimed"
    # What was asked for was not looked at: a forked ledger would have said the same.
    unheld = command(*looked)
    assert (unheld.status, unheld.json["ok"], unheld.json["held"]) == (3, True, False)
    assert "could not be held against the checkpoint that you kept" in unheld.err
    assert command(*asked, "--since", kept).status == 0
    assert third() == "proved"
    assert command(*looked).status == 0
    # Another history of the same length under the same key.
    fork = tmp_path / "fork"
    shutil.copytree(state / "keys", fork / "keys")
    settings = wiring_settings(fork)
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=True)
        ledger.append([entry("note", f"f{number}", custody_world.AT, "eve") for number in range(size)])
    kept.write_text(command("ledger", "checkpoint", "--state", fork).out)
    assert third() == "broken"
    assert command(*looked).status == 5


def test_rows_are_proved_from_the_data(command: Command, tmp_path: Path) -> None:
    data, state = tmp_path / "data", tmp_path / "state"
    data.mkdir()
    (data / "rows.csv").write_text("amount,label\n" + "".join(f"{n},{n % 2}\n" for n in range(3000)))
    assert command("data", "register", data, "--name", "payments", "--state", state).status == 0
    file = tmp_path / "file"
    asked = ("trace", "payments#rows=1000-2050", "--state", state)
    assert "taken to be meant" in command(*asked).err
    assert "the dataset has 3000" in command("trace", "payments#rows=2999-3000", "--state", state).err
    assert command(*asked, "--export", file).status == 2
    assert command(*asked, "--export", file, "--data", data).status == 0
    found = command("verify", file, "--key", state / "keys" / "ledger.pub", "-o", "json").json
    assert [link["message"] for link in found["links"] if link["step"] == 9] == [
        "rows 1000 to 2050 of 3000 lead to the root in entry 0"
    ]
    assert command("verify", file, "-o", "json").json["named"] is True
    beyond = command("trace", "payments#rows=2999-3000", "--state", state, "--data", data)
    assert beyond.status == 2
    (data / "rows.csv").write_text("amount,label\n1,1\n")
    said = command(*asked, "--data", data)
    assert said.status == 5
    assert "not the data of" in said.err


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"\x00\xff" * 1000,
    "deep": b"[" * 2_000_000,
    "deep members": b'{"a":' * 500_000,
    "another document": b'{"format":"other"}',
    "an array": b"[]",
    "a number": b"1e999999",
    "null": b"null",
    "a key twice": b'{"format":"customhouse.dev/custody/v1","format":"customhouse.dev/custody/v1"}',
    "long number": b'{"format":' + b"9" * 100_000 + b"}",
    "surrogate": b'{"format":"\\ud800"}',
    "millions of lists": b"[" + b"[]," * 3_000_000 + b"[]]",
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_what_is_no_export_is_said_to_be_none(command: Command, tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(HOSTILE[name])
    said = command("verify", file, "-o", "json")
    assert said.status == 5
    assert said.json["broken"] == 1
    assert said.json["links"][0]["step"] == 1


def test_what_a_stranger_wrote_does_not_steer_the_terminal(
    exported: Path, world: World, command: Command, tmp_path: Path
) -> None:
    document = json.loads(exported.read_bytes())
    document["reference"] = "\x1b]0;owned\x07\u202e\x9b31m"
    document["decisions"][0]["digest"] = "\x1b[2Jsha256:\u202e"
    exported.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True))
    for form in ("table", "json"):
        said = command("verify", exported, "-o", form)
        assert said.status == 5
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(said.out + said.err)


def test_members_of_odd_types_never_crash_it(exported: Path, world: World, command: Command) -> None:
    document = json.loads(exported.read_bytes())
    for member in sorted(document):
        value: Any
        for value in (None, 0, True, "x", [], {}, [None], [[]], [{}], {"a": None}, [1, 2], ["x"]):
            exported.write_text(json.dumps({**document, member: value}, separators=(",", ":"), sort_keys=True))
            said = command("verify", exported, "--key", world.key)
            assert said.status == 5 or value == document[member], (member, value, said.err)


def test_a_file_that_is_too_large_or_not_there_is_refused(command: Command, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as handle:
        handle.truncate((64 << 20) + 1)
    assert command("verify", tmp_path / "large").status == 2
    assert command("verify", tmp_path / "absent").status == 2


def test_an_export_needs_the_ledgers_own_key(world: World, command: Command, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(world.state, state)
    (state / "keys" / "ledger.key").unlink()
    said = command("trace", "default/first-model", "--export", tmp_path / "file", "--state", state)
    assert said.status == 2
    assert "sealed by it" in said.err
    assert not (tmp_path / "file").exists()
    assert command("trace", "default/first-model", "--state", state).status == 0


def test_a_witness_that_is_asked_for_must_have_cosigned(world: World, command: Command, tmp_path: Path) -> None:
    from customhouse.trust.cosignature import CosignerKey, cosign
    from customhouse.trust.keys import generate

    state, file, secret = tmp_path / "state", tmp_path / "file", generate()
    shutil.copytree(world.state, state)
    witness = CosignerKey("witness.example.com", secret.public)
    asked = ("trace", "default/first-model", "--export", file, "--state", state)
    looked = ("verify", file, "--key", world.key, "--witness", witness.vkey, "-o", "json")
    assert command(*asked).status == 0
    assert [link["name"] for link in command(*looked).json["links"] if link["state"] == "broken"] == [
        "witness witness.example.com"
    ]
    settings = wiring_settings(state)
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=True)
        made = ledger.checkpoint()
        line = cosign(made.note, witness.name, secret, custody_world.AT)
        opened.cosignatures.add(made.size, witness.name, line)
        # The ledger grows on, and the witness has not seen that yet.
        ledger.append([entry("note", "later", custody_world.AT, "ada")])
    assert command(*asked).status == 0
    found = command(*looked)
    assert found.status == 0, found.out
    assert found.json["ledger"]["size"] == made.size
    assert command("verify", file, "--witness", "nonsense").status == 2


def test_whoever_knows_an_older_key_of_the_ledger_follows_it(world: World, command: Command, tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "file"
    shutil.copytree(world.state, state)
    for _ in range(2):
        assert command("ledger", "rotate-key", "--state", state).status == 0
    assert command("trace", "default/first-model", "--export", file, "--state", state).status == 0
    for name in ("ledger.retired-1.pub", "ledger.retired-2.pub", "ledger.pub"):
        found = command("verify", file, "--key", state / "keys" / name, "-o", "json")
        assert found.status == 0, (name, found.out)
        assert found.json["vouched"]
    other = command("verify", file, "--key", state / "keys" / "evidence.pub")
    assert other.status in (2, 5)


def test_a_checkpoint_from_before_the_key_was_followed_is_held_against_the_file(
    world: World, command: Command, tmp_path: Path
) -> None:
    state, file, kept = tmp_path / "state", tmp_path / "file", tmp_path / "kept"
    shutil.copytree(world.state, state)
    kept.write_text(command("ledger", "checkpoint", "--state", state).out)
    for _ in range(2):
        assert command("ledger", "rotate-key", "--state", state).status == 0
    asked = ("trace", "default/first-model", "--export", file, "--state", state)
    assert command(*asked, "--since", kept).status == 0
    found = command("verify", file, "--key", state / "keys" / "ledger.pub", "--checkpoint", kept, "-o", "json")
    assert (found.status, found.json["held"]) == (0, True), found.out
    # Of a ledger whose key nothing here leads to.
    settings = wiring_settings(tmp_path / "stranger")
    with wiring.store(settings) as opened:
        wiring.ledger(settings, opened, write=True).append([entry("note", "n", custody_world.AT, "eve")])
    kept.write_text(command("ledger", "checkpoint", "--state", tmp_path / "stranger").out)
    other = command("verify", file, "--key", state / "keys" / "ledger.pub", "--checkpoint", kept)
    assert other.status == 5
    assert "has to be signed by the file's key customhouse" in other.out
    assert command(*asked, "--since", kept).status == 5


@pytest.mark.parametrize("reference", ["default/first-model", "entry:4", "transactions", "#4"])
def test_the_name_of_an_export_is_one_that_its_entries_give(command: Command, tmp_path: Path, reference: str) -> None:
    file = tmp_path / "file"
    assert command("trace", reference, "--export", file).status == 0
    assert command("verify", file, "-o", "json").json["named"] is True


def test_a_name_that_no_entry_gives_is_said_to_be_the_sealers_word(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert command("trace", "models/first-model.yaml", "--repo", ".", "--export", file).status == 0
    said = command("verify", file)
    assert "'models/first-model.yaml' is what the file calls itself; no entry in it says so" in said.out
    assert "\ncommit:" in said.out  # what was found, by its own name
    (link,) = [link for link in command("verify", file, "-o", "json").json["links"] if link["name"] == "the reference"]
    assert (link["step"], link["state"]) == (5, "claimed")
