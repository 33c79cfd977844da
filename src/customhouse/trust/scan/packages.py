"""What a zip's members are to one another: torch checkpoints and scripts, Keras, NumPy, skops and plain archives."""

from __future__ import annotations

import re

from customhouse.trust.scan.calls import check_call
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.machine import Machine
from customhouse.trust.scan.opcodes import simulate
from customhouse.trust.scan.pickles import ELEMENT_SIZE
from customhouse.trust.scan.source import Source, UnreadableError
from customhouse.trust.scan.torch_exports import exported_root, inspect_graph, is_graph, is_raw, package_root
from customhouse.trust.scan.verdict import ScanFinding

_SCRIPT_DANGER = re.compile(
    rb"^[ \t]*(?:import|from)[ \t]+(?!__torch__|torch\b)|\b(?:os|sys|subprocess|socket|shutil)\.\w+"
    rb"|\bbuiltins\.(?!\w*(?:Error|Exception|Warning)\b)\w+"
    rb"|\b(?:eval|exec|open|compile|__import__)[ \t]*\("
    rb"|\b(?:torch|ops\.aten)\.(?:save|load|from_file|hub|ops\.load_library)\b"
    rb"|\bops\.prim\.PythonOp\b|\^\w+\("
    rb"|__(?:class|globals|builtins|subclasses|import|base|mro|dict|code)__",
    re.MULTILINE,
)


class Package:
    """Reads members by their role. Raw torch storages have no format of their own: data.pkl says what they are."""

    def __init__(self, names: set[str], look: Inspection) -> None:
        self._look = look
        self._prefixes = tuple(
            name[: -len("data.pkl")] for name in names if name == "data.pkl" or name.endswith("/data.pkl")
        )
        self._script = any(name == f"{p}constants.pkl" for p in self._prefixes for name in names)
        self._exported, self._packaged = exported_root(names), package_root(names)
        self._storages: dict[str, tuple[str, int]] = {}
        self._met: set[str] = set()
        if self._prefixes:
            look.format = "torchscript" if self._script else "torch-zip"
        elif self._exported is not None or self._packaged is not None:
            look.format = "torch-export" if self._exported is not None else "torch-package"
        elif {"config.json", "metadata.json"} <= names:
            look.format = "keras"
        elif "schema.json" in names:
            look.format = "skops"
        elif "MAR-INF/MANIFEST.json" in names:
            look.format = "mar"
        elif names and all(name.endswith(".npy") for name in names):
            look.format = "npz"

    def order(self, name: str) -> tuple[int, str]:
        """Pickles first, since they explain the storages; then by name, so that reports are the same everywhere."""
        return (0 if name.endswith("data.pkl") else 1, name)

    def read(self, source: Source, inside: Inspection, name: str) -> None:
        """Scan one member."""
        prefix = next((p for p in self._prefixes if name.startswith(p)), None)
        if prefix is not None and name.startswith((f"{prefix}data/", f"{prefix}constants/")):
            self._storage(source, inside, name[len(prefix) :])
        elif prefix is not None and name == f"{prefix}data.pkl":
            self._objects(source, inside, prefix)
        elif prefix is not None and name.startswith(f"{prefix}code/") and name.endswith(".py"):
            self._code(source, inside)
        elif prefix is not None and name in (f"{prefix}version", f"{prefix}.data/version", f"{prefix}byteorder"):
            if not source.peek(0, 64).strip().isalnum() or source.size > 64:
                inside.suspicious("torch-odd-member", "is not what torch writes there")
        elif is_raw(name, self._exported, self._packaged):
            self._storage(source, inside, f"/{name}")
        elif is_graph(name, self._exported):
            inspect_graph(source, inside)
        elif source.size:
            if self._packaged is not None and name.endswith(".py"):
                inside.suspicious("torch-package-code", "source that torch runs when it opens the package; read it")
            inside.scan(source)

    def finish(self) -> None:
        """Storages that the pickle asks for must be there."""
        missing = sorted(set(self._storages) - self._met)
        if missing:
            self._look.unscannable("torch-storage-missing", f"{len(missing)} storages are missing: {missing[:3]}")

    def _objects(self, source: Source, inside: Inspection, prefix: str) -> None:
        inside.format = "pickle"
        try:
            machine = Machine(source, inside, check=check_call)
            machine.script = self._script
            outcome = simulate(machine)
        except UnreadableError as error:
            inside.unreadable(error)
            return
        if outcome.end != source.size:
            inside.unscannable("pickle-trailing-bytes", "bytes follow the pickle's end", outcome.end)
        for key, storage in outcome.storages.items():
            self._storages[f"data/{key}"] = storage

    def _storage(self, source: Source, inside: Inspection, key: str) -> None:
        self._met.add(key)
        inside.format = "raw"
        if hidden := hidden_pickle(source, inside):
            inside.malicious("hidden-pickle", f"raw tensor data that is a pickle: {hidden.message}")
            return
        kind, count = self._storages.get(key, ("", 0))
        if not kind:
            if source.peek(0, 4) in (b"PK\x03\x04", b"\x7fELF"):
                inside.suspicious("torch-odd-member", "an archive or a program among the tensors")
            if key.startswith("data/"):
                inside.note("torch-storage-unused", "raw tensor data that no tensor uses")
        elif ELEMENT_SIZE.get(kind, 0) * count != source.size:
            inside.unscannable("torch-storage-size", f"{source.size} bytes for {count} elements of {kind}")

    def _code(self, source: Source, inside: Inspection) -> None:
        inside.format = "torchscript-code"
        for offset, chunk in source.chunks(overlap=256):
            inside.spend(16)
            match = _SCRIPT_DANGER.search(chunk)
            if match:
                what = match[0].strip()[:60].decode("ascii", "replace")
                inside.malicious(
                    "torchscript-code", f"TorchScript that reaches outside of torch: {what}", offset + match.start()
                )
                return


def hidden_pickle(source: Source, look: Inspection) -> ScanFinding | None:
    """The first dangerous global that raw data names when it is read as a pickle; None for ordinary numbers.

    Only named globals count: random bytes can look like other opcodes, but they do not spell `os` and `system`.
    """

    def trial(inner: Source, quiet: Inspection) -> None:
        simulate(Machine(inner, quiet, check=check_call))

    findings = look.quiet(source, look.name, trial)
    return next((found for found in findings if found.rule == "pickle-dangerous-global"), None)
