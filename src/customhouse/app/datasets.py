"""`customhouse data register`: a dataset enters the chain of custody by its digest, once it is validated.

What fails is not entered. The same digest under the same name is entered once, however often it is asked for; the same
name with another digest is its next version, and the ledger links the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from customhouse._kit.digest import is_digest, same_digest
from customhouse._kit.process import ProgramError, ProgramMissingError, run
from customhouse.app import wiring
from customhouse.app.custody_index import IndexNames, opened_index
from customhouse.app.data_snapshot import Snapshot, read_snapshot
from customhouse.app.data_validation import Report, Request, declared_schema, files_at, validate_data
from customhouse.app.settings import Settings
from customhouse.core.errors import StateError, TamperError, UsageError
from customhouse.core.ledger import Entry
from customhouse.trust.custody import Link, LinkKind, Node, NodeKind, entry
from customhouse.trust.dataset.finding import Finding, ordered
from customhouse.trust.ledger import Ledger

if TYPE_CHECKING:
    from customhouse.store import Store

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")
_KIND = "dataset"


@dataclass(frozen=True, slots=True)
class Version:
    """One registration of a name, as the ledger has it."""

    index: int
    digest: str
    body: dict[str, Any]

    @property
    def schema_version(self) -> int:
        """Of the schema that it was validated under; 0 where that says none, or there was none."""
        found = self.body.get("schemaVersion")
        return found if isinstance(found, int) else 0

    def says(self, report: Report, taken: Snapshot | None) -> bool:
        """Whether it is what would be entered now: the data, the snapshot, and a schema that is not newer."""
        if self.digest != report.digest or self.schema_version < (report.schema.version or 0):
            return False
        return taken is None or (self.body.get("snapshot") or {}).get("digest") == taken.digest


def _beside_earlier(report: Report, earlier: Sequence[Version]) -> Report:
    """The report, with what its schema is beside those that the name's earlier versions were validated under."""
    newest = max(earlier, key=lambda item: (item.schema_version, item.index), default=None)
    now = report.schema.version or 0
    if newest is None or not newest.schema_version or report.nothing_read:
        return report
    was = newest.schema_version
    if now < was:
        told = f"version {now}" if now else "one without a version"
        message = (
            f"Validated under {told} of its schema; version {was} was declared before (ledger entry {newest.index})."
        )
        found = Finding("older-schema", "error", message, "Validate the data under the schema that Git holds today.")
    elif now == was and report.schema.digest != newest.body.get("schema"):
        message = f"The schema is another than that of ledger entry {newest.index}, and both are called version {now}."
        found = Finding("older-schema", "warning", message, "Raise `version` with every change of a schema.")
    else:
        return report
    whole = ordered((*report.validated.findings, found), report.schema.checks)
    return replace(report, validated=replace(report.validated, findings=whole))


def register(
    settings: Settings,
    asked: Request,
    name: str,
    actor: str | None,
    origins: Sequence[str] = (),
    snapshot: str = "",
    as_of: str = "",
) -> tuple[dict[str, Any], Report]:
    """Validate and enter; what was entered, and the report.

    `{"name","digest","files","size","rows","version","entry","registered","validated","passed"}`; `registered` False:
    this digest was there before, or it failed (then `entry` is null). `origins` are digests or names of datasets, or
    places (`s3://…`), that it was made of. Raises ArtifactError for files that cannot be read, UsageError for an empty
    folder or a name that is none.
    """
    _require_name(name)
    if settings.state.resolve().is_relative_to(Path(asked.path).resolve()):
        raise UsageError(
            f"the state directory {settings.state} lies in {asked.path}: it would be part of the data",
            hint="keep it elsewhere (`--state`), or name the folder that holds the data alone",
        )
    report = validate_data(asked)
    taken = read_snapshot(snapshot, Path(asked.path), report.files, as_of) if snapshot else None
    if taken is not None and taken.findings:
        whole = (*report.validated.findings, *taken.findings)
        report = replace(report, validated=replace(report.validated, findings=ordered(whole, report.schema.checks)))
    report = _beside_earlier(report, _earlier(settings, name))
    passed = not (taken and taken.findings) if report.nothing_read else report.passed
    said: dict[str, Any] = {
        "name": name,
        "digest": report.digest,
        "files": len(report.files.files),
        "size": report.files.size,
        "rows": report.validated.rows,
        "version": None,
        "entry": None,
        "registered": False,
        "validated": not report.nothing_read,
        "passed": passed,
        "snapshot": None if taken is None else {"digest": taken.digest, **taken.document},
    }
    if not passed:
        return said, report
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=True)
        before = versions(settings, opened, ledger, name)
        same = next((item for item in before if item.says(report, taken)), None)
        if same is not None:
            return said | {"version": same.body.get("version", 1), "entry": same.index}, report
        made = _entry(
            name,
            report,
            before,
            _origins(lambda named: versions(settings, opened, ledger, named), origins, taken),
            actor or person(settings),
            taken,
        )
        size = ledger.size
        (receipt,) = ledger.append([made])
    return said | {
        "version": made.body["version"],
        "entry": receipt.index,
        "registered": receipt.index >= size,
    }, report


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name", hint="letters, digits and . _ / - between them, 128 at the most")


def _entry(
    name: str, report: Report, before: Sequence[Version], origins: Sequence[Node], actor: str, taken: Snapshot | None
) -> Entry:
    found = report.validated
    made = Node.of(NodeKind.DATASET, report.digest, name, f"{name}@{len(before) + 1}")
    nodes, links = [made, *origins], [Link.between(origin, made, LinkKind.PRODUCED) for origin in origins]
    if before:
        last = Node.of(NodeKind.DATASET, before[-1].digest, name)
        nodes.append(last)
        links.append(Link.between(last, made, LinkKind.REPLACED_BY))
    if report.nothing_read:
        state = "not validated (no rows that can be read)"
    else:
        schema = "" if found.schema else ", without a schema"
        state = f"validated{schema}, {len(found.findings)} findings"
    body: dict[str, Any] = {
        "text": f"dataset {name}, {len(report.files.files)} files, {report.files.size} bytes, {state}",
        "size": report.files.size,
        "files": len(report.files.files),
        "version": len(before) + 1,
        "validated": not report.nothing_read,
        "schema": found.schema or None,
        "schemaVersion": report.schema.version,
        "findings": sorted({item.rule for item in found.findings}),
        "sensitive": [item.column for item in found.sensitive][:100],
        **({} if taken is None else {"snapshot": {"digest": taken.digest, **taken.entered()}}),
        **({} if report.nothing_read else {"row_tree": found.tree.to_json()}),
    }
    clock = wiring.clock().now()
    again = sum(item.digest == report.digest for item in before)
    key = f"dataset:{name}:{report.digest}" + (f":{again}" if again else "")
    return entry(_KIND, key, clock, actor, nodes=nodes, links=links, body=body)


def _earlier(settings: Settings, name: str) -> list[Version]:
    """As `versions`; a state that does not exist, or whose ledger has no key and no entry yet, is not begun for it."""
    if not wiring.has_store(settings):
        return []
    with wiring.store(settings) as opened:
        if not opened.ledger.size():
            return []
        return versions(settings, opened, wiring.ledger(settings, opened, write=False), name)


def versions(settings: Settings, opened: Store, ledger: Ledger, name: str) -> list[Version]:
    """All registrations of a name, the oldest first: what the custody index names, and what it has not taken in yet."""
    found = []
    for index, item in _spoken_of(settings, opened, ledger, name):
        if item.kind != _KIND:
            continue
        nodes: Sequence[Any] = item.body.get("nodes") or ({},)
        if name in nodes[0].get("aliases", ()):
            found.append(Version(index, str(nodes[0].get("digest", "")), dict(item.body)))
    return found


def _spoken_of(settings: Settings, opened: Store, ledger: Ledger, name: str) -> Iterator[tuple[int, Entry]]:
    """Entries that may speak of a dataset, in their order; all of them where no index can be kept."""
    start = 0
    try:
        checkpoint = ledger.checkpoint()
        with opened_index(settings, opened, checkpoint, lambda _, __, ___: None) as index:
            nodes = [node.id for node in IndexNames(index).exact(name) if node.kind == NodeKind.DATASET]
            positions = index.entries(nodes, (), 0)
        start = checkpoint.size
    except StateError:  # nothing is signed yet, or the state cannot be written
        positions = []
    for position in positions:
        yield from ledger.entries(position, position + 1)
    yield from ledger.entries(start)


def _origins(
    known_as: Callable[[str], Sequence[Version]], origins: Sequence[str], taken: Snapshot | None
) -> list[Node]:
    """Datasets by digest or registered name, places elsewhere, and the views of a snapshot."""
    found = [] if taken is None else [Node("feature-view", view[:500]) for view in taken.names]
    for origin in origins:
        if is_digest(origin):
            found.append(Node.of(NodeKind.DATASET, origin))
        elif "://" in origin:
            found.append(Node("source", origin[:500]))
        else:
            known = known_as(origin)
            if not known:
                raise UsageError(
                    f"no dataset is registered as {origin[:100]!r}", hint="a digest, a registered name, or a URL"
                )
            found.append(Node.of(NodeKind.DATASET, known[-1].digest, origin))
    return found


def verify(settings: Settings, name: str, path: str, schema: str = "") -> dict[str, Any]:
    """Whether a path holds what was registered: `{"name","digest","version","entry","latest","schema"}`.

    `schema` is `{"registered","declared","older"}`, the versions of the schema that it was validated under and of the
    one that is declared (the file that is named, else beside the data); `older`: it has to be validated again.

    Raises UsageError for a name that nobody registered, TamperError (exit 5) for other bytes, with what is known of
    the difference.
    """
    _require_name(name.partition("@")[0])
    plain, _, wanted = name.partition("@")
    with wiring.store(settings, create=False) as opened:
        known = versions(settings, opened, wiring.ledger(settings, opened, write=False), plain)
    if wanted:
        known = [item for item in known if wanted in (str(item.body.get("version", 1)), item.digest)]
    if not known:
        raise UsageError(
            f"no dataset is registered as {name[:100]!r}", hint="`customhouse data register PATH --name …`"
        )
    files = files_at(Path(path))
    declared = declared_schema(Request(path, schema), Path(path))
    same = next((item for item in reversed(known) if same_digest(item.digest, files.digest)), None)
    if same is None:
        last = known[-1]
        size, count = last.body.get("size"), last.body.get("files")
        changed = []
        if count != len(files.files):
            changed.append(f"{len(files.files)} files, not {count}")
        if size != files.size:
            changed.append(f"{files.size} bytes, not {size}")
        detail = "; ".join(changed) or "as many files and bytes, and other ones"
        raise TamperError(
            f"{path} is not {name}: its digest is {files.digest}, registered is {last.digest} (ledger entry "
            f"{last.index}): {detail}",
            hint="fetch it again, or register it as a new version after looking at what changed",
        )
    return {
        "name": plain,
        "digest": same.digest,
        "version": same.body.get("version", 1),
        "entry": same.index,
        "latest": same is known[-1],
        "schema": {
            "registered": same.schema_version or None,
            "declared": declared.version,
            "older": same.schema_version < (declared.version or 0),
        },
    }


def person(settings: Settings) -> str:
    """Who asks: Git's author, of the environment or of its configuration, else the user of this machine.

    The ledger names an actor for every entry.
    """
    environment = settings.environment
    email = environment.get("GIT_AUTHOR_EMAIL") or environment.get("EMAIL")
    if not environment.get("GIT_AUTHOR_NAME"):
        known = _of_git(environment)
        if known:
            return known
    name = environment.get("GIT_AUTHOR_NAME") or environment.get("USER") or environment.get("LOGNAME") or "unknown"
    return f"{name} <{email}>" if email else name


def _of_git(environment: Mapping[str, str]) -> str:
    """`Name <email>` as Git is configured here; empty where it is not: a guess from the host's name is nobody's."""
    try:
        said = run(["git", "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"], env=environment, timeout_s=10.0)
    except (ProgramMissingError, ProgramError):
        return ""
    return said.stdout.decode(errors="replace").rpartition(">")[0].strip()[:300] + ">"
