"""A state with one release from the dataset to its charge, as the commands and the control plane write it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from customhouse._kit.clock import from_rfc3339
from customhouse._kit.money import Money
from customhouse.app import journal, wiring
from customhouse.app.settings import Settings
from customhouse.cli.program import run
from customhouse.control.render import render
from customhouse.core.cost import Charge, Usage
from customhouse.core.ledger import Entry
from customhouse.trust.custody import Link, Node, NodeKind, entry
from customhouse.trust.dataset.rowtree import RangeProof, RowHasher

AT = from_rfc3339("2026-03-01T10:00:00Z")
DATASET = "sha256:" + "da" * 32
RELEASE = "sha256:" + "4e" * 32
MODEL = "artifacts/first-model/v1"


@dataclass(frozen=True, slots=True)
class World:
    """Where it lies. `rows` proves rows 100 to 200 of the dataset."""

    root: Path
    state: Path
    settings: Settings
    commit: str
    model: str
    rows: RangeProof

    @property
    def key(self) -> Path:
        """The ledger's public key, as a file."""
        return self.state / "keys" / "ledger.pub"


def git(where: Path, *arguments: str) -> str:
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "Ada", f"GIT_{who}_EMAIL": "ada@example.com"}
        env[f"GIT_{who}_DATE"] = "2026-03-01T09:00:00Z"
    done = subprocess.run(["git", *arguments], cwd=where, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make(root: Path) -> World:
    """Found a repository, commit an inspected model, gate it with a state, then enter what `up` would."""
    place, state = root / "repository", root / "state"
    assert run(["init", str(place), "--example", "-q"]) == 0
    # Without a budget the gate need not know what was spent.
    rules = place / "customhouse.yaml"
    before, _, after = rules.read_text().partition("budgets:")
    rules.write_text(before + "optimiser:" + after.partition("optimiser:")[2])
    git(place, "commit", "-q", "--amend", "-a", "-m", "Found")
    keys = place / ".customhouse" / "keys"
    attest = ["model", "attest", str(place / MODEL), "--repo", str(place), "--key", str(keys / "evidence.key")]
    assert run([*attest, "--name", "first-model", "--version", "v1"]) == 0
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "A first model")
    # The gate finds the volumes beside the state: the model's files are looked at as well.
    (root / "artifacts").symlink_to(place / "artifacts")
    gate = ["gate", "--repo", str(place), "--base", "HEAD~1", "--head", "HEAD", "--state", str(state), "-o", "json"]
    assert run(gate) in (0, 1)
    settings = Settings(state=state, environment=dict(os.environ))
    commit = git(place, "rev-parse", "HEAD")
    declaration = next(
        item
        for item in render({"models/first-model.yaml": (place / "models" / "first-model.yaml").read_bytes()})
        if item.ref.kind == "InferenceService"
    )
    hasher = RowHasher((100, 201))
    hasher.extend(f'["{number}","{number * 7}"]'.encode() for number in range(3000))
    tree = hasher.finish()
    model = journal.model_digest(declaration)
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=True)
        data = Node.of(NodeKind.DATASET, DATASET, "transactions")
        entered = {"text": "dataset transactions", "row_tree": tree.to_json()}
        decision = next(
            str(item.body["decision"])
            for _, item in ledger.entries()
            if item.kind == "decision" and item.body["resource"]["kind"] == "InferenceService"
        )
        end = AT + timedelta(hours=1)
        charges = [
            Charge(declaration.ref, RELEASE, model, AT, end, category, Money.parse("0.0125", "USD"))
            for category in ("compute", "memory")
        ]
        opened.measurements.charge(charges)
        used = Usage(declaration.ref, RELEASE, AT, end, 3_600_000, 900, 1000, 10**12, 10**8, requests=1234, errors=1)
        run_node = journal.run_node("default", "train-first-model")
        trained = [Link.between(data, run_node, "input-of"), Link(run_node.id, f"model:{model}", "produced")]
        told = Node(NodeKind.TRAINING_RUN, "mlflow/4711")
        entries: list[Entry] = [
            entry("dataset", f"dataset:{DATASET}", AT, "ada", nodes=[data], body=entered),
            entry("training-run", "run", AT, "customhouse", nodes=[run_node], links=trained),
            entry("claim", "claim", AT, "mlflow", links=[Link.between(told, Node.of("model", model), "produced")]),
            journal.deployed(declaration, RELEASE, commit, decision, AT),
            *journal.measured([used], {(declaration.ref, RELEASE): ["first-model-1", "first-model-2"]}),
            *journal.charged(charges, AT, end),
            entry("dataset", "other", AT, "bob", nodes=[Node.of(NodeKind.DATASET, "sha256:" + "0b" * 32, "other")]),
        ]
        ledger.append(entries)
    return World(place, state, settings, commit, model, hasher.proof(100, 201))
