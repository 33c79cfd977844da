"""More evidence than a generation holds: of a digest of which not everything was read, nothing is answered."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app import admission_context
from customhouse.app.admission_context import load_context
from customhouse.app.evidence_index import EvidenceIndex, Indexed
from customhouse.app.settings import Settings
from customhouse.app.trusting import TrustSpec
from customhouse.core.errors import CannotDecideError

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
FIRST, SECOND, THIRD = "aa" * 32, "bb" * 32, "cc" * 32
CONFIGURATION = """\
apiVersion: customhouse.dev/v1
policy:
  requireSignedCommits: false
trust:
  registries: [one.apexlogic.com, two.apexlogic.com]
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_context, "_MAX_EVIDENCE", 100)


@pytest.mark.usefixtures("small")
def test_half_of_what_is_filed_about_a_digest_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    (tmp_path / "customhouse.yaml").write_text(CONFIGURATION)
    for digest, sizes in ((FIRST, (40,)), (SECOND, (40, 40)), (THIRD, (1,))):
        folder = tmp_path / ".evidence" / digest
        folder.mkdir(parents=True)
        for number, size in enumerate(sizes):
            (folder / f"{number}.sigstore.json").write_bytes(b"x" * size)
    context = load_context(Settings(tmp_path / "state", config=tmp_path / "customhouse.yaml"), None)

    assert list(context.filed(f"sha256:{FIRST}")) == [f".evidence/{FIRST}/0.sigstore.json"]
    for cut in (SECOND, THIRD):
        with pytest.raises(CannotDecideError, match="not all of it was read") as raised:
            context.filed(f"sha256:{cut}")
        assert raised.value.hint
    assert context.filed("sha256:" + "dd" * 32) == {}


@pytest.mark.usefixtures("small")
def test_half_of_what_registries_say_of_a_digest_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    (tmp_path / "customhouse.yaml").write_text(CONFIGURATION)
    index = EvidenceIndex(tmp_path / "state" / "evidence", TrustSpec(), FixedClock(NOW))
    for host, digest, size in (("one", FIRST, 60), ("one", SECOND, 20), ("two", SECOND, 30), ("two", THIRD, 1)):
        name = f"oci-{host.encode().hex():0>16}.sigstore.json"
        index._file(f"sha256:{digest}", Indexed(f"{host}.apexlogic.com/app", {name: b"x" * size}, NOW))
    context = load_context(Settings(tmp_path / "state", config=tmp_path / "customhouse.yaml"), None)

    assert len(context.filed(f"sha256:{FIRST}")) == 1
    for cut in (SECOND, THIRD):
        with pytest.raises(CannotDecideError, match="not all of it was read"):
            context.filed(f"sha256:{cut}")
    assert context.asked == {f"one.apexlogic.com/app@sha256:{FIRST}"}


def test_an_entry_of_the_index_that_cannot_be_read_is_not_taken_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "customhouse.yaml").write_text(CONFIGURATION)
    index = EvidenceIndex(tmp_path / "state" / "evidence", TrustSpec(), FixedClock(NOW))
    name = "oci-0123456789abcdef.sigstore.json"
    index._file(f"sha256:{FIRST}", Indexed("one.apexlogic.com/app", {name: b"x"}, NOW))
    (place,) = (tmp_path / "state" / "evidence").glob(f"*/*/{name}")
    place.unlink()
    context = load_context(Settings(tmp_path / "state", config=tmp_path / "customhouse.yaml"), None)
    with pytest.raises(CannotDecideError, match="not all of it was read"):
        context.filed(f"sha256:{FIRST}")
