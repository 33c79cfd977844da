"""A validation as a page that a person reads: Markdown for a pull request, HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b1f24;background:#fff;margin:0 auto;max-width:70rem;padding:1.5rem}
h1{font-size:1.5rem;margin:.2rem 0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid #d0d7de}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.35rem .6rem;vertical-align:top}
th{background:#f6f8fa;font-weight:600}tr+tr td{border-top:1px solid #eaeef2}td.n,th.n{text-align:right}
code{font:.85em ui-monospace,monospace;overflow-wrap:anywhere}
.box{padding:.7rem 1rem;border-left:.35rem solid;margin:1rem 0}
.error{border-color:#b42318;background:#fef3f2}.warning{border-color:#b54708;background:#fffaeb}
.note{border-color:#475467;background:#f9fafb}.ok{border-color:#067647;background:#ecfdf3}
.box p{margin:.2rem 0}.rule{font-weight:600}.dim{color:#475467;font-size:.85rem}
.bar{background:#eaeef2;height:.7rem;width:12rem;display:inline-block}
.bar i{background:#3b6ea5;display:block;height:100%}
@media print{body{padding:0}.box{break-inside:avoid}}
@media (max-width:40rem){.wide{overflow-x:auto}}
""".strip()
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_WORDS = {"error": "Error", "warning": "Warning", "note": "Note"}


def headline(report: Mapping[str, Any]) -> str:
    """One sentence: whether it passed, and what was looked at."""
    counts = {name: sum(item["severity"] == name for item in report["findings"]) for name in _WORDS}
    state = "Passed" if report["passed"] else "Failed"
    found = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count)
    return f"{state}: {report['rows']:,} rows, {len(report['columns'])} columns; {found or 'nothing found'}"


def _facts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Dataset", str(report["path"])
    yield "Digest", str(report["digest"])
    yield "Schema", str(report["schema"] or "none: only what needs no schema was checked")
    yield "Rows", f"{report['row_tree']['rows']:,}, tree {report['row_tree']['root']}"
    if report["splits"]:
        yield "Splits", ", ".join(report["splits"])
    for file in report["files"]:
        told = [str(file[key]) for key in ("format", "encoding") if key in file]
        if "delimiter" in file:
            told.append(_DELIMITERS.get(file["delimiter"], "") + " between cells")
        told += ["gzip"] if file.get("gzip") else []
        yield "File", f"{file['file']} ({', '.join(told)})"
    if report["not_read"]:
        yield "Not read as data", ", ".join(report["not_read"][:20])
    yield "Validated", f"{report['at']} by {report['validator']}"


def _place(item: Mapping[str, Any]) -> str:
    parts = [f"column {item['column']}" if item["column"] else "", item["file"] if not item["rows"] else ""]
    return ", ".join(part for part in parts if part)


def _rows(item: Mapping[str, Any], most: int = 20) -> str:
    shown = ", ".join(item["rows"][:most])
    more = item["count"] - len(item["rows"][:most])
    return f"{shown} and {more:,} more" if shown and more > 0 and item["rule"] != "block-of-rows" else shown


def _number(value: object) -> str:
    if value is None:
        return "?"
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _column_cells(row: Mapping[str, Any], kinds: Mapping[str, str]) -> list[str]:
    nulls = f"{row['nulls'] / max(1, row['rows']):.2%}" if row["nulls"] else "0"
    span = ""
    if "min" in row:
        span = f"{_number(row['min'])} … {_number(row['quantiles']['0.5'])} … {_number(row['max'])}"
    elif "earliest" in row:
        span = f"{row['earliest']} … {row['latest']}"
    elif "shortest" in row:
        span = f"{_number(row['shortest'])} to {_number(row['longest'])} characters"
    return [row["name"], row["type"], nulls, _number(row["distinct"]), span, kinds.get(row["name"], "")]


_COLUMNS = ("Column", "Type", "Null", "Distinct", "Least … middle … most", "Sensitive")


def _kinds(report: Mapping[str, Any]) -> dict[str, str]:
    return {item["column"]: f"{item['kind']}: {item['what']} (by {item['by']})" for item in report["sensitive"]}


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown; cells are escaped, so that a column's name is no markup."""
    lines = [f"# {'✅' if report['passed'] else '❌'} {headline(report)}", ""]
    lines += _grid(("", ""), _facts(report))
    lines += ["", "## Findings", ""]
    for item in report["findings"]:
        place = _place(item)
        lines.append(f"- **{_WORDS[item['severity']]}** `{item['rule']}`{f' ({_md(place)})' if place else ''}: "
                     f"{_md(item['message'])}")  # fmt: skip
        if item["fix"]:
            lines.append(f"  - {_md(item['fix'], kept='`')}")
        if item["rows"]:
            lines.append(f"  - rows: {_md(_rows(item))}")
    if not report["findings"]:
        lines.append("None.")
    if report["labels"]:
        total = max(1, sum(report["labels"].values()))
        rows = [(name, f"{count:,}", f"{count / total:.2%}") for name, count in list(report["labels"].items())[:50]]
        lines += ["", "## Labels", "", *_grid(("Label", "Rows", "Share"), rows)]
    lines += ["", "## Columns", ""]
    kinds = _kinds(report)
    lines += _grid(_COLUMNS, [_column_cells(row, kinds) for row in report["columns"][:500]])
    return "\n".join(lines) + "\n"


def _md(text: str, kept: str = "") -> str:
    plain = " ".join(str(text).split())
    return "".join("\\" + letter if letter in "\\`*_[]|<>#" and letter not in kept else letter for letter in plain)


def _grid(header: Sequence[str], rows: Iterator[tuple[str, str]] | Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return lines + [f"| {' | '.join(_md(cell) for cell in row)} |" for row in rows]


def html(report: Mapping[str, Any]) -> str:
    """The report as one HTML file: no script, nothing that is fetched."""
    title = escape(headline(report))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>Data validation: {escape(str(report['path']))}</h1>",
        f'<div class="box {"ok" if report["passed"] else "error"}" role="status"><p class="rule">{title}</p></div>',
        '<div class="wide"><table>',
        *(
            f'<tr><th scope="row">{escape(key)}</th><td><code>{escape(value)}</code></td></tr>'
            for key, value in _facts(report)
        ),
        "</table></div><h2>Findings</h2>",
    ]
    parts += [_box(item) for item in report["findings"]] or ["<p>None.</p>"]
    if report["labels"]:
        total, most = max(1, sum(report["labels"].values())), max(1, *report["labels"].values())
        parts.append('<h2>Labels</h2><div class="wide"><table><tr><th>Label</th><th class="n">Rows</th>')
        parts.append('<th class="n">Share</th><th></th></tr>')
        for name, count in list(report["labels"].items())[:50]:
            bar = f'<span class="bar"><i style="width:{100 * count / most:.1f}%"></i></span>'
            cells = f'<td class="n">{count:,}</td><td class="n">{count / total:.2%}</td><td>{bar}</td>'
            parts.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
        parts.append("</table></div>")
    parts.append('<h2>Columns</h2><div class="wide"><table><tr>')
    parts += [f"<th>{name}</th>" for name in _COLUMNS]
    kinds = _kinds(report)
    for row in report["columns"][:500]:
        cells = "".join(f"<td>{escape(str(cell))}</td>" for cell in _column_cells(row, kinds))
        parts.append(f"</tr><tr>{cells}")
    parts.append("</tr></table></div>")
    parts.append(f'<p class="dim">{escape(_sampled(report))}</p></main></body></html>')
    return "\n".join(parts) + "\n"


def _box(item: Mapping[str, Any]) -> str:
    place = _place(item)
    lines = [
        f'<div class="box {item["severity"]}"><p><span class="rule">{_WORDS[item["severity"]]}: '
        f"{escape(item['rule'])}</span>{f' ({escape(place)})' if place else ''}</p><p>{escape(item['message'])}</p>"
    ]
    if item["fix"]:
        lines.append(f'<p class="dim">What to do: {_code(item["fix"])}</p>')
    if item["rows"]:
        lines.append(f'<p class="dim">Rows: <code>{escape(_rows(item))}</code></p>')
    return "".join(lines) + "</div>"


def _code(text: str) -> str:
    """What stands between backticks, as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _sampled(report: Mapping[str, Any]) -> str:
    whole = report["sampled"] >= report["rows"]
    what = "all rows" if whole else f"a sample of {report['sampled']:,} rows"
    said = f"Near-duplicates and signs of poisoning were looked for in {what}; every other check saw every row."
    return " ".join([said, *(item["message"] for item in report["findings"] if item["rule"] == "pixels-not-read")])
