"""Feast's own registry file, read as what it is: a protobuf message (`feast.core.Registry`), without Feast.

Field numbers are those of the project's published definitions (protos/feast/core of feast-dev/feast, read at 0.10 to
0.67). What is not needed is passed over; the functions of on-demand and stream views, which Feast keeps as pickles, are
never loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from customhouse._kit.clock import SystemClock, to_rfc3339
from customhouse.core.errors import ArtifactError
from customhouse.trust.scan.inspection import Budget, Inspection, Limits
from customhouse.trust.scan.protobuf import Field, fields
from customhouse.trust.scan.source import Source, UnreadableError

MAX_BYTES = 64 << 20
MAX_VIEWS = 2000
_MOST_FEATURES = 20_000
_DUMMY = "__dummy"
"""The entity of a view that has none."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# In a Registry: number of the views → what they are, and in their spec the numbers of batch source and join columns.
_VIEWS = {6: ("feature-view", 7, 12), 14: ("stream-feature-view", 10, 5), 19: ("label-view", 7, 11)}
_ENTITIES, _SCHEMA_VERSION, _VERSION_ID, _UPDATED, _ON_DEMAND = 1, 3, 4, 5, 8
_SOURCES = {0: "none", 1: "file", 2: "bigquery", 3: "kafka", 4: "kinesis", 5: "redshift", 6: "custom", 7: "request",
            8: "snowflake", 9: "push", 10: "trino", 11: "spark", 12: "athena"}  # fmt: skip
# Options of a source → field of the place: a file's address, or a table.
_PLACES = {11: 2, 12: 1, 15: 1, 19: 1, 27: 1, 30: 1, 35: 1}
_TYPES = {1: "bytes", 2: "string", 3: "int32", 4: "int64", 5: "double", 6: "float", 7: "bool", 8: "unix-timestamp"}
NUMBERS = frozenset({"int32", "int64", "double", "float"})


@dataclass(frozen=True, slots=True)
class FeastSource:
    """Where a view's rows come from. `place` is an address or a table; `renamed` is column there → name here."""

    kind: str = "none"
    name: str = ""
    place: str = ""
    timestamp: str = ""
    renamed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeastView:
    """One view: join columns, features with their types, source."""

    name: str
    project: str
    kind: str
    keys: tuple[str, ...]
    features: dict[str, str]
    source: FeastSource


@dataclass(frozen=True, slots=True)
class FeastRegistry:
    """What a registry file says. `on_demand` are views that are computed when they are asked for, and have no rows."""

    views: tuple[FeastView, ...]
    on_demand: tuple[str, ...]
    schema_version: str
    version_id: str
    updated: str

    @property
    def projects(self) -> tuple[str, ...]:
        """The projects that its views belong to."""
        return tuple(sorted({view.project for view in self.views}))


def read_registry(data: bytes, where: str) -> FeastRegistry:
    """Read the bytes of a registry file. Raises ArtifactError for what is none, or beyond the limits."""
    hint = "Feast writes it with `feast apply` (registry_type: file); give that file, or feature_store.yaml"
    if data.startswith(b"SQLite format 3\0"):
        raise ArtifactError("a registry in SQL is not read; only Feast's registry file is", where=where, hint=hint)
    if len(data) > MAX_BYTES:
        raise ArtifactError(f"more than {MAX_BYTES} bytes", where=where, hint=hint)
    clock = SystemClock()
    look = Inspection(where, Budget(Limits(seconds=30.0), clock, started=clock.monotonic()), lambda _, __: None)
    try:
        found = _registry(Source.of(data), look, where)
    except UnreadableError as error:
        raise ArtifactError(f"no registry of Feast: {error.reason}", where=where, hint=hint) from error
    if not found.views:
        raise ArtifactError("no registry of Feast, or one without any feature view", where=where, hint=hint)
    return found


def _registry(source: Source, look: Inspection, where: str) -> FeastRegistry:
    entities: dict[tuple[str, str], str] = {}
    specs: list[tuple[str, int, int, Source]] = []
    on_demand: list[str] = []
    texts = {_SCHEMA_VERSION: "", _VERSION_ID: ""}
    updated = ""
    for one in fields(source, look):
        if one.number == _ENTITIES:
            name, project, key = _entity(_spec(one, look), look)
            entities[project, name] = key
        elif one.number in _VIEWS:
            specs.append((*_VIEWS[one.number], _spec(one, look)))
        elif one.number == _ON_DEMAND:
            on_demand.append(next((_text(part) for part in fields(_spec(one, look), look) if part.number == 1), ""))
        elif one.number in texts:
            texts[one.number] = _text(one)
        elif one.number == _UPDATED:
            updated = _moment(one.message(), look)
    if len(specs) > MAX_VIEWS:
        raise ArtifactError(f"{len(specs)} views; {MAX_VIEWS} are read at the most", where=where)
    views = tuple(_view(*spec, entities, look, where) for spec in specs)
    return FeastRegistry(views, tuple(sorted(on_demand)), texts[_SCHEMA_VERSION], texts[_VERSION_ID], updated)


def _spec(one: Field, look: Inspection) -> Source:
    """Feast keeps what users say in field 1 of each message."""
    for part in fields(one.message(), look):
        if part.number == 1:
            return part.message()
    return Source.of(b"")


def _entity(spec: Source, look: Inspection) -> tuple[str, str, str]:
    """Name, project and join column."""
    found = {1: "", 9: "", 4: ""}
    for part in fields(spec, look):
        if part.number in found:
            found[part.number] = _text(part)
    return found[1], found[9], found[4] or found[1]


def _view(
    kind: str,
    batch: int,
    columns: int,
    spec: Source,
    entities: dict[tuple[str, str], str],
    look: Inspection,
    where: str,
) -> FeastView:
    name = project = ""
    named: list[str] = []
    keys: list[str] = []
    features: dict[str, str] = {}
    source = FeastSource()
    for part in fields(spec, look):
        if part.number == 1:
            name = _text(part)
        elif part.number == 2:
            project = _text(part)
        elif part.number == 3:
            named.append(_text(part))
        elif part.number in (4, columns):
            title, kind_of = _feature(part, look)
            if part.number == 4:
                features[title] = kind_of
            else:
                keys.append(title)
        elif part.number == batch:
            source = _source(part.message(), look)
    if len(features) > _MOST_FEATURES:
        raise ArtifactError(f"the view {name[:80]!r} has more than {_MOST_FEATURES} features", where=where)
    if not name:
        raise ArtifactError("a view without a name", where=where, hint="is it really a registry of Feast?")
    keys += [_key(entity, name, project, entities, where) for entity in named if entity != _DUMMY]
    joined = tuple(dict.fromkeys(key for key in keys if not key.startswith(_DUMMY)))
    return FeastView(name, project, kind, joined, features, source)


def _key(entity: str, view: str, project: str, entities: dict[tuple[str, str], str], where: str) -> str:
    """The join column of an entity that a view names."""
    key = entities.get((project, entity)) or entities.get(("", entity))
    if key is None:
        message = f"the view {view[:80]!r} names the entity {entity[:80]!r}, which is not there"
        raise ArtifactError(message, where=where, hint="run `feast apply` again")
    return key


def _feature(one: Field, look: Inspection) -> tuple[str, str]:
    name, kind = "", 0
    for part in fields(one.message(), look):
        if part.number == 1:
            name = _text(part)
        elif part.number == 2:
            kind = part.value
    return name, _TYPES.get(kind, "other")


def _source(message: Source, look: Inspection, depth: int = 0) -> FeastSource:
    """A source; of one that is pushed or streamed to, the source of its rows at rest."""
    kind, name, place, timestamp = 0, "", "", ""
    renamed: dict[str, str] = {}
    inner: FeastSource | None = None
    for part in fields(message, look):
        if part.number == 1:
            kind = part.value
        elif part.number == 20:
            name = _text(part)
        elif part.number == 3:
            timestamp = _text(part)
        elif part.number == 2:
            pair = {item.number: _text(item) for item in fields(part.message(), look)}
            renamed[pair.get(1, "")] = pair.get(2, "")
        elif part.number in _PLACES:
            wanted = _PLACES[part.number]
            place = next((_text(item) for item in fields(part.message(), look) if item.number == wanted), "")
        elif part.number == 26 and depth < 3:
            inner = _source(part.message(), look, depth + 1)
    if inner is not None:
        return FeastSource(inner.kind, name or inner.name, inner.place, inner.timestamp or timestamp, inner.renamed)
    return FeastSource(_SOURCES.get(kind, "other"), name, place, timestamp, renamed)


def _text(one: Field) -> str:
    text = one.octets()
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"field {one.number} is no UTF-8"
        raise UnreadableError(reason, offset=one.offset, rule="protobuf-field") from error


def _moment(message: Source, look: Inspection) -> str:
    seconds = next((part.value for part in fields(message, look) if part.number == 1), 0)
    try:
        return to_rfc3339(_EPOCH + timedelta(seconds=seconds))
    except OverflowError:
        return ""


def views_of(found: FeastRegistry, project: str, where: str) -> Iterator[FeastView]:
    """The views of one project; of the only one when none is named. Raises ArtifactError."""
    wanted = project
    if not wanted and len(found.projects) > 1:
        shown = ", ".join(name[:80] for name in found.projects[:10])
        hint = "give the project's feature_store.yaml in place of the registry"
        raise ArtifactError(f"the registry holds several projects: {shown}", where=where, hint=hint)
    chosen = [view for view in found.views if not wanted or view.project == wanted]
    if not chosen:
        shown = ", ".join(name[:80] for name in found.projects[:10])
        raise ArtifactError(f"no view of the project {wanted[:80]!r}; there are those of {shown}", where=where,
                            hint="correct `project`, or run `feast apply`")  # fmt: skip
    yield from sorted(chosen, key=lambda view: view.name)
