"""Bundles: Rego v1 modules, their data and what is known of every rule, under one digest.

The built-in bundle is packaged (`policy/rego`). A project's own bundle is read from files of the base revision: its
modules join the built-in ones as packages `customhouse.rules.NAME` with a set rule `findings`, and cannot touch
built-in packages: a rule is switched off by a waiver that has an owner and an end, not by redefinition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from customhouse._kit.canonical import CanonicalError
from customhouse._kit.digest import json_digest
from customhouse._kit.single_keys import each_once
from customhouse.core.decision import Category, Severity
from customhouse.core.errors import PolicyError
from customhouse.policy.lint import TEST_SUFFIX, check_modules, package_of
from customhouse.policy.strictyaml import StrictYamlError, parse_yaml

QUERY = "data.customhouse.findings"
"""The entry point: the set of findings about `input`, a Facts document."""
BUILTIN_VERSION = "1.0.0"
MAX_BUNDLE_BYTES = 4 * 1024 * 1024
MAX_MODULE_BYTES = 512 * 1024
MAX_MODULES = 500
_RULES = "customhouse.rules."
OWN_ENTRIES = "customhouse_own.rego"
_CAPS = {"warn": "warning", "dryrun": "note"}
_CAPPED = """caps := %s

within := {"warning": ["warning", "note"], "note": ["note"]}

capped(finding) := finding if not caps[finding.rule]

capped(finding) := finding if finding.severity in within[caps[finding.rule]]

capped(finding) := object.union(finding, {"severity": caps[finding.rule]}) if {
	caps[finding.rule]
	not finding.severity in within[caps[finding.rule]]
}
"""
"""The part of the module of one's own rules that holds them to their `enforcement`."""
_METADATA = re.compile(r"^# METADATA[ \t]*\n((?:#.*\n)+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RuleDoc:
    """What a rule says of itself in its `# METADATA` block; `file` and `line` are where that block starts.

    `enforcement` is `deny`, `warn` or `dryrun`; only a project's own rules have another than `deny`.
    """

    id: str
    title: str
    description: str
    category: Category
    severity: Severity
    fix: str
    file: str
    line: int
    enforcement: str = "deny"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Policies and their data. `tests` are not part of what is judged with, nor of the digest."""

    modules: Mapping[str, str]
    data: Mapping[str, Any]
    version: str
    digest: str
    tests: Mapping[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[RuleDoc, ...]:
        """What is known of every rule, by id; read when asked, since judging needs none of it (50 ms of YAML)."""
        return tuple(sorted(_rules(self.modules), key=lambda doc: doc.id))

    def rule(self, rule_id: str) -> RuleDoc | None:
        """The documentation of one rule."""
        return next((doc for doc in self.rules if doc.id == rule_id), None)


@lru_cache(maxsize=1)
def builtin_bundle() -> Bundle:
    """The packaged bundle. Its lint and its metadata are checked by tests, and the engine lints before it compiles."""
    folder = Path(__file__).with_name("rego")
    files = {
        entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".rego")
    }
    return _assemble(files, {}, BUILTIN_VERSION)


def load_bundle(files: Mapping[str, bytes], *, base: Bundle | None = None, version: str = "") -> Bundle:
    """A bundle from files of a Git revision: `*.rego`, `*_test.rego`, `data.json`, `data.yaml` (path → content).

    With `base` (as a rule `builtin_bundle()`) the modules are added to it. Raises PolicyError, naming file and line,
    for a file that is no Rego that both engines take, a refused built-in, a package of `base`, or broken data.
    """
    _check_sizes(files)
    sources: dict[str, str] = {}
    data: dict[str, Any] = {}
    for path in sorted(files):
        name = path.rpartition("/")[2]
        if path.endswith(".rego"):
            sources[path] = _text(path, files[path])
        elif name in ("data.json", "data.yaml", "data.yml"):
            _merge_data(data, path, files[path])
    if base is not None:
        taken = {package_of(source, name) for name, source in base.modules.items()}
        for path, source in sources.items():
            if package_of(source, path) in taken or path in base.modules:
                raise PolicyError(
                    f"the package {package_of(source, path)} is built in",
                    where=path,
                    hint="write rules in a package customhouse.rules.NAME of your own; waive a built-in rule instead",
                )
        if clash := base.data.keys() & data.keys():
            raise PolicyError(f"the data key {min(clash)} is taken", hint="every key may be given once")
        sources = {**base.modules, **base.tests, **sources}
        data = {**base.data, **data}
        version = version or base.version
        sources |= _own_entries(sources)
    check_modules(sources)
    bundle = _assemble(sources, data, version or "0")
    tuple(_rules(bundle.modules))  # raises for a METADATA block that cannot be read
    return bundle


def _own_entries(sources: Mapping[str, str]) -> dict[str, str]:
    """The module by which a project's own packages take part: a body beside those of `main.rego` for each of them.

    A rule whose metadata says `enforcement: warn` or `dryrun` finds no more than warnings, or notes: it is watched
    before it denies.
    """
    builtin = {package_of(source, name) for name, source in builtin_bundle().modules.items()}
    own = {
        name: source
        for name, source in sources.items()
        if name != OWN_ENTRIES and not name.endswith(TEST_SUFFIX) and package_of(source, name) not in builtin
    }
    packages = sorted({package_of(source, name) for name, source in own.items()})
    joined = [package for package in packages if package.startswith(_RULES) and "." not in package[len(_RULES) :]]
    caps = {doc.id: _CAPS[doc.enforcement] for doc in _rules(own) if doc.enforcement in _CAPS}
    shown = "capped(lib.judged(finding))" if caps else "lib.judged(finding)"
    bodies = [
        f"findings contains {shown} if {{\n"
        f"\tsome finding in data.customhouse.rules[{json.dumps(package[len(_RULES) :])}].findings\n"
        "\tlib.kept(finding)\n}\n"
        for package in joined
    ]
    if bodies and caps:
        bodies.append(_CAPPED % json.dumps(caps, sort_keys=True))
    return (
        {OWN_ENTRIES: "\n".join(["package customhouse\n", "import data.customhouse.lib\n", *bodies])} if bodies else {}
    )


def _assemble(sources: Mapping[str, str], data: Mapping[str, Any], version: str) -> Bundle:
    modules = {name: source for name, source in sorted(sources.items()) if not name.endswith(TEST_SUFFIX)}
    tests = {name: source for name, source in sorted(sources.items()) if name.endswith(TEST_SUFFIX)}
    if not modules:
        raise PolicyError("the bundle has no Rego module", hint="an empty bundle would allow everything")
    try:
        digest = json_digest({"modules": modules, "data": data, "version": version})
    except CanonicalError as error:
        raise PolicyError(f"the bundle's data has no JSON form: {error}") from error
    return Bundle(
        modules=MappingProxyType(modules),
        data=MappingProxyType(dict(data)),
        version=version,
        digest=digest,
        tests=MappingProxyType(tests),
    )


def _rules(modules: Mapping[str, str]) -> Iterable[RuleDoc]:
    seen: dict[str, str] = {}
    for name, source in modules.items():
        for match in _METADATA.finditer(source):
            line = source.count("\n", 0, match.start()) + 1
            where = f"{name}:{line}"
            block = "\n".join(text[1:].removeprefix(" ") for text in match[1].splitlines())
            try:
                meta = parse_yaml(block)
            except StrictYamlError as error:
                raise PolicyError(f"the METADATA block cannot be read: {error}", where=where) from error
            custom = meta.get("custom") if isinstance(meta, dict) else None
            if not isinstance(custom, dict) or "id" not in custom:
                continue
            doc = _rule(meta, custom, name, line)
            if doc.id in seen:
                raise PolicyError(f"rule {doc.id} is documented twice", where=where, hint=f"first at {seen[doc.id]}")
            seen[doc.id] = where
            yield doc


def _rule(meta: Mapping[str, Any], custom: Mapping[str, Any], name: str, line: int) -> RuleDoc:
    enforcement = str(custom.get("enforcement", "deny"))
    if enforcement not in ("deny", *_CAPS):
        raise PolicyError(
            f"enforcement is {enforcement[:40]!r}", where=f"{name}:{line}", hint="one of: deny, warn, dryrun"
        )
    try:
        return RuleDoc(
            id=str(custom["id"]),
            title=str(meta["title"]).strip(),
            description=" ".join(str(meta["description"]).split()),
            category=Category(custom["category"]),
            severity=Severity(custom["severity"]),
            fix=" ".join(str(custom["fix"]).split()),
            file=name,
            line=line,
            enforcement=enforcement,
        )
    except (KeyError, ValueError) as error:
        raise PolicyError(
            f"the METADATA block is not whole: {error}",
            where=f"{name}:{line}",
            hint="it needs title, description, and custom: id, category (security, cost, reliability or compliance), "
            "severity (error, warning or note), fix",
        ) from error


def _check_sizes(files: Mapping[str, bytes]) -> None:
    if len(files) > MAX_MODULES or sum(len(content) for content in files.values()) > MAX_BUNDLE_BYTES:
        raise PolicyError(f"a bundle has at most {MAX_MODULES} files and {MAX_BUNDLE_BYTES} bytes")
    for path, content in files.items():
        if len(content) > MAX_MODULE_BYTES:
            raise PolicyError(f"{len(content)} bytes; a file of a bundle has at most {MAX_MODULE_BYTES}", where=path)


def _text(path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError("not UTF-8", where=path) from error


def _merge_data(data: dict[str, Any], path: str, content: bytes) -> None:
    text = _text(path, content)
    try:
        value = json.loads(text, object_pairs_hook=each_once) if path.endswith(".json") else parse_yaml(text)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"the data cannot be read: {error}", where=path) from error
    if not isinstance(value, dict):
        raise PolicyError("data has to be a mapping", where=path)
    for key, item in value.items():
        if key in data or key == "customhouse":
            raise PolicyError(f"the key {key} is taken", where=path, hint="every key may be given once")
        data[key] = item
