"""What is installed in an image: packages with the file and the layer that they come from, and what is not known.

1. The layers are merged; files that are worth reading only where a link leads to them, or that have a second name, are
   named to be read again (`to_read`).
2. What lies in files that are there counts; what only a lower layer has is told as removed, and does not count.
3. A package of a language that a package of the distribution brought is the distribution's to warn of.
4. Whatever could not be read makes the listing incomplete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from customhouse.trust.images.layer import Content, Layer
from customhouse.trust.images.merged import Mark, Merged, live_marks
from customhouse.trust.packages.distribution import Distribution, distribution_of
from customhouse.trust.packages.found import LANGUAGES, SYSTEMS, Found
from customhouse.trust.packages.readers import ANCHORED, SYSTEM_LISTS, Reader, reader_of
from customhouse.trust.packages.systems import FILE_LISTS
from customhouse.trust.scan.verdict import FileScan, Verdict

_SECRET_FILES = re.compile(
    r"(?:^|/)(?:\.ssh/id_(?:rsa|dsa|ecdsa|ed25519)|\.aws/credentials|\.docker/config\.json|\.netrc|\.git-credentials|"
    r"\.pypirc|\.kube/config|\.config/gcloud/application_default_credentials\.json|\.huggingface/token|"
    r"\.cache/huggingface/token|\.vault-token|\.env)$"
)
_TEST_DATA = re.compile(r"(?:^|/)(?:site|dist)-packages/[^/]+/(?:.+/)?tests?/")
_OF_SYSTEMS = ("usr/", "lib/", "lib64/", "bin/", "sbin/")
_RELEASES = ("etc/os-release", "usr/lib/os-release")
_MAX_PLACES = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """One package of the image. `layer` counts from 0; `owner` is the distribution's package that brought it."""

    found: Found
    path: str
    layer: int
    ecosystem: str
    purl: str
    owner: str = ""
    removed_by: int | None = None
    """The layer that hides it; None for one that is there."""


@dataclass(slots=True)
class Listing:
    """All of it. `complete` only when nothing was left unread."""

    distribution: Distribution = field(default_factory=Distribution)
    packages: list[Listed] = field(default_factory=list)
    removed: list[Listed] = field(default_factory=list)
    models: list[tuple[int, FileScan, bool]] = field(default_factory=list)
    """Layer, scan, and whether a later layer hides it (of those only what is not clean)."""
    unread: list[tuple[str, str]] = field(default_factory=list)
    """Where, and why."""
    secrets: list[tuple[str, int, bool]] = field(default_factory=list)
    """Files that usually hold secrets: path, layer, and whether a later layer only hides it."""
    setuid: int = 0
    programs: int = 0
    """Programs that say what they were linked from."""

    @property
    def complete(self) -> bool:
        """Whether everything that tells of packages was read."""
        return not self.unread

    @property
    def verdict(self) -> Verdict | None:
        """The worst of the models that are there; None without any.

        Test data of installed libraries (numpy ships pickles that no model is) counts when it is malicious.
        """
        found = {
            scan.verdict
            for _, scan, hidden in self.models
            if not hidden and (scan.verdict is Verdict.MALICIOUS or not _TEST_DATA.search(scan.path))
        }
        order = (Verdict.MALICIOUS, Verdict.SUSPICIOUS, Verdict.UNSCANNABLE, Verdict.CLEAN)
        return next((verdict for verdict in order if verdict in found), None)


def to_read(image: Merged, layers: Sequence[Layer | None]) -> Mapping[int, Mapping[int, Reader]]:
    """Files that must be read and were not, by layer and entry: their names alone did not show it."""
    wanted: dict[int, dict[int, Reader]] = {}

    def want(mark: Mark, reader: Reader) -> None:
        layer = layers[mark[0]] if mark[0] >= 0 else None
        if layer is not None and mark[1] not in layer.contents and layer.entries[mark[1]].size:
            wanted.setdefault(mark[0], {})[mark[1]] = reader

    for path, node in image.files():
        reader = reader_of(path) if node.kind == "f" else None
        if reader is not None:
            want(node.mark, reader)
    for path, anchored in ANCHORED.items():
        node_there = image.find(path)
        if node_there is not None and node_there.kind == "f":
            want(node_there.mark, anchored)
    for number, layer in enumerate(layers):
        for index in () if layer is None else layer.again:
            want((number, index), Reader.PROGRAM)
    return wanted


def listing_of(image: Merged, layers: Sequence[Layer | None]) -> Listing:
    """Gather what the layers' files say. A layer that is None is for the caller to name as unread."""
    return _Gathering(image, layers).listing()


class _Gathering:
    def __init__(self, image: Merged, layers: Sequence[Layer | None]) -> None:
        self._image, self._layers = image, layers
        self._live = live_marks(image)
        self._lists: dict[tuple[Reader, str], list[tuple[int, set[tuple[str, str, str, str]]]]] = {}
        for number, layer in enumerate(layers):
            for content in () if layer is None else layer.contents.values():
                if content.reader in SYSTEM_LISTS:
                    keys = {found.key for found in content.packages}
                    self._lists.setdefault((content.reader, content.path), []).append((number, keys))
        self._result = Listing()

    def listing(self) -> Listing:
        result = self._result
        result.distribution = self._distribution()
        result.unread.extend(("image", text) for text in self._image.odd)
        owners = self._owners()
        seen: set[tuple[str, str, str, str, str]] = set()
        for mark, path, content in self._contents():
            result.unread.extend((f"/{path}", why) for why in content.unread)
            if content.reader is Reader.PROGRAM and content.packages:
                result.programs += 1
            if content.scan is not None:
                result.models.append((mark[0], _at(content.scan, path), False))
            for found in content.packages:
                if content.reader is Reader.NPM_LOCK and self._is_installed(path):
                    continue
                if (*found.key, path) not in seen:
                    seen.add((*found.key, path))
                    result.packages.append(self._listed(found, path, self._origin(found, content, mark), owners))
        self._check_lists()
        self._removed()
        self._files()
        result.packages.sort(key=lambda item: (item.found.kind, item.found.name, item.found.version, item.path))
        return result

    def _contents(self) -> Iterator[tuple[Mark, str, Content]]:
        """What is said by files that are there, in the order of layers."""
        for number, layer in enumerate(self._layers):
            for index, content in () if layer is None else layer.contents.items():
                path = self._live.get((number, index))
                if path is not None:
                    yield (number, index), path, content

    def _distribution(self) -> Distribution:
        for place in _RELEASES:
            node = self._image.find(place)
            layer = self._layers[node.mark[0]] if node is not None and node.kind == "f" else None
            content = layer.contents.get(node.mark[1]) if layer is not None and node is not None else None
            if content is not None and content.release:
                return distribution_of(content.release)
        return Distribution()

    def _owners(self) -> dict[str, str]:
        """Paths without links of files that packages of the distribution brought, to what says so."""
        found: dict[str, str] = {}
        folders: dict[str, str] = {}
        for _, path, content in self._contents():
            owner = "the distribution"
            if content.reader is Reader.DPKG_FILES:
                owner = path.rpartition("/")[2].rpartition(".")[0].partition(":")[0]
            for item in content.owned:
                folder, _, name = item.rpartition("/")
                if folder not in folders:
                    folders[folder] = self._image.canonical(folder) if folder else ""
                found.setdefault(f"{folders[folder]}/{name}".lstrip("/"), owner)
        return found

    def _listed(self, found: Found, path: str, layer: int, owners: Mapping[str, str]) -> Listed:
        system = self._result.distribution
        if found.kind in SYSTEMS:
            purl = found.purl(system.identifier, system.version)
            return Listed(found, path, layer, system.ecosystem, purl)
        # Whoever edits a list of files vouches for no more than what lies where distributions put theirs.
        own = path.startswith(_OF_SYSTEMS) and not path.startswith("usr/local/")
        owner = owners.get(path, "") if own else ""
        return Listed(found, path, layer, LANGUAGES.get(found.kind, ""), found.purl(), owner)

    def _origin(self, found: Found, content: Content, mark: Mark) -> int:
        """The first layer whose list has this package: each layer writes the whole list of the distribution anew."""
        for number, keys in self._lists.get((content.reader, content.path), ()):
            if number < mark[0] and found.key in keys:
                return number
        return mark[0]

    def _is_installed(self, path: str) -> bool:
        """Whether what a lock file lists lies beside it: then what lies there counts."""
        folder = path.rpartition("/")[0]
        node = self._image.find(f"{folder}/node_modules" if folder else "node_modules")
        return node is not None and bool(node.inside)

    def _check_lists(self) -> None:
        """A distribution without its list of packages: somebody took it away, or keeps it elsewhere."""
        result = self._result
        systems = [item.found for item in result.packages if item.found.kind in SYSTEMS]
        result.unread += [("/etc/os-release", doubt) for doubt in result.distribution.doubts(systems)]
        self._check_file_lists({found.name for found in systems})
        if systems:
            return
        for number, layer in enumerate(self._layers):
            for content in () if layer is None else layer.contents.values():
                if content.reader in SYSTEM_LISTS and content.packages:
                    why = f"the list of packages that layer {number + 1} brought was taken away by a later layer"
                    result.unread.append((f"/{content.path}", why))
                    return
        if result.distribution.identifier:
            name = result.distribution.name or result.distribution.identifier
            result.unread.append(("image", f"it calls itself {name} and has no list of that distribution's packages"))

    def _check_file_lists(self, installed: Set[str]) -> None:
        """Of a package that dpkg lists files of, and that is in no list of packages, somebody hides the name."""
        explained = {
            path for _, _, content in self._contents() for path in content.owned if path.startswith(FILE_LISTS)
        }
        for _, path, content in self._contents():
            name = path.rpartition("/")[2].rpartition(".")[0].partition(":")[0]
            listed = content.reader is not Reader.DPKG_FILES or not path.startswith(FILE_LISTS) or name in installed
            if not listed and f"{FILE_LISTS}/{name}.list" not in explained:
                self._result.unread.append((f"/{path}", f"files of {name}, which is in no list of packages"))

    def _removed(self) -> None:
        """What only lower layers have: it is still in the image for whoever looks."""
        there = {(item.found.kind, item.found.name, item.found.version) for item in self._result.packages}
        told: set[tuple[str, str, str]] = set()
        for number, layer in enumerate(self._layers):
            for index, content in () if layer is None else layer.contents.items():
                if (number, index) in self._live or content.reader is Reader.NPM_LOCK:
                    continue
                by = self._image.hidden.get((number, index))
                for found in content.packages:
                    name = (found.kind, found.name, found.version)
                    if name not in there and name not in told:
                        told.add(name)
                        item = self._listed(found, content.path, number, {})
                        self._result.removed.append(
                            Listed(item.found, item.path, number, item.ecosystem, item.purl, "", by)
                        )
                if content.scan is not None and content.scan.verdict is not Verdict.CLEAN:
                    self._result.models.append((number, content.scan, True))

    def _files(self) -> None:
        for _, node in self._image.files():
            if node.kind == "f" and node.mode & 0o6000:
                self._result.setuid += 1
        for number, layer in enumerate(self._layers):
            for index, entry in enumerate(() if layer is None else layer.entries):
                if entry.kind == "f" and entry.size and _SECRET_FILES.search(entry.path):
                    hidden = (number, index) not in self._live
                    if len(self._result.secrets) < _MAX_PLACES:
                        self._result.secrets.append((entry.path, number, hidden))


def _at(scan: FileScan, path: str) -> FileScan:
    return FileScan(path, scan.format, scan.verdict, scan.findings, scan.size, scan.digest, scan.added)


def as_json(item: Listed, layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row of `packages` or `removed`."""
    found = item.found
    shown: dict[str, Any] = {
        "type": found.kind,
        "name": found.name,
        "version": found.version,
        "purl": item.purl,
        "ecosystem": item.ecosystem,
        "path": f"/{item.path}",
        "layer": item.layer + 1,
        "digest": layers[item.layer]["digest"] if item.layer < len(layers) else "",
    }
    if found.source and (found.source, found.source_version) != (found.name, found.version):
        shown["source"] = {"name": found.source, "version": found.source_version}
    said = {"licence": found.licence, "note": found.note, "owner": item.owner}
    shown |= {key: text for key, text in said.items() if text}
    if item.removed_by is not None:
        shown["removed_by"] = item.removed_by + 1
    return shown
