"""What is wrong with a table as a whole: its shape, its labels, duplicates, and rows that its splits share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from customhouse._kit.clock import from_rfc3339
from customhouse.trust.dataset.finding import ROWS_SHOWN, Finding
from customhouse.trust.dataset.table import Table

_TRAINING = ("train", "")


def shape(table: Table) -> Iterator[Finding]:
    """Columns that are missing or not foreseen, files that do not fit together, too few or too many rows."""
    schema = table.schema
    if not table.rows:
        yield Finding(
            "no-rows", "error", "There is no row that can be read.", "Give files of CSV, JSON Lines or the like."
        )
        return
    for column in schema.columns:
        if column.name not in table.columns and column.required:
            message = "The schema asks for this column, and no file has it."
            yield Finding("missing-column", "error", message, "Add it, or declare it `required: false`.", column.name)
    known = {column.name for column in schema.columns}
    for name in table.columns:
        if known and name not in known and schema.extra_columns == "forbid":
            fix = "Declare it, or set `extraColumns: allow`."
            yield Finding("extra-column", "error", "The schema does not know this column.", fix, name)
    if len(table.shapes) > 1:
        files = ", ".join(sorted(table.shapes.values())[:5])
        message = f"Files have different columns: {files}."
        fix = "Name those that belong together under `files` of the schema."
        yield Finding("missing-column", "error", message, fix)
    for name, profile in table.columns.items():
        if known and profile.rows < table.rows and (rule := schema.column(name)) is not None and rule.required:
            missing = table.rows - profile.rows
            message = f"{missing} rows are in files without this column."
            yield Finding("missing-column", "error", message, "Add it to every file.", name, count=missing)
    low, high = schema.min_rows, schema.max_rows
    if (low is not None and table.rows < low) or (high is not None and table.rows > high):
        wanted = f"{low if low is not None else 'any'} to {high if high is not None else 'any'}"
        message = f"There are {table.rows} rows, {wanted} are asked for."
        yield Finding("row-count", "error", message, "Look for what was cut off or added.", count=table.rows)
    for name, profile in table.columns.items():
        if table.rows > 10 and not profile.many and profile.present == table.rows and len(profile.values) == 1:
            message = "All rows have the same value."
            yield Finding("constant-column", "note", message, "It tells a model nothing.", name, count=table.rows)


def unique(table: Table) -> Iterator[Finding]:
    """Values that are there twice in a column that says unique."""
    for rule in table.schema.columns:
        profile = table.columns.get(rule.name)
        if profile is None or not rule.unique:
            continue
        twins = _twins(profile.hashes())
        if len(twins):
            yield Finding(
                "not-unique",
                "error",
                f"{len(twins)} values are there before.",
                "Keep one row of each.",
                rule.name,
                rows=table.index.places(twins[:ROWS_SHOWN]),
                count=len(twins),
                share=len(twins) / table.rows,
            )


def foreign_keys(table: Table, known: Mapping[str, Any]) -> Iterator[Finding]:
    """Values that the column does not hold that they refer to; `known` has the hashes of its values by column."""
    for rule in table.schema.columns:
        if rule.references is None or rule.name not in table.columns or rule.name not in known:
            continue
        hashes = table.columns[rule.name].hashes()
        strange = np.flatnonzero(~np.isin(hashes, known[rule.name]))
        if len(strange):
            message = f"{len(strange)} values are not in {rule.references[1]} of {rule.references[0]}."
            yield Finding(
                "foreign-key",
                "error",
                message,
                "Add what they refer to, or remove the rows.",
                rule.name,
                rows=table.index.places(strange[:ROWS_SHOWN]),
                count=len(strange),
                share=len(strange) / table.rows,
            )


def _twins(hashes: Any) -> Any:
    """Row numbers of values that were there before, in order."""
    order = np.argsort(hashes, kind="stable")
    again = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    return np.sort(order[again + 1])


def duplicates(table: Table) -> Iterator[Finding]:
    """Rows with the same content and label, and rows with the same content and another label."""
    contents, labels = table.contents(), table.label_codes()
    if len(contents) < 2:
        return
    order = np.argsort(contents, kind="stable")
    same = contents[order][1:] == contents[order][:-1]
    agreeing = labels[order][1:] == labels[order][:-1]
    twins, torn = np.sort(order[1:][same & agreeing]), np.sort(order[1:][same & ~agreeing])
    share = len(twins) / table.rows
    limit = table.schema.max_duplicate_share
    # In a table of few values rows repeat by nature: a warning says it, the schema says what is too much.
    if len(twins) and (limit is None or share > limit):
        asked = "" if limit is None else f"; {limit:.2%} at the most may be"
        yield Finding(
            "duplicate-rows",
            "warning" if limit is None else "error",
            f"{len(twins)} rows ({share:.2%}) repeat an earlier one{asked}.",
            "Remove them: what is there twice counts twice, and leaks from one split into another.",
            rows=table.index.places(twins[:ROWS_SHOWN]),
            count=len(twins),
            share=share,
        )
    if len(torn) and table.labels:
        yield Finding(
            "contradicting-labels",
            "warning",
            f"{len(torn)} rows have the content of another row and another label.",
            "One of the two labels is wrong, or the columns do not tell the classes apart.",
            table.label,
            rows=table.index.places(torn[:ROWS_SHOWN]),
            count=len(torn),
            share=len(torn) / table.rows,
        )


def labels(table: Table) -> Iterator[Finding]:
    """Rows without a label, classes that are too rare or too common."""
    schema, name = table.schema, table.label
    if not name or name not in table.columns or not table.rows:
        if schema.label and table.rows:
            yield Finding("label", "error", "No file has the label's column.", "Correct `label`.", schema.label)
        return
    codes = table.label_codes()
    missing = np.flatnonzero(codes < 0)
    if len(missing) and not table.too_many_labels:
        yield Finding(
            "label",
            "error",
            f"{len(missing)} rows have no label.",
            "Label or remove them.",
            name,
            rows=table.index.places(missing[:ROWS_SHOWN]),
            count=len(missing),
            share=len(missing) / table.rows,
        )
    counts = label_counts(table)
    if len(counts) == 1:
        yield Finding("label-balance", "error", "All rows have the same label.", "A model learns nothing of it.", name)
    total = max(1, sum(counts.values()))
    for value, (low, high) in schema.balance.items():
        share = counts.get(value, 0) / total
        if not low <= share <= high:
            message = f"The label {table.shown(value)} is on {share:.2%} of the rows, not {low:.2%} to {high:.2%}."
            fix = "Look for rows that were lost, added or labelled otherwise."
            yield Finding("label-balance", "error", message, fix, name, count=counts.get(value, 0), share=share)
    for value, count in counts.items():
        least = schema.min_label_share
        if least is not None and count / total < least:
            message = f"The label {table.shown(value)} is on {count / total:.2%} of the rows, less than {least:.2%}."
            yield Finding(
                "label-balance", "error", message, "Collect more of it.", name, count=count, share=count / total
            )
        elif least is None and value not in schema.balance and count / total < 0.01 and len(counts) <= 50:
            message = f"The label {table.shown(value)} is on {count} rows ({count / total:.2%})."
            fix = "A metric over all rows will not see it: weigh it, and measure it by itself."
            yield Finding("label-balance", "note", message, fix, name, count=count, share=count / total)


def label_counts(table: Table) -> dict[str, int]:
    """Label to how many rows have it; empty when there are too many for classes."""
    if table.too_many_labels or not table.labels:
        return {}
    codes = table.label_codes()
    counts = np.bincount(codes[codes >= 0], minlength=len(table.labels)).tolist()
    return dict(zip(table.labels, counts, strict=True))


def leakage(table: Table) -> Iterator[Finding]:
    """Content, keys and times that one split shares with another."""
    schema = table.schema
    names = [name for name in table.splits if name]
    if len(names) < 2:
        if schema.leak_keys or schema.leak_time:
            message = "The schema forbids leaks between splits, and there is one split only."
            fix = "Name the splits: `splits` of the schema, or --split train=…,test=…"
            yield Finding("missing-split", "error", message, fix)
        return
    codes = table.split_codes()
    first = next((name for name in names if name == "train"), names[0])
    for other in names:
        if other == first:
            continue
        yield from _shared(table, "leakage", table.contents(), codes, (first, other), schema.max_leak_share)
        for key in schema.leak_keys:
            hashes = table.keys(key)
            if len(hashes):
                yield from _shared(table, "leakage-by-key", hashes, codes, (first, other), 0.0, key)
        if schema.leak_time and first in table.split_times and other in table.split_times:
            latest, earliest = table.split_times[first][1], table.split_times[other][0]
            if earliest <= latest:
                message = f"{other} begins before {first} ends: a model would be tested on its own past."
                yield Finding("leakage-by-time", "error", message, "Cut the splits at one moment.", schema.time)


def _shared(
    table: Table, rule: str, hashes: Any, codes: Any, pair: tuple[str, str], limit: float, column: str = ""
) -> Iterator[Finding]:
    first, other = pair
    left = np.unique(hashes[codes == table.splits[first]])
    rows = np.flatnonzero(codes == table.splits[other])
    found = rows[np.isin(hashes[rows], left)]
    share = len(found) / max(1, len(rows))
    if not len(found) or share <= limit:
        return
    what = f"values of {column}" if column else "content"
    expected = "" if column else _by_chance(share)
    yield Finding(
        rule,
        "error",
        f"{len(found)} rows of {other} ({share:.2%}) have {what} that {first} has too{expected}.",
        "Keep them in one of the two: a model is tested on what it has seen.",
        column,
        rows=table.index.places(found[:ROWS_SHOWN]),
        count=len(found),
        share=share,
    )


def _by_chance(share: float) -> str:
    return "; columns of few values repeat by nature: `leakage.maxShare` says how many may" if share > 0.2 else ""


def freshness(table: Table, now: datetime) -> Iterator[Finding]:
    """Data that are older than the schema allows, or from the future."""
    schema = table.schema
    profile = table.columns.get(schema.time)
    if schema.max_age_days is None:
        return
    latest = "" if profile is None else profile.latest
    try:
        moment = moment_of(latest)
    except ValueError:
        message = "The schema says how old the data may be, and its time column says no time."
        yield Finding("freshness", "error", message, "Name a column of ISO 8601 times under `time`.", schema.time)
        return
    days = (now - moment).total_seconds() / 86400
    if days > schema.max_age_days:
        message = f"The newest row is of {latest}, {days:.1f} days ago; {schema.max_age_days:g} are allowed."
        yield Finding("freshness", "error", message, "Fetch the data anew.", schema.time)
    elif days < -1:
        yield Finding(
            "freshness", "error", f"The newest row is of {latest}: the future.", "Look at its clock.", schema.time
        )


def moment_of(text: str) -> datetime:
    """A day or a moment as data write them; UTC where no zone is said. Raises ValueError."""
    plain = text.replace(" ", "T")
    if len(plain) == 10:
        plain += "T00:00:00"
    if len(plain) == 16:
        plain += ":00"
    if not plain.endswith("Z") and plain[-6:-5] not in "+-":
        plain += "Z"
    return from_rfc3339(plain)


def outliers(table: Table) -> Iterator[Finding]:
    """Numbers far from all others, as a wrong unit or a mark for "unknown" is.

    More than twenty times the middle half's width beyond it, and five times farther than all but one in a thousand:
    what is skewed by nature has a long tail, and no such gap.
    """
    for name, profile in table.columns.items():
        values = profile.sample()
        if profile.infinite:
            message = f"{profile.infinite} values are NaN or infinite."
            fix = "Write nothing for what is not known."
            yield Finding("outlier", "warning", message, fix, name, count=profile.infinite)
        if len(values) < 100 or profile.type not in ("integer", "number"):
            continue
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        width = high - low
        if width <= 0:
            continue
        apart = np.abs(values - middle)
        edge = max(20 * width, 5 * float(np.quantile(apart, 0.999, method="lower")))
        most = max(profile.maximum - middle, middle - profile.minimum)
        if most > edge:
            far = max(1, int(np.count_nonzero(apart > edge)))
            message = f"Values lie {most / width:,.0f} times the width of its middle half away from its middle."
            fix = "A wrong unit, a wrong separator, a mark for `unknown`? Declare its range (`min`, `max`)."
            yield Finding("outlier", "warning", message, fix, name, count=far, share=far / len(values))


def drift(table: Table, reference: Mapping[str, Any]) -> Iterator[Finding]:
    """Columns that look otherwise than in the profile of a reference; only differences that matter by their size."""
    for row in reference.get("columns", ()):
        profile = table.columns.get(str(row.get("name")))
        if profile is None:
            message = "The reference has this column, and here it is missing."
            yield Finding("drift", "error", message, "Add it, or take another reference.", str(row.get("name")))
            continue
        if row.get("type") != profile.type:
            message = f"The column is of type {profile.type}, in the reference of {row.get('type')}."
            yield Finding("drift", "error", message, "Look at what wrote it.", profile.name)
            continue
        before, after = row.get("nulls", 0) / max(1, row.get("rows", 1)), profile.nulls / max(1, profile.rows)
        if abs(after - before) > 0.05:
            yield Finding("drift", "warning", f"Nulls went from {before:.1%} to {after:.1%}.", _LOOK, profile.name)
        distance = _distance(row, profile)
        if distance is not None and distance > 0.1:
            message = f"Its distribution moved by {distance:.2f} (0 to 1; 0.10 is where it matters)."
            yield Finding("drift", "warning", message, _LOOK, profile.name, share=distance)


_LOOK = "Look whether the world changed or the pipeline did."


def _distance(row: Mapping[str, Any], profile: Any) -> float | None:
    """Kolmogorov-Smirnov's distance at the reference's quantiles, or half the sum of differences of shares."""
    cuts = row.get("quantiles")
    if isinstance(cuts, Mapping) and profile.type in ("integer", "number"):
        values = profile.sample()
        found = []
        for part, cut in cuts.items():
            if not isinstance(cut, (int, float)):
                continue
            below, upto = float((values < cut).mean()), float((values <= cut).mean())
            expected = float(part)
            found.append(0.0 if below <= expected <= upto else min(abs(below - expected), abs(upto - expected)))
        return max(found, default=None)
    top = row.get("top")
    if isinstance(top, Mapping) and not profile.many:
        total, now = max(1, row.get("rows", 1) - row.get("nulls", 0)), max(1, profile.present)
        names = {*top, *profile.values} if len(top) < 10 else set(top)
        return 0.5 * math.fsum(abs(top.get(name, 0) / total - profile.values.get(name, 0) / now) for name in names)
    return None
