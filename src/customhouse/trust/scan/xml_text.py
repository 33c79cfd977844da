"""XML (PMML, OpenVINO, SVG …): read by expat as events; entities are refused, scripts and extensions are findings."""

from __future__ import annotations

import re
from pyexpat import ExpatError, ParserCreate

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import UnreadableError

_MAX_DEPTH = 500
_OPSET = re.compile(r"opset\d{1,3}|ie_internal_opset")
_SCRIPT_URL = re.compile(r"\s{0,16}(?:javascript|vbscript|data:text/html)", re.IGNORECASE)


class _Reader:
    """Collects what elements say; expat calls it."""

    def __init__(self, look: Inspection) -> None:
        self.look = look
        self.depth = 0
        self.root = ""
        self.needed = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.look.spend()
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise UnreadableError("XML nested too deep", rule="limit-depth")
        tag = name.rpartition(":")[2]
        if self.depth == 1:
            self.root = tag
        if tag.lower() == "script":
            self.look.suspicious("xml-script", "a script inside")
        if name == "xi:include":
            self.look.suspicious("xml-include", f"includes {attributes.get('href', '')[:80]!r}")
        for key, value in attributes.items():
            if key.lower().startswith("on") or _SCRIPT_URL.match(value):
                self.look.suspicious("xml-script", f"{tag[:40]} has the script {key[:40]}={value[:60]!r}")
        if self.root == "net":
            self._openvino(tag, attributes)

    def _openvino(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "layer":
            version, kind = attributes.get("version", "opset1"), attributes.get("type", "")
            if not _OPSET.fullmatch(version):
                self.look.suspicious(
                    "openvino-extension", f"the layer {kind[:60]!r} of {version[:60]!r} comes from a library of code"
                )
        elif tag == "data" and "offset" in attributes and "size" in attributes:
            offset, size = attributes["offset"], attributes["size"]
            if not (offset.isdigit() and size.isdigit()) or len(offset) + len(size) > 36:
                self.look.suspicious("openvino-weights", "weights at a place that is no number")
            else:
                self.needed = max(self.needed, int(offset) + int(size))

    def end(self, _name: str) -> None:
        self.depth -= 1

    def doctype(self, _name: str, system: str | None, _public: str | None, _subset: int) -> None:
        if (
            system
            and "://www.w3.org/" not in system
            and system.startswith(("http:", "https:", "ftp:", "file:", "/", ".."))
        ):
            self.look.suspicious("xml-doctype", f"has a reader fetch {system[:80]!r}")

    def entity(self, name: str, *_rest: object) -> None:
        self.look.malicious("xml-entity", f"declares the entity {name[:60]!r}: it can read files or grow without end")
        raise UnreadableError("entities are not expanded", rule="xml-entity", hint="write it without a DTD")


def inspect_xml(text: str, look: Inspection, title: str) -> bool:
    """Read a whole document; False when it is none."""
    reader = _Reader(look)
    parser = ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.EntityDeclHandler = reader.entity
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.buffer_text = True
    try:
        parser.Parse(text, True)
    except ExpatError as error:
        if text.lstrip().startswith("<?xml") and "<html" not in text[:2000].lower():
            raise UnreadableError(f"broken XML ({error})", rule="xml-broken", hint="write it again") from error
        return False
    look.format = {"net": "openvino", "PMML": "pmml", "svg": "svg"}.get(reader.root, "xml")
    if reader.needed:
        stem = title.rpartition("/")[2].rpartition(".")[0]
        look.refer(f"{stem}.bin", reader.needed)
    return True
