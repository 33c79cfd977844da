"""`customhouse init`: a repository that the control plane can run, with keys that stay outside Git."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from customhouse._kit.process import ProgramError, ProgramMissingError, find_program, run
from customhouse.app.configuration import FILE
from customhouse.app.identity import IDENTITY, PRINCIPAL
from customhouse.core.errors import SourceError, UsageError
from customhouse.trust.keys import generate_pair, load_public

EVIDENCE_KEY = "evidence"
COMMIT_KEY = "commit"
ALLOWED_SIGNERS = "trust/allowed_signers"
EVIDENCE_PUBLIC = "trust/evidence.pub"

_CONFIGURATION = """\
# How this repository is gated, run and paid for. It is code: a change to it takes effect after it is merged.
# Every key is documented in docs/reference/configuration.md.
apiVersion: customhouse.dev/v1
branch: main
target:
  kind: local
  port: ${port}
  volumes: # PersistentVolumeClaim → folder, beside the state directory
${volumes}
${images}tiers:
  default: standard
  namespaces:
    ${namespace}: [standard, batch, experiment]
policy:
  trustedRegistries: [${registries}]
  requireSignedCommits: ${signed}
trust:
  allowedSigners: trust/allowed_signers
  keys:
    - name: evidence
      publicKey: trust/evidence.pub
      kinds: [signature, scan, bom, provenance, evaluation]
prices:
  provider: aws
  region: us-east-1
  maxAgeDays: 365
budgets:
  - name: ${namespace}
    monthly: "${budget}"
    namespaces: [${namespace}]
optimiser:
  autonomy: propose
  minimumWindows: ${windows}
  windowSeconds: ${window_seconds}
"""


@dataclass(frozen=True, slots=True)
class Founding:
    """What a new repository says of itself."""

    namespace: str = "default"
    registries: tuple[str, ...] = ("registry.example.com/",)
    budget: str = "500"
    signed: bool = False
    port: int = 0
    volumes: Mapping[str, str] | None = None
    images: Mapping[str, str] | None = None
    windows: int = 60
    window_seconds: int = 60


def configuration_text(founding: Founding) -> str:
    """The customhouse.yaml of a new repository."""
    volumes = founding.volumes or {"models": "artifacts"}
    images = founding.images or {}
    values = {
        "port": str(founding.port),
        "volumes": "\n".join(f"    {name}: {folder}" for name, folder in volumes.items()),
        "images": "".join(["  images:\n", *(f"    {n}: {f}\n" for n, f in images.items())]) if images else "",
        "namespace": founding.namespace,
        "registries": ", ".join(founding.registries),
        "signed": str(founding.signed).lower(),
        "budget": founding.budget,
        "windows": str(founding.windows),
        "window_seconds": str(founding.window_seconds),
    }
    text = _CONFIGURATION
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return text


def founding_files(founding: Founding, keys: Path, signers: Mapping[str, str]) -> dict[str, bytes]:
    """The files of the founding commit. `signers` maps a principal to its SSH public key line."""
    public = keys / f"{EVIDENCE_KEY}.pub"
    if not public.exists():
        generate_pair(keys, EVIDENCE_KEY)
    allowed = "".join(
        f'{principal} namespaces="git" {" ".join(key.split()[:2])}\n' for principal, key in signers.items()
    )
    return {
        FILE: configuration_text(founding).encode(),
        ALLOWED_SIGNERS: (allowed or '# principal namespaces="git" ssh-ed25519 AAAA…\n').encode(),
        EVIDENCE_PUBLIC: load_public(public).pem(),
        ".gitignore": b".customhouse/\nartifacts/\n",
    }


def signing_key(path: Path, comment: str) -> Path | None:
    """A new SSH signing key pair (`path` and `path.pub`), mode 0600; None on a machine without ssh-keygen."""
    try:
        find_program("ssh-keygen")
    except ProgramMissingError:
        return None
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    return path


def initialise(folder: Path, founding: Founding, search_path: str) -> str:
    """Make `folder` a repository with its founding commit; the commit's id.

    Raises UsageError when it holds a repository or files already, SourceError when git is missing.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    keys = folder / ".customhouse" / "keys"
    key = signing_key(keys / COMMIT_KEY, PRINCIPAL)
    signers = {} if key is None else {PRINCIPAL: key.with_suffix(".pub").read_text(encoding="utf-8")}
    files = founding_files(founding, keys, signers)
    for name, data in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    (folder / "artifacts").mkdir()
    environment = {
        "PATH": search_path,
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    who = ["-c", f"user.name={IDENTITY.name}", "-c", f"user.email={IDENTITY.email}", "-c", "core.hooksPath=/dev/null"]
    try:
        run(["git", "init", "-q", "-b", "main", "--template="], cwd=folder, env=environment)
        # A rollback is pushed into this work tree: Git then moves its files along, if nothing is uncommitted.
        run(["git", "config", "receive.denyCurrentBranch", "updateInstead"], cwd=folder, env=environment)
        run(["git", "add", "--", *files], cwd=folder, env=environment)
        sign = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}"] if key is not None else []
        commit = ["commit", "-q", *(["-S"] if key else []), "-m", "Found the repository: its rules, signers and budget"]
        run(["git", *who, *sign, *commit], cwd=folder, env=environment)
        return run(["git", "rev-parse", "HEAD"], cwd=folder, env=environment).stdout.decode().strip()
    except ProgramMissingError as error:
        raise SourceError("the program git is missing", hint="install git") from error
    except ProgramError as error:
        raise SourceError(f"git failed: {error}", where=str(folder)) from error
