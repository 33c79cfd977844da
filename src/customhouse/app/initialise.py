"""`customhouse init`: a repository that the control plane can run, with keys that stay outside Git."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib import resources
from pathlib import Path

from customhouse._kit.clock import SystemClock
from customhouse._kit.process import ProgramError, ProgramMissingError, find_program, run
from customhouse._kit.reading import absent
from customhouse.app import wiring
from customhouse.app.configuration import FILE
from customhouse.app.governance import read_configuration
from customhouse.app.identity import COMMIT_KEY, IDENTITY, PRINCIPAL
from customhouse.app.inspection import read_tree
from customhouse.app.settings import Settings
from customhouse.app.wiring import LEDGER_KEY
from customhouse.core.errors import ConfigError, SourceError, UsageError
from customhouse.trust.keys import generate_pair, load_public, open_pair

EVIDENCE_KEY = "evidence"
ALLOWED_SIGNERS = "trust/allowed_signers"
EVIDENCE_PUBLIC = "trust/evidence.pub"
CONTROL_PUBLIC = "trust/control-plane.pub"

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
${signing}
trust:
  allowedSigners: trust/allowed_signers
  keys:
    - name: evidence
      publicKey: trust/evidence.pub
      # Whoever signs `vex` excuses vulnerabilities: give it to a key of its own where others decide that.
      kinds: [signature, scan, bom, provenance, evaluation, data-validation, vulnerabilities, vex]
    - name: control-plane # `customhouse up` signs what the month cost, for gates without its state
      publicKey: trust/control-plane.pub
      kinds: [forecast]
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

_SIGNED = "  requireSignedCommits: true # by the keys in trust/allowed_signers"
_UNSIGNED = """\
  # To have every commit signed: add a line a person to trust/allowed_signers (`ada@example.com namespaces="git"
  # ssh-ed25519 AAAA…`), merge that, and write true here in a second change.
  requireSignedCommits: false"""
_YAML_WORDS = frozenset(("y", "yes", "n", "no", "on", "off", "true", "false", "null"))
_MAX_KEY = 16 * 1024
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_EXAMPLE_LIFE = timedelta(days=30)
"""How long the example asks to live: a tier for experiments wants to know."""
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PRINCIPAL = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+")
_PUBLIC_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,2}( .*)?"
)


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
        "volumes": "\n".join(f"    {_scalar(name)}: {_scalar(folder)}" for name, folder in volumes.items()),
        "images": "".join(["  images:\n", *(f"    {_scalar(n)}: {_scalar(f)}\n" for n, f in images.items())])
        if images
        else "",
        "namespace": _scalar(founding.namespace),
        "registries": ", ".join(_scalar(prefix) for prefix in founding.registries),
        "signing": _SIGNED if founding.signed else _UNSIGNED,
        "budget": founding.budget,
        "windows": str(founding.windows),
        "window_seconds": str(founding.window_seconds),
    }
    text = _CONFIGURATION
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return text


def _scalar(text: str) -> str:
    """Text as YAML reads it back: plain where nothing can be misread, else in quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    # JSON's escapes are YAML's, but for characters that JSON writes as a pair.
    return '"' + "".join(f"\\U{ord(c):08x}" if ord(c) > 0xFFFF else json.dumps(c)[1:-1] for c in text) + '"'


def read_signers(given: Sequence[str]) -> dict[str, str]:
    """`PRINCIPAL=PUBLIC_KEY_FILE` arguments as principal → key line. Raises UsageError that says what is wrong."""
    signers: dict[str, str] = {}
    for text in given:
        principal, equals, file = text.partition("=")
        if not equals or not _PRINCIPAL.fullmatch(principal):
            raise UsageError(f"{text!r} is not PRINCIPAL=PUBLIC_KEY_FILE", hint="write ada@example.com=ada.pub")
        place = Path(file)
        if not place.is_file():
            raise UsageError(absent(file), hint="name the public half of an SSH key pair (….pub)")
        with place.open("rb") as handle:
            content = handle.read(_MAX_KEY).decode("utf-8", "replace").strip()
        if "PRIVATE KEY" in content:
            raise UsageError(f"{file} is a private key", hint="name its public half, the file that ends with .pub")
        if not _PUBLIC_KEY.fullmatch(content):
            raise UsageError(f"{file} is not one SSH public key", hint="make one: ssh-keygen -t ed25519")
        if principal in signers or principal == PRINCIPAL:
            raise UsageError(f"{principal} is named twice", hint="one key a principal; more go into the file later")
        signers[principal] = content
    return signers


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
        # The key of the ledger is made here rather than by the first `up`, so that it can be trusted from the start.
        CONTROL_PUBLIC: open_pair(keys, LEDGER_KEY).public.pem(),
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


def initialise(
    folder: Path,
    founding: Founding,
    search_path: str,
    people: Mapping[str, str] | None = None,
    *,
    example: bool = False,
) -> str:
    """Make `folder` a repository with its founding commit, and an empty state beside it; the commit's id.

    `people` maps principals to SSH public key lines: with any, every commit has to be signed. With `example` a tiny
    model lies in the volume and its declaration in the work tree, not committed. Raises UsageError when the folder is
    not empty or `founding` is not valid, SourceError when git (with people: or ssh-keygen) is missing or fails; nothing
    is left in the folder then.
    """
    people = people or {}
    founding = replace(founding, signed=bool(people))
    _check(founding)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty", hint="name a new folder")
    for program in ("git", *(["ssh-keygen"] if people else [])):
        if shutil.which(program, path=search_path) is None:
            raise SourceError(f"the program {program} is missing", hint=f"install {program}")
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        commit = _found(folder, founding, search_path, people)
        # Nothing has run here: that is a spend record, so that the gate can decide about budgets before `up` ever ran.
        wiring.store(Settings(folder / ".customhouse")).close()
        if example:
            _write_example(folder, founding.namespace)
    except BaseException as error:
        for item in folder.iterdir() if folder.exists() else ():
            shutil.rmtree(item) if item.is_dir() else item.unlink()
        if folder.exists() and not existed:
            folder.rmdir()
        if isinstance(error, ProgramError):
            raise SourceError(f"a program failed: {error}", where=str(folder)) from error
        raise
    return commit


def _write_example(folder: Path, namespace: str) -> None:
    packaged = resources.files("customhouse.app").joinpath("example")
    model = folder / "artifacts" / "first-model" / "v1"
    model.mkdir(parents=True)
    (model / "model.onnx").write_bytes(packaged.joinpath("model.onnx").read_bytes())
    declaration = folder / "models" / "first-model.yaml"
    declaration.parent.mkdir()
    text = packaged.joinpath("first-model.yaml").read_text(encoding="utf-8")
    last_day = (SystemClock().now() + _EXAMPLE_LIFE).date().isoformat()
    filled = (
        text.replace("${NAMESPACE}", namespace)
        .replace("${DIGEST}", read_tree(model).digest)
        .replace("${TTL}", last_day)
    )
    declaration.write_text(filled, encoding="utf-8")


def _check(founding: Founding) -> None:
    if not _NAMESPACE.fullmatch(founding.namespace):
        raise UsageError(f"{founding.namespace!r} is not a namespace", hint="write lower-case letters, digits and -")
    try:
        read_configuration(configuration_text(founding).encode())
    except ConfigError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _found(folder: Path, founding: Founding, search_path: str, people: Mapping[str, str]) -> str:
    keys = folder / ".customhouse" / "keys"
    key = signing_key(keys / COMMIT_KEY, PRINCIPAL)
    own = {} if key is None else {PRINCIPAL: key.with_suffix(".pub").read_text(encoding="utf-8")}
    files = founding_files(founding, keys, {**own, **people})
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
