"""Text: what kind it is, and who judges it: configurations, templates, programs, XML, graphs in text, prose."""

from __future__ import annotations

import re

from customhouse.trust.scan.configurations import inspect_json_text, inspect_yaml
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.jinja import inspect_template
from customhouse.trust.scan.programs import inspect_program
from customhouse.trust.scan.savedmodel import judge_operator
from customhouse.trust.scan.source import Source, UnreadableError
from customhouse.trust.scan.xml_text import inspect_xml

_CONTROL = bytes({*range(32)} - {0x09, 0x0A, 0x0C, 0x0D, 0x1B})
"""No text holds these. Deleting them and comparing lengths is ten times as fast as searching for them."""
_YAML_TAG = re.compile(
    r"!!python/|tag:yaml\.org,2002:python/|^%TAG\b|!(?:new|name|apply|module|include):", re.MULTILINE
)
_YAML_KEY = re.compile(r"^[\"']?[\w.\-/ ]{1,80}[\"']?:(?:\s|$)|^- ", re.MULTILINE)
_HTML_SCRIPT = re.compile(r"<script\b|\bon(?:error|load|click)\s{0,8}=|javascript:", re.IGNORECASE)
_GRAPH = re.compile(r"^\s{0,16}(?:node|meta_graphs|node_def)\s{0,4}\{", re.MULTILINE)
_GRAPH_OPERATOR = re.compile(r"^\s*op\s{0,4}:\s{0,4}[\"']([^\"'\n]{1,200})[\"']", re.MULTILINE)
_CAFFE_PYTHON = re.compile(r"\bpython_param\s{0,8}\{")
_MAX_YAML = 1 << 20
"""Characters of a text that is not called YAML and is looked at as such all the same."""


def is_text(source: Source, look: Inspection) -> bool:
    """Whether all of it is UTF-8 without control characters."""
    tail = b""
    for _, chunk in source.chunks():
        look.spend(1 + len(chunk) // 65_536)
        if len(chunk.translate(None, _CONTROL)) != len(chunk):
            return False
        data = tail + chunk
        try:
            data.decode("utf-8")
            tail = b""
        except UnicodeDecodeError as error:
            if error.start < len(data) - 4 or error.reason != "unexpected end of data":
                return False
            tail = data[error.start :]
    return not tail


def inspect_text(source: Source, look: Inspection) -> None:
    """Tell the kinds apart, and have each judged."""
    look.format = "text"
    if source.size > look.budget.limits.text:
        raise UnreadableError(f"a text of {source.size} bytes", rule="limit-text", hint="raise limits.text")
    text = source.read(0, source.size).decode("utf-8-sig")
    head = text.lstrip()[:1]
    title = look.title.lower()
    if head in ("{", "[") and inspect_json_text(text, look, title):
        return
    if head == "<" and inspect_xml(text, look, look.title):
        return
    if inspect_program(text, look, title):
        return
    if head == "<" and _HTML_SCRIPT.search(text):
        look.suspicious("html-script", "a page with a script")
    _graphs(text, look)
    _templates(text, look, title)
    named = title.endswith((".yaml", ".yml", "mlmodel"))
    tagged = ("!" in text or "%TAG" in text or "tag:yaml" in text) and _YAML_TAG.search(text)
    if named or tagged or (len(text) < _MAX_YAML and _YAML_KEY.search(text)):
        inspect_yaml(text, look, title)


def _graphs(text: str, look: Inspection) -> None:
    """Protocol buffers in text: TensorFlow's graphs, and Caffe's networks with layers of Python."""
    if "{" not in text:
        return
    if "op" in text and _GRAPH.search(text):
        look.format = "tensorflow-graph-text"
        for operator in set(_GRAPH_OPERATOR.findall(text)):
            judge_operator(operator, look)
    if "python_param" in text and _CAFFE_PYTHON.search(text):
        look.suspicious("caffe-python", "a layer that imports a Python module")


def _templates(text: str, look: Inspection, title: str) -> None:
    """Templates by name; by their marks only what is dangerous counts, since prose and code have braces too."""
    if title.endswith((".jinja", ".jinja2", ".j2")):
        look.format = "template"
        inspect_template(text, look, title)
    elif ("{%" in text or "{{" in text) and not title.endswith(".md"):
        found = look.quiet(
            Source.of(b""), look.name, lambda _, quiet: inspect_template(text, quiet, title or "template")
        )
        bad = [finding for finding in found if finding.severity.value in ("malicious", "suspicious")]
        for finding in bad:
            look.report(finding.severity, finding.rule, finding.message, finding.offset)
        if bad or not found:
            look.format = "template"
