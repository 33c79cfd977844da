"""What other tools say of where a model comes from: claims with their source, never proof.

Anybody who can write the file or call the server can say anything; nothing here is signed. A claim becomes more than
that only when the bytes that it speaks of are here and hash to what it says (`app.lineage`). The readers take parsed
documents, are bounded, and raise EvidenceError with the place.

| of | read |
|---|---|
| MLflow | a run (`meta.yaml` with tags and params, or `runs/get` of the REST API), a model version of the registry |
| OpenLineage | run events of spec 1 and 2, as JSON or JSON lines |
| DVC | `dvc.lock` (schema 2.0), `*.dvc`; `dvc.yaml` only says what is meant to be |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from customhouse.core.errors import EvidenceError

MAX_CLAIMS = 20_000
MAX_TEXT = 4096
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{8,128}", re.ASCII)
_STATES = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
"""As the file store of MLflow writes them."""
_ALGORITHMS = ("sha256", "sha512", "sha1", "md5")


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a tool says took part. `role`: dataset, code, model, run or job; `direction`: input, output or of.

    `digests` are hex by algorithm (`md5.dir` is DVC's of a folder). `state` is `claimed` until somebody looked:
    `bytes match` or `bytes differ`, and then `measured` is the sha256 digest of what lies here.
    """

    role: str
    direction: str
    name: str
    source: str
    at: str
    uri: str = ""
    path: str = ""
    """Below the folder of the file that says it; empty: it names no local path."""
    digests: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    note: str = ""
    state: str = "claimed"
    measured: str = ""

    def looked(self, state: str, measured: str = "", note: str = "") -> Claim:
        """The same after its bytes were looked at."""
        return replace(self, state=state, measured=measured, note=note or self.note)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "role": self.role,
            "direction": self.direction,
            "name": self.name,
            "uri": self.uri,
            "digests": dict(self.digests),
            "commit": self.commit,
            "source": self.source,
            "at": self.at,
            "state": self.state,
            "measured": self.measured or None,
            "note": self.note,
        }


def of_mlflow_run(document: Any, where: str) -> tuple[Claim, ...]:
    """A run as `runs/get` gives it: `{"run": {"info","data","inputs"}}`, or what `app.lineage` makes of a folder."""
    run = _mapping(_mapping(document).get("run"))
    info, data = _mapping(run.get("info")), _mapping(run.get("data"))
    number = _text(info.get("run_id") or info.get("run_uuid"))
    if not number:
        _fail("a run without run_id", where, "/run/info/run_id")
    source = f"MLflow run {number}"
    tags = _pairs(data.get("tags"), where, "/run/data/tags")
    status = _STATES.get(_text(info.get("status")), _text(info.get("status"))) or "unknown"
    name = _text(info.get("run_name")) or tags.get("mlflow.runName", "") or number
    found = [Claim("run", "of", name, source, "/run/info", note=f"status {status}")]
    commit = tags.get("mlflow.source.git.commit", "")
    if commit:
        known = _COMMIT.fullmatch(commit) is not None
        found.append(
            Claim(
                "code",
                "input",
                tags.get("mlflow.source.name", "") or "code",
                source,
                "/run/data/tags/mlflow.source.git.commit",
                uri=tags.get("mlflow.source.git.repoURL", ""),
                commit=commit if known else "",
                note="" if known else f"{commit[:80]!r} is no commit",
            )
        )
    for index, item in enumerate(_list(_mapping(run.get("inputs")).get("dataset_inputs"), where, "/run/inputs")):
        dataset = _mapping(_mapping(item).get("dataset"))
        digest = _text(dataset.get("digest"))[:40] or "is missing"
        found.append(
            Claim(
                "dataset",
                "input",
                _text(dataset.get("name")) or f"dataset {index}",
                source,
                f"/run/inputs/dataset_inputs/{index}",
                uri=_text(dataset.get("source")),
                note=f"MLflow's digest {digest}: its own, no sha256 of the bytes",
            )
        )
    if _text(info.get("artifact_uri")):
        uri = _text(info.get("artifact_uri"))
        found.append(Claim("model", "output", "artifacts", source, "/run/info/artifact_uri", uri=uri))
    return _bounded(found, where)


def of_mlflow_version(document: Any, where: str) -> tuple[Claim, ...]:
    """A model version of MLflow's registry: `{"model_version": {…}}`, or the `meta.yaml` of one."""
    said = _mapping(_mapping(document).get("model_version"))
    name, version = _text(said.get("name")), _text(said.get("version"))
    if not name or not version:
        _fail("a model version without name or version", where, "/model_version")
    source = f"MLflow model {name} version {version}"
    stage = _text(said.get("current_stage"))
    found = [
        Claim(
            "model",
            "of",
            f"{name}/{version}",
            source,
            "/model_version",
            uri=_text(said.get("source") or said.get("storage_location")),
            note=f"stage {stage}" if stage else "",
        )
    ]
    run = _text(said.get("run_id"))
    if run:
        found.append(Claim("run", "input", run, source, "/model_version/run_id"))
    return _bounded(found, where)


def of_openlineage(events: Sequence[Any], where: str) -> tuple[Claim, ...]:
    """Run events. What is said more than once of one dataset by one run is said once."""
    found: dict[tuple[str, ...], Claim] = {}
    for index, event in enumerate(events):
        at = f"/{index}"
        said, run = _mapping(event), _mapping(_mapping(event).get("run"))
        job = _mapping(said.get("job"))
        number = _text(run.get("runId"))
        if not number or not _text(job.get("name")):
            _fail("an event without run.runId or job.name", where, at)
        name = f"{_text(job.get('namespace'))}/{_text(job.get('name'))}"
        source = f"OpenLineage run {number}"
        kind = _text(said.get("eventType")) or "OTHER"
        found[("run", number)] = Claim("run", "of", name, source, at, note=f"last event {kind}")
        location = _mapping(_mapping(job.get("facets")).get("sourceCodeLocation"))
        commit = _text(location.get("version"))
        if _text(location.get("url")) or commit:
            found[("code", number, commit)] = Claim(
                "code",
                "input",
                "sourceCodeLocation",
                source,
                f"{at}/job/facets/sourceCodeLocation",
                uri=_text(location.get("repoUrl") or location.get("url")),
                commit=commit if _COMMIT.fullmatch(commit) else "",
            )
        for side, direction in (("inputs", "input"), ("outputs", "output")):
            for number_of, item in enumerate(_list(said.get(side), where, f"{at}/{side}")):
                claim = _openlineage_dataset(item, direction, source, f"{at}/{side}/{number_of}", where)
                key = (direction, number, claim.uri)
                if claim.digests or key not in found:
                    found[key] = claim
    return _bounded(list(found.values()), where)


def _openlineage_dataset(item: Any, direction: str, source: str, at: str, where: str) -> Claim:
    said = _mapping(item)
    namespace, name = _text(said.get("namespace")), _text(said.get("name"))
    if not name:
        _fail("a dataset without a name", where, at)
    facets = _mapping(said.get("facets"))
    version = _text(_mapping(facets.get("version")).get("datasetVersion"))
    digests: dict[str, str] = {}
    for facet in facets.values():  # no standard facet has digests; producers put them into facets of their own
        for algorithm in _ALGORITHMS:
            value = _text(_mapping(facet).get(algorithm)).lower()
            if _HEX.fullmatch(value):
                digests[algorithm] = value
    prefix, colon, value = version.partition(":")
    if colon and prefix in _ALGORITHMS and _HEX.fullmatch(value.lower()):
        digests[prefix] = value.lower()
    path = name if namespace in ("file", "file://") and not name.startswith("/") else ""
    note = f"version {version[:200]}" if version else ""
    return Claim("dataset", direction, name, source, at, f"{namespace}:{name}", path, digests, note=note)


def of_dvc_lock(document: Any, where: str) -> tuple[Claim, ...]:
    """`dvc.lock`: what the stages used and made when they ran last."""
    said = _mapping(document)
    if str(said.get("schema")) != "2.0":
        _fail(f"schema {str(said.get('schema'))[:40]!r} is not read; 2.0 is", where, "/schema")
    found: list[Claim] = []
    for stage, item in _mapping(said.get("stages")).items():
        source, at = f"DVC stage {str(stage)[:200]}", f"/stages/{stage}"
        command = _mapping(item).get("cmd")
        shown = command if isinstance(command, str) else "; ".join(map(str, command)) if command else ""
        found.append(Claim("job", "of", str(stage)[:MAX_TEXT], source, at, note=f"runs {shown[:300]}"))
        for side, direction in (("deps", "input"), ("outs", "output")):
            for index, entry in enumerate(_list(_mapping(item).get(side), where, f"{at}/{side}")):
                found.append(_dvc_entry(entry, direction, source, f"{at}/{side}/{index}", where))
    return _bounded(found, where)


def of_dvc_file(document: Any, where: str) -> tuple[Claim, ...]:
    """A `*.dvc` file: data that is tracked beside Git."""
    said = _mapping(document)
    entries = _list(said.get("outs"), where, "/outs")
    if not entries:
        _fail("it tracks nothing", where, "/outs")
    imports = [
        _dvc_entry(entry, "input", "DVC import", f"/deps/{index}", where)
        for index, entry in enumerate(_list(said.get("deps"), where, "/deps"))
    ]
    tracked = [_dvc_entry(entry, "of", "DVC", f"/outs/{index}", where) for index, entry in enumerate(entries)]
    return _bounded([*imports, *tracked], where)


def of_dvc_yaml(document: Any, where: str) -> tuple[Claim, ...]:
    """`dvc.yaml`: what stages are meant to use and make. It has no digests: nothing says that it happened."""
    found: list[Claim] = []
    for stage, item in _mapping(_mapping(document).get("stages")).items():
        source, at = f"DVC stage {str(stage)[:200]}", f"/stages/{stage}"
        for side, direction in (("deps", "input"), ("outs", "output")):
            for index, entry in enumerate(_list(_mapping(item).get(side), where, f"{at}/{side}")):
                path = entry if isinstance(entry, str) else next(iter(map(str, _mapping(entry))), "")
                note = "declared in dvc.yaml; dvc.lock says what happened"
                found.append(Claim("dataset", direction, path[:MAX_TEXT], source, f"{at}/{side}/{index}", note=note))
    return _bounded(found, where)


def _dvc_entry(entry: Any, direction: str, source: str, at: str, where: str) -> Claim:
    said = _mapping(entry)
    path = _text(said.get("path"))
    if not path:
        _fail("an entry without a path", where, at)
    value = _text(said.get("md5")).lower()
    bare, folder = value.removesuffix(".dir"), value.endswith(".dir")
    digests = {"md5.dir" if folder else "md5": bare} if re.fullmatch(r"[0-9a-f]{32}", bare) else {}
    # Before version 3 line ends of text were changed before hashing, and `hash` was not written.
    old = bool(digests) and said.get("hash") != "md5"
    note = "md5 of DVC before 3 (line ends changed); not compared" if old else "" if digests else "no digest"
    repo = _mapping(said.get("repo"))
    commit = _text(repo.get("rev_lock"))
    role = "code" if path.endswith((".py", ".sh", ".ipynb", ".r", ".R")) and direction == "input" else "dataset"
    return Claim(
        role,
        direction,
        path,
        source,
        at,
        uri=_text(repo.get("url")),
        path="" if old or repo else path,
        digests=digests,
        commit=commit if _COMMIT.fullmatch(commit) else "",
        note=note,
    )


def _bounded(found: Sequence[Claim], where: str) -> tuple[Claim, ...]:
    if len(found) > MAX_CLAIMS:
        _fail(f"{len(found)} claims; at most {MAX_CLAIMS} are read", where, "")
    return tuple(found)


def _pairs(value: Any, where: str, at: str) -> dict[str, str]:
    """Tags as a list of key and value, or as an object."""
    if isinstance(value, Mapping):
        return {str(key)[:MAX_TEXT]: _text(item) for key, item in value.items()}
    return {_text(_mapping(item).get("key")): _text(_mapping(item).get("value")) for item in _list(value, where, at)}


def _list(value: Any, where: str, at: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list):
        _fail("not a list", where, at)
    if len(value) > MAX_CLAIMS:
        _fail(f"{len(value)} entries; at most {MAX_CLAIMS} are read", where, at)
    return value


def _fail(problem: str, where: str, at: str) -> NoReturn:
    raise EvidenceError(f"{problem} ({at})" if at else problem, where=where)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value[:MAX_TEXT] if isinstance(value, str) else ""
