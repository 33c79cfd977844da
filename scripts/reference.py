"""Writes the pages of docs/reference that the code makes: cli.md, configuration.md, rules.md, an example in facts.md.

`make reference` writes them; a test runs `--check`, so that they cannot drift.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs" / "reference"
MADE = "<!-- Made by `make reference`; edit the code, not this page. -->"


def cli() -> str:
    """Every command with its own help; one whose module is not there yet says so."""
    os.environ["COLUMNS"] = "100"
    from customhouse.cli.program import VERBS

    lines = ["# Command line", "", MADE, ""]
    lines += ["Data on stdout, talk on stderr. Exit statuses and error codes are in [errors.md](errors.md).", ""]
    lines += ["| command | what it does |", "|---|---|"]
    lines += [f"| [`customhouse {name}`](#customhouse-{name}) | {text} |" for name, (_, text) in VERBS.items()]
    for name, (place, text) in VERBS.items():
        module, _, attribute = place.partition(":")
        try:
            command = getattr(import_module(f"customhouse.cli.{module}"), attribute)
        except ModuleNotFoundError as error:
            if error.name != f"customhouse.cli.{module}":
                raise
            lines += ["", f"## customhouse {name}", "", text, "", "Not yet."]
            continue
        for path, page in _helps(command, f"customhouse {name}"):
            level = "##" if path == f"customhouse {name}" else "###"
            lines += ["", f"{level} {path}", "", "```", page, "```"]
    return "\n".join(lines) + "\n"


def _helps(command: Any, path: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    import click

    context = click.Context(command, info_name=path if parent is None else path.rpartition(" ")[2], parent=parent)
    context.terminal_width = 100
    yield path, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _helps(child, f"{path} {name}", context)


def configuration() -> str:
    """Every key of customhouse.yaml from its JSON Schema, and every variable that a process reads."""
    from customhouse.app.configuration import schema

    lines = ["# customhouse.yaml", "", MADE, ""]
    lines += [
        "One file at the repository's root. Everything in it is code: reviewed, versioned, gated. A change is judged",
        "under the **base** revision's file, so an edit of it takes effect after the merge. An unknown key is an error",
        "that names the nearest known one. Its JSON Schema is `src/customhouse/app/customhouse.schema.json`.",
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += list(_keys(schema(), ""))
    lines += ["", "## Environment", "", "A flag counts before a variable, a variable before the file.", ""]
    lines += ["| variable | meaning |", "|---|---|"]
    from customhouse.app import settings

    named = re.findall(r"\b(CUSTOMHOUSE_[A-Z_]+|NO_COLOR)\b", Path(settings.__file__).read_text())
    lines += [f"| `{name}` | {VARIABLES.get(name, 'see `customhouse --help`')} |" for name in dict.fromkeys(named)]
    return "\n".join(lines) + "\n"


VARIABLES = {
    "CUSTOMHOUSE_STATE": "The folder of everything durable (`--state`); default `.customhouse`.",
    "CUSTOMHOUSE_STORE": (
        "A PostgreSQL server that holds the store instead of a file there: `postgresql://user@host/database` "
        "(extra `postgres`; TLS beyond this machine unless `?sslmode=disable`)."
    ),
    "CUSTOMHOUSE_STORE_PASSWORD": "The password for it, so that it need not stand in the address.",
    "CUSTOMHOUSE_OPA": (
        "An Open Policy Agent of somebody else on this machine, `unix:///PATH` or `http://127.0.0.1:PORT`; "
        "taken for `opa` and `auto`."
    ),
    "CUSTOMHOUSE_ENGINE": "The policy engine: `auto` (default; OPA 1.0+ if on PATH, else `embedded`), `opa`.",
    "CUSTOMHOUSE_CONFIG": "A customhouse.yaml to use where the repository has none (`--config`).",
    "NO_COLOR": "No colours, whatever its value.",
}


def _keys(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, child in node.get("properties", {}).items():
        path = f"{prefix}{name}"
        items = child.get("items", {})
        values = child.get("enum") or items.get("enum")
        kind = " \\| ".join(f"`{value}`" for value in values) if values else child.get("type", "")
        if child.get("type") == "array":
            kind = f"list of {kind if values else items.get('type', 'values')}"
        default = f"`{json.dumps(child['default'])}`" if "default" in child else ""
        yield f"| `{path}` | {kind} | {default} | {child.get('description', '')} |"
        yield from _keys(child, f"{path}.")
        yield from _keys(items, f"{path}[].")
        if isinstance(child.get("additionalProperties"), Mapping):
            yield from _keys(child["additionalProperties"], f"{path}.NAME.")


def rules() -> str:
    """Every built-in rule from its METADATA, by topic."""
    from customhouse.policy.bundle import builtin_bundle
    from customhouse.policy.tiers import BUILTIN_TIERS

    bundle = builtin_bundle()
    lines = ["# Rules", "", MADE, ""]
    lines += [
        "What the built-in bundle judges by. A tier or an environment may be stricter than a rule's severity, and a"
    ]
    lines += ["relaxation or a waiver laxer for a while ([policies](../policies.md))."]
    for file in sorted({rule.file for rule in bundle.rules}):
        lines += ["", f"## {file.removesuffix('.rego')}"]
        for rule in (item for item in bundle.rules if item.file == file):
            others = [
                f"{name}: {tier.checks[rule.id]}" for name, tier in BUILTIN_TIERS.items() if rule.id in tier.checks
            ]
            lines += ["", f"### {rule.id}", "", f"{rule.title}. *{rule.category.value}, {rule.severity.value}*"]
            lines[-1] += f" ({', '.join(others)})" if others else ""
            lines += ["", rule.description, "", f"Fix: {rule.fix}"]
    return "\n".join(lines) + "\n"


def facts() -> str:
    """docs/reference/facts.md with its example built anew."""
    text = (DOCS / "facts.md").read_text()
    example = json.dumps(_example(), indent=2, ensure_ascii=False)
    return re.sub(r"```json\n.*?```", lambda _: f"```json\n{example}\n```", text, count=1, flags=re.DOTALL)


def _example() -> Mapping[str, Any]:
    from customhouse._kit.digest import bytes_digest
    from customhouse._kit.money import Money
    from customhouse.core.change import Actor, ActorKind, Change, Operation, Revision, SignatureState
    from customhouse.core.cost import BookRef, BudgetState, WorkloadCost
    from customhouse.core.evidence import Evidence, EvidenceKind
    from customhouse.core.resource import Declaration, Location, ResourceRef
    from customhouse.core.workload import workload
    from customhouse.policy.facts import ArtifactEvidence, BudgetImpact, FactsContext, build_facts

    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    pin = bytes_digest(b"model")
    manifest = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "fraud-detection",
            "namespace": "risk",
            "labels": {"customhouse.dev/team": "risk"},
            "annotations": {"customhouse.dev/model-digest": pin},
        },
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "onnx"},
                    "storageUri": "pvc://models/fraud-detection/v2.0",
                    "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                }
            }
        },
    }
    ref = ResourceRef.of(manifest)
    found = workload(manifest)
    assert found is not None
    scan = Evidence(
        pin, EvidenceKind.SCAN, "https://customhouse.dev/scan/v1", {"verdict": "clean"}, at, "ci", True,
        bytes_digest(b"bundle"),
    )  # fmt: skip
    month, limit = Money.parse("18.25"), Money.parse("500")
    revision = Revision("0" * 40, (), "Ada <ada@example.com>", at, "v2.0", SignatureState.VERIFIED, "ada@example.com")
    change = Change(
        Operation.CREATE, ref, None, Declaration(ref, manifest, Location("models/fraud-detection/v2.0.yaml")), revision,
        Actor(ActorKind.PERSON, "Ada <ada@example.com>"),
    )  # fmt: skip
    budget = BudgetState("risk", limit, Money.parse("100"), Money.parse("20"), Money.parse("380"))
    context = FactsContext(
        at,
        BookRef(bytes_digest(b"book"), "2026-01-01"),
        artifacts=tuple(ArtifactEvidence(artifact, (scan,)) for artifact in found.artifacts),
        cost_after=WorkloadCost(ref, month, month, month),
        budgets=(BudgetImpact(budget, month),),
    )
    return build_facts(change, context).document


def main() -> int:
    """Write the pages, or with --check say which are not in step (exit 1)."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name, make in (("cli.md", cli), ("configuration.md", configuration), ("facts.md", facts), ("rules.md", rules)):
        page, path = make(), DOCS / name
        if not path.is_file() or path.read_text() != page:
            stale.append(name)
            if not check:
                path.write_text(page)
    for name in stale:
        sys.stderr.write(
            f"docs/reference/{name}: {'not in step with the code; run `make reference`' if check else 'written'}\n"
        )
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
