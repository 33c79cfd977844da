"""`customhouse promote NAME --to ENVIRONMENT`: the commit that carries a release on, on a branch to be reviewed."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import cast

from customhouse._kit.clock import to_rfc3339
from customhouse.app import wiring
from customhouse.app.configuration import FILE, Configuration
from customhouse.app.declared import declarations_of
from customhouse.app.governance import read_configuration
from customhouse.app.identity import COMMIT_KEY, IDENTITY
from customhouse.app.proposing import pull_request
from customhouse.app.settings import Settings
from customhouse.app.sources import SourceTree
from customhouse.app.succession import release_name
from customhouse.control.edit import edit
from customhouse.control.overlay_patch import overlay_patch
from customhouse.control.placing import bare
from customhouse.control.promote import promotion, versions_of
from customhouse.control.written import written
from customhouse.core.errors import DeclarationError, UsageError
from customhouse.core.forge import PullRequest
from customhouse.core.proposal import FieldEdit
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import Declaration
from customhouse.policy.tiers import Environment

_HISTORY = 1000
_SOURCES = (
    ("helm.toolkit.fluxcd.io", "HelmRelease"),
    ("kustomize.toolkit.fluxcd.io", "Kustomization"),
    ("argoproj.io", "Application"),
    ("argoproj.io", "ApplicationSet"),
)
_WORKLOADS = ("InferenceService", "Rollout", "Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job")


@dataclass(frozen=True, slots=True)
class Promoted:
    """The branch to be merged and its commit; no commit where there is nothing left to carry."""

    branch: str
    commit: str
    source: Declaration
    target: Declaration
    edits: tuple[FieldEdit, ...]
    proof: str
    """What is known of the release where it runs now; empty without a state that knows of it."""
    refused: str = ""
    """Why it is not carried."""
    pull_request: PullRequest | None = None
    unopened: str = ""
    """Why there is no pull request, where customhouse.yaml names a forge."""


def promote(
    settings: Settings, location: str, branch: str, name: str, to: str, *, since: str = "", unproved: bool = False
) -> Promoted:
    """Carry what NAME runs in one environment to the next. `since` names the one it comes from: else the one before.

    A release that was rolled back, or (unless `unproved`) was never seen promoted where it comes from, is refused.
    Raises UsageError for environments and names that are not there once, and for what is declared in one place for
    several environments.
    """
    source = wiring.repository(settings, location, branch)
    head = source.fetch()
    data = source.read(head, FILE)
    configuration = None if data is None else read_configuration(data)
    if configuration is None or len(configuration.environments) < 2:
        raise UsageError(
            f"{FILE} of {branch} names no two environments",
            hint="write `environments:` in the order of promotion, each with its namespaces",
        )
    before, after = _way(configuration.environments, since, to)
    declared = declarations_of(source, head, configuration.paths, configuration.render)
    ours, theirs = _named(configuration, declared, name, before), _named(configuration, declared, name, after)
    edits = promotion(ours, theirs)
    proof, refused = _proof(settings, ours, before.name, unproved=unproved)
    target = f"customhouse/promote/{theirs.ref.name}-to-{after.name}"
    if refused:
        return Promoted(target, "", ours, theirs, edits, "", refused)
    if not edits:
        return Promoted(target, "", ours, theirs, (), proof)
    message = _message(name, before.name, after.name, ours, edits, proof)
    key = settings.keys / COMMIT_KEY
    signing = key if key.exists() else None

    def outcome(files: Mapping[str, bytes]) -> Sequence[Declaration]:
        return declarations_of(_Edited(source, files), head, configuration.paths, configuration.render)

    files = _proved(ours, theirs, declared, _ways(theirs, edits, source, head), outcome)
    commit = source.commit(head, target, files, message, identity=IDENTITY, signing_key=signing, replace=True)
    request, unopened = pull_request(settings, configuration, target, branch, message)
    return Promoted(target, commit, ours, theirs, edits, proof, "", request, unopened)


def _renders(item: Declaration, theirs: Declaration) -> bool:
    """An object that others are rendered by, whose own values or images were altered: what it makes is looked at."""
    said = (item.ref.api_version.rpartition("/")[0], item.ref.kind)
    return item.ref != theirs.ref and item.rendering is None and said in _SOURCES


class _Edited:
    """A source with some files as they would be."""

    def __init__(self, source: SourceTree, files: Mapping[str, bytes]) -> None:
        self._source, self._files = source, files

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        """See `SourceTree`."""
        own = {name: data for name, data in self._files.items() if name.startswith(prefix)}
        return ChainMap(own, cast("dict[str, bytes]", self._source.files(rev, prefix)))  # read, never written

    def read(self, rev: str, path: str) -> bytes | None:
        """See `SourceTree`."""
        return self._files[path] if path in self._files else self._source.read(rev, path)


def _proved(
    ours: Declaration,
    theirs: Declaration,
    declared: Sequence[Declaration],
    ways: Iterator[Mapping[str, bytes]],
    outcome: Callable[[Mapping[str, bytes]], Sequence[Declaration]],
) -> Mapping[str, bytes]:
    """The files of the first way by which `theirs`, and it alone, becomes what is promoted. Raises UsageError."""
    was = {item.ref: item.digest for item in declared}
    for files in ways:
        try:
            later = outcome(files)
        except DeclarationError:  # a patch that does not fit
            continue
        moved = [item for item in later if was.get(item.ref) != item.digest and not _renders(item, theirs)]
        now = next((item for item in moved if item.ref == theirs.ref), None)
        # What comes with another version of a chart is that version's; anything else changes one object alone.
        alone = bool(versions_of(theirs)) or (len(moved) == 1 and len(later) == len(declared))
        if now is not None and alone and not promotion(ours, now):
            return files
    raise _shared(theirs, theirs.location.file)


def _ways(
    theirs: Declaration, edits: Sequence[FieldEdit], source: SourceTree, head: str
) -> Iterator[Mapping[str, bytes]]:
    """Ways to write it, the plainest first.

    In its own lines; where a program rendered it, in the lines that the value comes from (a Kustomization's images, a
    chart's values); as a patch in its overlay, where others share them.
    """
    path = theirs.location.file
    read = partial(source.read, head)
    rendered = theirs.rendering is not None
    elsewhere = list(written(theirs, edits, source.files(head))) if rendered else []
    yield from (files for files, rest in elsewhere if not rest)
    text = read(path)
    if text is not None:
        try:
            yield {path: edit(text, bare(theirs.ref), edits, file=path)}
        except DeclarationError:
            if not rendered:
                raise
    for files, rest in elsewhere:
        beside = overlay_patch(theirs, rest, _over(files, read)) if rest else None
        if beside is not None:
            yield {**files, **beside}
    patch = overlay_patch(theirs, edits, read)
    if patch is not None:
        yield patch


def _over(files: Mapping[str, bytes], read: Callable[[str], bytes | None]) -> Callable[[str], bytes | None]:
    """What is read when some files are as they would be."""
    return lambda path: files[path] if path in files else read(path)


def _shared(theirs: Declaration, path: str) -> UsageError:
    return UsageError(
        f"{theirs.ref} is rendered from {path}, and neither an edit there, nor one of `images` or values where they "
        "are written, nor a patch in its overlay changes it, and it alone",
        hint="declare images and models in the environment's own files",
    )


def _way(environments: Sequence[Environment], since: str, to: str) -> tuple[Environment, Environment]:
    names = [item.name for item in environments]
    for asked in filter(None, (to, since)):
        if asked not in names:
            raise UsageError(f"no environment is called {asked!r}", hint=f"one of: {', '.join(names)}")
    place = names.index(to)
    start = names.index(since) if since else place - 1
    if start < 0:
        raise UsageError(f"{to} is the first environment", hint="name the one to carry from with --from")
    if start >= place:
        raise UsageError(f"{names[start]} does not come before {to}", hint=f"the order is {', '.join(names)}")
    return environments[start], environments[place]


def _named(
    configuration: Configuration, declared: Sequence[Declaration], name: str, environment: Environment
) -> Declaration:
    kind, slash, short = name.rpartition("/")
    target, placing = configuration.environment_targets.get(environment.name), configuration.placing
    found = [
        item
        for item in declared
        if short in _names(item, environment.name)
        and (not slash or item.ref.kind == kind)
        and any(fnmatchcase(_namespace(item), pattern) for pattern in environment.namespaces)
        and target in (None, placing.of(item.ref, item.scene))
        and (item.ref.kind in _WORKLOADS or (versions_of(item) and item.ref.kind == kind))
    ]
    if not found:
        where = f" in the cluster {target}" if target else ""
        raise UsageError(
            f"nothing called {name!r} is declared in {environment.name}",
            hint=f"its namespaces are {', '.join(environment.namespaces)}{where}; declare it there once, then promote",
        )
    if len(found) > 1:
        raise UsageError(
            f"several things are called {name!r} in {environment.name}",
            hint=f"name one as KIND/NAME: {', '.join(str(item.ref) for item in found)}",
        )
    return found[0]


def _names(item: Declaration, environment: str) -> set[str]:
    """Argo CD's Applications lie in one namespace, so their names tell environments apart: that part is left out."""
    name = item.ref.name
    if item.ref.kind != "Application":
        return {name}
    parts = {part for part in (environment, _namespace(item)) if part}
    return {name, *(name.removesuffix(f"-{part}").removeprefix(f"{part}-") for part in parts)}


def _namespace(item: Declaration) -> str:
    spec = item.manifest.get("spec")
    destination = spec.get("destination") if item.ref.kind == "Application" and isinstance(spec, Mapping) else None
    said = destination.get("namespace") if isinstance(destination, Mapping) else None
    return said if isinstance(said, str) else item.ref.namespace


def _proof(settings: Settings, ours: Declaration, environment: str, *, unproved: bool) -> tuple[str, str]:
    """What is known of the release, and why it is not carried."""
    releases: list[Release] = []
    if wiring.has_store(settings):
        with wiring.store(settings, create=False) as opened:
            wanted = release_name(ours)
            releases = [
                item
                for item in opened.releases.history(ours.ref.name, _HISTORY)
                if item.resource == ours.ref and item.release == wanted
            ]
    if releases and releases[0].phase is RolloutPhase.ROLLED_BACK:
        return "", f"{ours.ref} was rolled back in {environment}: {releases[0].reason}"
    proved = next((item for item in releases if item.phase is RolloutPhase.PROMOTED), None)
    if proved is None:
        return "", "" if unproved else f"{ours.ref} as it is declared was never seen promoted in {environment}"
    return f"{environment} {to_rfc3339(proved.at)} revision {proved.revision} decision {proved.decision}", ""


def _message(name: str, before: str, after: str, ours: Declaration, edits: Sequence[FieldEdit], proof: str) -> str:
    lines = [f"Promote {name} from {before} to {after}", ""]
    lines += [f"{item.pointer} is {item.value}" for item in edits]
    lines += ["", f"Customhouse-Promotes: {ours.ref}"]
    lines += [f"Customhouse-Proved: {proof}"] if proof else []
    return "\n".join(lines) + "\n"
