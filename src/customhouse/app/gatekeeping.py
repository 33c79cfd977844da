"""`customhouse gate` and `cost estimate`: which two states are compared, under whose governance, with which spend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from customhouse._kit.digest import tree
from customhouse._kit.forks import workers
from customhouse.app import wiring
from customhouse.app.clearance import Clearance, Judgement, Question, Spend
from customhouse.app.configuration import FILE, Configuration
from customhouse.app.declared import declarations_of
from customhouse.app.evidencing import Hashing
from customhouse.app.filescan import Before
from customhouse.app.governance import Governance, declared_governance, governance, read_configuration
from customhouse.app.named_files import STDIN, NamedFiles
from customhouse.app.settings import Settings
from customhouse.control.rendering import Sight
from customhouse.control.source import Commits
from customhouse.core.decision import RuleText
from customhouse.core.errors import CustomhouseError, SourceError, UsageError
from customhouse.core.ports import PolicyEngine

if TYPE_CHECKING:
    from customhouse.app.remembered import Remembered


@dataclass(frozen=True, slots=True)
class GateRequest:
    """What the command line asked for. `paths` and a repository exclude one another."""

    repo: str = "."
    base: str | None = None
    head: str | None = None
    worktree: bool = False
    paths: tuple[str, ...] = ()
    before: str | None = None
    """The state that `paths` (one of them then) is compared with: both files, or both folders."""
    stdin: BinaryIO | None = None
    """What the path `-` reads."""


def judge(settings: Settings, request: GateRequest, engine: PolicyEngine | None = None) -> Judgement:
    """Judge what the request names, with `engine` if one is there; with a state that was named, enter it there.

    Raises CannotDecideError (exit 3), UsageError (exit 2), and StateError when it was to be entered and could not be.
    """
    asked = question(settings, request)
    hashing = _remembered(settings) if asked.governing.configuration.volumes else None
    chosen = engine or wiring.engine(settings)
    # Files are read by each process for itself; Git and OPA are asked through one conversation that none can share.
    processes = workers() if request.paths and chosen.name == "regorus" else 1
    judgement = clearance(settings, chosen, hashing or tree, processes=processes).judge(asked)
    if settings.state_named:
        from customhouse.app.gaterecord import enter

        enter(settings, judgement)
        if hashing is not None:
            hashing.save()
    return judgement


def _remembered(settings: Settings) -> Remembered | None:
    """What a state remembers of digests, if there is one; it is written only where the state was named."""
    if not settings.state_named and not settings.keys.is_dir():
        return None
    from customhouse.app.remembered import Remembered

    return Remembered(settings.state, settings.keys, wiring.clock())


def clearance(
    settings: Settings, engine: PolicyEngine | None = None, hashing: Hashing = tree, *, processes: int = 1
) -> Clearance:
    """The one judge of this process; `processes` may share its work."""
    chosen = engine or wiring.engine(settings)
    return Clearance(
        chosen,
        wiring.clock(),
        settings.workspace,
        hashing,
        processes=processes,
        index=lambda governing: wiring.evidence_index(settings, governing.configuration),
    )


def rules_of(judgement: Judgement) -> Mapping[str, RuleText]:
    """What the rules that judged say of themselves, by id. Raises PolicyError for metadata that cannot be read."""
    return {
        rule.id: RuleText(rule.title, rule.description, rule.category.value, rule.severity.value, rule.fix)
        for rule in judgement.question.governing.bundle.rules
    }


def question(settings: Settings, request: GateRequest, *, spend: bool = True) -> Question:
    """The question that a request puts to the gate; without `spend` what was spent is not asked for."""
    if request.paths:
        if request.base or request.head or request.worktree:
            raise UsageError("PATH arguments and --base, --head or --worktree exclude one another")
        if request.before is not None:
            return _of_two(settings, request.before, request.paths, spend)
        return _of_paths(settings, request, spend)
    if request.before is not None:
        raise UsageError("--before needs the PATH that comes after it", hint="--base names a revision")
    return _of_repository(settings, request)


def _of_repository(settings: Settings, request: GateRequest) -> Question:
    objects = wiring.commits(settings, request.repo)
    head = objects.resolve("HEAD" if request.head is None else request.head)
    base = _base(objects, request, head)
    governing = governance(objects, base, settings.config, wiring.shelf(settings))
    # The rules are those of the base as it is now; what a branch changes is counted from where it left the base, as a
    # merge would. A branch that is merely behind has rewritten nothing.
    start = None if base is None else objects.merge_base(base, head)
    if base is not None and start is None:
        raise SourceError(f"{head[:12]} and {base[:12]} share no history", hint="name the revision it started from")
    sight = Sight()
    paths = () if base is None else _judged_with(objects, base, settings)
    before = () if start is None else declarations_of(objects, start, paths, sight=sight)
    files = Before() if start is None else Before(objects.files(start), sight, known=True)
    # The rules of an older start are only what its own edits are counted from; what judges is the base.
    rules = None if start is None or start == base else declared_governance(objects, start)
    spend = spend_of(settings, governing, objects)
    if request.worktree:
        if request.head is not None:
            raise UsageError("--head and --worktree exclude one another")
        tree = wiring.work_tree(settings, Path(request.repo))
        return Question(governing, tree, "worktree", before, None, "work tree", spend, rules_before=rules, before=files)
    revision = objects.revision(
        head, allowed_signers=governing.allowed_signers, last_deployed=start, gpg_keys=governing.gpg_keys
    )
    return Question(
        governing, objects, head, before, revision, revision.author, spend, rules_before=rules, before=files
    )


def _judged_with(objects: Commits, base: str, settings: Settings) -> tuple[str, ...]:
    """The folders that a commit was judged with, and that are applied of it: those that the one before it names.

    What it says itself of `paths` holds from the next commit on, which brings or takes what that means. Raises
    ConfigError.
    """
    try:
        before = objects.resolve(f"{base}^")
    except SourceError:  # the first one, which rules itself
        before = base
    if before != base and objects.read(before, FILE) != objects.read(base, FILE):
        with suppress(CustomhouseError):  # one that cannot be read has judged nothing
            return _paths(objects, before, settings)
    return _paths(objects, base, settings)


def _paths(objects: Commits, revision: str, settings: Settings) -> tuple[str, ...]:
    data = objects.read(revision, FILE)
    if data is None and settings.config is not None:
        data = settings.config.read_bytes()
    return Configuration().paths if data is None else read_configuration(data).paths


def _base(objects: Commits, request: GateRequest, head: str) -> str | None:
    """The base revision: as named, HEAD for a work tree, else the head's first parent; None for a first commit."""
    if request.base is not None:
        return objects.resolve(request.base)
    if request.worktree:
        return head
    try:
        return objects.resolve(f"{head}^")
    except SourceError:
        return None


def spend_of(settings: Settings, governing: Governance, objects: Commits | None = None) -> Spend:
    """What was charged this month: as this state directory knows it, else as the snapshot in the repository says it.

    Unknown without either. Raises CannotDecideError for a snapshot that is not to be believed, or of another month.
    """
    if not governing.budgets:
        return Spend()
    # What only budgets need is not read at the start of every gate.
    from customhouse.app import snapshot
    from customhouse.app.memory import GATES_ONLY, Memory
    from customhouse.app.spend import month_charges

    if wiring.has_store(settings):
        with wiring.store(settings) as opened:
            memory = Memory(opened.state)
            # A state that only gates have written to knows nothing of what was spent: that is not nothing.
            if memory.get(GATES_ONLY) is None or memory.charged_until is not None or memory.deployed is not None:
                return Spend(month_charges(opened.measurements, wiring.clock().now()))
    published = None
    if objects is not None:
        with suppress(SourceError):  # nobody has published or fetched one
            published = objects.read(objects.resolve(snapshot.REF), snapshot.FILE)
    if published is None:
        return Spend(known=False)
    return snapshot.spend_from_snapshot(published, governing.roots, wiring.clock().now())


def _of_paths(settings: Settings, request: GateRequest, spend: bool) -> Question:
    tree = NamedFiles(request.paths, request.stdin)
    governing = governance(None, None, settings.config, wiring.shelf(settings))
    spent = spend_of(settings, governing) if spend else Spend()
    return Question(governing, tree, "files", (), None, "files", spent, before=Before())


def _of_two(settings: Settings, before: str, paths: Sequence[str], spend: bool) -> Question:
    """Two folders as two states of one repository, or two files: the first governs as a base revision does."""
    if len(paths) != 1 or paths[0] == STDIN:
        raise UsageError("--before compares one PATH with another: two folders, or two files")
    (after,) = paths
    old, new = Path(before), Path(after)
    for given, place in ((before, old), (after, new)):
        if not place.exists():
            raise UsageError(f"there is nothing at {given}")
    if old.is_dir() != new.is_dir():
        raise UsageError(f"{before} and {after} are not both folders, or both files")
    whole = old.is_dir()
    base, tree = (NamedFiles.rooted(name) if whole else NamedFiles((name,)) for name in (before, after))
    shelf = wiring.shelf(settings)
    governing = governance(base if whole else None, "before" if whole else None, settings.config, shelf)
    sight = Sight()
    declared = declarations_of(base, "before", governing.configuration.paths, sight=sight)
    state = Before(base.files("before"), sight, known=True)
    spent = spend_of(settings, governing) if spend else Spend()
    return Question(governing, tree, "files", declared, None, "files", spent, before=state)
