"""Table cases: manifests or Facts with what the rules have to say of them, in YAML, for authors who write no Rego.

    configuration: {policy: {trustedRegistries: [apexlogic.com/]}}     # a customhouse.yaml for all cases
    asOf: "2026-06-01T00:00:00Z"
    cases:
      - name: a trusted image is no finding
        manifest: {apiVersion: v1, kind: Pod, …}      # or a list of objects; or `manifests: FILE` beside this one
        before: {…}                                   # what runs already: then it is an update
        set: {/change/after/namespace: other}         # JSON pointers into the Facts, after they were made
        waivers: [ … ]
        expect: {verdict: deny, findings: [rule-id], includes: [rule-id], excludes: [rule-id], messages: [text]}
      - name: recorded facts
        facts: facts.json                             # or the document itself

`findings` are all the rules that find something; `includes` and `excludes` are some of them. The same way is taken as
at the gate: governance, prices, Facts, rules, waivers.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customhouse._kit.clock import FixedClock, from_rfc3339
from customhouse._kit.reading import absent, open_regular
from customhouse.app.clearance import Clearance, Question, Spend
from customhouse.app.configuration import FILE
from customhouse.app.declared import declarations_of
from customhouse.app.governance import Governance, governance
from customhouse.core.decision import Decision, Point, overall
from customhouse.core.errors import ConfigError, CustomhouseError, UsageError
from customhouse.core.facts import Facts
from customhouse.core.ports import PolicyEngine, Progress
from customhouse.policy.bundle import Bundle
from customhouse.policy.gate import Gate
from customhouse.policy.strictyaml import StrictYamlError, parse_yaml
from customhouse.policy.waiver import Waiver, parse_waivers

SUFFIXES = ("_cases.yaml", "_cases.yml", "_cases.json")
MAX_BYTES = 512 * 1024
MAX_CASES = 5000
_AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
_FILE_KEYS = {"configuration", "asOf", "cases"}
_CASE_KEYS = {"name", "manifest", "manifests", "before", "facts", "set", "waivers", "configuration", "asOf", "expect"}
_EXPECTED = {"verdict", "findings", "includes", "excludes", "messages"}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case; it passed when there are no `problems`. `index` counts from 0 in its file."""

    name: str
    file: str
    index: int
    problems: tuple[str, ...]
    facts: tuple[Facts, ...] = field(default=(), repr=False)
    """What was judged."""

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {"name": self.name, "file": self.file, "index": self.index, "problems": list(self.problems)}


class _Tree:
    """A few files in memory as a SourceTree."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        return {name: data for name, data in self._files.items() if name.startswith(prefix)}

    def read(self, rev: str, path: str) -> bytes | None:
        return self._files.get(path)


def case_files(root: Path) -> tuple[Path, ...]:
    """The files of cases in a folder, by name; links are left out."""
    return tuple(
        item
        for item in sorted(root.rglob("*"))
        if item.name.endswith(SUFFIXES) and item.is_file() and not item.is_symlink()
    )


def run_cases(
    files: Sequence[Path], bundle: Bundle, engine: PolicyEngine, progress: Progress
) -> tuple[CaseResult, ...]:
    """Judge every case with a bundle. Raises ConfigError, naming file and case, for a table that cannot be read."""
    tables = [
        (file, table, index) for file in files for table in [_table(file)] for index in range(len(table["cases"]))
    ]
    results = []
    for done, (file, table, index) in enumerate(tables):
        case = {**{key: table[key] for key in ("configuration", "asOf") if key in table}, **table["cases"][index]}
        results.append(_Case(file, index, case).result(bundle, engine))
        progress("cases", done + 1, len(tables))
    return tuple(results)


def _table(file: Path) -> dict[str, Any]:
    document = _parsed(file)
    table = {"cases": document} if isinstance(document, list) else document
    if not isinstance(table, dict) or not isinstance(table.get("cases"), list):
        raise ConfigError("it has no list `cases`", where=str(file), hint="see `customhouse policy test --help`")
    if unknown := table.keys() - _FILE_KEYS:
        raise ConfigError(f"unknown: {', '.join(sorted(unknown))}", where=str(file), hint=_one_of(_FILE_KEYS))
    if not 0 < len(table["cases"]) <= MAX_CASES:
        raise ConfigError(f"{len(table['cases'])} cases; 1 to {MAX_CASES} are run", where=str(file))
    for index, case in enumerate(table["cases"]):
        _check_case(case, f"{file}: case {index}")
    return table


def _check_case(case: Any, where: str) -> None:
    if not isinstance(case, dict) or not isinstance(case.get("name"), str):
        raise ConfigError("a case is a mapping with a name", where=where)
    expect = case.get("expect")
    if unknown := case.keys() - _CASE_KEYS:
        raise ConfigError(f"unknown: {', '.join(sorted(unknown))}", where=where, hint=_one_of(_CASE_KEYS))
    if not isinstance(expect, dict) or not expect or expect.keys() - _EXPECTED:
        raise ConfigError("expect says nothing, or something unknown", where=where, hint=_one_of(_EXPECTED))
    if sum(key in case for key in ("manifest", "manifests", "facts")) != 1:
        raise ConfigError("a case has one of manifest, manifests and facts", where=where)
    for key in _EXPECTED - {"verdict"}:
        listed = expect.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise ConfigError(f"expect.{key} is a list of texts", where=where)
    if expect.get("verdict", "deny") not in ("allow", "warn", "deny"):
        raise ConfigError("expect.verdict is allow, warn or deny", where=where)


def _one_of(names: set[str]) -> str:
    return f"one of: {', '.join(sorted(names))}"


def _parsed(file: Path) -> Any:
    if not file.is_file():
        raise UsageError(absent(file))
    with file.open("rb") as handle:
        data = handle.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ConfigError(f"more than {MAX_BYTES} bytes", where=str(file), hint="write several files")
    try:
        return parse_yaml(data.decode("utf-8"))
    except (StrictYamlError, ValueError) as error:
        raise ConfigError(f"the cases cannot be read: {error}", where=str(file)) from error


class _Case:
    def __init__(self, file: Path, index: int, case: Mapping[str, Any]) -> None:
        self._file, self._index, self._case = file, index, case
        self._where = f"{file}: case {index} ({case['name']})"

    def result(self, bundle: Bundle, engine: PolicyEngine) -> CaseResult:
        """What is otherwise than expected. An error that shuts the gate is a problem of the case, not of the run."""
        facts: tuple[Facts, ...] = ()
        try:
            as_of = self._as_of()
            facts, gate = self._questions(bundle, engine, as_of)
            decisions = tuple(gate.rejudge(item, point=Point.GATE, decided_at=as_of) for item in facts)
            problems = tuple(self._problems(decisions))
        except CustomhouseError as error:
            problems = (f"could not decide: {error}",)
        return CaseResult(self._case["name"], str(self._file), self._index, problems, facts)

    def _questions(self, bundle: Bundle, engine: PolicyEngine, as_of: datetime) -> tuple[tuple[Facts, ...], Gate]:
        governing = replace(self._governance(), bundle=bundle, waivers=self._waivers(), files={})
        if "facts" in self._case:
            documents = [self._facts()]
        else:
            documents = [facts.document for facts in self._judged(governing, engine, as_of)]
        gate = Gate(engine, bundle, governing.waivers)
        return tuple(Facts(_with(item, self._case.get("set") or {}, self._where)) for item in documents), gate

    def _judged(self, governing: Governance, engine: PolicyEngine, as_of: datetime) -> tuple[Facts, ...]:
        head, paths = _Tree({"manifest.json": self._manifests("manifest")}), governing.configuration.paths
        if "manifests" in self._case:
            place = self._beside(self._case["manifests"])
            head = _Tree({place.name: _read(place, self._where)})
        before = _Tree({"before.json": self._manifests("before")} if "before" in self._case else {})
        base = declarations_of(before, "before", paths)
        question = Question(governing, head, "case", base, None, "a test case", Spend())
        return tuple(Clearance(engine, FixedClock(as_of), self._file.parent).judge(question).facts)

    def _manifests(self, key: str) -> bytes:
        given = self._case.get(key)
        objects = given if isinstance(given, list) else [given]
        try:
            return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}).encode()
        except TypeError as error:
            raise ConfigError(
                f"{key} holds what JSON has not: {error}", where=self._where, hint="quote times"
            ) from error

    def _governance(self) -> Governance:
        given = self._case.get("configuration")
        if given is None:
            return governance(None, None)
        if not isinstance(given, dict):
            raise ConfigError("configuration is a mapping as in customhouse.yaml", where=self._where)
        policy = {"requireSignedCommits": False, **(given.get("policy") or {})}
        text = json.dumps({"apiVersion": "customhouse.dev/v1", **given, "policy": policy}, default=str)
        return governance(_Tree({FILE: text.encode()}), self._where)

    def _waivers(self) -> tuple[Waiver, ...]:
        given = self._case.get("waivers") or []
        return parse_waivers(given if isinstance(given, list) else [given], f"{self._where}: waivers")

    def _as_of(self) -> datetime:
        given = self._case.get("asOf")
        if given is None:
            return _AS_OF
        if isinstance(given, datetime):
            return given.replace(tzinfo=given.tzinfo or UTC)
        try:
            return from_rfc3339(str(given))
        except ValueError as error:
            raise ConfigError(f"asOf: {error}", where=self._where) from error

    def _facts(self) -> Mapping[str, Any]:
        given = self._case["facts"]
        if isinstance(given, str):
            try:
                given = json.loads(_read(self._beside(given), self._where))
            except (ValueError, RecursionError) as error:
                raise ConfigError(f"the facts cannot be read: {error}", where=self._where) from error
        if not isinstance(given, dict):
            raise ConfigError("facts is a document, or a JSON file beside the table", where=self._where)
        return given

    def _beside(self, name: Any) -> Path:
        root = self._file.parent.resolve()
        place = (root / str(name)).resolve()
        if not place.is_relative_to(root) or not place.is_file():
            raise ConfigError(f"{name} is no file beside the table", where=self._where)
        return place

    def _problems(self, decisions: tuple[Decision, ...]) -> Iterator[str]:
        expect = self._case["expect"]
        findings = [finding for decision in decisions for finding in decision.findings if finding.waiver is None]
        rules = sorted({finding.rule for finding in findings})
        verdict = overall(decisions).value
        if not decisions:
            yield "nothing was judged: the manifests change nothing"
        if "verdict" in expect and expect["verdict"] != verdict:
            yield f"the verdict is {verdict}, not {expect['verdict']} (found: {', '.join(rules) or 'nothing'})"
        if "findings" in expect and sorted(set(expect["findings"])) != rules:
            wanted = ", ".join(sorted(set(expect["findings"])))
            yield f"the findings are {', '.join(rules) or 'none'}, not {wanted or 'none'}"
        for rule in expect.get("includes", ()):
            if rule not in rules:
                yield f"{rule} finds nothing"
        for rule in expect.get("excludes", ()):
            if rule in rules:
                yield f"{rule} finds something: {next(item.message for item in findings if item.rule == rule)}"
        for text in expect.get("messages", ()):
            if not any(text in finding.message for finding in findings):
                yield f"no finding says {text!r}"


def _read(place: Path, where: str) -> bytes:
    with open_regular(place) as handle:
        data = handle.read(4 * MAX_BYTES + 1)
    if len(data) > 4 * MAX_BYTES:
        raise ConfigError(f"{place.name} is larger than {4 * MAX_BYTES} bytes", where=where)
    return data


def _with(document: Mapping[str, Any], values: Any, where: str) -> Mapping[str, Any]:
    """The document with values put at JSON pointers (RFC 6901) that exist, or that add a key to what exists."""
    if not isinstance(values, Mapping):
        raise ConfigError("set maps JSON pointers to values", where=where)
    changed: Any = copy.deepcopy(dict(document))
    for pointer, value in values.items():
        parts = [part.replace("~1", "/").replace("~0", "~") for part in str(pointer).split("/")[1:]]
        at = changed
        try:
            for part in parts[:-1]:
                at = at[int(part)] if isinstance(at, list) else at[part]
            at[int(parts[-1]) if isinstance(at, list) else parts[-1]] = value
        except (LookupError, ValueError, TypeError) as error:
            raise ConfigError(f"set: the facts have nothing at {pointer}", where=where) from error
    result: Mapping[str, Any] = changed
    return result
