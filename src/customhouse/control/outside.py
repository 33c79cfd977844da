"""Outside: charts and artifacts of registries, as files that are rendered like those of the tree.

What is fetched is named by digest in Git: by the object itself, or by the lock file beside it (`control.lockfile`).

1. What an object asks for is looked up: its own digest counts, else the line of the lock file.
2. Its place must be one that the revision itself trusts, and one that who judges the revision trusts: a change cannot
   bring a registry along. The first makes it one that is not here; the second cannot be decided.
3. Its files are those with the digest, whoever has them (`Fetcher`); a chart is the one that the line names.
4. They are there below a folder of their own (`.fetched/…`), and only for the object that asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from customhouse.control import yaml_nodes
from customhouse.control.lockfile import COMMAND, LOCK, Key, Locked, is_trusted, place_of
from customhouse.control.rendering import CHART, Fetched
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import CannotDecideError, DeclarationError
from customhouse.core.resource import Declaration, Location

FETCHED = ".fetched"
"""The folder of the tree below which what was fetched is seen. Hidden files are no Declarations by themselves."""
CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_SHOWN = 12
_HIDDEN = re.compile(r"(?:charts/[^/]+/)*templates/(?:.*/)?\.")
"""Hidden templates, of the chart or of one in it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an object names: an address, and a digest, a version (or range) or a tag of it.

    `chart` is its name in a chart repository; `layer` the media type of the layer of an OCI artifact, empty for a
    chart's where it has one, else its first. `problem` says what the object asks for beside it that is not followed.
    """

    source: str
    chart: str = ""
    version: str = ""
    tag: str = ""
    digest: str = ""
    layer: str = ""
    problem: str = ""

    @property
    def key(self) -> Key:
        """What a line of the lock file answers."""
        return (self.source, self.chart, self.version, self.tag)

    @property
    def place(self) -> str:
        """`host/path`, the chart's name with it; empty for an address that cannot be read."""
        place = place_of(self.source)
        return f"{place}/{self.chart}" if place and self.chart else place

    def __str__(self) -> str:
        named = f"{self.source} {self.chart}".rstrip()
        return f"{named} {self.version or self.tag or self.digest}".rstrip()


@dataclass(frozen=True, slots=True)
class Pin:
    """One archive by digest: of an OCI manifest (`source` oci://…), else of the file at the address `source`."""

    source: str
    digest: str
    layer: str = ""
    size: int = 0
    """Bytes that it may have; 0: what is read at all."""


@dataclass(frozen=True, slots=True)
class Content:
    """The files of an archive, and whether it is a chart's (they are then those of the chart's folder)."""

    files: Mapping[str, bytes]
    is_chart: bool


class Fetcher(Protocol):
    """Gives what a digest names: kept from before, or fetched now."""

    def content(self, pin: Pin) -> Content:
        """The files. Raises CannotDecideError: it cannot be had, is too large, or is something else."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the tree that holds what was fetched; `files` by their whole paths."""

    folder: str
    files: Mapping[str, bytes] = field(repr=False)
    fetched: Fetched


class Outside:
    """What one revision has from elsewhere. `allowed` None: nobody judges it but itself."""

    def __init__(
        self,
        lock: Mapping[Key, Locked] | None = None,
        trusted: Sequence[str] = (),
        fetcher: Callable[[], Fetcher] | None = None,
        allowed: Sequence[str] | None = None,
    ) -> None:
        self._lock, self._trusted, self._allowed = lock or {}, trusted, allowed
        self._fetcher = fetcher
        self._mounts: dict[tuple[str, ...], Mount] = {}
        self.files: dict[str, bytes] = {}
        """Everything that was fetched so far, by its path in the tree."""
        self.asked: dict[Asked, tuple[Declaration, str]] = {}
        """What was asked for so far, each with an object that names it and the pointer."""

    @property
    def fetched(self) -> tuple[Fetched, ...]:
        """What was fetched so far."""
        found = {mount.fetched: None for mount in self._mounts.values()}
        return tuple(sorted(found, key=lambda one: (one.source, one.name, one.version, one.digest)))

    def mount(self, item: Declaration, pointer: str, asked: Asked) -> Mount | str:
        """The files of what an object asks for at a pointer; a text says why they are not here.

        Raises DeclarationError and CannotDecideError, at the object or the line of the lock file (steps 2 and 3).
        """
        # 1. What it is by digest.
        self.asked.setdefault(asked, (item, pointer))
        if asked.problem:
            return asked.problem
        place = asked.place
        if not place:
            return f"{asked.source[:200]!r} is no address of a registry"
        line = None if asked.digest else self._lock.get(asked.key)
        if line is None and not asked.digest:
            return f"no line of {LOCK} says which digest is meant: `{COMMAND}` writes it"
        where = item.locate(pointer) if line is None else line.location
        url = asked.source if line is None else line.url or line.source
        # 2. Whether it may be fetched from there.
        for one in {place, place_of(url)}:
            if not is_trusted(one, self._trusted):
                return f"{one or url[:200]} is not under policy.trustedRegistries"
            if self._allowed is not None and not is_trusted(one, self._allowed):
                raise CannotDecideError(
                    f"{item.ref} has {asked} rendered, and the rules that judge this do not trust {one}",
                    where=str(where),
                    hint="policy.trustedRegistries of the base revision counts: merge a commit with that alone first",
                )
        # 3. The files.
        digest = asked.digest if line is None else line.digest
        version = digest if line is None else line.resolved
        pin = Pin(url, digest, asked.layer, 0 if line is None else line.size)
        said = () if line is None else (line.chart, line.resolved)  # a chart is held against each line that names it
        key = (place, digest + asked.layer, *said)
        if key not in self._mounts:
            self._mounts[key] = self._mounted(pin, place, version, where, line)
        return self._mounts[key]

    def _mounted(self, pin: Pin, place: str, version: str, where: Location, line: Locked | None) -> Mount:
        if self._fetcher is None:
            raise CannotDecideError(f"nothing is fetched here, and {place} is not in this tree", where=str(where))
        try:
            content = self._fetcher().content(pin)
        except CannotDecideError as error:
            raise type(error)(error.message, where=f"{where}: {error.where}", hint=error.hint) from error
        name = place.rpartition("/")[2]
        if content.is_chart:
            _no_hidden_template(content.files, where)
            name, own = chart_of(content.files, where)
            said = "" if line is None else f"{line.chart or name} {_plain(line.resolved)}"
            if said and said != f"{name} {_plain(own)}":
                raise DeclarationError(f"it says {said}, and the chart is {name} {own}", where=str(where))
            version = own
        # 4. A colon or an @ would make an address of it where Kustomize reads paths.
        shown = f"{version.replace(':', '-')[:64]}-{pin.digest.removeprefix('sha256:')[:_SHOWN]}"
        shown = shown if line is not None or content.is_chart else pin.digest.removeprefix("sha256:")[:_SHOWN]
        folder = f"{FETCHED}/{place.replace(':', '_')}/{shown}"
        known = next((one for one in self._mounts.values() if one.folder == folder), None)
        if known is not None and known.fetched.digest != pin.digest:
            raise CannotDecideError(f"two archives begin with the digest {shown}", where=str(where))
        files = {f"{folder}/{path}": data for path, data in content.files.items()}
        self.files |= files
        return Mount(folder, files, Fetched(name, pin.source, version, pin.digest, folder))


class Both(Mapping[str, bytes]):
    """The files of a tree, and what was fetched beside it."""

    def __init__(self, files: Mapping[str, bytes], fetched: Mapping[str, bytes]) -> None:
        self._files, self._fetched = files, fetched

    def __getitem__(self, name: str) -> bytes:
        return self._fetched[name] if name in self._fetched else self._files[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fetched or name in self._files

    def __iter__(self) -> Iterator[str]:
        yield from self._fetched
        yield from (name for name in self._files if name not in self._fetched)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def mount_folder(asked: Asked) -> str:
    """Below which folder what an object asks for is seen, whatever its digest; empty where it never is."""
    return f"{FETCHED}/{asked.place.replace(':', '_')}/" if asked.place and not asked.problem else ""


def chart_of(files: Mapping[str, bytes], where: Location) -> tuple[str, str]:
    """The name and version that a chart says of itself. Raises DeclarationError."""
    value: Any = None
    if CHART in files:
        path = f"{where}: {CHART}"
        reads = [Reader(path).read(root) for root in yaml_nodes.compose(yaml_nodes.decode(files[CHART], path), path)]
        value = reads[0].value if len(reads) == 1 else None
    name, version = (value.get("name"), value.get("version")) if isinstance(value, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(version, str):
        raise DeclarationError("the archive is no chart: its Chart.yaml has no name and version", where=str(where))
    return name[:200], version[:200]


def _no_hidden_template(files: Mapping[str, bytes], where: Location) -> None:
    """Helm renders one out of an archive and passes over it in a folder; `helm package` packs none."""
    for name, data in files.items():
        if _HIDDEN.match(name) and data.strip():
            raise DeclarationError(
                f"{name} is hidden below templates: Flux renders it, Argo CD does not",
                where=str(where),
                hint="do not use this archive; `helm package` leaves such files out",
            )


def _plain(version: str) -> str:
    """A tag cannot have a plus sign; `v1.2.3` and `1.2.3` are one version to Helm."""
    return version.replace("_", "+").removeprefix("v")
