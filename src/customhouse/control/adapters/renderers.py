"""Kustomize, Helm and Jsonnet as child processes, each in a workplace of its own.

The program gets: a private temporary folder with the job's files; an empty home; a PATH with nothing on it, so that it
can start neither git nor a plugin; proxies that lead nowhere, so that it fetches nothing; a limit on time, memory and
output. It never sees the user's checkout, kubeconfig, Helm repositories or credentials.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from customhouse._kit.digest import bytes_digest
from customhouse._kit.process import ProgramError, ProgramMissingError, find_program, run
from customhouse.control.rendering import OURS, TREE, Job, Output, Program
from customhouse.core.errors import CannotDecideError, DeclarationError

TIMEOUT_S = 60.0
MAX_OUTPUT = 64 * 1024 * 1024
"""Bytes. The largest root of the given data renders to 4 MB."""
MAX_INPUT = 64 * 1024 * 1024
_MEMORY = 4 << 30
"""Bytes of address space; these are Go programs, which reserve more than they use."""
_KEPT = 64
_VERSION = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+[-+.0-9A-Za-z]*")

# Where HTTP clients of Go look for a way out. Nothing listens on port 9 (discard) of a machine of today, and what does
# would be this machine's own.
_NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class _Tool:
    programs: tuple[str, ...]
    """In order of preference."""
    versions: Mapping[str, tuple[str, ...]]
    hint: str


_TOOLS = {
    "kustomize": _Tool(
        ("kustomize", "kubectl"),
        {"kustomize": ("version",), "kubectl": ("version", "--client")},
        "install kustomize 5 or kubectl (kubectl.docs.kubernetes.io/installation/kustomize), and put it on PATH",
    ),
    "helm": _Tool(
        ("helm",),
        {"helm": ("version", "--short")},
        "install helm 3 or 4 (helm.sh/docs/intro/install), and put it on PATH",
    ),
    "jsonnet": _Tool(
        ("jsonnet",),
        {"jsonnet": ("--version",)},
        "install jsonnet (go install github.com/google/go-jsonnet/cmd/jsonnet@latest), and put it on PATH",
    ),
}


class ProgramRenderer:
    """Runs jobs by the real programs. Outputs are kept by the digest of the job: a base is rendered once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Output] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, job: Job) -> Output:
        """The output of a job. Raises CannotDecideError that names the program, DeclarationError at the root's file."""
        place = _find(job)
        program = _identify(place, Path(place).stat().st_mtime_ns)
        key = (program.digest, job.digest)
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            kept = Output(_start(place, job), program)
            with self._lock:
                self._kept[key] = kept
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return kept


def _find(job: Job) -> str:
    tool = _TOOLS[job.tool]
    for name in tool.programs:
        try:
            return find_program(name)
        except ProgramMissingError:
            continue
    raise CannotDecideError(
        f"this is rendered by {' or '.join(tool.programs)}, which is not on PATH",
        where=f"{job.file}:1:1",
        hint=tool.hint,
    )


@lru_cache(maxsize=8)
def _identify(place: str, _changed: int) -> Program:
    """What program it is (a replaced one is another). Raises CannotDecideError when it does not say its version."""
    name = Path(place).name
    words = next(tool.versions[name] for tool in _TOOLS.values() if name in tool.versions)
    with TemporaryDirectory(prefix="customhouse-render-") as work:
        try:
            done = run([place, *words], cwd=Path(work), env=_environment(Path(work)), timeout_s=TIMEOUT_S)
        except ProgramError as error:
            raise CannotDecideError(f"{name} does not start: {error.stderr.strip()[-300:]}", where=place) from error
    said = _VERSION.search(done.stdout.decode("utf-8", "replace") + done.stderr)
    return Program(name, said[0] if said else "unknown", bytes_digest(Path(place).read_bytes()))


def _start(place: str, job: Job) -> bytes:
    size = sum(map(len, job.files.values())) + sum(map(len, job.added.values()))
    if size > MAX_INPUT:
        raise DeclarationError(
            f"this root refers to {size} bytes; at most {MAX_INPUT} are rendered", where=f"{job.file}:1:1"
        )
    with TemporaryDirectory(prefix="customhouse-render-") as name:
        work = Path(name).resolve()
        _lay_out(work / TREE, job.files)
        _lay_out(work / OURS, job.added)
        words = _words(Path(place).name, job.arguments)
        try:
            done = run(
                [place, *words],
                cwd=work,
                env=_environment(work),
                timeout_s=TIMEOUT_S,
                max_output=MAX_OUTPUT,
                max_memory=_MEMORY,
            )
        except ProgramError as error:
            raise _refused(job, place, error, work) from error
    return done.stdout


def _lay_out(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for path, data in files.items():
        place = folder / path
        # The paths come from a tree of ours, and a job is the last place where a mistake could be seen.
        if ".." in place.parts or not place.is_relative_to(folder):
            raise DeclarationError("this path leads out of the tree", where=path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def _words(program: str, arguments: Sequence[str]) -> list[str]:
    return ["kustomize", *arguments[1:]] if program == "kubectl" else list(arguments)


def _environment(work: Path) -> dict[str, str]:
    empty, home = work / "empty", work / "home"
    empty.mkdir(exist_ok=True)
    home.mkdir(exist_ok=True)
    return {
        "PATH": str(empty),
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "XDG_DATA_HOME": str(home),
        "HELM_PLUGINS": str(empty),
        "KUBECONFIG": str(home / "none"),
        "LC_ALL": "C",
        "GOMEMLIMIT": "1500MiB",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), _NOWHERE),
    }


def _refused(job: Job, place: str, error: ProgramError, work: Path) -> CannotDecideError:
    program = Path(place).name
    if error.status is None:
        what = _told(str(error).replace(place, program), work)
        return CannotDecideError(
            f"{program} was stopped: {what}", where=f"{job.file}:1:1", hint="make this root smaller"
        )
    return DeclarationError(
        f"{program} does not render this: {_told(error.stderr, work)}",
        where=f"{job.file}:1:1",
        hint=f"run `{program} {' '.join(_words(program, job.arguments)[:1])}` here to see it by yourself",
    )


def _told(text: str, work: Path) -> str:
    """What the program said, without our temporary folders, and not endless."""
    for folder in (work / TREE, work / OURS, work):
        text = text.replace(f"{folder}/", "").replace(str(folder), ".")
    return " ".join(text.replace(f"../{TREE}/", "").replace(f"{TREE}/", "").split())[-1200:]
