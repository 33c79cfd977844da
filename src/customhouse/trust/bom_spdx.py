"""The same bill of materials as SPDX 3.0.1 (JSON-LD), by its AI, Dataset, Software and SimpleLicensing profiles.

Made from our CycloneDX document, so that the two never say different things. What the AI profile asks of every model
and dataset (one declared and one concluded licence) is there; a licence that nobody stated is NoAssertion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
SPEC_VERSION = "3.0.1"
_NAMESPACE = "https://customhouse.dev/spdxdocs/"
_NO_LICENCE = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertion"
_INFO = "_:creation"
_ALGORITHMS = {"SHA-256": "sha256", "SHA-512": "sha512", "SHA-384": "sha384", "SHA-1": "sha1", "MD5": "md5",
               "BLAKE3": "blake3"}  # fmt: skip
_PURPOSES = {
    "library": "library", "application": "application", "framework": "framework", "container": "container",
    "operating-system": "operatingSystem", "device": "device", "device-driver": "deviceDriver", "firmware": "firmware",
    "file": "file", "platform": "platform",
}  # fmt: skip
_REFERENCES = {
    "documentation": "documentation", "website": "altWebPage", "model-card": "documentation", "vcs": "vcs",
    "distribution": "altDownloadLocation", "security-contact": "securityPolicy", "advisories": "securityAdvisory",
}  # fmt: skip
_ENERGY = {"training": "training", "fine-tuning": "finetuning", "inference": "inference"}


def in_spdx(document: Mapping[str, Any]) -> dict[str, Any]:
    """The SPDX document of a CycloneDX document that `model_bom` made."""
    return _Writer(document).written()


@dataclass
class _Writer:
    document: Mapping[str, Any]
    graph: list[dict[str, Any]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    """bom-ref to spdxId."""
    licences: dict[str, str] = field(default_factory=dict)
    """Licence in words to the spdxId of its element."""

    def written(self) -> dict[str, Any]:
        """Elements in the order of the bill, then what relates them."""
        metadata = self.document["metadata"]
        model = metadata["component"]
        author = (metadata.get("authors") or [model.get("supplier") or {"name": "unknown"}])[0]
        agents = self._agents(metadata, model, author)
        for part in (model, *self.document["components"]):
            self.ids[part["bom-ref"]] = self._id(part["type"])
            self.graph.append(self._part(part, agents, top=part is model))
        for part in (model, *self.document["components"]):
            self._licence(part)
        self._relations(model)
        elements = [item["spdxId"] for item in self.graph if "spdxId" in item]
        sbom = self._id("Sbom")
        profiles = ["core", "software", "simpleLicensing", "ai", "dataset"]
        bill = {
            "type": "software_Sbom",
            "spdxId": sbom,
            "creationInfo": _INFO,
            "software_sbomType": ["analyzed"],
            "rootElement": [self.ids[model["bom-ref"]]],
            "element": elements,
            "profileConformance": profiles,
        }
        whole = {
            "type": "SpdxDocument",
            "spdxId": self._id("Document"),
            "creationInfo": _INFO,
            "name": f"{model['name']} {model.get('version', '')}".strip(),
            "rootElement": [sbom],
            "element": [sbom, *elements],
            "profileConformance": profiles,
        }
        return {"@context": CONTEXT, "@graph": [*self.graph, bill, whole]}

    def _id(self, kind: str) -> str:
        """A name within the document: by its serial number and a count, since names of files may hold anything."""
        serial = str(self.document["serialNumber"]).removeprefix("urn:uuid:")
        return f"{_NAMESPACE}{serial}#{re.sub('[^A-Za-z]', '', kind.title())}-{len(self.graph)}"

    def _agents(
        self, metadata: Mapping[str, Any], model: Mapping[str, Any], author: Mapping[str, Any]
    ) -> dict[str, str]:
        info: dict[str, Any] = {
            "type": "CreationInfo",
            "@id": _INFO,
            "specVersion": SPEC_VERSION,
            "created": _seconds(metadata["timestamp"]),
        }
        self.graph.append(info)
        agents = {"author": self._named("Organization", author["name"])}
        supplier = model.get("supplier", {}).get("name")
        if supplier:
            agents["supplier"] = (
                agents["author"] if supplier == author["name"] else self._named("Organization", supplier)
            )
        tools = [
            self._named("Tool", f"{tool['name']} {tool.get('version', '')}".strip())
            for tool in metadata["tools"]["components"]
        ]
        info["createdBy"], info["createdUsing"] = [agents["author"]], tools
        return agents

    def _named(self, kind: str, name: str) -> str:
        element = {"type": kind, "spdxId": self._id(kind), "creationInfo": _INFO, "name": name}
        self.graph.append(element)
        return str(element["spdxId"])

    def _part(self, part: Mapping[str, Any], agents: Mapping[str, str], *, top: bool) -> dict[str, Any]:
        kind = part["type"]
        shown: dict[str, Any] = {
            "type": _element(kind),
            "spdxId": self.ids[part["bom-ref"]],
            "creationInfo": _INFO,
            "name": part["name"],
        }
        hashes = [
            {"type": "Hash", "algorithm": _ALGORITHMS[row["alg"]], "hashValue": row["content"]}
            for row in part.get("hashes") or _only_archive(part)
            if row["alg"] in _ALGORITHMS
        ]
        if hashes:
            shown["verifiedUsing"] = hashes
        if part.get("description"):
            shown["description"] = part["description"]
        identifiers = [("packageUrl", part.get("purl")), ("cpe23", part.get("cpe"))]
        found = [
            {"type": "ExternalIdentifier", "externalIdentifierType": name, "identifier": value}
            for name, value in identifiers
            if value
        ]
        if found:
            shown["externalIdentifier"] = found
        if kind == "file" and not top:
            shown["software_primaryPurpose"] = "file"
            return shown
        if part.get("version"):
            shown["software_packageVersion"] = part["version"]
        links = [row for row in part.get("externalReferences", []) if row["type"] != "distribution" or top]
        if links:
            shown["externalRef"] = [
                {
                    "type": "ExternalRef",
                    "externalRefType": _REFERENCES.get(row["type"], "other"),
                    "locator": [row["url"]],
                }
                for row in links
            ]
        if kind == "machine-learning-model":
            shown.update(self._model(part, agents))
        elif kind == "data":
            shown.update(_dataset(part))
        else:
            shown["software_primaryPurpose"] = _PURPOSES.get(kind, "other")
        return shown

    def _model(self, part: Mapping[str, Any], agents: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
        card = part.get("modelCard", {})
        parameters, weighed = card.get("modelParameters", {}), card.get("considerations", {})
        own = {row["name"]: row["value"] for row in part.get("properties", [])}
        yield "software_primaryPurpose", "model"
        if "supplier" in agents:
            yield "suppliedBy", agents["supplier"]
        if own.get("customhouse:released"):
            yield "releaseTime", _seconds(own["customhouse:released"])
        kinds = (parameters.get("approach", {}).get("type"), *(parameters.get(k) for k in _TYPES_OF_MODEL))
        texts = {
            "ai_typeOfModel": [text for text in kinds if text],
            "ai_domain": [text for text in (parameters.get("task"), own.get("customhouse:application-area")) if text],
            "ai_hyperparameter": _entries((row["name"], row["value"]) for row in card.get("properties", [])),
            "ai_metric": _entries(
                (f"{row['type']} ({row['slice']})" if row.get("slice") else row["type"], row["value"])
                for row in card.get("quantitativeAnalysis", {}).get("performanceMetrics", [])
            ),
            "ai_informationAboutApplication": _joined(
                ("use", weighed.get("useCases", [])),
                ("inputs", [row["format"] for row in parameters.get("inputs", [])]),
                ("outputs", [row["format"] for row in parameters.get("outputs", [])]),
                ("data flow", [own.get("customhouse:data-flow", "")]),
            ),
            "ai_limitation": _joined(("", weighed.get("technicalLimitations", []))),
            "ai_standardCompliance": [
                text for text in str(own.get("customhouse:security:compliance", "")).split("; ") if text
            ],
            "ai_energyConsumption": _energy(weighed.get("environmentalConsiderations", {})),
        }
        yield from ((key, value) for key, value in texts.items() if value)

    def _licence(self, part: Mapping[str, Any]) -> None:
        """Models and datasets always have a declared and a concluded one; the others what was stated."""
        always = part["type"] in ("machine-learning-model", "data")
        stated = [_licence_text(entry) for entry in part.get("licenses", [])]
        if stated:
            declared = self._expression(
                stated[0] if len(stated) == 1 else " AND ".join(sorted(map(_slug, stated))), stated
            )
        elif always:
            declared = _NO_LICENCE
        else:
            return
        own = self.ids[part["bom-ref"]]
        self._relate(own, "hasDeclaredLicense", [declared])
        if always:  # nobody has checked the text of a licence here
            self._relate(own, "hasConcludedLicense", [_NO_LICENCE])

    def _expression(self, text: str, stated: Sequence[str]) -> str:
        if text in self.licences:
            return self.licences[text]
        own = [words for words in stated if _slug(words) != words]
        shown: dict[str, Any] = {"type": "simplelicensing_LicenseExpression", "creationInfo": _INFO}
        entries = []
        for words in own:
            custom = {
                "type": "simplelicensing_SimpleLicensingText",
                "spdxId": self._id("LicenceText"),
                "creationInfo": _INFO,
                "simplelicensing_licenseText": words,
            }
            self.graph.append(custom)
            entries.append({"type": "DictionaryEntry", "key": _slug(words), "value": custom["spdxId"]})
        shown["spdxId"] = self._id("Licence")
        shown["simplelicensing_licenseExpression"] = _slug(text) if text in stated else text
        if entries:
            shown["simplelicensing_customIdToUri"] = entries
        self.graph.append(shown)
        self.licences[text] = shown["spdxId"]
        return str(shown["spdxId"])

    def _relations(self, model: Mapping[str, Any]) -> None:
        kinds = {part["bom-ref"]: part["type"] for part in self.document["components"]}
        own = self.ids[model["bom-ref"]]
        for row in self.document["dependencies"]:
            needs = [need for need in row["dependsOn"] if need in self.ids]
            if row["ref"] == model["bom-ref"]:
                chosen = {
                    "contains": [need for need in needs if need.startswith("file:")],
                    "trainedOn": [need for need in needs if kinds.get(need) == "data"],
                    "dependsOn": [n for n in needs if kinds.get(n) != "data" and not n.startswith("file:")],
                }
                for kind, refs in chosen.items():
                    if refs:
                        self._relate(own, kind, [self.ids[ref] for ref in refs])
            elif needs and row["ref"] in self.ids:
                self._relate(self.ids[row["ref"]], "dependsOn", [self.ids[need] for need in needs])
        for base in model.get("pedigree", {}).get("ancestors", []):
            self.ids[f"base:{base['name']}"] = place = self._id("BaseModel")
            element = self._part({**base, "bom-ref": f"base:{base['name']}"}, {}, top=False)
            self.graph.append(element)
            self._relate(place, "hasDeclaredLicense", [_NO_LICENCE])
            self._relate(place, "hasConcludedLicense", [_NO_LICENCE])
            self._relate(place, "ancestorOf", [own])

    def _relate(self, left: str, kind: str, right: Sequence[str]) -> None:
        self.graph.append(
            {
                "type": "Relationship",
                "spdxId": self._id("Relationship"),
                "creationInfo": _INFO,
                "from": left,
                "relationshipType": kind,
                "to": list(right),
            }
        )


_TYPES_OF_MODEL = ("architectureFamily", "modelArchitecture")


def _only_archive(part: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """The hashes of a library's archive, where there is one alone: of several, one would do, and SPDX wants all."""
    archives = [row for row in part.get("externalReferences", []) if row["type"] == "distribution"]
    return archives[0].get("hashes", []) if len(archives) == 1 else []


def _element(kind: str) -> str:
    return {"file": "software_File", "data": "dataset_DatasetPackage", "machine-learning-model": "ai_AIPackage"}.get(
        kind, "software_Package"
    )


def _dataset(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    own = {row["name"]: row["value"] for row in part.get("properties", [])}
    data = part.get("data", [{}])[0]
    yield "software_primaryPurpose", "data"
    yield "dataset_datasetType", ["noAssertion"]
    size = own.get("customhouse:size", "")
    if size.isdigit():
        yield "dataset_datasetSize", int(size)
    if own.get("customhouse:provenance"):
        yield "dataset_dataCollectionProcess", own["customhouse:provenance"]
    if data.get("description"):
        yield "summary", data["description"]
    if data.get("sensitiveData"):
        yield "comment", "sensitivity: " + "; ".join(data["sensitiveData"])


def _energy(weighed: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for row in weighed.get("energyConsumptions", []):
        name = _ENERGY.get(row["activity"])
        if name is not None:
            spent = {
                "type": "ai_EnergyConsumptionDescription",
                "ai_energyQuantity": f"{row['activityEnergyCost']['value']:.12f}".rstrip("0").rstrip("."),
                "ai_energyUnit": "kilowattHour",
            }
            shown.setdefault(f"ai_{name}EnergyConsumption", []).append(spent)
    return {"type": "ai_EnergyConsumption", **shown} if shown else {}


def _entries(pairs: Any) -> list[dict[str, str]]:
    return [{"type": "DictionaryEntry", "key": key, "value": value} for key, value in pairs]


def _seconds(time: str) -> str:
    """SPDX has no parts of seconds."""
    return re.sub(r"\.\d+", "", time)


def _joined(*parts: tuple[str, Sequence[str]]) -> str:
    said = [
        f"{name}: {'; '.join(filter(None, texts))}" if name else "; ".join(texts) for name, texts in parts if any(texts)
    ]
    return "\n".join(said)


def _licence_text(entry: Mapping[str, Any]) -> str:
    licence = entry.get("license", {})
    return str(entry.get("expression") or licence.get("id") or licence.get("name"))


def _slug(text: str) -> str:
    """An expression that SPDX can parse, or the text as the name of a licence of its own."""
    if re.fullmatch(r"[A-Za-z0-9.\-+]+(?: (?:AND|OR|WITH) [A-Za-z0-9.\-+]+)*", text.replace("(", "").replace(")", "")):
        return text
    return "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-")[:80] or "unnamed")
