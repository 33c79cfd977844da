"""`evaluation:` of customhouse.yaml: which plan a model is evaluated by, and what Facts get of that.

A plan is a file in Git. Its digest is what evidence has to name: a branch that loosens its bounds is judged by those of
its base, and evidence under an older plan counts no more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse.core.errors import ConfigError
from customhouse.core.evidence import ArtifactRef
from customhouse.trust.provenance_patterns import matches, problem_of

MAX_PLAN = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One entry of `evaluation.plans`: the file, and the models that it is for (patterns of their references)."""

    name: str
    file: str
    models: tuple[str, ...]


def entries_of(document: Mapping[str, Any], fail: Callable[[str, str], Any]) -> tuple[PlanEntry, ...]:
    """Read `evaluation:`, which fits the schema. Calls `fail` for a bad pattern and a name that stands twice."""
    entries: list[PlanEntry] = []
    for index, item in enumerate((document.get("evaluation") or {}).get("plans") or ()):
        at = f"/evaluation/plans/{index}"
        if any(item["name"] == entry.name for entry in entries):
            fail(f"{at}/name", f"two plans are called {item['name']!r}")
        for number, pattern in enumerate(item["models"]):
            if problem := problem_of(pattern):
                fail(f"{at}/models/{number}", f"{pattern[:80]!r}: {problem}")
        entries.append(PlanEntry(item["name"], item["file"], tuple(item["models"])))
    return tuple(entries)


@dataclass(frozen=True, slots=True)
class EvaluationJudge:
    """`policy.facts.EvaluationFacts`: the plan that a model needs, and whether its data are registered ones."""

    plans: tuple[tuple[PlanEntry, str], ...] = ()
    """Each with the digest of its file."""
    registered: Collection[str] = field(default=())
    """Digests of datasets that reviewed configuration names (`provenance.datasets`)."""

    @classmethod
    def of(
        cls,
        entries: tuple[PlanEntry, ...],
        read: Callable[[str], bytes],
        parse: Callable[[bytes, str], Any],
        datasets: Mapping[str, Collection[str]],
    ) -> EvaluationJudge:
        """The judge of a revision, whose files `read` gives and `parse` reads as YAML.

        Raises ConfigError for what is no mapping: a plan that nobody can read must not be merged. What it holds is read
        by whoever evaluates; the gate needs its digest.
        """
        plans = []
        for entry in entries:
            data = read(entry.file)
            if len(data) > MAX_PLAN:
                raise ConfigError("a plan over 1 MiB is not read", where=entry.file)
            if not isinstance(parse(data, entry.file), Mapping):
                raise ConfigError("it is no mapping", where=entry.file, hint="docs/evaluation.md shows a plan")
            plans.append((entry, bytes_digest(data)))
        return cls(tuple(plans), frozenset(digest for digests in datasets.values() for digest in digests))

    def wanted(self, artifact: ArtifactRef) -> dict[str, Any] | None:
        """The plan of a model: the first whose patterns match; None where there is none."""
        if artifact.role != "model":
            return None
        for entry, digest in self.plans:
            if any(matches(pattern, artifact.reference) for pattern in entry.models):
                return {"plan": entry.name, "file": entry.file, "digest": digest}
        return None

    def is_registered(self, digests: Collection[str]) -> bool:
        """Whether one of them is a dataset that is declared in Git."""
        return any(digest in self.registered for digest in digests)
