"""The card of an evaluated model, as Markdown and as one HTML file without scripts; every figure is the document's."""

from __future__ import annotations

import html as escaping
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse.cli.report_rows import printable

_FIRST = (
    "roc_auc", "pr_auc", "accuracy", "balanced_accuracy", "f1", "macro_f1", "precision", "recall", "specificity", "mcc",
    "log_loss", "brier", "rmse", "mae", "r2", "mean_error", "selection_rate", "prevalence",
)  # fmt: skip
_MANY = 30


@dataclass(frozen=True, slots=True)
class Part:
    """A heading with sentences, a table, and a drawing (SVG) for the page."""

    title: str
    texts: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    drawing: str = ""


def number(value: Any) -> str:
    """At most four significant digits; a dash for nothing. The JSON has all digits."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:.4g}"


def interval(item: Mapping[str, Any] | None) -> str:
    """`0.91 (0.89 to 0.93)`."""
    if not item:
        return "–"
    if item.get("low") is None or item.get("high") is None:
        return number(item["value"])
    return f"{number(item['value'])} ({number(item['low'])} to {number(item['high'])})"


def verdict(done: Mapping[str, Any]) -> str:
    """One line."""
    if done["passed"] is None:
        return "no bounds declared"
    failed = sum(not row["met"] for row in done["bounds"])
    count = len(done["bounds"])
    return f"passed: all {count} bounds hold" if not failed else f"not passed: {failed} of {count} bounds do not hold"


def parts(done: Mapping[str, Any]) -> Iterator[Part]:
    """The card, section by section."""
    yield _identity(done)
    yield _bounds(done)
    yield _performance(done)
    yield from _slices(done)
    yield from _fairness(done)
    yield from _calibration(done)
    yield from _evasion(done)
    yield from _stability(done)
    yield from _privacy(done)
    yield from _attribution(done)
    yield Part("What to weigh", [*(f"For: {text}" for text in done["users"]), *done["limitations"]])
    yield _made(done)


def _identity(done: Mapping[str, Any]) -> Part:
    data, train = done["data"], done["train"]
    rows = [["Model", f"{done['model']}", done["model_digest"]]]
    rows.append(["Evaluated on", f"{data['name']}, {data['rows']} rows", data["digest"]])
    if data["within"]:
        rows.append(["A file of the dataset", "", data["within"]])
    if train is not None:
        rows.append(["Trained on", f"{train['name']}, {train['rows']} rows", train["digest"]])
    if done["plan"] is not None:
        rows.append(["Plan", done["plan"]["name"], done["plan"]["digest"]])
    if done.get("against"):
        rows.append(["Beside", done["against"]["name"], done["against"]["digest"]])
    kind = done["task"] + (f" over {', '.join(done['classes'][:12])}" if done["classes"] else "")
    kind += f", decided at {number(done['threshold'])}" if done["threshold"] is not None else ""
    return Part("What was evaluated", [f"Task: {kind}."], ["", "What", "Digest"], rows)


def _bounds(done: Mapping[str, Any]) -> Part:
    rows = [
        [row["metric"], row["must"], interval(row), "yes" if row["met"] else f"NO: {row['problem']}", row["place"]]
        for row in done["bounds"]
    ]
    return Part(
        "Declared bounds", [verdict(done) + "."], ["Metric", "Must be", "Measured", "Holds", "Declared at"], rows
    )


def _ordered(names: Sequence[str]) -> list[str]:
    return [name for name in _FIRST if name in names] + [name for name in names if name not in _FIRST]


def _performance(done: Mapping[str, Any]) -> Part:
    section = done.get("performance") or {}
    own = {name: item for name, item in done["metrics"].items() if "." not in name}
    better = (section.get("baseline") or {}).get("better_by") or {}
    beside = (section.get("against") or {}).get("better_by") or {}
    columns = ["Metric", "Value", "Better than trivial by", *(["Better than the other model by"] if beside else [])]
    rows = [
        [name, interval(own[name]), interval(better.get(name)), *([interval(beside.get(name))] if beside else [])]
        for name in _ordered(list(own))
    ]
    share = done["settings"]["confidence"]
    texts = [f"Intervals hold {share:.0%} of the time; differences are paired by row, and positive is better."]
    if section.get("baseline"):
        texts.append(f"The trivial model: {section['baseline']['what']}.")
    if section.get("confusion") and len(section["classes"]) <= 12:
        for name, counts in zip(section["classes"], section["confusion"], strict=True):
            said = ", ".join(f"{count} as {other}" for other, count in zip(section["classes"], counts, strict=True))
            texts.append(f"Rows of {name} were answered: {said}.")
    return Part("Performance", texts, columns, rows)


def _slices(done: Mapping[str, Any]) -> Iterator[Part]:
    for name, table in ((done.get("performance") or {}).get("slices") or {}).items():
        found: Mapping[str, Any] = next(iter(table.values()), {})
        metrics = [item for item in _FIRST if item in found][:6]
        rows = [
            [value, str(row["rows"]), *(interval(row.get(metric)) for metric in metrics)]
            for value, row in list(table.items())[:_MANY]
        ]
        yield Part(f"By {name}", (), [name, "Rows", *metrics], rows)


def _fairness(done: Mapping[str, Any]) -> Iterator[Part]:
    for name, table in (done.get("fairness") or {}).items():
        groups = table["groups"]
        keys = [key for key in next(iter(groups.values()), {}) if key not in ("rows", "ece")]
        rows = [
            [value, str(row["rows"]), *(interval(row.get(key)) for key in keys)]
            for value, row in list(groups.items())[:_MANY]
        ]
        texts = [
            f"{key.replace('_', ' ')}: {interval(item)}"
            + (
                f"; chance alone stays below {number(item['chance'])}: "
                + ("more than chance" if item["above_chance"] else "no more than chance")
                if "chance" in item
                else ""
            )
            for key, item in table["differences"].items()
        ]
        if table["not_judged"]:
            small = ", ".join(f"{value} ({count})" for value, count in list(table["not_judged"].items())[:_MANY])
            texts.append(f"Fewer than {table['minimum']} rows, not judged: {small}")
        yield Part(f"Fairness by {name}", texts, ["Group", "Rows", *(key.replace("_", " ") for key in keys)], rows)


def _calibration(done: Mapping[str, Any]) -> Iterator[Part]:
    section = done.get("calibration")
    if not section:
        return
    own = {name[12:]: item for name, item in done["metrics"].items() if name.startswith("calibration.")}
    texts = [f"{name}: {interval(item)}" for name, item in own.items()]
    texts.append(f"ece of a calibrated model with these answers, in the mean: {number(section['ece_by_chance'])}")
    heat = section["temperature"]
    if heat["value"] is not None:
        worth = "which mends it" if heat["improves"] else "which changes no more than chance"
        texts.append(
            f"Dividing logits by {number(heat['value'])} gains {interval(heat['log_loss_gain'])} log-loss, {worth}."
        )
    rows = [
        [number(row["said"]), number(row["true"]), f"{number(row['low'])} to {number(row['high'])}", str(row["rows"])]
        for row in section["reliability"]
    ]
    yield Part(
        "Calibration", texts, ["Said", "Came true", "Interval", "Rows"], rows, _reliability(section["reliability"])
    )


def _reliability(table: Sequence[Mapping[str, Any]]) -> str:
    """What was said against what came true, with intervals; on the diagonal both are the same."""
    top = max([0.05, *(max(row["said"], row["high"] or row["true"]) for row in table)])
    top = min(1.0, top * 1.05)

    def at(value: float) -> float:
        return float(round(40 + 260 * value / top, 2))

    marks = []
    for row in table:
        x = at(row["said"])
        if row["low"] is not None:
            marks.append(
                f'<line class="i" x1="{x}" x2="{x}" y1="{340 - at(row["low"])}" y2="{340 - at(row["high"])}"/>'
            )
        marks.append(f'<circle cx="{x}" cy="{340 - at(row["true"])}" r="4"/>')
    labels = "".join(
        f'<text x="{at(value)}" y="318" text-anchor="middle">{value:.2g}</text>'
        f'<text x="34" y="{344 - at(value)}" text-anchor="end">{value:.2g}</text>'
        for value in (0.0, top / 2.0, top)
    )
    return (
        '<svg viewBox="0 0 320 340" role="img" aria-label="Reliability: what was said against what came true">'
        f'<rect x="40" y="40" width="260" height="260"/><line class="d" x1="40" y1="300" x2="300" y2="40"/>{labels}'
        '<text x="170" y="335" text-anchor="middle">said</text>'
        f'<text x="12" y="170" transform="rotate(-90 12 170)" text-anchor="middle">came true</text>'
        f"{''.join(marks)}</svg>"
    )


def _evasion(done: Mapping[str, Any]) -> Iterator[Part]:
    section = done.get("evasion")
    if not section:
        return
    rows = [
        [row["attack"], number(row["budget"]), interval(row["success_rate"]), number(row["queries_per_row"]),
         number(row["features_changed"])]
        for row in section.get("attacks", ())
    ]  # fmt: skip
    about = section.get("decision_based") or {}
    texts = [f"{section.get('rows', 0)} rows that were answered rightly were attacked, {section.get('norm', '')}."]
    if section.get("immutable"):
        texts.append(f"Left as they are: {', '.join(section['immutable'])}.")
    if about.get("attack"):
        near = number(about["median_distance"])
        texts.append(
            f"{about['attack']}: the nearest other answer is {near} away in the median ({about['norm']}), "
            f"after {number(about['queries_per_row'])} queries a row; {about['not_found']} of {about['rows']} rows "
            "did not yield."
        )
    yield Part("Evasion", texts, ["Attack", "Budget", "Rows that fell", "Queries a row", "Features changed"], rows)


def _stability(done: Mapping[str, Any]) -> Iterator[Part]:
    section = done.get("stability")
    if not section:
        return
    rows = []
    for row in section["table"]:
        what = row["disturbance"]
        if what == "unit":
            what = f"{row['feature']} × {number(row['factor'])} (the worst wrong unit)"
        rows.append([what, interval(row["drop"]), number(row.get("other_answers"))])
    texts = [f"How much worse {section['metric']} gets on {section['rows']} rows; positive is worse."]
    yield Part("Stability", texts, ["Disturbance", "Drop", "Other answers"], rows)


def _privacy(done: Mapping[str, Any]) -> Iterator[Part]:
    section = done.get("privacy")
    if not section:
        return
    own = {name[8:]: item for name, item in done["metrics"].items() if name.startswith("privacy.")}
    copied = section["extraction"]
    texts = ["Membership: 0.5 means that training's rows cannot be told from others; 1 that all can."]
    if "agreement_beyond_chance" in copied:
        texts.append(
            f"A copy fitted on {copied['queries']} answers agrees beyond chance by "
            f"{number(copied['agreement_beyond_chance'])} (kappa; 1 is a whole copy)."
        )
    yield Part("Privacy", texts, ["Measurement", "Value"], [[name, interval(item)] for name, item in own.items()])


def _attribution(done: Mapping[str, Any]) -> Iterator[Part]:
    section = done.get("attribution")
    if not section:
        return
    rows = [[name, interval(item)] for name, item in list(section["importance"].items())[:_MANY]]
    texts = [f"How much the {section['loss']} rises when a feature's values change places."]
    if section["leak_hint"]:
        texts.append(f"Look at this: {section['leak_hint']}")
    yield Part("What answers hang on", texts, ["Feature", "Rise"], rows)
    rows = []
    for index, row in enumerate(section["rows_explained"], start=1):
        said = "; ".join(
            f"{item['name']} = {number(item['value'])} adds {number(item['adds'])}" for item in row["features"][:5]
        )
        rows.append([str(index), number(row["answer"]), number(row["background"]), said])
    if rows:
        yield Part("Some rows explained", (), ["Row", "Answer", "Mean answer", "What makes the difference"], rows)


def _made(done: Mapping[str, Any]) -> Part:
    tool, said = done["tool"], done["settings"]
    text = (
        f"{tool['name']} {tool['version']}, {tool['runtime']}, numpy {tool['numpy']}, Python {tool['python']} on "
        f"{tool['machine']} ({tool['cores']} cores, one thread); seed {said['seed']}, {said['resamples']} resamples, "
        f"{said['sample']} rows in the sample; {done['queries']} rows answered; {done['evaluated_at']}."
    )
    return Part("How it was made", [text])


def markdown(done: Mapping[str, Any]) -> str:
    """The card as Markdown; what comes from files is escaped."""
    lines = [f"# {_cell(done['model'])}", "", f"**{verdict(done)}**"]
    for part in parts(done):
        lines += ["", f"## {_cell(part.title)}"]
        lines += ["", *(f"- {_cell(text)}" for text in part.texts)] if part.texts else []
        if part.rows:
            lines += ["", "| " + " | ".join(map(_cell, part.columns)) + " |", "|" + "---|" * len(part.columns)]
            lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in part.rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    shown = printable(str(text)).replace("\n", " ").replace("\\", "\\\\")
    for mark in "|`*_<>[]":
        shown = shown.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return shown


def html(done: Mapping[str, Any]) -> str:
    """The card as one file: no script, nothing fetched."""
    state = {True: "good", False: "bad", None: "none"}[done["passed"]]
    body = [f"<h1>{_text(done['model'])}</h1>", f'<p class="verdict {state}">{_text(verdict(done))}</p>']
    for part in parts(done):
        body.append(f"<section><h2>{_text(part.title)}</h2>")
        if part.texts:
            body.append("<ul>" + "".join(f"<li>{_text(text)}</li>" for text in part.texts) + "</ul>")
        body.append(part.drawing)
        if part.rows:
            head = "".join(f'<th scope="col">{_text(name)}</th>' for name in part.columns)
            rows = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in part.rows)
            body.append(f'<div class="t"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>')
        body.append("</section>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Model card: {_text(done['model'])}</title><style>{_STYLE}</style></head><body><main>"
        + "\n".join(body)
        + "</main></body></html>\n"
    )


def _text(value: Any) -> str:
    return escaping.escape(printable(str(value)), quote=True)


_STYLE = """
:root{color-scheme:light dark;--ink:#1b2733;--soft:#5a6b7b;--line:#d7dee5;--paper:#fff;--good:#11683a;--bad:#a4161a}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9fb0c0;--line:#33404d;--paper:#10161c;--good:#5ad08c;
--bad:#ff8a8a}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
.verdict{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}.none{color:var(--soft)}
.t{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:break-word;min-width:3rem;max-width:32rem}
td{font-variant-numeric:tabular-nums}ul{padding-left:1.2rem}
svg{width:20rem;max-width:100%}svg rect{fill:none;stroke:var(--line)}svg text{fill:var(--soft);font-size:11px}
@media(max-width:40rem){main{padding:1rem}.t table{font-size:.75rem}.t td{overflow-wrap:anywhere}
.t th,.t td{min-width:0;padding-right:.5rem}}
svg .d{stroke:var(--soft);stroke-dasharray:4 4}svg .i{stroke:var(--soft);stroke-width:2}svg circle{fill:var(--ink)}
"""
