"""Bundles as archives: OPA's bundle format (a gzipped tar with `.manifest`), the same bytes on every machine.

    .manifest          {"revision", "roots", "rego_version": 1, "metadata": {"customhouse.dev/bundle": digest}}
    data.json          the merged data, canonical JSON
    <path>.rego        the modules; tests stay at home

Written with stored (uncompressed) deflate blocks, since what a compressor makes depends on its version. Read in memory
only, with limits: nothing in an archive ever becomes a path of this machine.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import bytes_digest
from customhouse._kit.single_keys import each_once
from customhouse.core.errors import PolicyError
from customhouse.policy.bundle import (
    BUILTIN_VERSION,
    MAX_BUNDLE_BYTES,
    MAX_MODULE_BYTES,
    MAX_MODULES,
    OWN_ENTRIES,
    Bundle,
    builtin_bundle,
    load_bundle,
)
from customhouse.policy.lint import package_of
from customhouse.policy.strictyaml import StrictYamlError, parse_yaml

MAX_ARCHIVE = 8 * 1024 * 1024
"""Bytes of an archive, packed and unpacked: the files of a bundle are 4 MiB at most, a tar header adds 1 KiB a file."""
MAX_PATH = 512
MANIFEST = ".manifest"
SIGNATURES = ".signatures.json"
"""OPA's own signature file; left aside, since what counts here is the digest and a signature by a trust root."""
BUNDLE_DIGEST = "customhouse.dev/bundle"
_BUILTIN = "customhouse-builtin/"
_DATA = ("data.json", "data.yaml", "data.yml")
_BLOCK = 65535
_FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive holds: files as `load_bundle` takes them, the version, the digest of the archive's bytes."""

    files: Mapping[str, bytes]
    version: str
    digest: str

    def bundle(self, base: Bundle | None = None) -> Bundle:
        """The bundle that judges, joined to `base`. Raises PolicyError with the file and line inside the archive.

        Built-in modules that were packed with `--with-builtin` are those of `base`, or the archive is refused.
        """
        if base is None:
            return load_bundle(dict(self.files), version=self.version)
        own = self.own_files(base)
        # The built-in rules, and nothing of one's own: what is used is the program's.
        return load_bundle(own, base=base, version=self.version) if _has_rego(own) else base

    def own_files(self, base: Bundle) -> dict[str, bytes]:
        """The files that are no built-in rules. Raises PolicyError for built-in ones that are not those of `base`."""
        for name, content in self.files.items():
            original = name.removeprefix(_BUILTIN)
            if original in (name, OWN_ENTRIES):  # that one is made again from what joins
                continue
            if base.modules.get(original, "").encode() != content:
                raise PolicyError(
                    "the archive was built with other built-in rules than this program's",
                    where=name,
                    hint=f"build it again with this version (built-in rules {base.version}), or without --with-builtin",
                )
        return {name: content for name, content in self.files.items() if not name.startswith(_BUILTIN)}


def _has_rego(files: Mapping[str, bytes]) -> bool:
    return any(name.endswith(".rego") for name in files)


def pack(files: Mapping[str, bytes], version: str, *, with_builtin: bool = False) -> bytes:
    """The archive of a project's own rules (`*.rego` and data files, path → content).

    `with_builtin` puts the built-in rules beside them, so that OPA alone answers `data.customhouse.findings`. Raises
    PolicyError for whatever `load_bundle` refuses: an archive that could not judge is not made.
    """
    base = builtin_bundle()
    joined = load_bundle(files, base=base, version=version) if files else base
    modules = {name: source for name, source in joined.modules.items() if name not in base.modules and name in files}
    # Files of the gate's own making are made again by whoever reads the archive.
    made = {name: source for name, source in joined.modules.items() if name not in base.modules and name not in files}
    if with_builtin:
        modules |= {_BUILTIN + name: source for name, source in {**base.modules, **made}.items()}
    if not modules:
        raise PolicyError("there is no Rego module to build", hint="name a folder with *.rego, or --with-builtin")
    roots = sorted({package_of(source, name).replace(".", "/") for name, source in modules.items()} | set(joined.data))
    manifest = {
        "revision": version,
        "roots": _outermost(roots),
        "rego_version": 1,
        "metadata": {BUNDLE_DIGEST: joined.digest, "customhouse.dev/built-in": BUILTIN_VERSION},
    }
    content = {name: source.encode() for name, source in modules.items()}
    if joined.data:
        content["data.json"] = canonical_json(joined.data)
    packed = _gzip(_tar({MANIFEST: canonical_json(manifest), **content}))
    if len(packed) > MAX_ARCHIVE:
        raise PolicyError(f"the archive would be {len(packed)} bytes; the limit is {MAX_ARCHIVE}")
    return packed


def unpack(data: bytes, where: str = "bundle") -> Archive:
    """Read an archive. Raises PolicyError, naming `where` and the member, for anything that is not a plain bundle."""
    # 1. Unpacked no further than the limit, whatever the archive says of its size.
    text = _inflate(data, where)
    # 2. Plain files only, each once, under names that stay inside.
    members = _members(text, where)
    # 3. The manifest; wasm and plans are another engine's and would be judged with by nobody here.
    manifest = _manifest(members.pop(MANIFEST, b"{}"), where)
    members.pop(SIGNATURES, None)
    for name in members:
        if not name.endswith(".rego") and name.rpartition("/")[2] not in _DATA:
            raise PolicyError("it has no place in a bundle of Rego", where=f"{where}!{name}")
    # 4. Data lies where OPA would mount it: the folders of a data file are keys.
    files = {name: content for name, content in members.items() if name.endswith(".rego")}
    mounted = _mounted({name: content for name, content in members.items() if not name.endswith(".rego")}, where)
    if mounted:
        files["data.json"] = canonical_json(mounted)
    return Archive(files, str(manifest.get("revision") or "0")[:128], bytes_digest(data))


def _outermost(roots: list[str]) -> list[str]:
    """OPA refuses roots that lie in one another."""
    return [root for root in roots if not any(root != other and root.startswith(f"{other}/") for other in roots)]


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(files[name]), 0o644, 0
            archive.addfile(member, io.BytesIO(files[name]))
    return buffer.getvalue()


def _gzip(data: bytes) -> bytes:
    """RFC 1952 around stored blocks of RFC 1951."""
    parts = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    blocks = [data[start : start + _BLOCK] for start in range(0, len(data), _BLOCK)] or [b""]
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    parts.append(struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
    return b"".join(parts)


def _inflate(data: bytes, where: str) -> bytes:
    if len(data) > MAX_ARCHIVE:
        raise PolicyError(f"the archive is {len(data)} bytes; the limit is {MAX_ARCHIVE}", where=where)
    reader = zlib.decompressobj(31)
    try:
        text = reader.decompress(data, MAX_ARCHIVE + 1)
    except zlib.error as error:
        raise PolicyError(f"not a gzip archive: {error}", where=where) from error
    if len(text) > MAX_ARCHIVE:
        raise PolicyError(f"it unpacks to more than {MAX_ARCHIVE} bytes", where=where, hint="a bundle is 4 MiB at most")
    if not reader.eof:
        raise PolicyError("the archive is cut off", where=where)
    if reader.unused_data:
        raise PolicyError("there is something behind the archive's end", where=where)
    return text


def _members(text: bytes, where: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(text), mode="r:") as archive:
            for count, member in enumerate(archive):
                if count >= 2 * MAX_MODULES:
                    raise PolicyError(f"more than {2 * MAX_MODULES} members", where=where)
                name = _name(member.name, where)
                if member.isdir():
                    continue
                if member.type not in _FILE_TYPES or member.issparse():
                    raise PolicyError("a link or a device has no place in a bundle", where=f"{where}!{name}")
                if name in found:
                    raise PolicyError("the name is there twice", where=f"{where}!{name}")
                if member.size > max(MAX_MODULE_BYTES, MAX_BUNDLE_BYTES if name.endswith("data.json") else 0):
                    raise PolicyError(f"{member.size} bytes; the limit is {MAX_MODULE_BYTES}", where=f"{where}!{name}")
                total += member.size
                if total > MAX_BUNDLE_BYTES:
                    raise PolicyError(f"its files are more than {MAX_BUNDLE_BYTES} bytes", where=where)
                handle = archive.extractfile(member)
                content = b"" if handle is None else handle.read(member.size)
                if len(content) != member.size:
                    raise PolicyError("the file is cut off", where=f"{where}!{name}")
                found[name] = content
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise PolicyError(f"not a tar archive: {error}", where=where) from error
    if not found:
        raise PolicyError("the archive holds no file", where=where)
    return found


def _name(given: str, where: str) -> str:
    """The normal form: OPA writes `/data.json`, others `./data.json`."""
    name = given.removeprefix("./").removeprefix("/").rstrip("/")
    parts = name.split("/")
    printable = name.isprintable() and "\\" not in name and "\0" not in name
    if name in ("", ".") and given.strip("./") == "":
        return "."
    if len(name) > MAX_PATH or not printable or any(part in ("", ".", "..") for part in parts):
        raise PolicyError(f"the name {given[:80]!r} leads out of the bundle, or is no name", where=where)
    return name


def _manifest(data: bytes, where: str) -> Mapping[str, Any]:
    try:
        manifest = json.loads(data, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"the manifest cannot be read: {error}", where=f"{where}!{MANIFEST}") from error
    if not isinstance(manifest, dict):
        raise PolicyError("the manifest is not an object", where=f"{where}!{MANIFEST}")
    if manifest.get("rego_version", 1) != 1 or manifest.get("file_rego_versions"):
        raise PolicyError("it is written in Rego v0", where=f"{where}!{MANIFEST}", hint="`opa fmt --v0-v1` rewrites it")
    if manifest.get("wasm"):
        raise PolicyError("it holds WebAssembly; only Rego is judged with", where=f"{where}!{MANIFEST}")
    return manifest


def _mounted(files: Mapping[str, bytes], where: str) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, content in sorted(files.items()):
        place = f"{where}!{name}"
        try:
            text = content.decode("utf-8")
            value = json.loads(text, object_pairs_hook=each_once) if name.endswith(".json") else parse_yaml(text)
        except (ValueError, StrictYamlError, RecursionError) as error:
            raise PolicyError(f"the data cannot be read: {error}", where=place) from error
        for key in reversed(name.split("/")[:-1]):
            value = {key: value}
        if not isinstance(value, dict):
            raise PolicyError("data has to be a mapping", where=place)
        _merge(root, value, place)
    return root


def _merge(into: dict[str, Any], more: Mapping[str, Any], where: str) -> None:
    for key, value in more.items():
        if isinstance(into.get(key), dict) and isinstance(value, dict):
            _merge(into[key], value, where)
        elif key in into:
            raise PolicyError(f"the key {key} is taken", where=where, hint="every key may be given once")
        else:
            into[key] = value
