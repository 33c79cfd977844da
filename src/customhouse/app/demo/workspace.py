"""The demo's workspace: a bare remote, a developer's clone, data, artifacts and state, all in one folder."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from customhouse._kit.process import ProgramMissingError, run
from customhouse.app import wiring
from customhouse.app.configuration import FILE as CONFIGURATION
from customhouse.app.configuration import Configuration
from customhouse.app.demo.person import Person
from customhouse.app.demo.traffic import Sample
from customhouse.app.identity import COMMIT_KEY, PRINCIPAL
from customhouse.app.initialise import EVIDENCE_KEY, Founding, founding_files, signing_key
from customhouse.app.inspection import read_tree
from customhouse.app.settings import Settings
from customhouse.core.errors import SourceError, UsageError
from customhouse.trust.provenance_level import LOCAL_TARGET

MARKER = ".customhouse-demo"
NAMESPACE = "fraud"
FEATURES = 8
_AGE = "device_age_days"
TRAINER = "apexlogic.com/fraud/trainer"
_SEED = "1"
_PLAN = "evaluation/fraud.yaml"
_EXPECTED = f"""\
evaluation: # how good this team's models have to be; the gate asks for a signed evaluation by that very file
  plans:
    - {{name: fraud, file: {_PLAN}, models: ["pvc://models/fraud-detection/*"]}}
provenance: # what must have made this team's models; the gate holds their provenance against it
  builders:
    - {{id: "{LOCAL_TARGET}", level: 1, signers: [{EVIDENCE_KEY}]}}
  expectations:
    - name: fraud-detection
      artifacts: ["pvc://models/fraud-detection/*"]
      builders: ["{LOCAL_TARGET}"]
      minLevel: 1
      materials:
        - {{name: dataset}}
        - {{name: code, uri: "{TRAINER}@**"}}
      otherMaterials: denied
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where everything of one demo lies."""

    root: Path
    settings: Settings
    ada: Person
    signs: bool

    @property
    def remote(self) -> Path:
        """The bare remote that `customhouse up` follows."""
        return self.root / "remote.git"

    @property
    def dataset(self) -> Path:
        """The dataset's folder."""
        return self.root / "data" / "card-transactions"

    @property
    def training(self) -> Path:
        """The training code in the clone."""
        return self.ada.clone / "training"

    def model(self, version: str) -> Path:
        """A model's folder in the `models` volume."""
        return self.root / "artifacts" / "fraud-detection" / version

    def manifest(self, name: str, **values: str) -> bytes:
        """One of the packaged manifests with its placeholders filled in."""
        text = _packaged().joinpath("manifests", name).read_text(encoding="utf-8")
        return Template(text).substitute(values).encode()

    def job(self, version: str) -> bytes:
        """The training Job of a version, its code and data pinned by digest."""
        return self.manifest(
            "training-job.yaml",
            VERSION=version,
            VERSION_SLUG=version.replace(".", "-"),
            SEED=_SEED,
            TRAINER_DIGEST=read_tree(self.training).digest,
            DATASET_DIGEST=read_tree(self.dataset).digest,
        )

    def service(self, version: str, digest: str, memory: str = "2Gi") -> bytes:
        """The InferenceService of a version."""
        return self.manifest(
            "inference-service.yaml",
            VERSION=version,
            VERSION_SLUG=version.replace(".", "-"),
            MODEL_DIGEST=digest,
            DATASET_DIGEST=read_tree(self.dataset).digest,
            CPU="1",
            MEMORY=memory,
        )

    def live_samples(self) -> list[Sample]:
        """The labelled transactions that the demo's shoppers send."""
        with (self.dataset / "live.csv").open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        names = list(rows[0])[:FEATURES]
        return [Sample(tuple(float(row[name]) for name in names), int(row["fraud"])) for row in rows]

    def program(self, script: str, *arguments: str) -> str:
        """Run one of the workspace's programs with this interpreter, as a build pipeline would; its stdout."""
        environment = {
            "PATH": self.settings.environment.get("PATH", os.defpath),
            "HOME": str(self.root),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, str(self.training / script), *arguments]
        return run(command, cwd=self.root, env=environment, timeout_s=120).stdout.decode()

    def held_out(self, version: str) -> tuple[Path, Path | None]:
        """The rows that a version is measured on, as its own pipeline delivers them, and the dataset they are of.

        v2.2's comes from the warehouse's export, which counts the age of devices in minutes: of no registered dataset.
        """
        held = self.dataset / "holdout.csv"
        if version != "v2.2":
            return held, self.dataset
        exported = self.root / "warehouse" / held.name
        if not exported.exists():
            exported.parent.mkdir()
            with (
                held.open(encoding="utf-8", newline="") as source,
                exported.open("w", encoding="utf-8", newline="") as out,
            ):
                rows = csv.DictReader(source)
                writer = csv.DictWriter(out, list(rows.fieldnames or ()), lineterminator="\n")
                writer.writeheader()
                writer.writerows({**row, _AGE: str(1440 * int(row[_AGE]))} for row in rows)
        return exported, None


def build(root: Path, settings: Settings) -> Workspace:
    """Make the workspace anew and push the founding commit.

    A folder that an earlier demo made is replaced; any other folder that is not empty is refused with UsageError.
    """
    _clear(root, settings)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    (root / MARKER).write_text("Made by `customhouse demo`; the next demo replaces it.\n", encoding="utf-8")
    settings = replace(settings, state=root / ".customhouse", config=None)
    for folder in ("artifacts", "data"):
        (root / folder).mkdir()
    own = signing_key(settings.keys / COMMIT_KEY, PRINCIPAL)
    key = signing_key(root / "people" / "ada", "ada@apexlogic.com")
    search = settings.environment.get("PATH", os.defpath)
    ada = Person("Ada Okafor", "ada@apexlogic.com", root / "clone", key, search)
    try:
        run(["git", "init", "-q", "--bare", "-b", "main", "--template=", str(root / "remote.git")], cwd=root)
    except ProgramMissingError as error:
        raise SourceError("the program git is missing", hint="install git, then run the demo again") from error
    ada.begin(root / "remote.git", "main")
    signers = {}
    if own is not None and key is not None:
        signers = {
            PRINCIPAL: own.with_suffix(".pub").read_text(encoding="utf-8"),
            ada.email: key.with_suffix(".pub").read_text(encoding="utf-8"),
        }
    founding = Founding(
        namespace=NAMESPACE,
        registries=("apexlogic.com/",),
        budget="400",
        signed=bool(signers),
        volumes={"models": "artifacts", "data": "data"},
        images={TRAINER: "training"},
        windows=12,
        window_seconds=1,
    )
    files: dict[str, bytes | None] = dict(founding_files(founding, settings.keys, signers))
    files[CONFIGURATION] = (files[CONFIGURATION] or b"") + _EXPECTED.encode()
    files[_PLAN] = _packaged().joinpath(_PLAN).read_bytes()
    for item in _packaged().joinpath("training").iterdir():
        if item.name.endswith(".py"):
            files[f"training/{item.name}"] = item.read_bytes()
    ada.commit("Found the fraud team's repository: rules, signers, budget, plan, training code", files)
    ada.push("main")
    return Workspace(root, settings, ada, bool(signers))


def _clear(root: Path, settings: Settings) -> None:
    if not root.exists() or not any(root.iterdir()):
        return
    if not (root / MARKER).exists():
        raise UsageError(f"{root} is not empty and no demo made it", hint="name another folder with --workspace")
    state = root / ".customhouse"
    if (state / "local").exists():
        # What an earlier demo left running (it was killed) is taken over and ended before its files go.
        wiring.target(replace(settings, state=state), Configuration()).clear()
    shutil.rmtree(root)


def _packaged() -> Any:
    return resources.files("customhouse.app.demo").joinpath("files")
