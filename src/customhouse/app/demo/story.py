"""The story that the demo plays: every clause of it is a step that is carried out for real, checked and timed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from customhouse._kit.clock import SystemClock
from customhouse.app import journal, wiring
from customhouse.app.clearance import Judgement
from customhouse.app.controlplane import ControlPlane
from customhouse.app.demo.traffic import Traffic
from customhouse.app.demo.workspace import NAMESPACE, TRAINER, Workspace
from customhouse.app.gatekeeping import GateRequest, judge
from customhouse.app.initialise import EVIDENCE_KEY
from customhouse.app.inspection import ModelCard, inspect, read_tree
from customhouse.app.memory import PROPOSAL
from customhouse.app.models import build_of
from customhouse.app.up import LiveBoard
from customhouse.control.render import render
from customhouse.core.decision import Verdict
from customhouse.core.errors import CustomhouseError
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef
from customhouse.trust.bom import Material
from customhouse.trust.custody import graph, trace
from customhouse.trust.keys import load_private, load_public
from customhouse.trust.provenance import Dependency

T = TypeVar("T")
SERVICE = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", NAMESPACE, "fraud-detection")
_PATIENCE_S = 40.0
_EVIL = b"cposix\nsystem\n(S'touch /tmp/harmless-marker'\ntR."
"""A pickle that would run a harmless command if anybody loaded it. Nobody does."""


class StepFailedError(CustomhouseError):
    """A step of the story did not come out as it must; the message says what was seen."""

    code = "CH050"
    exit_status = 70


@dataclass(frozen=True, slots=True)
class Step:
    """One step as it went."""

    name: str
    ok: bool
    seconds: float
    detail: str


@dataclass(slots=True)
class Story:
    """Plays the steps on a workspace. `tell` is called when a step begins (None) and when it has ended."""

    space: Workspace
    plane: ControlPlane
    live: LiveBoard
    tell: Callable[[str, Step | None], None]
    steps: list[Step] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    traffic: Traffic | None = None
    clock: SystemClock = field(default_factory=SystemClock)
    pulse: threading.Event = field(default_factory=threading.Event)

    def play(self) -> bool:
        """Every step in order; stops at the first that fails."""
        script: list[tuple[str, Callable[[], str]]] = [
            ("dataset registered by digest", self.dataset),
            ("training Job trains v2.0 and exports ONNX", self.train_first),
            ("evidence: scan, BOM, provenance, evaluation, signature", self.evidence_first),
            ("commit of models/fraud-detection/v2.0", self.commit_first),
            ("gate allows v2.0", lambda: self.gate_allows("release/v2.0")),
            ("v2.0 is served and answers predictions", self.serve_first),
            ("v2.1 is proposed and allowed", self.propose_second),
            ("v2.1 is canaried with live traffic and promoted", self.promote_second),
            ("eight H100 in a standard tier are denied for cost", self.deny_cost),
            ("a malicious pickle is denied", self.deny_pickle),
            ("an unsigned model is denied", self.deny_unsigned),
            ("an image from an untrusted registry is denied, past the gate too", self.deny_registry),
            ("v2.2, worse, is signed, clean and allowed", self.propose_third),
            ("v2.2's canary fails on quality: rolled back at once", self.roll_back_third),
            ("the revert commit is in Git", self.reverted),
            ("a killed process is healed", self.heal_killed),
            ("an altered process is healed", self.heal_altered),
            ("usage is seen, the right size is proposed as a branch", self.propose_size),
            ("the gate allows the right size", self.gate_size),
            ("the right size is merged and applied", self.apply_size),
            ("no request failed in any roll or rollback", self.no_failures),
            ("trace leads from the dataset to the charge", self.trace),
            ("the ledger verifies", self.verify),
            ("a copy with one flipped byte does not", self.flipped),
        ]
        with self._traffic():
            for name, act in script:
                if not self._play(name, act):
                    return False
        return True

    def _play(self, name: str, act: Callable[[], str]) -> bool:
        self.tell(name, None)
        begun = self.clock.monotonic()
        try:
            detail, ok = act(), True
        except CustomhouseError as error:
            detail, ok = str(error), False
        step = Step(name, ok, round(self.clock.monotonic() - begun, 3), detail)
        self.steps.append(step)
        self.tell(name, step)
        return ok

    @contextmanager
    def _traffic(self) -> Iterator[None]:
        """Ends the load generator, whenever it was begun."""
        try:
            yield
        finally:
            if self.traffic is not None:
                self.traffic.__exit__(None, None, None)

    # the model's way in
    def dataset(self) -> str:
        """Generate the transactions and register them."""
        space = self.space
        space.program("generate.py", "--out", str(space.dataset))
        files = read_tree(space.dataset)
        entry = journal.dataset_registered(
            "card-transactions",
            files.digest,
            size=files.size,
            files=len(files.files),
            at=self.clock.now(),
            actor=space.ada.author,
        )
        self.plane.append([entry])
        return f"{len(files.files)} files, {files.size} bytes, {files.digest}"

    def train_first(self) -> str:
        """Declare the Job and let the control plane run it."""
        return self._train("v2.0")

    def _train(self, version: str) -> str:
        space = self.space
        space.ada.pull("main")
        name = f"jobs/train-{version}.yaml"
        space.ada.commit(f"Train fraud-detection {version}", {name: space.job(version)})
        space.ada.push("main")
        slug = version.replace(".", "-")
        done = self._until(
            lambda: self._job_entry(f"train-fraud-detection-{slug}"), f"the Job of {version} did not end"
        )
        self._check(done == "complete", f"the Job ended {done}")
        model = space.model(version) / "model.onnx"
        self._check(model.is_file(), f"the Job wrote no {model.name}")
        return f"{model.stat().st_size} bytes of ONNX"

    def _job_entry(self, name: str) -> str | None:
        for _, entry in self.plane.ledger.entries():
            if entry.kind == "training-run" and f"training-run:{NAMESPACE}/{name}" in entry.subjects:
                return str(entry.body["status"])
        return None

    def evidence_first(self) -> str:
        """What a build pipeline does after training."""
        return self._inspect("v2.0")

    def _inspect(self, version: str, folder: Path | None = None, *, signed: bool = True) -> str:
        space = self.space
        path = folder or space.model(version)
        job = render({"job.yaml": space.job(version)})[0]
        data = read_tree(space.dataset).digest
        now = self.clock.now()
        card = ModelCard(
            name="fraud-detection",
            version=version,
            task="tabular-classification",
            datasets=(Material("card-transactions", data),),
            code=Material("training", read_tree(space.training).digest),
            libraries=("numpy",),
            evaluation=space.evaluation(version),
            build=build_of(job, [Dependency("dataset", "card-transactions", data)], f"{job.ref}", now, now),
        )
        key = load_private(space.settings.keys / f"{EVIDENCE_KEY}.key")
        done = inspect(path, card, key, now)
        files = {name: data for name, data in done.files.items() if signed or "signature" not in name}
        self.digests[path.name] = done.digest
        space.ada.write(files)
        return f"{', '.join(kind.value for kind in done.kinds)}; scan: {done.scan.verdict.value}; {done.digest}"

    def commit_first(self) -> str:
        """The release as a branch."""
        return self._commit_release("v2.0", None)

    def _commit_release(self, version: str, before: str | None, branch: str | None = None) -> str:
        """Evidence and declaration of a version on a branch of its own; the version before it leaves Git."""
        ada = self.space.ada
        digest = self.digests[version]
        ada.git("checkout", "-q", "-B", branch or f"release/{version}")
        files: dict[str, bytes | None] = {
            f"models/fraud-detection/{version}/inference-service.yaml": self.space.service(version, digest)
        }
        if before is not None:
            files[f"models/fraud-detection/{before}/inference-service.yaml"] = None
        ada.git("add", "--", f".evidence/{digest.removeprefix('sha256:')}")
        commit = ada.commit(f"fraud-detection {version}", files)
        ada.push(branch or f"release/{version}")
        return f"{commit[:12]} on release/{version}{', signed' if self.space.signs else ' (no ssh-keygen: unsigned)'}"

    def gate(self, branch: str) -> Judgement:
        """The gate at the pull request: the branch against main, by main's rules."""
        ada = self.space.ada
        ada.git("fetch", "-q", "origin")
        return judge(self.space.settings, GateRequest(str(ada.clone), base="origin/main", head=f"origin/{branch}"))

    def gate_allows(self, branch: str) -> str:
        """It must be allowed."""
        judgement = self.gate(branch)
        self._check(judgement.verdict is Verdict.ALLOW, f"the gate says {self._reasons(judgement)}")
        cost = judgement.cost
        return f"allow; {cost.after.rounded()} {cost.currency} a month, {cost.low.rounded()} to {cost.high.rounded()}"

    def gate_denies(self, branch: str, *words: str) -> str:
        """It must be denied, with findings that speak of these words."""
        judgement = self.gate(branch)
        self._check(judgement.verdict is Verdict.DENY, f"the gate says {judgement.verdict.value}")
        found = [f"{finding.rule}: {finding.message}" for d in judgement.decisions for finding in d.findings]
        for word in words:
            self._check(any(word in text for text in found), f"no finding about {word!r}: {found}")
        return self._reasons(judgement)

    def _reasons(self, judgement: Judgement) -> str:
        found = [f.message for d in judgement.decisions for f in d.findings if f.waiver is None]
        return f"{judgement.verdict.value}: {' | '.join(found)}"

    def merge(self, branch: str) -> str:
        """Merge a branch of the remote into main, as a person with a signing key does; the new head."""
        ada = self.space.ada
        ada.git("fetch", "-q", "origin")
        ada.git("checkout", "-q", "-B", "main", "origin/main")
        ada.git("merge", "-q", *(["-S"] if self.space.signs else []), "-m", f"Merge {branch}", f"origin/{branch}")
        ada.push("main")
        return ada.git("rev-parse", "HEAD").strip()

    def serve_first(self) -> str:
        """Merge, wait until it serves, ask it, and begin the live traffic."""
        self.merge("release/v2.0")
        release = self._promoted("v2.0")
        port = self.plane.target.port
        samples = self.space.live_samples()
        path = f"/{NAMESPACE}/{SERVICE.name}/v2/models/{SERVICE.name}"
        self.traffic = Traffic("127.0.0.1", port, path, samples, self.clock).__enter__()
        traffic = self.traffic
        self._until(lambda: traffic.snapshot().answered >= 20 or None, "no predictions were answered")
        return f"release {release.release[7:19]} answers on 127.0.0.1:{port}"

    def _promoted(self, version: str) -> Release:
        digest = self.digests[version]

        def found() -> Release | None:
            return next(
                (
                    item
                    for item in self.plane.store.releases.history(SERVICE.name)
                    if item.artifact == digest and item.phase is RolloutPhase.PROMOTED
                ),
                None,
            )

        return self._until(found, f"{version} was not promoted")

    def propose_second(self) -> str:
        """Train, inspect, commit and gate v2.1."""
        self._train("v2.1")
        self._inspect("v2.1")
        self._commit_release("v2.1", "v2.0")
        return self.gate_allows("release/v2.1")

    def promote_second(self) -> str:
        """Merge and watch the canary."""
        self.merge("release/v2.1")
        self._promoted("v2.1")
        weights = self._phases("v2.1")
        self._check(any(phase.startswith("canary") for phase in weights), f"it was no canary: {weights}")
        return f"{' → '.join(weights)}; {self._counts()}"

    def _phases(self, version: str) -> list[str]:
        found = []
        release = next(
            (i.release for i in self.plane.store.releases.history(SERVICE.name) if i.artifact == self.digests[version]),
            "",
        )
        for _, entry in self.plane.ledger.entries():
            if entry.kind == "rollout" and any(release[7:19] in subject for subject in entry.subjects):
                found.append(str(entry.body["phase"]))
        return found

    def _counts(self) -> str:
        tally = self.traffic.snapshot() if self.traffic else None
        return "" if tally is None else f"{tally.sent} requests, {tally.failed} failed"

    # what must not get in
    def deny_cost(self) -> str:
        """Eight H100 for the fraud model."""
        ada = self.space.ada
        main = ada.pull("main")
        ada.git("checkout", "-q", "-B", "wish/h100", main)
        name = "models/fraud-detection/v2.1/inference-service.yaml"
        text = (ada.clone / name).read_text(encoding="utf-8")
        text = text.replace(
            "          memory: 2Gi\n      securityContext",
            '          memory: 2Gi\n          nvidia.com/gpu: "8"\n      securityContext',
        )
        text = text.replace(
            "  predictor:\n",
            "  predictor:\n    nodeSelector:\n      nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3\n",
            1,
        )
        ada.commit("Faster: eight H100", {name: text.encode()})
        ada.push("wish/h100")
        detail = self.gate_denies("wish/h100", "Budget", "H100")
        self._check("cheaper" in detail.lower(), f"no cheaper alternative is named: {detail}")
        return detail

    def deny_pickle(self) -> str:
        """A model folder that carries a pickle with a command in it."""
        self._copy_model("v2.1-pickle", {"preprocess.pkl": _EVIL})
        self._inspect("v2.1", self.space.model("v2.1-pickle"))
        self._commit_release("v2.1-pickle", "v2.1")
        return self.gate_denies("release/v2.1-pickle", "scan")

    def deny_unsigned(self) -> str:
        """A model that nobody signed."""
        self._copy_model("v2.1-unsigned", {"NOTES.md": b"A quick fix.\n"})
        self._inspect("v2.1", self.space.model("v2.1-unsigned"), signed=False)
        self._commit_release("v2.1-unsigned", "v2.1")
        return self.gate_denies("release/v2.1-unsigned", "signature")

    def _copy_model(self, name: str, extra: dict[str, bytes]) -> None:
        ada = self.space.ada
        ada.git("checkout", "-q", "-f", "-B", "main", "origin/main")
        ada.git("clean", "-q", "-f", "-d", ".evidence")
        target = self.space.model(name)
        shutil.copytree(self.space.model("v2.1"), target)
        for file, data in extra.items():
            (target / file).write_bytes(data)

    def deny_registry(self) -> str:
        """A Job whose image comes from elsewhere: denied at the gate, and by the control plane when it is pushed."""
        ada = self.space.ada
        main = ada.pull("main")
        ada.git("checkout", "-q", "-B", "wish/registry", main)
        text = self.space.job("v2.1").decode().replace(TRAINER, "docker.io/someone/trainer")
        text = text.replace("name: train-fraud-detection-v2-1", "name: train-elsewhere")
        ada.commit("Use a public trainer image", {"jobs/elsewhere.yaml": text.encode()})
        ada.push("wish/registry")
        detail = self.gate_denies("wish/registry", "registry")
        bad = self.merge("wish/registry")
        self._until(
            lambda: self.live.overview().problem.startswith(bad[:12]) or None, "the control plane did not deny it"
        )
        self._check(self.live.overview().deployed == main, "the last good state was not kept")
        ada.git("revert", "--no-edit", *(["-S"] if self.space.signs else []), bad)
        ada.push("main")
        head = ada.git("rev-parse", "HEAD").strip()
        self._until(lambda: self.live.overview().deployed == head or None, "the revert was not taken over")
        return f"{detail}; pushed past the gate: kept {main[:12]}"

    # what is worse
    def propose_third(self) -> str:
        """v2.2: every check before production is content."""
        self._train("v2.2")
        self._inspect("v2.2")
        self._commit_release("v2.2", "v2.1")
        return self.gate_allows("release/v2.2")

    def roll_back_third(self) -> str:
        """Live, labelled traffic shows what it is."""
        self.merge("release/v2.2")
        digest = self.digests["v2.2"]

        def found() -> Release | None:
            history = self.plane.store.releases.history(SERVICE.name)
            return next((i for i in history if i.artifact == digest and i.phase is RolloutPhase.ROLLED_BACK), None)

        release = self._until(found, "v2.2 was not rolled back")
        self._check("log-loss" in release.reason or "quality" in release.reason, release.reason)
        return f"{release.reason}; {self._counts()}"

    def reverted(self) -> str:
        """Git says again what runs."""
        ada = self.space.ada

        def found() -> str | None:
            ada.git("fetch", "-q", "origin")
            subject = ada.git("log", "-1", "--format=%H %an %s", "origin/main").strip()
            return subject if " Customhouse Revert " in subject else None

        subject = self._until(found, "no revert commit came")
        head = subject.partition(" ")[0]
        self._until(lambda: self.live.overview().deployed == head or None, "the revert was not deployed")
        self._until(lambda: (not self.live.overview().problem) or None, "the problem did not go away")
        ada.pull("main")
        return subject[:12] + subject[40:]

    # what breaks
    def heal_killed(self) -> str:
        """SIGKILL to the model server."""
        replica = self._replica()
        os.kill(replica["pid"], signal.SIGKILL)

        def found() -> dict[str, Any] | None:
            now = self._replica()
            return now if now["ready"] and now["pid"] not in (None, replica["pid"]) else None

        healed = self._until(found, "the killed process did not come back")
        return f"process {replica['pid']} → {healed['pid']}; {self._counts()}"

    def heal_altered(self) -> str:
        """Somebody gives the model server another memory limit behind Git's back."""
        identity = self._replica()["id"]
        file = self.space.settings.state / "local" / "run" / f"{identity}.json"
        config = json.loads(file.read_bytes())
        limit = config["memory_limit"]
        file.write_text(json.dumps({**config, "memory_limit": limit * 2}), encoding="utf-8")

        def found() -> str | None:
            drift = [e for _, e in self.plane.ledger.entries() if e.kind == "drift" and "memory" in str(e.body["text"])]
            return str(drift[-1].body["text"]) if drift else None

        text = self._until(found, "the alteration was not seen")

        def healed() -> bool | None:
            place = self.space.settings.state / "local" / "run" / f"{self._replica()['id']}.json"
            return (place.exists() and json.loads(place.read_bytes())["memory_limit"] == limit) or None

        self._until(healed, "the alteration was not put right")
        return text

    def _replica(self) -> dict[str, Any]:
        live = self.plane.target.read([SERVICE])[SERVICE]
        replicas: list[dict[str, Any]] = live.status["local"]["replicas"]
        self._check(bool(replicas), "no replica runs")
        return replicas[0]

    # what is too much
    def propose_size(self) -> str:
        """The optimiser has seen enough windows."""
        documents = self._until(lambda: self.plane.memory.all(PROPOSAL) or None, "no proposal came")
        document = next(iter(documents.values()))
        self.digests["proposal"] = document["branch"]
        self._check(any("memory" in item["pointer"] for item in document["edits"]), f"not about memory: {document}")
        edits = ", ".join(
            f"{item['pointer'].rpartition('resources/')[2]} → {item['value']}" for item in document["edits"]
        )
        return f"{document['branch']}: {edits}; saves {document['saving']} USD a month; {document['risk']}"

    def gate_size(self) -> str:
        """The optimiser's branch meets the same gate."""
        return self.gate_allows(self.digests["proposal"])

    def apply_size(self) -> str:
        """A person merges it; it is canaried like any change of what runs."""
        head = self.merge(self.digests["proposal"])

        def applied() -> Release | None:
            history = self.plane.store.releases.history(SERVICE.name)
            return next((i for i in history if i.revision == head and i.phase is RolloutPhase.PROMOTED), None)

        release = self._until(applied, "the right size was not applied")
        return f"release {release.release[7:19]}; {self._counts()}"

    def no_failures(self) -> str:
        """The load generator counted."""
        tally = self.traffic.snapshot() if self.traffic else None
        self._check(tally is not None and tally.sent > 0, "no traffic ran")
        assert tally is not None  # noqa: S101 - narrowed by the check
        self._check(tally.failed == 0, f"{tally.failed} of {tally.sent} requests failed: {tally.failures[:3]}")
        return f"{tally.sent} requests, 0 failed, {len(tally.releases)} releases answered"

    # what is left of it
    def trace(self) -> str:
        """From the dataset to the money, with a proof for every entry."""
        ledger = self.plane.ledger
        data = read_tree(self.space.dataset).digest

        def found() -> str | None:
            entries = dict(ledger.entries())
            walked = trace(graph(entries.items()), data, lambda index: (ledger.prove(index), entries[index]))
            kinds = {str(node.kind) for node in walked.nodes}
            wanted = {"dataset", "training-run", "model", "evidence", "commit", "decision", "deployment", "charge"}
            if not wanted <= kinds:
                return None
            counts = f"{len(walked.nodes)} nodes, {len(walked.links)} links, {len(walked.proofs)} proofs"
            return f"{counts}: {', '.join(sorted(kinds))}"

        return self._until(found, "the way from the dataset to a charge is not complete")

    def verify(self) -> str:
        """Everything is recomputed from the stored bytes."""
        report = self.plane.ledger.verify()
        self._check(report.ok, "; ".join(str(problem) for problem in report.problems[:3]))
        return f"{report.size} entries, root {report.root.hex()[:16]}…"

    def flipped(self) -> str:
        """A published copy verifies; with one byte of one entry flipped it does not."""
        settings = self.space.settings
        public = load_public(settings.keys / f"{wiring.LEDGER_KEY}.pub")
        copy = self.space.root / "ledger-copy"
        wiring.publish_tiles(self.plane.store, copy, public)
        self._check(wiring.verify_tiles(copy, public).ok, "the untouched copy does not verify")
        file = max(
            (item for item in (copy / "tile" / "entries").rglob("*") if item.is_file()), key=lambda i: i.stat().st_size
        )
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(bytes(data))
        report = wiring.verify_tiles(copy, public)
        self._check(not report.ok, "the flipped byte was not found")
        return f"found: {report.problems[0]}"

    def _until(self, look: Callable[[], T | None], failure: str) -> T:
        """Wait for something to be there; every look is real, nothing is waited for longer than it takes."""
        deadline = self.clock.monotonic() + _PATIENCE_S
        while True:
            found = look()
            if found is not None and found is not False:
                return found
            if self.clock.monotonic() > deadline:
                raise StepFailedError(f"{failure} within {_PATIENCE_S:g} s", hint=self.live.overview().problem)
            self.plane.wake()
            self.pulse.wait(0.05)

    def _check(self, condition: bool, failure: str) -> None:
        if not condition:
            raise StepFailedError(failure)
