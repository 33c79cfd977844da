"""How complete a bill of materials is, by the G7's "SBOM for AI: Minimum Elements" (published by BSI, 2026-05-12).

Fifty elements in seven clusters; the identifiers are those of the vocabulary https://w3id.org/sbom/req/g7ai/ (0.1.0),
since the paper itself numbers none. They are not mandatory, and not every one fits every model: the score says what is
there, not what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.core.errors import ArtifactError

STANDARD = "G7 SBOM for AI - Minimum Elements"
EDITION = "2026-05-12"
SOURCE = "https://www.bsi.bund.de/SharedDocs/Downloads/EN/BSI/KI/SBOM-for-AI_minimum-elements.pdf"
CLUSTERS = {
    "MD": "Metadata",
    "SLP": "System Level Properties",
    "MDL": "Models",
    "DP": "Dataset Properties",
    "INF": "Infrastructure",
    "SP": "Security Properties",
    "KPI": "Key Performance Indicators",
}


@dataclass(frozen=True, slots=True)
class Element:
    """One minimum element: `state` is met, partly (of some of the datasets) or missing; `add` says where to add it."""

    id: str
    name: str
    state: str
    add: str = ""

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return CLUSTERS[self.id.split("-")[0]]

    def to_json(self) -> dict[str, str]:
        """One row; where to add it only while it is not met."""
        row = {"id": f"G7AI-{self.id}", "cluster": self.cluster, "name": self.name, "state": self.state}
        return row if self.state == "met" else {**row, "add": self.add}


def score(document: Mapping[str, Any], *, signed: bool = False, where: str = "") -> tuple[Element, ...]:
    """All elements, in the order of the standard.

    `signed`: whether the document came with a signature of its author; `where`: its file. Raises ArtifactError for what
    is no CycloneDX document.
    """
    if not isinstance(document, Mapping) or document.get("bomFormat") != "CycloneDX":
        raise ArtifactError("no CycloneDX bill of materials", where=where, hint="`customhouse model bom` writes one")
    try:
        view = _View(document, signed)
        plain = [Element(key, name, "met" if there(view) else "missing", add) for key, name, there, add in _PLAIN]
        data = [Element(key, name, _share(view.datasets, there), add) for key, name, there, add in _OF_DATASETS]
    except (TypeError, AttributeError, KeyError, ValueError, IndexError) as error:
        raise ArtifactError(f"a malformed bill of materials: {error}", where=where) from error
    order = list(CLUSTERS)
    return tuple(sorted((*plain, *data), key=lambda item: (order.index(item.id.split("-")[0]), item.id)))


def summary(elements: Iterable[Element]) -> dict[str, Any]:
    """The document that `bom score` prints."""
    rows = list(elements)
    return {
        "standard": STANDARD,
        "edition": EDITION,
        "source": SOURCE,
        "met": sum(row.state == "met" for row in rows),
        "partly": sum(row.state == "partly" for row in rows),
        "of": len(rows),
        "elements": [row.to_json() for row in rows],
    }


class _View:
    """The document, as the elements ask for it."""

    def __init__(self, document: Mapping[str, Any], signed: bool) -> None:
        self.document, self.signed = document, signed
        self.metadata: Mapping[str, Any] = document.get("metadata", {})
        self.model: Mapping[str, Any] = self.metadata.get("component", {})
        self.parts: list[Mapping[str, Any]] = document.get("components", [])
        self.card: Mapping[str, Any] = self.model.get("modelCard", {})
        self.parameters: Mapping[str, Any] = self.card.get("modelParameters", {})
        self.considerations: Mapping[str, Any] = self.card.get("considerations", {})
        self.metrics: list[Mapping[str, Any]] = self.card.get("quantitativeAnalysis", {}).get("performanceMetrics", [])
        self.own = {row["name"]: row.get("value", "") for row in self.model.get("properties", [])}
        self.references = {row["type"] for row in self.model.get("externalReferences", [])}
        self.datasets = [part for part in self.parts if part.get("type") == "data"]
        inline = [row for row in self.parameters.get("datasets", []) if "ref" not in row]
        self.datasets += [{"name": row.get("name"), "data": [row]} for row in inline]

    def tools(self) -> list[Mapping[str, Any]]:
        """As a list of components, or (until 1.4) of tools."""
        tools = self.metadata.get("tools", [])
        found: list[Mapping[str, Any]] = tools.get("components", []) if isinstance(tools, Mapping) else tools
        return found

    def facts(self, *prefixes: str) -> bool:
        """Whether the card has properties of these kinds."""
        return any(str(row.get("name", "")).startswith(prefixes) for row in self.card.get("properties", []))


def _share(datasets: list[Mapping[str, Any]], there: Callable[[Mapping[str, Any]], bool]) -> str:
    found = sum(bool(there(item)) for item in datasets)
    return "missing" if not found else "met" if found == len(datasets) else "partly"


def _data(item: Mapping[str, Any]) -> Mapping[str, Any]:
    rows = item.get("data") or [{}]
    first: Mapping[str, Any] = rows[0]
    return first


def _property(item: Mapping[str, Any], name: str) -> bool:
    return any(row.get("name") == name and row.get("value") for row in item.get("properties", []))


def _linked(view: _View) -> bool:
    return any(row.get("dependsOn") for row in view.document.get("dependencies", []))


def _runs_on(view: _View) -> bool:
    kinds = ("library", "framework", "container", "operating-system")
    return bool(view.own.get("customhouse:infrastructure:software")) or any(
        part.get("type") in kinds for part in view.parts
    )


_CARD = "the card (`model bom --card FILE`): "
_Row = tuple[str, str, Callable[[_View], Any], str]
_PLAIN: tuple[_Row, ...] = (
    ("MD-01", "SBOM author", lambda v: v.metadata.get("authors") or v.metadata.get("manufacturer"), _CARD + "author"),
    ("MD-02", "SBOM version", lambda v: v.document.get("version"), "version"),
    ("MD-03", "SBOM data format name", lambda v: v.document.get("bomFormat"), "bomFormat"),
    ("MD-04", "SBOM data format version", lambda v: v.document.get("specVersion"), "specVersion"),
    ("MD-05", "SBOM author signature", lambda v: v.signed or v.document.get("signature"), "`model attest` signs it"),
    ("MD-06", "SBOM tool name", lambda v: any(t.get("name") for t in v.tools()), "metadata.tools"),
    ("MD-07", "SBOM tool version", lambda v: any(t.get("version") for t in v.tools()), "metadata.tools"),
    ("MD-08", "SBOM generation context", lambda v: v.metadata.get("lifecycles"), "metadata.lifecycles"),
    ("MD-09", "SBOM timestamp", lambda v: v.metadata.get("timestamp"), "metadata.timestamp"),
    ("MD-10", "SBOM dependency relationship", _linked, "dependencies"),
    ("SLP-01", "System name", lambda v: v.model.get("name"), "--name"),
    ("SLP-02", "System components", lambda v: v.parts, "components"),
    ("SLP-03", "System producer", lambda v: v.model.get("supplier") or v.model.get("manufacturer"), _CARD + "producer"),
    ("SLP-04", "System version", lambda v: v.model.get("version") not in (None, "", "0"), "--version"),
    ("SLP-05", "System timestamp", lambda v: v.own.get("customhouse:released"), _CARD + "released"),
    ("SLP-06", "System data flow", lambda v: v.own.get("customhouse:data-flow"), _CARD + "data-flow"),
    ("SLP-07", "System data usage", lambda v: v.own.get("customhouse:data-usage"), _CARD + "data-usage"),
    ("SLP-08", "System input/output properties", lambda v: v.parameters.get("inputs") and v.parameters.get("outputs"),
     _CARD + "inputs, outputs"),
    ("SLP-09", "Intended application area",
     lambda v: v.own.get("customhouse:application-area") or v.considerations.get("useCases"),
     _CARD + "application-area"),
    ("MDL-01", "Model name", lambda v: v.model.get("name"), "--name"),
    ("MDL-02", "Model identifier", lambda v: v.model.get("purl") or v.own.get("customhouse:tree-digest"),
     _CARD + "identifier"),
    ("MDL-03", "Model version", lambda v: v.model.get("version") not in (None, "", "0"), "--version"),
    ("MDL-04", "Model timestamp", lambda v: v.own.get("customhouse:released"), _CARD + "released"),
    ("MDL-05", "Model producer", lambda v: v.model.get("supplier") or v.model.get("manufacturer"), _CARD + "producer"),
    ("MDL-06", "Model description", lambda v: v.model.get("description"), _CARD + "description"),
    ("MDL-07", "Model hash value", lambda v: any(h.get("content") for h in v.model.get("hashes", [])), "hashes"),
    ("MDL-08", "Model hash algorithm", lambda v: any(h.get("alg") for h in v.model.get("hashes", [])), "hashes"),
    ("MDL-09", "Model properties",
     lambda v: v.parameters.get("modelArchitecture") or v.parameters.get("architectureFamily"),
     _CARD + "architecture, family"),
    ("MDL-10", "Model input/output properties", lambda v: v.parameters.get("inputs") and v.parameters.get("outputs"),
     _CARD + "inputs, outputs"),
    ("MDL-11", "Model training properties",
     lambda v: v.parameters.get("approach") or v.facts("hyper-parameter:", "training:", "config:"),
     _CARD + "approach, hyper-parameters, training-code"),
    ("MDL-12", "Model license", lambda v: v.model.get("licenses"), _CARD + "licence"),
    ("MDL-13", "Model external references", lambda v: v.references, _CARD + "references"),
    ("INF-01", "Infrastructure software", _runs_on,
     "--libraries, --environment, --image-sbom, or " + _CARD + "software"),
    ("INF-02", "Infrastructure hardware", lambda v: v.own.get("customhouse:infrastructure:hardware"),
     _CARD + "hardware"),
    ("SP-01", "Security controls", lambda v: v.own.get("customhouse:security:controls"), _CARD + "security.controls"),
    ("SP-02", "Security compliance", lambda v: v.own.get("customhouse:security:compliance"),
     _CARD + "security.compliance"),
    ("SP-03", "Cybersecurity policy information",
     lambda v: v.references & {"security-contact", "rfc-9116"}, _CARD + "security.policy"),
    ("SP-04", "Vulnerability referencing",
     lambda v: v.document.get("vulnerabilities")
     or v.references & {"advisories", "vulnerability-assertion", "exploitability-statement"},
     _CARD + "security.vulnerabilities"),
    ("KPI-01", "Security metrics", lambda v: any("security" in str(m.get("slice", "")) for m in v.metrics),
     _CARD + "security.metrics"),
    ("KPI-02", "Operational performance KPIs",
     lambda v: any("security" not in str(m.get("slice", "")) for m in v.metrics), _CARD + "metrics"),
)  # fmt: skip
_OF_DATASETS: tuple[tuple[str, str, Callable[[Mapping[str, Any]], Any], str], ...] = (
    ("DP-01", "Dataset name", lambda d: d.get("name"), _CARD + "datasets[].name"),
    ("DP-02", "Dataset description", lambda d: d.get("description"), _CARD + "datasets[].description"),
    ("DP-03", "Dataset content", lambda d: _data(d).get("description") and d.get("hashes"),
     _CARD + "datasets[].content"),
    ("DP-04", "Dataset identifier", lambda d: d.get("purl") or _data(d).get("contents", {}).get("url"),
     _CARD + "datasets[].identifier"),
    ("DP-05", "Dataset hash", lambda d: d.get("hashes"), _CARD + "datasets[].digest"),
    ("DP-06", "Dataset provenance", lambda d: _property(d, "customhouse:provenance") or d.get("pedigree"),
     _CARD + "datasets[].provenance"),
    ("DP-07", "Dataset statistical properties", lambda d: _property(d, "customhouse:statistics"),
     _CARD + "datasets[].statistics"),
    ("DP-08", "Dataset sensitivity", lambda d: _data(d).get("sensitiveData") or _data(d).get("classification"),
     _CARD + "datasets[].sensitivity"),
    ("DP-09", "Dataset dependency relationship", lambda d: d.get("bom-ref"), _CARD + "datasets[] with a digest"),
    ("DP-10", "Dataset license", lambda d: d.get("licenses"), _CARD + "datasets[].licence"),
)  # fmt: skip
