"""`vuln import|scan|show|status` as a person uses them: what is found, what stays open, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

from customhouse.cli.program import run

NOW = datetime.now(UTC)
SEVERE = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
LOW = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"}]


def record(name: str = "PYSEC-1", package: str = "jinja2", fixed: str = "3.1.3", **others: Any) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    modified = (NOW - timedelta(days=1)).isoformat().replace("+00:00", "Z")
    said = {"id": name, "modified": modified, "summary": f"[x] {package} is bad", "affected": [affected]}
    return {**said, "aliases": [f"CVE-{name}"], **others}


def lines(*records: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(one).encode() for one in records) + b"\n"


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.txt").write_text("# pins\njinja2==3.1.2\nflask==2.0\n")
    (tmp_path / "all.jsonl").write_bytes(
        lines(record(severity=SEVERE), record("PYSEC-2", "flask", "3.0", severity=LOW))
    )
    return tmp_path


@pytest.fixture
def said(at: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run a command with `-o json`, which must end with a status; what it said."""

    def asked(*words: str, status: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert run(["vuln", *words, "-o", "json"]) == status, capsys.readouterr()
        return dict(json.loads(capsys.readouterr().out))

    return asked


def test_from_advisories_to_the_line_that_is_to_be_changed(said: Callable[..., dict[str, Any]]) -> None:
    assert said("import", "all.jsonl")["imports"][0]["added"] == 2
    report = said("scan", "requirements.txt", status=1)
    first, second = report["findings"]
    assert (first["id"], first["rating"], first["score"], first["fixed"]) == ("PYSEC-1", "critical", 9.8, "3.1.3")
    assert (first["package"]["file"], first["package"]["line"]) == ("requirements.txt", 2)
    assert second["rating"] == "low"
    assert report["freshness"][0]["ecosystem"] == "PyPI"
    assert (report["clean"], report["complete"]) == (False, True)
    assert said("scan", "pkg:pypi/jinja2@3.1.3")["clean"] is True
    assert said("show", "CVE-PYSEC-1")["records"][0]["id"] == "PYSEC-1"


def test_a_threshold_lets_lesser_ratings_pass_and_unrated_ones_not(
    said: Callable[..., dict[str, Any]], at: Path
) -> None:
    said("import", "all.jsonl")
    said("scan", "pkg:pypi/flask@2.0", "--fail-on", "high")
    said("scan", "pkg:pypi/flask@2.0", "--fail-on", "low", status=1)
    said("scan", "pkg:pypi/jinja2@3.0", "--fail-on", "critical", status=1)
    (at / "more.jsonl").write_bytes(lines(record("PYSEC-3", "click", "9")))
    said("import", "more.jsonl")
    said("scan", "pkg:pypi/click@8.0", "--fail-on", "critical", status=1)
    said("scan", "pkg:pypi/click@8.0", "--fail-on", "critical", "--accept", "unrated")


def test_what_is_old_unknown_or_undecided_is_never_clean(said: Callable[..., dict[str, Any]]) -> None:
    said("import", "all.jsonl", "--as-of", "2020-01-01")
    report = said("scan", "pkg:pypi/safe@1.0", status=3)
    assert (report["clean"], report["freshness"][0]["stale"]) == (False, True)
    said("status", status=3)
    said("scan", "pkg:pypi/safe@1.0", "--accept", "stale")
    said("scan", "pkg:pypi/safe@1.0", "--max-age-days", "100000")
    assert said("scan", "pkg:npm/x@1", "--accept", "stale", status=3)["unknown"][0]["ecosystem"] == "npm"
    undecided = said("scan", "pkg:pypi/jinja2@no%20order", "--accept", "stale", status=3)["undecided"]
    assert undecided[0]["id"] == "PYSEC-1"


def test_a_statement_that_holds_a_bill_is_read(said: Callable[..., dict[str, Any]], at: Path) -> None:
    said("import", "all.jsonl")
    bill = {"bomFormat": "CycloneDX", "components": [{"type": "library", "name": "j", "purl": "pkg:pypi/jinja2@3.1.2"}]}
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "predicate": bill}
    (at / "s.json").write_text(json.dumps(statement))
    assert len(said("scan", "s.json", status=1)["findings"]) == 1
    (at / "s.json").write_text(json.dumps({**statement, "predicate": {"a": 1}}))
    assert run(["vuln", "scan", "s.json"]) == 3


def test_a_list_of_nothing_is_not_clean(said: Callable[..., dict[str, Any]], at: Path) -> None:
    said("import", "all.jsonl")
    (at / "bom.json").write_text('{"bomFormat": "CycloneDX", "components": [{"type": "file", "name": "w"}]}')
    report = said("scan", "bom.json", status=3)
    assert (report["packages"], report["skipped"]) == (0, 1)
    assert "names no package" in report["problems"][0]


def test_names_of_a_bill_do_not_drive_a_terminal(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vuln", "import", "all.jsonl"]) == 0
    components = [{"type": "library", "name": "\x1b[2Jx", "version": "\x1b]0;x\x07", "purl": "pkg:\x1b[31m/x@1"},
                  {"type": "library", "name": "x", "purl": "pkg:pypi/jinja2@1.0%1b%5b31m"}]  # fmt: skip
    (at / "bom.json").write_text(json.dumps({"bomFormat": "CycloneDX", "components": components}))
    assert run(["vuln", "scan", "bom.json"]) == 3
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err


def test_without_advisories_nothing_is_said(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vuln", "scan", "requirements.txt"]) == 3
    assert "vuln import" in capsys.readouterr().err


def test_a_broken_record_refuses_the_import_and_is_named(
    said: Callable[..., dict[str, Any]], at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (at / "bad.jsonl").write_bytes(lines(record(), record("X-1", affected=[{"package": 5}])) + b"{\n")
    assert run(["vuln", "import", "all.jsonl", "bad.jsonl"]) == 3
    told = capsys.readouterr().err
    assert "bad.jsonl:2: affected[0].package" in told
    assert "bad.jsonl:3" in told
    assert run(["vuln", "status"]) == 3, "all.jsonl is not in either"
    imports = said("import", "bad.jsonl", "--allow-broken")["imports"]
    assert (imports[0]["added"], imports[0]["broken"]) == (1, 2)


def packed(kind: str, records: list[dict[str, Any]]) -> bytes:
    """The records as an archive of that kind."""
    held = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
            for one in records:
                archive.writestr(f"{one['id']}.json", json.dumps(one, indent=2))
    elif kind == "tar.gz":
        with tarfile.open(fileobj=held, mode="w:gz") as tar:
            for one in records:
                data = json.dumps(one, indent=2).encode()
                member = tarfile.TarInfo(f"x/{one['id']}.json")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    elif kind == "gz":
        held.write(gzip.compress(lines(*records)))
    else:
        held.write(json.dumps(records[0], indent=2).encode())
    return held.getvalue()


@pytest.mark.parametrize(("kind", "count"), [("zip", 2), ("tar.gz", 2), ("gz", 2), ("json", 1)])
def test_archives_of_every_kind_are_read_by_their_first_bytes(
    said: Callable[..., dict[str, Any]], at: Path, kind: str, count: int
) -> None:
    (at / "records.bin").write_bytes(packed(kind, [record(), record("PYSEC-2")]))
    assert said("import", "records.bin")["imports"][0]["added"] == count
    said("scan", "pkg:pypi/jinja2@3.1.2", status=1)


def test_a_folder_of_records_is_read_without_links_and_hidden_files(
    said: Callable[..., dict[str, Any]], at: Path
) -> None:
    (at / "db" / "deep").mkdir(parents=True)
    (at / "db" / "deep" / "PYSEC-1.json").write_bytes(packed("json", [record()]))
    (at / "db" / ".git").mkdir()
    (at / "db" / ".git" / "x.json").write_text("no record")
    (at / "db" / "link.json").symlink_to("/etc/passwd")
    assert said("import", "db")["imports"][0]["records"] == 1


@pytest.mark.parametrize(
    "data",
    [
        packed("gz", [record()])[:-12],
        packed("zip", [record(), record("PYSEC-2")])[:-40],
        b"PK\x03\x04" + b"x" * 100,
        b"\x1f\x8b" + b"x" * 100,
        gzip.compress(b'{"id": "' + b"A" * (40 << 20) + b'"}'),
        b"",
        b"\n\n",
        b"[1, 2]\n",
    ],
)
def test_an_archive_that_is_broken_or_a_bomb_is_refused(at: Path, data: bytes) -> None:
    (at / "records.bin").write_bytes(data)
    assert run(["vuln", "import", "records.bin"]) in (2, 3)
    assert run(["vuln", "scan", "requirements.txt"]) == 3


def test_statements_suppress_and_are_told(said: Callable[..., dict[str, Any]], at: Path) -> None:
    said("import", "all.jsonl")
    statement = {
        "vulnerability": {"name": "CVE-PYSEC-1"},
        "products": [{"@id": "pkg:pypi/jinja2@3.1.2"}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
    }
    vex = {"@context": "https://openvex.dev/ns/v0.2.0", "author": "Ada", "statements": [statement]}
    (at / "vex.json").write_text(json.dumps(vex))
    report = said("scan", "pkg:pypi/jinja2@3.1.2", "--vex", "vex.json")
    assert report["counts"] == {
        **dict.fromkeys(("critical", "high", "medium", "low", "none", "unknown"), 0),
        "suppressed": 1,
    }
    assert report["findings"][0]["suppressed"]["author"] == "Ada"
    said("scan", "pkg:pypi/jinja2@3.1.1", "--vex", "vex.json", status=1)


def test_a_statement_from_the_future_suppresses_nothing_and_is_told(
    said: Callable[..., dict[str, Any]], at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said("import", "all.jsonl")
    statement = {
        "vulnerability": {"name": "CVE-PYSEC-1"},
        "products": [{"@id": "pkg:pypi/jinja2@3.1.2"}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
        "timestamp": "2099-01-01T00:00:00Z",
    }
    vex = {"@context": "https://openvex.dev/ns/v0.2.0", "author": "Ada", "statements": [statement]}
    (at / "vex.json").write_text(json.dumps(vex))
    assert run(["vuln", "scan", "pkg:pypi/jinja2@3.1.2", "--vex", "vex.json"]) == 1
    told = capsys.readouterr().err
    assert "vex.json: about CVE-PYSEC-1: it is dated 2099-01-01T00:00:00Z, later than now and the 5 minutes" in told
    # What does not suppress needs no date to be believed.
    statement["status"] = "affected"
    (at / "vex.json").write_text(json.dumps(vex))
    said("scan", "pkg:pypi/jinja2@3.1.2", "--vex", "vex.json", status=1)
    assert "dated" not in capsys.readouterr().err


def test_a_folder_is_scanned_with_what_lies_and_what_is_installed_in_it(
    said: Callable[..., dict[str, Any]], at: Path
) -> None:
    said("import", "all.jsonl")
    project = at / "project"
    installed = project / "lib" / "site-packages" / "flask-2.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: Flask\nVersion: 2.0\n")
    (project / "requirements.txt").write_text("jinja2==3.1.2\n")
    (project / "bom.json").write_text('{"bomFormat": "CycloneDX", "components": "none"}')
    report = said("scan", "project", status=1)
    assert {finding["package"]["name"] for finding in report["findings"]} == {"jinja2", "flask"}
    assert "bom.json" in report["problems"][0]


def test_sarif_is_valid_and_says_what_was_not_decided(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vuln", "import", "all.jsonl"]) == 0
    capsys.readouterr()
    assert run(["vuln", "scan", "requirements.txt", "pkg:npm/x@1", "-o", "sarif"]) == 1
    log = json.loads(capsys.readouterr().out)
    schema = Path(__file__).parent.parent / "conformance" / "sarif" / "sarif-schema-2.1.0.json"
    Draft4Validator(json.loads(schema.read_text())).validate(log)
    (found,) = log["runs"]
    assert [result["locations"][0]["physicalLocation"].get("region") for result in found["results"]] == [
        {"startLine": 2}, {"startLine": 3},
    ]  # fmt: skip
    assert "npm" in found["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_a_table_names_packages_fixes_and_ages(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vuln", "import", "all.jsonl"]) == 0
    assert run(["vuln", "scan", "requirements.txt"]) == 1
    out = capsys.readouterr().out
    for text in ("PYSEC-1", "3.1.3", "requirements.txt:2", "critical 9.8", "2 advisories as of", "2 vulnerabilities"):
        assert text in out
    assert run(["vuln", "status"]) == 0
    assert run(["vuln", "show", "PYSEC-1"]) == 0
    assert run(["vuln", "show", "PYSEC-404"]) == 2
