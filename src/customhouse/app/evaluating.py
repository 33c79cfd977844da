"""`customhouse model evaluate`: measure a model on data that it was not trained on, judge declared bounds, attest.

Steps: 1. the plan; 2. the model is scanned, and not loaded unless it is clean; 3. a process of its own loads the very
bytes that were scanned; 4. the data are read once, row by row; 5. everything is measured; 6. bounds are judged; 7. the
evidence is signed. What fails before step 6 attests nothing.
"""

from __future__ import annotations

import os
import platform
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from customhouse import __version__
from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import bytes_digest
from customhouse.app import wiring
from customhouse.app.configuration import FILE
from customhouse.app.evaluation_document import SCHEMA, predicate_of
from customhouse.app.evaluation_plans import MAX_PLAN
from customhouse.app.governance import read_configuration, read_document
from customhouse.app.inspection import read_model, read_tree, require_files
from customhouse.app.settings import Settings
from customhouse.app.wholefile import write_whole
from customhouse.core.errors import ArtifactError, ConfigError, UsageError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import Location
from customhouse.trust.attestation import attest, evidence_path
from customhouse.trust.evaluation.answers import Model
from customhouse.trust.evaluation.collecting import Seen, collect, collect_training
from customhouse.trust.evaluation.intervals import rounded
from customhouse.trust.evaluation.judgement import judge
from customhouse.trust.evaluation.measuring import Measured, Tell, measure
from customhouse.trust.evaluation.plan import Axis, Plan, read_plan
from customhouse.trust.evaluation.table import Table
from customhouse.trust.keys import load_private
from customhouse.trust.scan import Wish

if TYPE_CHECKING:
    from customhouse.app.evaluation_plans import PlanEntry


class Loaded(Model, Protocol):
    """A model in a process of its own, which ends with the block."""

    runtime: str
    queries: int

    def __enter__(self) -> Loaded:
        """Itself."""

    def __exit__(self, *exception: object) -> None:
        """The process is ended."""


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """What `model evaluate` was asked."""

    path: str
    data: str
    train: str | None = None
    against: str | None = None
    dataset: str | None = None
    """The folder of the registered dataset that the data are a file of."""
    plan: str | None = None
    """A file, or the name of one in customhouse.yaml."""
    label: str | None = None
    groups: tuple[str, ...] = ()
    name: str | None = None
    repo: str = "."
    key: str | None = None
    """The private key that signs evidence; None: nothing is attested."""


def evaluate(request: EvaluateRequest, settings: Settings, wish: Wish, tell: Tell) -> dict[str, Any]:
    """The document; with a key also `{"file"}`, the evidence that was written. Raises ArtifactError, ConfigError."""
    plan = _planned(request, settings)
    clock = wiring.clock()
    key = None if request.key is None else load_private(Path(request.key))
    if key is not None and not Path(request.repo).is_dir():
        raise UsageError(f"there is no folder {request.repo}", hint="name the work tree with --repo")
    digest = _clean(Path(request.path), wish)
    other = None if request.against is None else _clean(Path(request.against), wish)
    with ExitStack() as stack:
        model = stack.enter_context(_opened(request.path, digest, plan))
        beside = None if other is None else stack.enter_context(_opened(str(request.against), other, plan))
        tell("reading")
        rows = stack.enter_context(Table(Path(request.data)))
        held = collect(rows, model, plan, against=beside, where=request.path)
        training = None
        if request.train is not None:
            training = collect_training(stack.enter_context(Table(Path(request.train))), plan, held)
        done = measure(plan, held, training, tell)
        runtime, queries = model.runtime, model.queries
    document = _document(request, plan, digest, held, training, done)
    if request.against is not None:
        document["against"] = {"name": Path(request.against).name, "digest": other}
    document["tool"] = _tool(runtime)
    document["queries"] = queries
    document["evaluated_at"] = to_rfc3339(clock.now())
    if key is not None:
        kind = EvidenceKind.EVALUATION
        data = attest(document["model"], digest, kind, predicate_of(document), key=key, issued_at=clock.now())
        place = evidence_path(digest, kind)
        target = Path(request.repo) / place
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, data)
        return {**document, "file": place}
    return document


def _planned(request: EvaluateRequest, settings: Settings) -> Plan:
    """The plan of --plan, else the only one that customhouse.yaml names, else defaults; options over it."""
    declared = _declared(request, settings)
    root = settings.config.parent if settings.config is not None else Path(request.repo)
    if request.plan is not None:
        known = next((entry for entry in declared if entry.name == request.plan), None)
        plan = load_plan(root / known.file, known.file) if known else load_plan(Path(request.plan))
    elif len(declared) == 1:
        plan = load_plan(root / declared[0].file, declared[0].file)
    elif declared:
        names = ", ".join(entry.name for entry in declared)
        raise UsageError(f"{FILE} names several plans: {names}", hint="choose one with --plan")
    elif request.label:
        return Plan(label=request.label, groups=tuple(Axis(name) for name in request.groups))
    else:
        raise UsageError("which column is true is not said", hint="give --plan FILE, or --label COLUMN")
    changed = [f"--{name}" for name, given in (("label", request.label), ("group", request.groups)) if given]
    if changed:
        # Evidence names the plan by its digest: what is measured has to be what stands there.
        raise UsageError(f"{changed[0]} and a plan are given", hint="declare it in the plan")
    return plan


def _declared(request: EvaluateRequest, settings: Settings) -> tuple[PlanEntry, ...]:
    place = settings.config or Path(request.repo) / FILE
    return read_configuration(place.read_bytes(), place.name).evaluation if place.is_file() else ()


def load_plan(place: Path, shown: str = "") -> Plan:
    """Read a plan's file. Raises ConfigError with file, line and column."""
    file = shown or str(place)
    if not place.is_file():
        raise ConfigError("there is no such plan", where=file, hint="name a file, or a plan of customhouse.yaml")
    if place.stat().st_size > MAX_PLAN:
        raise ConfigError("a plan over 1 MiB is not read", where=file)
    data = place.read_bytes()
    read = read_document(data, file)

    def placed(pointer: str) -> str:
        while pointer and pointer not in read.marks:
            pointer = pointer.rpartition("/")[0]
        return str(read.marks.get(pointer, Location(file)))

    def fail(pointer: str, message: str) -> NoReturn:
        raise ConfigError(message, where=placed(pointer), hint="docs/evaluation.md lists the keys of a plan")

    return read_plan(read.value, fail, name=file, digest=bytes_digest(data), place=placed)


def _clean(path: Path, wish: Wish) -> str:
    """The digest of a model whose scan is clean. Raises ArtifactError for any other: it is not loaded."""
    seen = read_model(path, replace(wish, sha256=True, scan=True))
    require_files(seen, str(path))
    if seen.scan.verdict.value != "clean":
        bad = [file.path for file in seen.scan.files if file.verdict.value != "clean"]
        raise ArtifactError(
            f"the scan says {seen.scan.verdict.value} ({', '.join(bad[:3])}): the model is not loaded",
            where=str(path),
            hint="customhouse model scan says what was found",
        )
    return seen.files.digest


def _opened(path: str, digest: str, plan: Plan) -> Loaded:
    return wiring.inference(Path(path), digest, seconds=plan.seconds, memory=plan.memory_mb << 20)


def _document(
    request: EvaluateRequest, plan: Plan, digest: str, held: Seen, training: Seen | None, done: Measured
) -> dict[str, Any]:
    bounds, passed = judge(plan.bounds, done.metrics)
    reading = held.answering.reading
    limits = [*done.limits, *plan.limitations]
    limits += [f"{kind} was not measured: {why}" for kind, why in done.missing.items() if kind in plan.measure]
    if passed is None:
        limits.insert(0, "no bounds were declared: nothing says whether these figures are good enough")
    return {
        "schema": SCHEMA,
        "model": request.name or Path(request.path).name,
        "model_digest": digest,
        "dataset": held.digest,
        "data": _data(request, held),
        "train": None
        if training is None
        else {"name": training.name, "digest": training.digest, "rows": training.rows},
        "plan": {"name": plan.name, "digest": plan.digest} if plan.digest else None,
        "task": reading.task,
        "classes": list(reading.classes),
        "threshold": reading.threshold if reading.task == "binary" else None,
        "features": list(held.features),
        "settings": {
            "confidence": plan.confidence,
            "seed": plan.seed,
            "resamples": plan.resamples,
            "sample": plan.sample,
            "minimum_group": plan.minimum_group,
        },
        "passed": passed,
        "bounds": bounds,
        "measured": done.kinds,
        "not_measured": [{"kind": kind, "reason": why} for kind, why in done.missing.items()],
        "metrics": {name: item.to_json() for name, item in sorted(done.metrics.items())},
        **{kind: _plain(section) for kind, section in done.sections.items()},
        "users": list(plan.users),
        "limitations": limits,
    }


def _data(request: EvaluateRequest, held: Seen) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": held.name,
        "digest": held.digest,
        "rows": held.rows,
        "columns": list(held.columns),
        "within": None,
    }
    if request.dataset is None:
        return found
    files = read_tree(Path(request.dataset))
    if all(file.digest != held.digest for file in files.files):
        raise ArtifactError(
            f"{request.data} is no file of this dataset",
            where=request.dataset,
            hint="--dataset names the folder that was registered and holds the evaluated file",
        )
    return found | {"within": files.digest}


def _tool(runtime: str) -> dict[str, Any]:
    import numpy as np

    return {
        "name": "customhouse",
        "version": __version__,
        "runtime": runtime,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": 1,
    }


def _plain(value: Any) -> Any:
    """Floats to the digits that every machine agrees on; a NaN is nothing."""
    if isinstance(value, float):
        return rounded(value) if value == value and abs(value) != float("inf") else None  # noqa: PLR0124
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
