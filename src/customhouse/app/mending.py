"""Mending: fixes that are certain, as a patch that `git apply` takes.

Only what hardens without a choice: a field that has one right value. Labels, limits, registries and sizes are a
person's to choose. Every edit is made in a copy and judged again: it is offered only when its finding is gone and
no new one came.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from customhouse.app import gatekeeping
from customhouse.app.clearance import Judgement, Question
from customhouse.app.settings import Settings
from customhouse.app.sources import SourceTree
from customhouse.control.edit import edit
from customhouse.core.decision import Finding
from customhouse.core.errors import CustomhouseError
from customhouse.core.ports import PolicyEngine
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import Declaration, ResourceRef

MAX_EDITS = 400
"""Fixes that are tried in one run."""
MAX_TRIALS = 60
"""Judgements that are made to find out which fixes do, where all at once does not."""
_PLAIN_PATH = re.compile(r"[^\x00-\x1f\"\\\x7f]+")
_SECURITY = "/securityContext"
_NO_ESCALATION = FieldEdit(f"{_SECURITY}/allowPrivilegeEscalation", "false")
_DROP_ALL = FieldEdit(f"{_SECURITY}/capabilities/drop", "[ALL]")
_NON_ROOT = FieldEdit(f"{_SECURITY}/runAsNonRoot", "true")
_SECCOMP = FieldEdit(f"{_SECURITY}/seccompProfile/type", "RuntimeDefault")
_NO_TOKEN = FieldEdit("/automountServiceAccountToken", "false")
_BY_RULE: Mapping[str, tuple[FieldEdit, ...]] = {
    "container-privilege-escalation": (_NO_ESCALATION,),
    "container-capabilities": (_DROP_ALL,),
    "container-root": (_NON_ROOT,),
    "container-seccomp": (_SECCOMP,),
    "pod-token-mounted": (_NO_TOKEN,),
}
"""Rule → the fields to set, below the container or pod that the finding's pointer names."""

_Complaint = tuple[str, ResourceRef, str]
_Complaints = Counter[_Complaint]


@dataclass(frozen=True, slots=True)
class Mended:
    """A unified diff (empty: nothing to offer), how many findings it mends, and what is to be said of it."""

    patch: str
    mended: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Fix:
    """One edit of one object in one file, and the finding that it is for."""

    finding: Finding
    file: str
    ref: ResourceRef
    edit: FieldEdit


class _Mended(Mapping[str, bytes]):
    """Files with some of them replaced; the others are read only when asked for."""

    def __init__(self, files: Mapping[str, bytes], changed: Mapping[str, bytes]) -> None:
        self._files, self._changed = files, changed

    def __getitem__(self, name: str) -> bytes:
        return self._changed[name] if name in self._changed else self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class _Overlay:
    """A SourceTree in which some files are as they would be."""

    def __init__(self, tree: SourceTree, changed: Mapping[str, bytes]) -> None:
        self._tree, self._changed = tree, changed

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        return _Mended(self._tree.files(rev, prefix), self._changed)

    def read(self, rev: str, path: str) -> bytes | None:
        return self._changed[path] if path in self._changed else self._tree.read(rev, path)


class _Bench:
    """Where fixes are tried: a fix is taken when its finding goes and no other comes."""

    def __init__(self, question: Question, judge: Callable[[Question], Judgement], before: _Complaints) -> None:
        self._question, self._judge = question, judge
        self._left = MAX_TRIALS
        self.before = self._now = before
        self.chosen: list[_Fix] = []
        self.changed: Mapping[str, bytes] = {}

    @property
    def mended(self) -> int:
        """How many findings are gone."""
        return self.before.total() - self._now.total()

    def take(self, group: Sequence[_Fix]) -> bool:
        """Take all of them, or none: whether it did."""
        if self._left <= 0:
            return False
        made = _edited(self._question, [*self.chosen, *group])
        if made is None:
            return False
        self._left -= 1
        after = _complaints(self._judge(replace(self._question, tree=_Overlay(self._question.tree, made))))
        gone = all(after[_complaint(fix.finding)] < self._now[_complaint(fix.finding)] for fix in group)
        if not gone or not after <= self._now:
            return False
        self.chosen, self.changed, self._now = [*self.chosen, *group], made, after
        return True


def mend(settings: Settings, judgement: Judgement, engine: PolicyEngine | None = None) -> Mended:
    """The patch for what a judgement found. Raises what `judge` raises, when the files change meanwhile."""
    question = judgement.question
    wanted = list(_fixes(judgement))[:MAX_EDITS]
    bench = _Bench(question, gatekeeping.clearance(settings, engine).judge, _complaints(judgement))
    objects: dict[tuple[str, ResourceRef], list[_Fix]] = {}
    for fix in wanted:
        objects.setdefault((fix.file, fix.ref), []).append(fix)
    # All at once as a rule; where that does not do, object by object, and in an object one by one.
    if wanted and not bench.take(wanted):
        for group in objects.values():
            if not bench.take(group):
                for fix in group:
                    bench.take([fix])
    chosen, changed = bench.chosen, bench.changed
    left = len({_complaint(fix.finding) for fix in wanted} - {_complaint(fix.finding) for fix in chosen})
    patch = "".join(_diff(name, question.tree.files(question.head)[name], changed[name]) for name in sorted(changed))
    notes = [f"the patch mends {bench.mended} of {bench.before.total()} findings"]
    if left:
        notes.append(f"{left} more could not be mended where they are written, or not without another finding")
    return Mended(patch, len(chosen), tuple(notes))


def _complaint(finding: Finding) -> _Complaint:
    """What a complaint is, whatever its words: a pinned image is named with its pin by other rules too."""
    return finding.rule, finding.resource, finding.pointer


def _complaints(judgement: Judgement) -> _Complaints:
    """What stands against a change; nobody is asked to mend what is waived."""
    return Counter(
        _complaint(finding) for decision in judgement.decisions for finding in decision.findings if not finding.waiver
    )


def _fixes(judgement: Judgement) -> Iterator[_Fix]:
    known = _pins(judgement)
    for change, decision in zip(judgement.changes, judgement.decisions, strict=True):
        declaration = change.after
        if declaration is None:
            continue
        for finding in decision.findings:
            if finding.waiver is None:
                for made in _edits(finding, declaration, known):
                    file = declaration.locate(finding.pointer).file
                    if _PLAIN_PATH.fullmatch(file):
                        yield _Fix(finding, file, declaration.ref, made)


def _edits(finding: Finding, declaration: Declaration, known: Mapping[str, str]) -> Iterator[FieldEdit]:
    place = finding.pointer.partition(_SECURITY)[0]
    for made in _BY_RULE.get(finding.rule, ()):
        below = place if made is not _NO_TOKEN else place.removesuffix(_NO_TOKEN.pointer)
        yield FieldEdit(f"{below}{made.pointer}", made.value)
    if finding.rule == "image-not-pinned":
        reference = _value(declaration.manifest, finding.pointer)
        if isinstance(reference, str) and reference in known:
            yield FieldEdit(finding.pointer, known[reference])


def _pins(judgement: Judgement) -> Mapping[str, str]:
    """Image by name and tag → the same with the one digest that this repository pins it by elsewhere."""
    found: dict[str, set[str]] = {}
    for declaration in (*judgement.question.base, *judgement.declarations):
        for text in _texts(declaration.manifest):
            name, at, _ = text.partition("@sha256:")
            if at and ":" in name.rpartition("/")[2]:
                found.setdefault(name, set()).add(text)
    return {name: next(iter(pins)) for name, pins in found.items() if len(pins) == 1}


def _texts(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "@sha256:" in item and len(item) < 1024 and not item[:1].isspace() and "//" not in item:
                yield item
        elif isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _value(manifest: object, pointer: str) -> object:
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(manifest, Mapping):
            manifest = manifest.get(key)
        elif isinstance(manifest, list) and key.isdecimal() and int(key) < len(manifest):
            manifest = manifest[int(key)]
        else:
            return None
    return manifest


def _edited(question: Question, fixes: Iterable[_Fix]) -> Mapping[str, bytes] | None:
    """The files with the fixes made; None when one cannot be made where it is written."""
    by_file: dict[str, list[_Fix]] = {}
    for fix in fixes:
        by_file.setdefault(fix.file, []).append(fix)
    files = question.tree.files(question.head)
    made: dict[str, bytes] = {}
    for file, own in by_file.items():
        if file not in files:
            return None
        data = files[file]
        try:
            for ref, edits in _by_object(own).items():
                data = edit(data, ref, edits, file=file)
        except CustomhouseError:
            return None
        made[file] = data
    return made


def _by_object(fixes: Sequence[_Fix]) -> Mapping[ResourceRef, list[FieldEdit]]:
    found: dict[ResourceRef, list[FieldEdit]] = {}
    for fix in fixes:
        edits = found.setdefault(fix.ref, [])
        if fix.edit not in edits:
            edits.append(fix.edit)
    return found


def _diff(name: str, before: bytes, after: bytes) -> str:
    """A unified diff in the form of Git: a name with a blank ends in a tab, a last line without its end says so."""
    old, new = (_lines(data.decode("utf-8")) for data in (before, after))
    tail = "\t" if " " in name else ""
    return "".join(difflib.unified_diff(old, new, f"a/{name}{tail}", f"b/{name}{tail}"))


def _lines(text: str) -> list[str]:
    *whole, last = text.split("\n")
    return [*(f"{line}\n" for line in whole), *([f"{last}\n\\ No newline at end of file\n"] if last else [])]
