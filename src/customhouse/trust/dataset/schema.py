"""What a dataset has to be: the schema that Git holds, as frozen values, and the one that is inferred to begin with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse.trust.dataset.patience import may_hang

TYPES = ("integer", "number", "boolean", "datetime", "text", "any")
NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Texts that stand for "no value" in CSV files, unless the schema lists others."""
SENSITIVE = ("pii", "special", "none")
"""Personal data (GDPR article 4), special categories (article 9), or looked at and found to be neither."""
RULES = (
    "type", "mixed-type", "range", "value-not-listed", "pattern", "length", "null", "null-share", "not-unique",
    "missing-column", "extra-column", "foreign-key", "row-count", "ragged-row", "encoding", "undecodable",
    "nul-character",
    "header", "broken-row", "doubled-key", "unreadable-file", "no-rows", "duplicate-rows", "near-duplicate-rows",
    "contradicting-labels", "label-balance", "leakage", "leakage-by-key", "leakage-by-time", "near-leakage", "outlier",
    "constant-column", "freshness", "drift", "label-flips", "trigger-pattern", "outlier-cluster", "block-of-rows",
    "sensitive-column", "sensitive-undeclared", "storage-unprotected", "storage-unknown", "picture", "sampled",
    "missing-split", "label", "array-not-read", "pixels-not-read", "older-schema",
)  # fmt: skip
NEVER_RELAXED = frozenset({"no-rows", "unreadable-file"})


@dataclass(frozen=True, slots=True)
class Column:
    """What one column has to be. None: not asked."""

    name: str
    type: str = "any"
    required: bool = True
    nullable: bool = True
    minimum: float | str | None = None
    """A number; for a datetime an ISO 8601 text, which compares as text."""
    maximum: float | str | None = None
    values: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    min_length: int | None = None
    max_length: int | None = None
    unique: bool = False
    max_null_share: float | None = None
    references: tuple[str, str] | None = None
    """File and column that hold every value of this one."""
    sensitive: str = ""


@dataclass(frozen=True, slots=True)
class Storage:
    """What reviewed configuration says of where the data lies; None: it does not say."""

    encrypted: bool | None = None
    access_controlled: bool | None = None
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """A dataset's schema. Without columns everything that needs none is still checked."""

    columns: tuple[Column, ...] = ()
    extra_columns: str = "forbid"
    files: tuple[str, ...] = ()
    """Patterns of the files that hold rows; nothing: all that can be read as rows."""
    encoding: str = ""
    delimiter: str = ""
    nulls: tuple[str, ...] = NULLS
    min_rows: int | None = None
    max_rows: int | None = None
    label: str = ""
    id: str = ""
    time: str = ""
    source: str = ""
    groups: tuple[str, ...] = ()
    balance: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Label to the least and the largest part of the rows that it may have."""
    min_label_share: float | None = None
    max_duplicate_share: float | None = None
    """None: duplicates are told as a warning."""
    max_near_share: float | None = None
    split_column: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    """Split to the pattern of its files."""
    leak_keys: tuple[str, ...] = ()
    leak_time: bool = False
    max_leak_share: float = 0.0
    max_age_days: float | None = None
    storage: Storage = field(default_factory=Storage)
    checks: Mapping[str, str] = field(default_factory=dict)
    """Rule to `error`, `warning`, `note` or `off`."""
    version: int | None = None
    """Grows when somebody changes what is asked: data that were validated under an older one have to be again."""
    digest: str = ""

    def column(self, name: str) -> Column | None:
        """A column by name."""
        return next((item for item in self.columns if item.name == name), None)


class SchemaError(ValueError):
    """A value that no schema has; `pointer` says where."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


def schema_of(document: Mapping[str, Any], digest: str = "") -> Schema:
    """The schema that a document (already of the published shape) describes. Raises SchemaError."""
    columns = tuple(_column(name, item or {}) for name, item in (document.get("columns") or {}).items())
    labels, rows = document.get("labels") or {}, document.get("rows") or {}
    duplicates, leakage = document.get("duplicates") or {}, document.get("leakage") or {}
    splits = dict(document.get("splits") or {})
    storage = document.get("storage") or {}
    known = {item.name for item in columns}
    for key in ("label", "id", "time", "source"):
        if document.get(key) and known and document[key] not in known:
            raise SchemaError(f"/{key}", f"no column is called {document[key]!r}")
    for place, names in (("/leakage/by", leakage.get("by")), ("/groups", document.get("groups"))):
        for name in names or ():
            if known and name not in known:
                raise SchemaError(place, f"no column is called {name!r}")
    for rule in document.get("checks") or {}:
        if rule not in RULES:
            raise SchemaError(f"/checks/{rule}", f"no check is called {rule!r}; there are: {', '.join(RULES)}")
        if rule in NEVER_RELAXED and document["checks"][rule] != "error":
            raise SchemaError(f"/checks/{rule}", "what was not read was not validated: this check stays an error")
    return Schema(
        version=document.get("version"),
        columns=columns,
        extra_columns=document.get("extraColumns", "forbid"),
        files=tuple(document.get("files") or ()),
        encoding=document.get("encoding", ""),
        delimiter=document.get("delimiter", ""),
        nulls=tuple(document.get("nulls", NULLS)),
        min_rows=rows.get("min"),
        max_rows=rows.get("max"),
        label=document.get("label") or "",
        id=document.get("id") or "",
        time=document.get("time") or "",
        source=document.get("source") or "",
        groups=tuple(document.get("groups") or ()),
        balance={name: _pair(f"/labels/balance/{name}", pair) for name, pair in (labels.get("balance") or {}).items()},
        min_label_share=_share("/labels/minShare", labels.get("minShare")),
        max_duplicate_share=_share("/duplicates/maxShare", duplicates.get("maxShare")),
        max_near_share=_share("/duplicates/maxNearShare", duplicates.get("maxNearShare")),
        split_column=splits.pop("column", "") or "",
        splits=splits,
        leak_keys=tuple(leakage.get("by") or ()),
        leak_time=bool(leakage.get("byTime", False)),
        max_leak_share=_share("/leakage/maxShare", leakage.get("maxShare")) or 0.0,
        max_age_days=_number("/maxAgeDays", document.get("maxAgeDays")),
        storage=Storage(storage.get("encrypted"), storage.get("accessControlled"), storage.get("evidence", "")),
        checks=document.get("checks") or {},
        digest=digest,
    )


def _column(name: str, given: Mapping[str, Any]) -> Column:
    place = f"/columns/{name}"
    pattern = None
    if given.get("pattern") is not None:
        try:
            pattern = re.compile(given["pattern"])
        except re.error as error:
            raise SchemaError(f"{place}/pattern", f"this is no regular expression: {error}") from error
        if may_hang(given["pattern"]):
            problem = "a group that repeats without end, and matches in several ways, can take hours on one value"
            raise SchemaError(f"{place}/pattern", problem)
    kind = given.get("type", "any")
    bounds = []
    for key in ("min", "max"):
        value = given.get(key)
        text = isinstance(value, str)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (text if kind == "datetime" else number):
            raise SchemaError(f"{place}/{key}", "a number; for a datetime a text like '2026-01-31'")
        bounds.append(value if value is None or text else float(value))
    references = given.get("references")
    return Column(
        name,
        kind,
        given.get("required", True),
        given.get("nullable", True),
        bounds[0],
        bounds[1],
        tuple(str(value) for value in given.get("values") or ()),
        pattern,
        given.get("minLength"),
        given.get("maxLength"),
        given.get("unique", False),
        _share(f"{place}/maxNullShare", given.get("maxNullShare")),
        None if references is None else (references["file"], references["column"]),
        given.get("sensitive", ""),
    )


def _number(place: str, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
        raise SchemaError(place, f"{value!r} is no number from 0 on")
    return float(value)


def _share(place: str, value: Any) -> float | None:
    found = _number(place, value)
    if found is not None and found > 1:
        raise SchemaError(place, f"{value!r} is no part of the rows: 0.05 is five in a hundred")
    return found


def _pair(place: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise SchemaError(place, "the least and the largest part of the rows, like [0.01, 0.10]")
    low, high = (_share(place, item) for item in value)
    if low is None or high is None or low > high:
        raise SchemaError(place, "the least and the largest part of the rows, like [0.01, 0.10]")
    return low, high
