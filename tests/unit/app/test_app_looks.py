"""What is remembered of looks at models: never of other bytes, never by other rules, never from a forged file."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from customhouse._kit.clock import FixedClock
from customhouse._kit.reading import Stamp
from customhouse.app import looks
from customhouse.app.looks import FILE, FOLDER, MAX_FINDINGS, Looks, looking
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError
from customhouse.trust.scan import Inspected, Limits, Verdict, Wish, inspect_tree, scan_tree
from customhouse.trust.scan.names import Use

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "__metadata__": {"format": "pt"}})


def later() -> FixedClock:
    """A minute from now: what has just changed may change again within one tick of its time, and is not remembered."""
    return FixedClock(datetime.now(UTC) + timedelta(minutes=1))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    text = HEADER.encode()
    (place / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    (place / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (place / "README.md").write_text("---\nlicense: mit\n---\nhello\n")
    return place


def look(model: Path, state: Path) -> tuple[Inspected, Looks]:
    """As another run of a command would."""
    memory = Looks(state, state / "keys", later())
    seen = inspect_tree(model, Wish(blake3=True, describe=True, memory=memory))
    memory.save()
    return seen, memory


def test_a_second_look_reads_what_changed_and_says_the_same(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first, memory = look(model, state)
    assert memory.reused == 0
    assert first == look(model, state)[0] == inspect_tree(model, Wish(blake3=True, describe=True))
    (model / "README.md").write_text("---\nlicense: mit\n---\nhello again\n")
    second, memory = look(model, state)
    assert memory.reused == sum(f.stat().st_size for f in model.iterdir()) - (model / "README.md").stat().st_size
    assert second.files != first.files
    assert second.descriptions["config.json"].family == "llama"
    assert second.descriptions["README.md"].licence == "mit"


def test_other_bytes_under_the_same_name_size_and_time_are_read(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first, _ = look(model, state)
    file = model / "config.json"
    before = file.stat()
    file.write_text(file.read_text().replace("llama", "mamba"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert look(model, state)[0].files.digest != first.files.digest


def test_a_copy_elsewhere_or_back_again_is_another_file(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    look(model, state)
    shutil.copytree(model, tmp_path / "copy", copy_function=shutil.copy2)
    assert look(tmp_path / "copy", state)[1].reused == 0
    shutil.rmtree(model)
    shutil.copytree(tmp_path / "copy", model, copy_function=shutil.copy2)
    assert look(model, state)[1].reused == 0


def test_a_verdict_is_remembered_with_its_findings_and_only_for_the_rules_it_was_reached_by(
    model: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    (model / "evil.pkl").write_bytes(pickle.dumps(os.system))
    first, _ = look(model, state)
    assert first.scan.verdict is Verdict.MALICIOUS
    again, memory = look(model, state)
    assert again.scan == first.scan
    assert memory.reused > 0
    narrow = Wish(memory=Looks(state, state / "keys", later()), limits=Limits(steps=1))
    assert scan_tree(model, wish=narrow).verdict is not first.scan.verdict
    other = Looks(state, state / "keys", later(), rules="an allowlist of the organisation")
    found = other.recall(model / "evil.pkl", _stamp(model / "evil.pkl"), Limits())
    assert found is not None
    assert found.scan is None
    assert found.digests.sha256 == next(f.digest for f in first.files.files if f.path == "evil.pkl")


def _stamp(path: Path) -> Stamp:
    return Stamp.of(path.stat())


def test_a_record_that_somebody_else_wrote_is_not_believed(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (model / "evil.pkl").write_bytes(pickle.dumps(os.system))
    look(model, state)
    file = state / FOLDER / FILE
    said = json.loads(file.read_text())
    said["records"] = said["records"].replace("malicious", "clean")
    file.write_text(json.dumps(said))
    seen, memory = look(model, state)
    assert seen.scan.verdict is Verdict.MALICIOUS
    assert memory.reused == 0
    for broken in ("", "[]", "{", '{"records": "[1]", "mac": ""}'):
        file.write_text(broken)
        assert look(model, state)[0] == seen


def test_what_was_changed_just_now_is_not_remembered(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    memory = Looks(state, state / "keys", FixedClock(datetime.now(UTC)))
    inspect_tree(model, Wish(memory=memory))
    memory.save()
    assert not (state / FOLDER / FILE).exists()


def test_what_lies_in_memory_alone_is_not_remembered(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a file can be changed through a mapping, and no time of it says so."""
    monkeypatch.setattr(looks, "devices_in_memory", lambda: frozenset((model.stat().st_dev,)))
    look(model, tmp_path / "state")
    assert look(model, tmp_path / "state")[1].reused == 0


def test_a_run_that_is_killed_leaves_what_it_had_finished(model: Path, tmp_path: Path) -> None:
    """Written every few seconds, whole; the next run goes on there."""
    state = tmp_path / "state"
    memory = Looks(state, state / "keys", later())
    memory._pause = 0.0
    done: list[int] = []

    def killed(count: int) -> None:
        done.append(count)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect_tree(model, Wish(memory=memory, told=killed))
    _, again = look(model, state)
    assert 0 < again.reused < sum(f.stat().st_size for f in model.iterdir())


def test_a_file_that_changes_while_it_is_read_has_no_digest_and_no_verdict(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    memory = Looks(state, state / "keys", later())

    def meddle(_: int) -> None:
        with (model / "config.json").open("a") as file:
            file.write(" ")

    wish = Wish(memory=memory, told=meddle)
    scanned = {file.path: file for file in scan_tree(model, wish=wish).files}
    assert scanned["config.json"].verdict is Verdict.UNSCANNABLE
    assert scanned["config.json"].digest is None
    with pytest.raises(ArtifactError, match="changed while it was read"):
        inspect_tree(model, wish)
    assert memory.recall(model / "config.json", _stamp(model / "config.json"), Limits()) is None


def test_many_findings_are_found_again(model: Path, tmp_path: Path) -> None:
    lines = "".join(f"import os; os.system('{n}')\n" for n in range(MAX_FINDINGS * 3))
    (model / "run.py").write_text(lines)
    state = tmp_path / "state"
    first, _ = look(model, state)
    assert look(model, state)[0].scan == first.scan


def test_nothing_is_remembered_inside_of_a_model_nor_where_there_is_no_state(model: Path, tmp_path: Path) -> None:
    inside = Settings(state=model / ".customhouse", state_named=True)
    with looking(inside, [str(model)]) as wish:
        assert wish.memory is None
    nowhere = Settings(state=tmp_path / ".customhouse")
    with looking(nowhere, [str(model)]) as wish:
        assert wish.memory is None
    assert not nowhere.state.exists()
    with looking(replace(nowhere, state_named=True), [str(model)]) as wish:
        assert wish.memory is not None
    with looking(replace(nowhere, state_named=True), [str(model)], cache=False) as wish:
        assert wish.memory is None


def test_a_verdict_that_rests_on_an_added_name_is_remembered_for_that_name_alone(tmp_path: Path) -> None:
    model, state = tmp_path / "model.pkl", tmp_path / "state"
    model.write_bytes(b"\x80\x02cacme.models\nRanker\n)\x81}b.")

    def verdict(names: dict[str, Use]) -> tuple[Verdict, frozenset[str], int]:
        memory = Looks(state, state / "keys", later())
        wish = Wish(limits=Limits(names=names), memory=memory)
        (file,) = scan_tree(model, wish=wish).files
        memory.save()
        return file.verdict, file.added, memory.reused

    ranker = {"acme.models.Ranker": Use.STATE, "acme.models.Other": Use.STATE}
    size = model.stat().st_size
    assert verdict(ranker) == (Verdict.CLEAN, frozenset({"acme.models.Ranker"}), 0)
    assert verdict(dict(reversed(ranker.items()))) == (Verdict.CLEAN, frozenset({"acme.models.Ranker"}), size)
    assert verdict({})[0] is Verdict.SUSPICIOUS
    assert verdict({"acme.models.Ranker": Use.VALUE})[0] is Verdict.SUSPICIOUS
    assert verdict(ranker)[0] is Verdict.CLEAN


def test_names_are_those_of_the_work_tree_and_never_of_what_is_looked_at(tmp_path: Path) -> None:
    declared = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\nscan:\n  names:\n"
    declared += "    - {name: a.B, use: state, reason: r, owner: o}\n"
    declared += "    - {name: a.Gone, use: state, reason: r, owner: o, expires: 2020-01-01}\n"
    own, strange = tmp_path / "own", tmp_path / "strange"
    for folder in (own, strange):
        folder.mkdir()
        (folder / "customhouse.yaml").write_text(declared)
    settings = Settings(state=tmp_path / "state")

    def names(settings: Settings, path: Path, repo: Path | None) -> dict[str, Use]:
        with looking(settings, [str(path)], repo=None if repo is None else str(repo)) as wish:
            return dict(wish.limits.names)

    assert names(settings, strange, own) == {"a.B": Use.STATE}
    assert names(settings, strange, strange) == names(settings, strange, None) == names(settings, tmp_path, own) == {}
    assert names(replace(settings, config=own / "customhouse.yaml"), own, None) == {"a.B": Use.STATE}
