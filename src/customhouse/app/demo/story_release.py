"""The model's way in: dataset, training, evidence, gate, first release, and the second one as a canary."""

from __future__ import annotations

from pathlib import Path

from customhouse.app.data_validation import Request
from customhouse.app.datasets import register
from customhouse.app.demo.story import SERVICE, Story
from customhouse.app.demo.story_quality import evaluated
from customhouse.app.demo.traffic import Traffic
from customhouse.app.demo.workspace import NAMESPACE
from customhouse.app.initialise import EVIDENCE_KEY
from customhouse.app.inspection import ModelCard, inspect, read_tree
from customhouse.app.models import build_of
from customhouse.control.render import render
from customhouse.trust.bom import Material
from customhouse.trust.keys import load_private
from customhouse.trust.provenance import Dependency


def dataset(story: Story) -> str:
    """Generate the transactions, validate and register them, as `data register` does it."""
    space = story.space
    space.program("generate.py", "--out", str(space.dataset))
    entered, report = register(space.settings, Request(str(space.dataset)), "card-transactions", space.ada.author)
    story.check(report.passed, "the data does not pass its validation")
    story.check(entered["registered"], "the data is not registered")
    return f"{entered['rows']} rows in {entered['files']} files pass, {entered['size']} bytes, {entered['digest']}"


def train_first(story: Story) -> str:
    """Declare the Job and let the control plane run it."""
    return train(story, "v2.0")


def train(story: Story, version: str) -> str:
    """Declare the training Job of a version; the control plane runs it."""
    space = story.space
    space.ada.pull("main")
    name = f"jobs/train-{version}.yaml"
    files = {name: space.job(version), "models/network-policy.yaml": space.manifest("network-policy.yaml")}
    space.ada.commit(f"Train fraud-detection {version}", files)
    space.ada.push("main")
    slug = version.replace(".", "-")
    done = story.until(lambda: job_entry(story, f"train-fraud-detection-{slug}"), f"the Job of {version} did not end")
    story.check(done == "complete", f"the Job ended {done}")
    model = space.model(version) / "model.onnx"
    story.check(model.is_file(), f"the Job wrote no {model.name}")
    return f"{model.stat().st_size} bytes of ONNX"


def job_entry(story: Story, name: str) -> str | None:
    """How the ledger says that a Job ended; None while it does not."""
    for _, entry in story.plane.ledger.entries():
        if entry.kind == "training-run" and f"training-run:{NAMESPACE}/{name}" in entry.subjects:
            return str(entry.body["status"])
    return None


def evidence_first(story: Story) -> str:
    """What a build pipeline does after training, but for the evaluation."""
    return attest(story, "v2.0", measured=False)


def attest(
    story: Story,
    version: str,
    folder: Path | None = None,
    *,
    signed: bool = True,
    measured: bool = True,
    made_by: bytes | None = None,
) -> str:
    """Evaluate, inspect and sign a model folder as a build pipeline does; the evidence goes into the clone.

    The provenance is that of the version's declared Job, or of the one in `made_by`. `measured`: a model that is
    not clean cannot be, since it is not loaded.
    """
    space = story.space
    path = folder or space.model(version)
    job = render({"job.yaml": made_by or space.job(version)})[0]
    data = read_tree(space.dataset).digest
    now = story.clock.now()
    card = ModelCard(
        name="fraud-detection",
        version=version,
        task="tabular-classification",
        datasets=(Material("card-transactions", data),),
        code=Material("training", read_tree(space.training).digest),
        libraries=("numpy",),
        evaluation=evaluated(story, version, path) if measured else None,
        build=build_of(job, [Dependency("dataset", "card-transactions", data)], f"{job.ref}", now, now),
    )
    key = load_private(space.settings.keys / f"{EVIDENCE_KEY}.key")
    done = inspect(path, card, key, now)
    files = {name: data for name, data in done.files.items() if signed or "signature" not in name}
    story.digests[path.name] = done.digest
    space.ada.write(files)
    return f"{', '.join(kind.value for kind in done.kinds)}; scan: {done.scan.verdict.value}; {done.digest}"


def commit_first(story: Story) -> str:
    """The release as a branch."""
    return commit_release(story, "v2.0", None)


def commit_release(story: Story, version: str, before: str | None, branch: str | None = None) -> str:
    """Evidence and declaration of a version on a branch of its own; the version before it leaves Git."""
    ada = story.space.ada
    digest = story.digests[version]
    ada.git("checkout", "-q", "-B", branch or f"release/{version}")
    files: dict[str, bytes | None] = {
        f"models/fraud-detection/{version}/inference-service.yaml": story.space.service(version, digest)
    }
    if before is not None:
        files[f"models/fraud-detection/{before}/inference-service.yaml"] = None
    ada.git("add", "--", f".evidence/{digest.removeprefix('sha256:')}")
    commit = ada.commit(f"fraud-detection {version}", files)
    ada.push(branch or f"release/{version}")
    return f"{commit[:12]} on release/{version}{', signed' if story.space.signs else ' (no ssh-keygen: unsigned)'}"


def serve_first(story: Story) -> str:
    """Merge, wait until it serves, ask it, and begin the live traffic."""
    story.merge("release/v2.0")
    release = story.promoted("v2.0")
    port = story.plane.target.port
    samples = story.space.live_samples()
    path = f"/{NAMESPACE}/{SERVICE.name}/v2/models/{SERVICE.name}"
    story.traffic = Traffic("127.0.0.1", port, path, samples, story.clock).__enter__()
    traffic = story.traffic
    story.until(lambda: traffic.snapshot().answered >= 20 or None, "no predictions were answered")
    return f"release {release.release[7:19]} answers on 127.0.0.1:{port}"


def propose_second(story: Story) -> str:
    """Train, inspect, commit and gate v2.1."""
    train(story, "v2.1")
    attest(story, "v2.1")
    commit_release(story, "v2.1", "v2.0")
    return story.gate_allows("release/v2.1")


def promote_second(story: Story) -> str:
    """Merge and watch the canary."""
    story.merge("release/v2.1")
    story.promoted("v2.1")
    weights = story.until(lambda: _ended(phases(story, "v2.1")), "the ledger does not say that v2.1 was promoted")
    story.check(any(phase.startswith("canary") for phase in weights), f"it was no canary: {weights}")
    return f"{' → '.join(weights)}; {story.counts()}"


def _ended(weights: list[str]) -> list[str] | None:
    return weights if "promoted" in weights else None


def phases(story: Story, version: str) -> list[str]:
    """The canary's phases of a version as the ledger has them."""
    found = []
    release = next(
        (i.release for i in story.plane.store.releases.history(SERVICE.name) if i.artifact == story.digests[version]),
        "",
    )
    for _, entry in story.plane.ledger.entries():
        if entry.kind == "rollout" and any(release[7:19] in subject for subject in entry.subjects):
            found.append(str(entry.body["phase"]))
    return found


def gate_allows_first(story: Story) -> str:
    """The gate at the pull request of v2.0."""
    return story.gate_allows("release/v2.0")
