"""`customhouse model reproduce`: a declared Job is run again from its provenance, and what comes out is compared.

1. The provenance: signed by somebody whom customhouse.yaml (at HEAD) trusts with it, and made by a declared Job.
2. The Job: the one of exactly that digest, at `--commit` or in the history behind HEAD.
3. Its materials: the image's folder out of that commit, each dataset and base model copied from where the command names
   it, each with the digest that the provenance names. Nothing else of any volume is there: an input that was not
   declared is missed by the run.
4. The run, by a local target of its own in a scratch folder, within a limit of time. It gets no secrets.
5. The comparison: the digest of what was written, else the named metrics within their tolerances.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from customhouse._kit import progress
from customhouse._kit.digest import Tree, TreeError, same_digest, tree
from customhouse.app import wiring
from customhouse.app.artifacts import Volumes
from customhouse.app.declared import declarations_of
from customhouse.app.governance import Governance, governance
from customhouse.app.mounted import Named, named_paths
from customhouse.app.provenance_check import signed_statement
from customhouse.app.scratchruns import empty_claims, files_of, image_of, place_of, run_job, take, without_secrets
from customhouse.app.settings import Settings
from customhouse.control.source import Commits
from customhouse.core.errors import CannotDecideError, EvidenceError, UsageError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.core.resource import Declaration
from customhouse.execution.objects import JobRun, job_run
from customhouse.trust.attestation import evidence_path
from customhouse.trust.provenance import BUILD_TYPE
from customhouse.trust.provenance_forms import Material, Provenance, read_provenance

MAX_COMMITS = 200
"""How far back the Job is looked for; further back it is named with --commit."""
_METRICS = ("metrics.json", "evaluation.json")
_MAX_METRICS = 4 * 1024 * 1024
_INPUTS = ("dataset", "model")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. `what` is a model's folder, a digest, or a bundle; tolerances are absolute, by metric."""

    what: str
    repo: str = "."
    commit: str = ""
    tolerances: Mapping[str, float] = field(default_factory=dict)
    limit_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of both runs. `within` is None where no tolerance was given."""

    name: str
    before: float | None
    after: float | None
    tolerance: float | None

    @property
    def within(self) -> bool | None:
        """Whether the two are as near as was asked; a metric that one of them lacks, or that is no number, is not."""
        if self.tolerance is None:
            return None
        if self.before is None or self.after is None:
            return False
        return math.isfinite(self.before) and abs(self.before - self.after) <= self.tolerance


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What came of it. `digest` is that of what was written where the first run wrote its model."""

    job: str
    commit: str
    expected: str
    digest: str
    files: tuple[str, ...]
    """Files that differ, where those of the first run are at hand."""
    metrics: tuple[Compared, ...]
    seconds: float

    @property
    def identical(self) -> bool:
        """Whether every byte is the same."""
        return same_digest(self.expected, self.digest)

    @property
    def ok(self) -> bool:
        """Identical, or every tolerance kept where there is one."""
        asked = [item.within for item in self.metrics if item.within is not None]
        return self.identical or (bool(asked) and all(asked))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "job": self.job,
            "commit": self.commit,
            "reproduced": self.ok,
            "identical": self.identical,
            "expected": self.expected,
            "digest": self.digest,
            "differing": list(self.files),
            "metrics": [
                {
                    "name": item.name,
                    "before": item.before,
                    "after": item.after,
                    "tolerance": item.tolerance,
                    "within": item.within,
                }
                for item in self.metrics
            ],
            "seconds": round(self.seconds, 3),
        }


def reproduce(asked: Request, settings: Settings) -> Reproduced:
    """Run it again and compare. Raises CannotDecideError (and what is one) when it cannot be run as it was declared."""
    objects = wiring.commits(settings, asked.repo)
    governing = governance(objects, objects.resolve("HEAD"), settings.config, wiring.shelf(settings))
    # 1.
    evidence, first = _provenance(asked, governing)
    said = read_provenance(evidence.predicate, asked.what)
    if said.build_type != BUILD_TYPE:
        raise CannotDecideError(
            f"it was built by {said.build_type[:200]}, and only declared Jobs are run again here",
            where=asked.what,
            hint=f"provenance of {BUILD_TYPE} (`customhouse model attest --job`) can be reproduced",
        )
    # 2.
    commit, job = _job(said, asked, objects, governing)
    run = job_run(job.manifest)
    without_secrets(job, run)
    with tempfile.TemporaryDirectory(prefix="reproduce-") as name:
        # 3.
        scratch = Path(name)
        images = image_of(run, commit, objects, governing, scratch)
        outputs, claims = _inputs(said, run, Volumes.of(governing.configuration.volumes, settings.workspace), scratch)
        # 4.
        seconds = run_job(job, scratch, claims, images, min(asked.limit_s, run.deadline_s or asked.limit_s))
        # 5.
        return _compared(asked, job, commit, evidence.subject, outputs, first, seconds)


def _provenance(asked: Request, governing: Governance) -> tuple[Evidence, Path | None]:
    """The statement, and the folder of the model where it is at hand."""
    place, repo = Path(asked.what), Path(asked.repo)
    first = None
    if asked.what.startswith("sha256:"):
        place = repo / evidence_path(asked.what, EvidenceKind.PROVENANCE)
    elif place.is_dir():
        first, digest = place, files_of(place, "the model").digest
        place = repo / evidence_path(digest, EvidenceKind.PROVENANCE)
        if not place.is_file():
            raise UsageError(f"there is no provenance of {digest}", where=str(place), hint="name the bundle's file")
    found = signed_statement(place, governing)
    if not found.verified:
        raise EvidenceError(
            f"this provenance is not believed: {found.problem}",
            where=str(place),
            hint="what strangers wrote is not run; name the signer under trust: of customhouse.yaml",
        )
    return found, first


def _job(said: Provenance, asked: Request, objects: Commits, governing: Governance) -> tuple[str, Declaration]:
    digest, name = said.parameters.get("job.digest", ""), said.parameters.get("job.resource", "")
    head = objects.resolve(asked.commit or (said.source.commit if said.source and said.source.commit else "HEAD"))
    commits = [head] if asked.commit else list(reversed(objects.commits(None, head)))[:MAX_COMMITS]
    for number, commit in enumerate(commits):
        progress.tell("looking for the Job", number, len(commits))
        for item in declarations_of(objects, commit, governing.configuration.paths):
            if item.ref.kind == "Job" and same_digest(item.digest, digest):
                return commit, item
    raise CannotDecideError(
        f"no commit declares the Job {name} with the digest {digest}",
        where=head[:12],
        hint="name the commit that declares it with --commit",
    )


def _inputs(
    said: Provenance, run: JobRun, volumes: Volumes, scratch: Path
) -> tuple[tuple[Path, ...], Mapping[str, Path]]:
    """Copy the inputs into the scratch volumes; the places that the run writes to, and the volumes."""
    claims = empty_claims(run, scratch)
    named = named_paths(run)
    taken: set[Named] = set()
    for material in (item for item in said.materials if item.name in _INPUTS):
        source = next((one for one in named if _holds(one, material, volumes)), None)
        if source is None:
            raise CannotDecideError(
                f"the {material.name} {material.uri} ({material.digest or 'without a digest'}) is at no path that the "
                f"Job's command names",
                where=material.at,
                hint="put it back where the Job reads it; volumes are folders under target.volumes of customhouse.yaml",
            )
        taken.add(source)
        origin = place_of(source, volumes)
        assert origin is not None  # noqa: S101 - it was found there
        copied = take(origin, claims[source.claim].joinpath(*source.parts), material.uri)
        if not same_digest(copied, material.digest):
            raise CannotDecideError(f"the {material.name} {material.uri} changed while it was copied")
    outputs = tuple(claims[one.claim].joinpath(*one.parts) for one in named if one not in taken)
    if not outputs:
        raise CannotDecideError("the Job's command names no path that it writes to", hint="name it in its arguments")
    return outputs, claims


def _compared(
    asked: Request,
    job: Declaration,
    commit: str,
    expected: str,
    outputs: Sequence[Path],
    first: Path | None,
    seconds: float,
) -> Reproduced:
    written = [(place, files_of(place, "what the Job wrote")) for place in outputs if place.exists()]
    if not written:
        raise CannotDecideError("the Job wrote nothing where its command says that it writes")
    place, found = next(((p, t) for p, t in written if same_digest(t.digest, expected)), written[0])
    differing: tuple[str, ...] = ()
    metrics: tuple[Compared, ...] = ()
    if first is not None and not same_digest(found.digest, expected):
        differing = _differing(files_of(first, "the model"), found)
    before = {} if first is None else _metrics(first)
    after = _metrics(place)
    if not same_digest(found.digest, expected) or asked.tolerances:
        names = sorted({*asked.tolerances, *(before.keys() & after.keys())})
        metrics = tuple(
            Compared(name, before.get(name), after.get(name), asked.tolerances.get(name)) for name in names[:200]
        )
    return Reproduced(str(job.ref), commit, expected, found.digest, differing, metrics, seconds)


def _holds(one: Named, material: Material, volumes: Volumes) -> bool:
    place = place_of(one, volumes)
    try:
        return place is not None and bool(material.digest) and same_digest(tree(place).digest, material.digest)
    except (OSError, TreeError):
        return False


def _differing(one: Tree, other: Tree) -> tuple[str, ...]:
    before, after = ({item.path: item.digest for item in files.files} for files in (one, other))
    return tuple(sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path)))[:100]


def _metrics(place: Path) -> dict[str, float]:
    """Numbers of a run's metrics file, by dotted name."""
    for name in _METRICS:
        file = place / name
        if file.is_file() and file.stat().st_size <= _MAX_METRICS:
            try:
                return dict(_numbers(json.loads(file.read_bytes()), ""))
            except (ValueError, RecursionError):
                return {}
    return {}


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield place, float(value)


def parse_tolerance(text: str) -> tuple[str, float]:
    """`metric=0.01`. Raises UsageError."""
    name, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not equals or not math.isfinite(number) or number < 0:
        raise UsageError(f"{text[:100]!r} is not METRIC=NUMBER", hint="for example --tolerance holdout.auc=0.01")
    return name, number
