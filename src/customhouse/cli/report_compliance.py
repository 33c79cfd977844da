"""A compliance report as one HTML file without scripts; every word and number of it is the document's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from customhouse.cli.report_rows import printable

WORDS = {
    "met": "met",
    "partly": "partly met",
    "missing": "missing",
    "not-shown": "not shown",
    "not-applicable": "not applicable",
}
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --good: #177245; --half: #8a6100; --bad: #b3261e; --none: #5f6368; }
@media (prefers-color-scheme: dark) { :root { --good: #6fcf97; --half: #e9b949; --bad: #ff8a80; --none: #a0a4a8; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; } dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--none); } dd { margin: 0; overflow-wrap: anywhere; }
dl, .wide { max-width: 100%; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: left; vertical-align: top; }
.control { border: 1px solid var(--line); border-radius: .5rem; margin: .8rem 0; padding: .6rem .9rem; break-inside: avoid; }
.control h3 { font-size: 1rem; margin: 0; } .source { color: var(--none); font-size: .9rem; margin: 0; overflow-wrap: anywhere; }
.state { border: 1px solid currentColor; border-radius: 1rem; float: right; font-size: .85rem; font-weight: 600; margin-left: .6rem; padding: 0 .6rem; }
.met { color: var(--good); } .partly { color: var(--half); } .missing { color: var(--bad); } .not-shown, .not-applicable { color: var(--none); }
ul { margin: .4rem 0 0; padding-left: 1.2rem; } li { overflow-wrap: anywhere; } code { background: var(--soft); border-radius: .2rem; padding: 0 .2rem; }
.warning { border-left: .3rem solid var(--half); padding-left: .8rem; }
@media (max-width: 40rem) { body { margin: 1rem auto; } dl { display: block; } dd { margin-bottom: .4rem; } .wide table { font-size: .75rem; } .wide th, .wide td { padding: .3rem .2rem; } .wide th:first-child, .wide td:first-child { width: 40%; } }
"""  # noqa: E501 - a style sheet


def page(document: Mapping[str, Any], digest: str) -> str:
    """The page; `digest` is that of the JSON beside it, which is what is signed."""
    return "\n".join(_lines(document, digest)) + "\n"


def _lines(document: Mapping[str, Any], digest: str) -> Iterator[str]:
    release = document["release"]
    resource = release["resource"]
    name = f"{resource['namespace']}/{resource['name']}"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Compliance of {_text(name)}</title><style>{_STYLE}</style></head><body><main>"
    yield f"<h1>Compliance of {_text(resource['kind'])} {_text(name)}</h1>"
    yield f'<p class="warning">{_text(document["disclaimer"])}</p>'
    yield "<dl>"
    ledger = document["ledger"]
    state = "verified" if ledger["verified"] else "NOT verified: " + "; ".join(ledger["problems"])
    for term, said in (
        ("As of", document["as_of"]),
        ("Release", f"{release['release']}, {release['phase']}"),
        ("Model", release["artifact"] or "none"),
        ("Commit", f"{release['revision']} by {release['author']}"),
        ("Decision", f"{release['verdict']}, {release['decision']}"),
        ("Ledger", f"{ledger['size']} entries, {state}, root {ledger['root']}"),
        ("Made from", f"compliance.json, {digest}"),
    ):
        yield f"<dt>{_text(term)}</dt><dd>{_text(said)}</dd>"
    yield "</dl>"
    yield from _overview(document)
    for framework in document["frameworks"]:
        yield from _framework(framework)
    yield "<h2>What was not looked at</h2><ul>"
    yield from (f"<li>{_text(text)}</li>" for text in document["not_looked_at"])
    yield "</ul></main></body></html>"


def _overview(document: Mapping[str, Any]) -> Iterator[str]:
    heads = "".join(f'<th scope="col">{word}</th>' for word in WORDS.values())
    yield f'<div class="wide"><table><thead><tr><th scope="col">Text</th>{heads}</tr></thead><tbody>'
    for item in document["frameworks"]:
        cells = "".join(f"<td>{item['summary'][state]}</td>" for state in WORDS)
        yield f'<tr><th scope="row"><a href="#{_text(item["id"])}">{_text(item["title"])}</a></th>{cells}</tr>'
    yield "</tbody></table></div>"


def _framework(item: Mapping[str, Any]) -> Iterator[str]:
    link = _text(item["url"]) if str(item["url"]).startswith("https://") else ""
    text = f'<a href="{link}" rel="noreferrer">{_text(item["text"])}</a>' if link else _text(item["text"])
    yield f'<section><h2 id="{_text(item["id"])}">{_text(item["title"])}</h2>'
    yield f'<p class="source">{text}; mapping {_text(item["mapping"])}</p>'
    for control in item["controls"]:
        state = control["state"]
        yield f'<article class="control"><span class="state {state}">{WORDS[state]}</span>'
        yield f"<h3>{_text(control['id'])} {_text(control['title'])}</h3>"
        yield f'<p class="source">{_text(control["source"])}</p>'
        if control["note"]:
            yield f"<p>{_text(control['note'])}</p>"
        if control["met"] or control["missing"]:
            yield "<ul>"
            for met in control["met"]:
                proofs = "; ".join(f"{_proof(proof)}" for proof in met["proofs"])
                yield f'<li><span class="met">met</span> {_text(met["need"])}: {proofs}</li>'
            for missing in control["missing"]:
                todo = f": <code>{_text(missing['todo'])}</code>" if missing["todo"] else ""
                yield f'<li><span class="missing">missing</span> {_text(missing["need"])}{todo}</li>'
            yield "</ul>"
        yield "</article>"
    yield "</section>"


def _proof(proof: Mapping[str, str]) -> str:
    return f"{_text(proof['said'])} <code>{_text(proof['kind'])} {_text(proof['ref'])}</code>"


def _text(value: Any) -> str:
    return escape(printable(str(value)))
