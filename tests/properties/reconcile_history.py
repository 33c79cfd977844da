"""One random history of a source and a cluster, with an oracle that knows whose each object is.

    History(seed).run()

Git changes, people edit, delete and make objects, webhooks deny, finalizers hold, watches break, the API goes away, the
controller is killed anywhere and starts again, sometimes without its state. Every deletion that the controller makes is
held against the oracle at the moment that it is made; at the end everything that disturbs stops, and what is there must
be what is declared: no orphan, and nothing missing.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

from customhouse._kit.clock import FixedClock
from customhouse.control.convergence import Conduct, Convergence
from customhouse.control.rounds import Round
from customhouse.control.tracked import LABEL, SCHEMA, Inventories
from customhouse.core.cluster import Apply, Delete
from customhouse.core.errors import TargetError
from customhouse.core.plan import Health, HealthStatus
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.core.sight import Key, key_of
from customhouse.execution.sightings import Sightings
from customhouse.testing.fake_cluster import FakeCluster
from customhouse.testing.memory import MemoryStateStore

HOME = "customhouse-system"
_PLACES = ("shop", "risk")
_NAMES = ("a", "b", "c", "d", "e")
KEEP = {"customhouse.dev/prune": "disabled"}


class Killed(BaseException):
    """The process was killed here."""


class WrongError(AssertionError):
    """The controller did what it must never do."""


def healthy(_: Any) -> Health:
    return Health(HealthStatus.HEALTHY)


class History:
    """See above. `said` is what happened, for whoever has to find out why."""

    def __init__(self, seed: int, steps: int = 40) -> None:
        self.random = random.Random(seed)
        self.steps = steps
        self.cluster = FakeCluster()
        self.clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.state = MemoryStateStore()
        self.declared: dict[Key, dict[str, Any]] = {}
        self.ours: set[str] = set()
        """The uids that the controller applied while they were declared."""
        self.others: dict[Key, str] = {}
        """What the other source has."""
        self.said: list[str] = []
        self.fuse = 0
        self.empty = False
        self.lost = False
        self.cluster.before = self._before
        self.cluster.after = self._after
        self.begin()

    # the controller's life
    def begin(self) -> None:
        self.sight = Sightings(self.cluster, healthy, self.clock)
        inventory = Inventories(self.cluster, self.state, "fake", "ours", HOME)
        conduct = Conduct(prune_budget_percent=100)
        self.controller = Convergence(self.cluster, self.sight, inventory, self.clock, conduct)
        self.loaded = False

    def turn(self) -> Round | None:
        """One step of the controller; None when it was killed or the API was away."""
        try:
            if not self.loaded:
                self.controller.load()
                self.controller.declare(self._declarations())
                self.loaded = True
            self.cluster.deliver()
            made = self.controller.step()
            self._waits_for_what_is_not_applied()
        except TargetError as error:
            self.said.append(f"could not: {error}")
            self.begin_again() if not self.loaded else None
            return None
        except Killed:
            self.said.append("killed")
            self.begin_again()
            return None
        for ref, reason in made.released:
            self.said.append(f"released {ref}: {reason}")
        return made

    def begin_again(self) -> None:
        self.fuse = 0
        self.sight.close()
        self.begin()

    def _declarations(self) -> tuple[Declaration, ...]:
        return tuple(
            Declaration(
                ResourceRef.of(item) if item["kind"] != "Namespace" else _namespace_ref(item), item, Location("a.yaml")
            )
            for item in self.declared.values()
        )

    # the oracle
    def _before(self, what: str, about: Any) -> None:
        if self.fuse > 0:
            self.fuse -= 1
            if self.fuse == 0:
                raise Killed
        if what == "change" and isinstance(about, Delete) and not about.dry_run:
            self._judge(about)

    def _after(self, what: str, about: Any) -> None:
        if what == "change" and isinstance(about, Apply) and not about.dry_run:
            manifest = about.manifest
            namespace = "" if manifest["kind"] == "Namespace" else manifest["metadata"].get("namespace", "default")
            key = ("", str(manifest["kind"]), namespace, str(manifest["metadata"]["name"]))
            stored = self.cluster.objects.get(key)
            if namespace != HOME and key != ("", "Namespace", "", HOME) and stored is not None:
                if key not in self.declared:
                    raise WrongError(f"{key} is applied and not declared")
                self.ours.add(stored.manifest["metadata"]["uid"])
        if self.fuse > 0:
            self.fuse -= 1
            if self.fuse == 0:
                raise Killed

    def _judge(self, change: Delete) -> None:
        key = key_of(change.ref)
        stored = self.cluster.objects.get(key)
        if stored is None:
            return
        metadata = stored.manifest["metadata"]
        if change.uid != metadata["uid"] or change.version != metadata["resourceVersion"]:
            if not change.uid:
                raise WrongError(f"{key} is deleted whoever it is")
            return  # the API refuses it
        if metadata["uid"] not in self.ours:
            raise WrongError(f"{key} is deleted and was never ours")
        if key in self.declared:
            raise WrongError(f"{key} is deleted and declared")
        if key in self.others:
            raise WrongError(f"{key} is deleted and another source has it")
        if (metadata.get("annotations") or {}).get("customhouse.dev/prune") == "disabled":
            raise WrongError(f"{key} is deleted and asked to be kept")
        if not self.declared:
            raise WrongError(f"{key} is deleted by a render that came out empty")
        if key[1] == "Namespace":
            for inner, item in self.cluster.objects.items():
                if inner[2] == key[3] and item.manifest["metadata"]["uid"] not in self.ours:
                    raise WrongError(f"{key} is deleted with {inner} in it")

    # what happens
    def run(self) -> None:
        happenings = (
            (self._commit, 6),
            (self._edit, 3),
            (self._remove, 2),
            (self._stranger, 2),
            (self._replace, 2),
            (self._hold, 2),
            (self._deny, 2),
            (self._take, 1),
            (self._break, 1),
            (self._away, 1),
            (self._kill, 4),
            (self._forget, 1),
            (self._ask_to_keep, 1),
        )
        acts, weights = zip(*happenings, strict=True)
        for _ in range(self.steps):
            (act,) = self.random.choices(acts, weights)
            self.said.append(act.__name__)
            act()
            for _ in range(self.random.randrange(3)):
                self.turn()
                self.clock.advance(self.random.choice((0.01, 1.0, 70.0)))
        self._end()

    def _commit(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            namespace, name = self.random.choice(_PLACES), self.random.choice(_NAMES)
            if self.random.random() < 0.15:
                key = ("", "Namespace", "", namespace)
                item: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            else:
                key = ("", "ConfigMap", namespace, name)
                item = _map(name, namespace, str(self.random.randrange(3)))
                if self.random.random() < 0.1:
                    item["metadata"]["annotations"] = dict(KEEP)
            if self.random.random() < 0.4:
                self.declared.pop(key, None)
            else:
                self.declared[key] = item
        if self.random.random() < 0.05:
            self.declared.clear()
        self.said.append(f"declared {sorted(self.declared)}")
        if self.loaded:
            try:
                self.controller.declare(self._declarations())
            except TargetError:
                self.begin_again()
            except Killed:
                self.begin_again()

    def _some(self) -> Key | None:
        keys = [key for key in self.cluster.objects if key[2] in _PLACES]
        return self.random.choice(sorted(keys)) if keys else None

    def _edit(self) -> None:
        key = self._some()
        if key is not None:
            value = self.random.choice(("mine", None))
            self.cluster.edit(key, ("data", self.random.choice(("text", "more"))), value)

    def _remove(self) -> None:
        key = self._some()
        if key is not None:
            self._quietly_gone(key)

    def _stranger(self) -> None:
        namespace, name = self.random.choice(_PLACES), self.random.choice((*_NAMES, "stranger"))
        if ("", "Namespace", "", namespace) not in self.cluster.objects:
            self.cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        if ("", "ConfigMap", namespace, name) not in self.cluster.objects:
            self.cluster.put(_map(name, namespace, "theirs"))

    def _replace(self) -> None:
        """Somebody deletes an object and makes another one of that name."""
        key = self._some()
        if key is None or (self.cluster.objects[key].manifest["metadata"].get("finalizers")):
            return
        self._quietly_gone(key)
        if key not in self.cluster.objects and ("", "Namespace", "", key[2]) in self.cluster.objects:
            self.cluster.put(_map(key[3], key[2], "another"))

    def _quietly_gone(self, key: Key) -> None:
        """Somebody deletes an object whom no webhook denies it."""
        denied, self.cluster.undeletable = self.cluster.undeletable, set()
        self.cluster.take_away(key)
        self.cluster.undeletable = denied

    def _hold(self) -> None:
        key = self._some()
        if key is not None:
            held = self.cluster.objects[key].manifest["metadata"].get("finalizers")
            self.cluster.edit(key, ("metadata", "finalizers"), None if held else ["example.com/wait"])

    def _deny(self) -> None:
        key = self._some()
        for denied in (self.cluster.undeletable, self.cluster.refused):
            if key is not None and self.random.random() < 0.5:
                denied.symmetric_difference_update({key})

    def _take(self) -> None:
        """Another source applies an object, and says so in its inventory."""
        key = self._some()
        if key is None or self.random.random() < 0.3:
            self.others = {}
        else:
            self.others[key] = self.cluster.objects[key].manifest["metadata"]["uid"]
        if ("", "Namespace", "", HOME) not in self.cluster.objects:
            self.cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}})
        rows = "\n".join(json.dumps(["v1", *key[1:], uid, 0]) for key, uid in sorted(self.others.items()))
        found = _map("inventory-theirs-0", HOME, "")
        found["metadata"] |= {"labels": {LABEL: "v1"}, "annotations": {LABEL: "theirs"}}
        found["data"] = {"schema": SCHEMA, "chunk": "0", "objects": rows}
        self.cluster.put(found, "theirs")

    def _break(self) -> None:
        self.cluster.break_watches()

    def _away(self) -> None:
        self.cluster.down = not self.cluster.down

    def _kill(self) -> None:
        if self.random.random() < 0.3:
            self.begin_again()
        else:
            self.fuse = self.random.randint(1, 25)

    def _forget(self) -> None:
        """The state is lost, or somebody deletes the inventory in the cluster; never both."""
        if self.random.random() < 0.5:
            self.state = MemoryStateStore()
            self.begin_again()
        elif not self.cluster.down and self.loaded:
            for key in [key for key in self.cluster.objects if key[3].startswith("inventory-ours-")]:
                self._quietly_gone(key)
            try:
                self.controller.inventory.restore()
                self.controller.inventory.save()
            except (TargetError, Killed):
                self.lost = True  # both are lost only if the state goes as well before it is written again
                self.begin_again()

    def _ask_to_keep(self) -> None:
        key = self._some()
        if key is not None:
            self.cluster.edit(key, ("metadata", "annotations", "customhouse.dev/prune"), "disabled")

    # the end
    def _end(self) -> None:
        self.cluster.down, self.fuse = False, 0
        self.cluster.undeletable, self.cluster.refused = set(), set()
        self.others = {}
        theirs = ("", "ConfigMap", HOME, "inventory-theirs-0")
        if theirs in self.cluster.objects:
            self._quietly_gone(theirs)
        for key in list(self.cluster.objects):
            stored = self.cluster.objects.get(key)
            if stored is not None and stored.manifest["metadata"].get("finalizers"):
                self.cluster.edit(key, ("metadata", "finalizers"), None)
        for key in list(self.cluster.objects):  # what Kubernetes' namespace controller does
            room = self.cluster.objects.get(("", "Namespace", "", key[2]))
            if room is not None and "deletionTimestamp" in room.manifest["metadata"]:
                self._quietly_gone(key)
        for place in _PLACES:
            self.declared[("", "Namespace", "", place)] = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": place},
            }
        if self.loaded:
            self.controller.declare(self._declarations())
        for _ in range(200):
            self.turn()
            self.clock.advance(70.0)
            if self.loaded and self.controller.settled and not self.controller.waiting():
                break
        else:
            raise WrongError(f"it does not come to an end: {self.controller.problems}, {self.controller.blocked}")
        self._all_as_declared()

    def _waits_for_what_is_not_applied(self) -> None:
        for _ in range(2):  # what is kept from one question to the next is what looking at all of it would tell
            said = {key_of(ref) for ref in self.controller.waiting()}
            entries = self.controller.inventory.entries
            for key in self.declared:
                digest = self.controller.declared_digest(key)
                late = digest is not None and (key not in entries or entries[key].digest != digest)
                if late != (key in said):
                    raise WrongError(f"{key} {'is' if late else 'is not'} waiting, and it is said otherwise")

    def _all_as_declared(self) -> None:
        for key, item in self.declared.items():
            stored = self.cluster.objects.get(key)
            if stored is None:
                raise WrongError(f"{key} is declared and not there")
            for name, value in (item.get("data") or {}).items():
                if stored.manifest["data"].get(name) != value:
                    raise WrongError(f"{key} is not as declared: {stored.manifest}")
        kept = {key_of(ref) for ref in self.controller.kept}
        self.turn()
        entries = self.controller.inventory.entries
        if entries.keys() != self.declared.keys() | kept:
            raise WrongError(
                f"the inventory is {sorted(entries)}, declared {sorted(self.declared)}, kept {sorted(kept)}"
            )
        released = {line.partition(":")[0] for line in self.said if line.startswith("released ")}
        for key, stored in self.cluster.objects.items():
            uid = stored.manifest["metadata"]["uid"]
            if key[2] not in _PLACES or key in self.declared or key in kept or uid not in self.ours:
                continue
            if f"released {key[1]} {key[2]}/{key[3]}" not in released and not self.lost:
                raise WrongError(f"{key} was ours, is declared no more, and is still there")
        writes = self.cluster.writes
        for _ in range(3):
            self.turn()
            self.clock.advance(100.0)
        if self.cluster.writes != writes:
            raise WrongError("a further step wrote something")


def _map(name: str, namespace: str, text: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": text}}


def _namespace_ref(item: dict[str, Any]) -> ResourceRef:
    return ResourceRef("v1", "Namespace", "", str(item["metadata"]["name"]))
