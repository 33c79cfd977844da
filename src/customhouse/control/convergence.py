"""Convergence: keeps the objects of one source in a cluster as they are declared, and does no more than that needs.

Work is kept as a set of objects that something happened to: a declaration changed, a watch told of a change, a retry is
due. A step looks at those and at no others, so what nothing happened to costs nothing.

    1. Take the news.
    2. Decide of each object what it needs: nothing, an apply, or a look (it is not as it was last seen to be right).
    3. Look, by dry runs: what the API would make of the declaration, held against what is there.
    4. Write ahead: what is about to be applied is in the inventory first.
    5. Apply, in order of wave and stage.
    6. Write down what came of it.
    7. What left the declarations is deleted last (`control.pruning`).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from customhouse._kit.clock import Clock
from customhouse.control import drift as drifting
from customhouse.control import hooks
from customhouse.control.additions import applied_at, found_additions, removal
from customhouse.control.drift import FieldDrift
from customhouse.control.pruning import Pruning, foreign
from customhouse.control.rounds import Conduct, Found, Need, ObjectDrift, Round, why_not
from customhouse.control.sealed import is_sealed
from customhouse.control.shaping import shaped, unspared
from customhouse.control.stages import Wanted, as_before, in_place, refused_fields, scaled, wanted, with_replicas
from customhouse.control.tracked import Inventories, Tracked
from customhouse.control.turns import Turns, checked_by
from customhouse.core.cluster import Apply, Cluster, Delete, Refusal, Written, managers_of
from customhouse.core.errors import TargetError
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.sight import Key, Seen, Sight, fingerprint, key_of, live_key

_AT_ONCE = 500
"""Objects a batch: what came of it is written down after each."""
_RETRY_S, _RETRY_MOST_S = 0.5, 30.0
_SOON_S, _SOON_MOST_S = 0.05, 5.0
_FIGHTS, _FIGHT_S = 5, 120.0
"""After so many corrections of one object, each within so many seconds of the last, they come less and less often."""
_MISSING = "missing"
_CONDUCT = Conduct()
_PASSING = (Refusal.CONFLICT, Refusal.BUSY, Refusal.BROKEN, Refusal.UNREACHABLE)
__all__ = ["Conduct", "Convergence"]


class Convergence:
    """Belongs to one thread: `load` first, `declare` whenever the declarations change, then `step` again and again.

    Every call may be the last one before a kill; the next process goes on from the inventory.
    """

    def __init__(
        self, cluster: Cluster, sight: Sight, inventory: Inventories, clock: Clock, conduct: Conduct = _CONDUCT
    ) -> None:
        self.conduct = conduct
        self.inventory = inventory
        self.drifting: dict[Key, ObjectDrift] = {}
        """What is otherwise than declared now and is left so, or could not be put right yet."""
        self._cluster = cluster
        self._sight = sight
        self._clock = clock
        self._wanted: dict[Key, Wanted] = {}
        self._scaled: frozenset[Key] = frozenset()
        self._dirty: set[Key] = set()
        self._later: list[tuple[float, Key]] = []
        self._all_applied = -1  # the version of the inventory in which every declared object was applied
        self._unfit: dict[Key, str] = {}
        self._told_of: dict[Key, ObjectDrift] = {}
        """What was added to an object, as it was told last."""
        self._held_back: dict[Key, str] = {}
        """Objects that are neither applied nor deleted, and why."""
        self._turns, self._checked = Turns((), sight, inventory.entries, clock), tuple[ResourceRef, ...]()
        self._pruning = Pruning(cluster, sight, inventory, clock)

    # what is to be
    def load(self) -> None:
        """Read the inventory. Raises StateError, TargetError."""
        self.inventory.load()

    def declare(self, declarations: Sequence[Declaration]) -> None:
        """These are the objects from now on. Raises TargetError when the API is out of reach.

        An object that another source has is not taken from it (`problems`).
        """
        self._pruning.forget_told()
        held = list(self.inventory.entries.values())
        self._checked = checked_by(declarations)
        refs = [*(entry.ref for entry in held), *(item.ref for item in declarations)]
        placed = self._sight.follow([*self._checked, *refs])[len(self._checked) :]
        found: dict[Key, Wanted] = {}
        self._unfit, self._held_back, self._all_applied = {}, {}, -1
        for item, ref in zip(declarations, placed[len(held) :], strict=True):
            key = key_of(ref)
            if key in found and found[key].digest != item.digest:
                first = found[key].declaration.location
                self._unfit[key] = f"{item.location}: {item.ref} is declared at {first} too; a cluster has one of it"
                continue
            if item.care is not None and item.care.hold:
                self._held_back[key] = item.care.hold
                if item.care.release and key in self.inventory.entries:
                    self.inventory.drop(key)
                continue
            before = self._wanted.get(key)
            if before is not None and before.ref == ref and as_before(before, item):
                before.declaration = item
                found[key] = before
                continue
            try:
                found[key] = wanted(item, ref, correct=self.conduct.correct)
            except TargetError as error:
                self._unfit[key] = str(error)
                continue
            self._dirty.add(key)
        for key in self._unfit:  # neither of two declarations of one object: which is meant is for a person to say
            found.pop(key, None)
            self._dirty.discard(key)
        for key in self._wanted.keys() - found.keys():
            self.drifting.pop(key, None)
        self._wanted = found
        self._scaled = scaled(declarations)
        self._turns = Turns(found.values(), self._sight, self.inventory.entries, self._clock)
        left = found.keys() | self._unfit.keys() | self._held_back.keys()
        gone = [entry.ref for entry in held if key_of(entry.ref) not in left]
        self._pruning.start(gone)
        for entry in held:
            item_wanted = found.get(key_of(entry.ref))
            if item_wanted is not None and entry.keep != item_wanted.keep:
                self.inventory.put(replace(entry, keep=item_wanted.keep))

    @property
    def problems(self) -> dict[ResourceRef, str]:
        """What could not be done, by object."""
        said = {item.ref: item.problem for item in self._wanted.values() if item.problem}
        return said | self._pruning.problems

    @property
    def unfit(self) -> tuple[str, ...]:
        """Declarations that cannot be applied at all."""
        return tuple(self._unfit.values())

    @property
    def held_back(self) -> Mapping[Key, str]:
        """What is left alone as long as whatever has it applied says so, and why."""
        return self._held_back

    @property
    def blocked(self) -> str:
        """Why nothing is deleted although something left the declarations; empty when nothing stands in the way."""
        return self._pruning.blocked

    @property
    def kept(self) -> tuple[ResourceRef, ...]:
        """What left the declarations and asked to be kept."""
        return self._pruning.kept

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do, to retry or to delete."""
        return not (self._dirty or self._later or self._unfit) and self._pruning.settled

    def seen(self, ref: ResourceRef) -> Seen | None:
        """What is known of a declared object."""
        key = key_of(ref)
        if key not in self._wanted and ref.namespace:  # a kind without namespaces, which a file gave one
            key = (key[0], key[1], "", key[3])
        return self._sight.seen(key)

    # one step
    def step(self, made: Round | None = None) -> Round:
        """Look at what something happened to. Raises StateError, and TargetError when nothing could be written down.

        What it tells is to be recorded before the next call. `made`: empty, or that of a step that raised, to be told.
        """
        made = made or Round()
        if not made.released:
            self._pruning.forget_told()
        news, made.unanswered = self._sight.news(), ""  # 1
        made.touched, made.heard = made.touched | news & self._wanted.keys(), made.heard | news & self._held_back.keys()
        self._dirty |= made.touched | self._turns.awakened()
        self._pruning.heard(news)
        now = self._clock.monotonic()
        while self._later and self._later[0][0] <= now:
            self._dirty.add(heapq.heappop(self._later)[1])
        waiting: set[Key] = set()
        # 2 to 6, a wave and a stage at a time
        work = sorted((self._wanted[key] for key in self._dirty if key in self._wanted), key=lambda item: item.order)
        for _, group in groupby(work, key=lambda item: item.order):
            members, late = self._turns.told(group)
            waiting.update(item.key for item in late)
            for start in range(0, len(members), _AT_ONCE):
                self._work(members[start : start + _AT_ONCE], made)
        # Only now: when the API goes away in the middle, all of it is looked at again.
        self._dirty = waiting
        # 7
        if self.conduct.writes and not self._unfit:
            self._pruning.step(self._wanted, self.conduct.prune, self.conduct.prune_budget_percent, made)
        if self.conduct.writes:  # observing, what was learnt is learnt again by who writes
            self.inventory.save()
        return made

    def _work(self, members: Sequence[Wanted], made: Round) -> None:
        looks: list[Wanted] = []
        applies: list[Wanted] = []
        heals: list[Wanted] = []
        for item in members:
            need = self._need(item)
            if need is Need.LOOK:
                looks.append(item)
            elif need is Need.APPLY:
                applies.append(item)
            elif need is Need.HEAL:
                heals.append(item)
            elif need is Need.CLEAR:
                self._clear(item)
        heals += self._look(looks, made)
        for item in heals:
            if item.correct and self.conduct.writes:
                applies.append(item)
            elif item.key in self.drifting and self.drifting[item.key].found is Found.MISSING:
                if item.reported != _MISSING:
                    made.drift.append(self.drifting[item.key])
                item.reported = _MISSING
        if applies and self.conduct.writes:
            self._apply(applies, made)

    def _need(self, item: Wanted) -> Need:
        seen, entry = self._sight.seen(item.key), self.inventory.entries.get(item.key)
        # What failed is tried again when it is due, however much happens to it until then.
        if item.hold or self._clock.monotonic() < item.due:
            return Need.WAIT
        if item.care.hook is not None:
            return self._need_of_hook(item, entry, seen)
        if seen is None:
            if not self._sight.absent(item.key):
                return Need.WAIT
            if entry is None or entry.digest != item.digest or not entry.uid:
                item.problem = self._turns.lacks(item)
                if item.problem:
                    self._again(item)
                return Need.WAIT if item.problem else Need.APPLY
            if entry.done:  # a Job that ran to its end is not run again because somebody tidied it up
                return Need.NOTHING
            self._note(ObjectDrift(Found.MISSING, item.ref))
            return Need.HEAL
        if seen.leaving:
            item.problem = "it is being deleted; when it is gone it is made again"
            return Need.WAIT
        if entry is None or entry.digest != item.digest:
            return Need.APPLY
        if entry.uid == seen.uid and entry.state == seen.state:
            if seen.finished and not entry.done:
                self.inventory.put(replace(entry, done=True))
            self._well(item)
            return Need.NOTHING
        return Need.NOTHING if item.reported == seen.state else Need.LOOK

    def _need_of_hook(self, item: Wanted, entry: Tracked | None, seen: Seen | None) -> Need:
        if item.dormant and not self._turns.failing(item.care.group):
            return Need.NOTHING
        need, after = hooks.need(item, entry, seen, absent=self._sight.absent(item.key))
        if after is not None:
            self.inventory.put(after)
            self._turns.begin()
        item.problem = hooks.problem(item, after or entry, seen)
        return Need[need.name]

    def _clear(self, item: Wanted) -> None:
        """Delete what a hook's run has left; what it came to is in the inventory, and stays there."""
        entry = self.inventory.entries[item.key]
        (live,) = self._cluster.get([item.ref]) if self.conduct.writes else (None,)
        left = "" if live is None else foreign(live, entry)
        if live is not None and not left:
            self.inventory.save()
            (answer,) = self._cluster.write([Delete(item.ref, uid=entry.uid)])
            left = "" if answer.ok else why_not(answer)
        if left:
            self._later_again(item, f"what its run has left is not deleted: {left}")

    def _well(self, item: Wanted) -> None:
        item.tries, item.problem, item.reported = 0, "", ""
        self.drifting.pop(item.key, None)

    def _note(self, found: ObjectDrift) -> None:
        self.drifting[key_of(found.ref)] = found

    # 3
    def _look(self, items: Sequence[Wanted], made: Round) -> list[Wanted]:
        """The objects that are not as declared; the others are remembered as they are now."""
        if not items:
            return []
        sent = self._shaped(items, look=True)
        changes = [Apply(manifest, force=True, dry_run=True, managers=True) for manifest in sent]
        altered = []
        for item, answer in zip(items, self._cluster.write(changes), strict=True):
            if not answer.ok or answer.manifest is None:
                self._failed(item, answer, made)
                self._stuck(item, answer, made)
                continue
            seen = self._sight.seen(item.key)
            if seen is None or str(seen.version) != str(answer.manifest["metadata"].get("resourceVersion")):
                self._again(item)  # it changed meanwhile, or what is known of it is old
                continue
            if self._same(answer.manifest, seen):
                self._well(item)
                entry = replace(self.inventory.entries[item.key], uid=seen.uid, digest=item.digest)
                placed = in_place(item.declaration.manifest, item.ref)
                added = found_additions(self._cluster, placed, answer.manifest, item.ignored)
                added = unspared(item, answer.manifest, added)
                # With what others added it is not as declared: a restart must find that again.
                self.inventory.put(replace(entry, state="" if added else seen.state))
                item.since = item.since if added else None
                if added:
                    self._note_additions(item, answer.manifest, added, made)
            else:
                altered.append((item, answer.manifest))
        return self._told(altered, made)

    def _stuck(self, item: Wanted, answer: Written, made: Round) -> None:
        """What was accepted once and is refused now was altered so that both cannot be: it is drift all the same."""
        fields = refused_fields(self._cluster, item) if answer.refusal not in _PASSING else ()
        drift = ObjectDrift(Found.ALTERED, item.ref, fields)
        if fields and self.drifting.get(item.key) != drift:
            made.drift.append(drift)
            self._note(drift)

    def _same(self, would: Manifest, seen: Seen) -> bool:
        return str(would["metadata"].get("uid")) == seen.uid and fingerprint(would) == seen.state

    def _told(self, altered: Sequence[tuple[Wanted, Manifest]], made: Round) -> list[Wanted]:
        if not altered:
            return []
        found = []
        lives = self._cluster.get([item.ref for item, _ in altered])
        for (item, would), live in zip(altered, lives, strict=True):
            if live is None:
                self._again(item)
                continue
            managers = managers_of(live)
            diff = drifting.object_diff(would, live)
            if is_sealed(item.declaration.manifest):
                diff = drifting.hidden(diff)
            fields = drifting.who_wrote(diff, live, managers)
            if not fields:  # it was put right meanwhile
                self._again(item)
                continue
            seen = self._sight.seen(item.key)
            item.reported = "" if seen is None or item.correct else seen.state
            drift = ObjectDrift(Found.ALTERED, item.ref, fields, corrected=item.correct and self.conduct.writes)
            self._note(drift)
            if item.correct and self._fought(item, fields):
                continue
            made.drift.append(drift)
            found.append(item)
            item.since = item.since or applied_at(managers)
        return found

    def _fought(self, item: Wanted, fields: Sequence[FieldDrift]) -> bool:
        """Whether a correction has to wait: who writes against a controller for ever gains nothing by being faster."""
        now = self._clock.monotonic()
        if now - item.healed_at > _FIGHT_S:
            item.heals = 0
        if item.heals >= _FIGHTS and now - item.healed_at < min(2.0 ** (item.heals - _FIGHTS), _RETRY_MOST_S):
            names = ", ".join(sorted({one.manager for one in fields if one.manager})) or "somebody"
            self._later_again(item, f"{names} alters it again and again: it is put right less and less often")
            return True
        item.heals, item.healed_at = item.heals + 1, now
        return False

    def _note_additions(self, item: Wanted, live: Manifest, added: tuple[FieldDrift, ...], made: Round) -> None:
        """Told once; what may be taken away is, and then it is looked at again."""
        drift, told = ObjectDrift(Found.ADDED, item.ref, added), self._told_of.get(item.key)
        self._note(drift)
        change = removal(self._cluster, live, added, item.since) if item.correct and self.conduct.writes else None
        if change is not None and not self._fought(item, added):
            (answer,) = self._cluster.write([change])
            drift = replace(drift, corrected=answer.ok)
            if answer.ok or answer.refusal in _PASSING:  # the watch tells what it is by then
                self._again(item)
                if not answer.ok:
                    return
            else:  # an immutable ConfigMap stays so: told, and tried again when it changes
                item.problem, item.reported = why_not(answer), fingerprint(live)
        elif change is None:
            item.reported = fingerprint(live)
        if told != drift:
            made.drift.append(drift)
        self._told_of[item.key] = drift

    def _shaped(self, items: Sequence[Wanted], *, look: bool = False) -> list[Manifest]:
        """What is sent: as declared, but for a number of replicas that an autoscaler has taken over."""
        asked = [item for item in items if item.ignored or item.key in self._scaled or item.spared(look=look)]
        asked = [item for item in asked if self._sight.seen(item.key) is not None]
        lives = dict(zip((item.key for item in asked), self._cluster.get([item.ref for item in asked]), strict=True))
        return [shaped(item, lives.get(item.key), scaled=item.key in self._scaled, look=look) for item in items]

    # 4 to 6
    def _apply(self, items: Sequence[Wanted], made: Round) -> None:
        items = self._ours(items)
        for item in items:
            entry = self.inventory.entries.get(item.key)
            if entry is None:
                self.inventory.put(Tracked(item.ref, "", item.keep))
        self.inventory.save()
        before = {item.key: self._sight.seen(item.key) for item in items}
        # A number of replicas may be taken over between the look and the write; what is not forced cannot undo that.
        careful = {item.key for item in items if item.key in self._scaled and before[item.key] is not None}
        sent = self._shaped(items)
        changes = [Apply(m, force=item.key not in careful) for item, m in zip(items, sent, strict=True)]
        answers = list(self._cluster.write(changes))
        for index, (item, answer) in enumerate(zip(items, answers, strict=True)):
            if answer.refusal is Refusal.CONFLICT and answer.conflicts and item.key in careful:
                taken = any(conflict.field == ".spec.replicas" for conflict in answer.conflicts)
                again = with_replicas(sent[index], None) if taken else sent[index]
                answers[index] = self._cluster.write([Apply(again, force=True)])[0]
        for item, answer in zip(items, answers, strict=True):
            self._applied(item, answer, before[item.key], made)
        self.inventory.save()

    def _applied(self, item: Wanted, answer: Written, before: Seen | None, made: Round) -> None:
        if not answer.ok or answer.manifest is None:
            self._failed(item, answer, made)
            return
        if live_key(answer.manifest) != item.key:
            self._moved(item, answer.manifest)
        seen = self._sight.told(answer.manifest)
        entry = self.inventory.entries[item.key]
        if entry.digest == item.digest and before is None:
            made.drift.append(ObjectDrift(Found.MISSING, item.ref, corrected=True))
        done = entry.done and entry.uid == seen.uid and entry.digest == item.digest
        # What was not as it was known to be may hold what others added, and that is not gone by an apply: look again.
        known = before is None or before.state == entry.state
        state = seen.state if known and item.care.hook is None else ""
        self.inventory.put(replace(entry, uid=seen.uid, keep=item.keep, digest=item.digest, state=state, done=done))
        if before is None or before.version != seen.version:
            made.applied.append(item.ref)
            made.touched.add(item.key)
        self._well(item)
        if not known:
            self._again(item)

    def _moved(self, item: Wanted, live: Manifest) -> None:
        """A kind that was not served when it was declared turned out to have no namespaces (or to have them)."""
        old, entry = item.key, self.inventory.entries[item.key]
        item.ref = replace(item.ref, namespace=str(live["metadata"].get("namespace") or ""))
        self.inventory.drop(old)
        self.inventory.put(replace(entry, ref=item.ref))
        self._wanted[item.key] = self._wanted.pop(old)
        held = (entry.ref for entry in self.inventory.entries.values())
        self._sight.follow([*self._checked, *held, *(wanted.ref for wanted in self._wanted.values())])

    def _ours(self, items: Sequence[Wanted]) -> list[Wanted]:
        """Without those that another source has: two sources that apply one object would undo each other for ever."""
        new = [item for item in items if item.key not in self.inventory.entries]
        if not new:
            return list(items)
        others = self.inventory.others()
        for item in new:
            if item.key in others:
                self._later_again(item, f"it belongs to the source {others[item.key][0]!r}; delete it there first")
        return [item for item in items if item.key not in others or item.key in self.inventory.entries]

    # what goes wrong
    def _failed(self, item: Wanted, answer: Written, made: Round) -> None:
        if answer.refusal in (Refusal.BUSY, Refusal.UNREACHABLE):
            made.unanswered = answer.problem
        self._later_again(item, why_not(answer))

    def _later_again(self, item: Wanted, problem: str) -> None:
        item.problem = problem
        pause = min(_RETRY_S * 2**item.tries, _RETRY_MOST_S)
        item.tries = min(item.tries + 1, 20)
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        item.due = self._clock.monotonic() + pause
        heapq.heappush(self._later, (item.due, item.key))

    def _again(self, item: Wanted) -> None:
        """Soon, without that being a problem."""
        pause = min(_SOON_S * 2**item.tries, _SOON_MOST_S)
        item.tries = min(item.tries + 1, 20)
        heapq.heappush(self._later, (self._clock.monotonic() + pause, item.key))

    def declared_digest(self, key: Key) -> str | None:
        """The digest of what is declared of an object; None for one that is not."""
        found = self._wanted.get(key)
        return None if found is None else found.digest

    def waiting(self) -> dict[ResourceRef, str]:
        """Declared objects that are not applied yet, and what for."""
        if self._all_applied == self.inventory.version:
            return {}
        known = ((item, self.inventory.entries.get(key)) for key, item in self._wanted.items())
        left = [item for item, had in known if (had is None or had.digest != item.digest) and not item.dormant]
        self._all_applied = -1 if left else self.inventory.version
        return {item.ref: item.hold or item.problem or item.awaits or "its turn has not come" for item in left}
