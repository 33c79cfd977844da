"""Node pools that are wanted become branches and pull requests, one of each pool; none is merged by a program.

1. What is wanted and not written yet is written to the pool's branch, from the revision that is deployed.
2. What is written already is left alone, also when other pods wait by now; when the file would differ, the branch is
   written anew and its pull request retold.
3. A branch that somebody else wrote to is theirs. One that somebody deleted is declined, while the need is the same.
4. What is wanted no more is withdrawn: its pull request is closed with the reason, and its branch deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse.app.configuration import Configuration
from customhouse.app.identity import IDENTITY
from customhouse.app.journal import commit_node
from customhouse.app.memory import Memory
from customhouse.app.poolplans import BRANCHES, PoolChange, message_of
from customhouse.app.proposing import pull_request, withdraw
from customhouse.app.settings import Settings
from customhouse.control.source import PushRejectedError, Repository
from customhouse.core.errors import SourceError
from customhouse.core.ledger import Entry
from customhouse.trust.custody import Link, LinkKind, Node, NodeKind, entry

POOL = "pool/"
"""The documents: name of a pool → what was written for it."""
_ACTOR = "optimiser"
_GONE = "No pod waits for these machines any more, so this proposal is withdrawn."


@dataclass(frozen=True, slots=True)
class PoolDesk:
    """Where proposals are written. `base` is the revision that branches start from, `branch` the one to be merged into.

    `record` enters what was done, with the documents that say so, at once.
    """

    settings: Settings
    configuration: Configuration
    source: Repository
    memory: Memory
    base: str
    branch: str
    key: Path | None
    record: Callable[[Mapping[str, Any], Sequence[Entry]], None]

    def settle(self, wanted: Sequence[PoolChange], now: datetime, *, withdraws: bool = True) -> list[dict[str, Any]]:
        """Steps 1 to 4; a row for each pool, with `state` and where it is. Raises SourceError and StateError."""
        branches = self.source.branches(BRANCHES)
        known = {str(value["name"]): value for value in self.memory.all(POOL).values()}
        rows = []
        for change in wanted:
            row = change.to_json()
            if not change.text:
                rows.append({**row, "state": "waits" if change.path else "none found"})
                continue
            done = self._write(change, known.get(change.name), branches, now)
            rows.append({**row, **done})
        names = {change.name for change in wanted if change.text}
        for name, value in known.items():
            if name not in names and withdraws:
                self._withdraw(value, branches, now, taken=any(c.name == name and c.path for c in wanted))
        return rows

    def unwanted(self, wanted: Sequence[PoolChange]) -> frozenset[str]:
        """The names of pools that are proposed, and that nobody needs any more."""
        names = {change.name for change in wanted if change.text}
        return frozenset(value["name"] for value in self.memory.all(POOL).values()) - names

    def _write(
        self, change: PoolChange, known: Mapping[str, Any] | None, branches: Mapping[str, str], now: datetime
    ) -> dict[str, Any]:
        head = branches.get(change.branch)
        if known is not None and head not in (None, known["commit"]):
            return {**_shown(known), "state": "proposed", "problem": f"somebody else writes to {change.branch}"}
        if known is not None and known["digest"] == change.digest:
            if head is None:
                return {**_shown(known), "state": "declined"}
            return self._open(known) if known["unopened"] else {**_shown(known), "state": "proposed"}
        message = message_of(change)
        try:
            commit = self.source.commit(
                *(self.base, change.branch, {change.path: change.text}, message),
                identity=IDENTITY,
                signing_key=self.key,
                replace=True,
            )
        except PushRejectedError as error:  # it moved since the last fetch; the next round sees it
            return {"branch": change.branch, "state": "waits", "problem": str(error)}
        if commit == self.base:
            return {"branch": "", "state": "declared"}
        request, unopened = pull_request(
            self.settings, self.configuration, change.branch, self.branch, message, retell=True
        )
        value = {
            "name": change.name,
            "branch": change.branch,
            "commit": commit,
            "base": self.base,
            "path": change.path,
            "digest": change.digest,
            "message": message,
            "number": None if request is None else request.number,
            "url": "" if request is None else request.url,
            "unopened": unopened,
        }
        self.record({POOL + change.name: value}, [_entry(change, commit, message, now)])
        return {**_shown(value), "state": "proposed"}

    def _open(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Ask once more for a pull request that could not be opened."""
        request, unopened = pull_request(
            self.settings, self.configuration, known["branch"], self.branch, known["message"], retell=True
        )
        value = dict(known)
        if request is not None or unopened != known["unopened"]:
            value |= {
                "unopened": unopened,
                "number": None if request is None else request.number,
                "url": "" if request is None else request.url,
            }
            self.record({POOL + known["name"]: value}, [])
        return {**_shown(value), "state": "proposed"}

    def _withdraw(self, known: Mapping[str, Any], branches: Mapping[str, str], now: datetime, *, taken: bool) -> None:
        """Take a proposal back that nobody needs (or that was merged: `taken`). Somebody else's branch stays."""
        head = branches.get(known["branch"])
        if head not in (None, known["commit"]):
            return  # who writes to it decides what becomes of it
        # Killed after the branch was deleted, the next round finds none, and enters what was done.
        merged = taken or self._merged(known)
        if head is not None:
            if not merged:
                problem = withdraw(self.settings, self.configuration, known["branch"], self.branch, _GONE)
                if problem:
                    raise SourceError(problem, where=known["branch"])
            self.source.delete_branch(known["branch"])
        self.record({POOL + known["name"]: None}, [] if merged else [_withdrawn(known, now)])

    def _merged(self, known: Mapping[str, Any]) -> bool:
        """Whether the base has it: the commit itself, or (squashed) the very file."""
        held = self.source.read(self.base, known["path"])
        return held is not None and bytes_digest(known["path"].encode() + b"\0" + held) == known["digest"]


def _shown(value: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value[name] for name in ("branch", "commit", "url")}
    return {**shown, "problem": value["unopened"]}


def _node(name: str, branch: str) -> Node:
    return Node(NodeKind.PROPOSAL, f"nodepool/{name}", aliases=(branch,))


def _entry(change: PoolChange, commit: str, message: str, now: datetime) -> Entry:
    node, title = _node(change.name, change.branch), message.partition("\n")[0]
    body = {"text": f"{title} on {change.branch}", "monthly": str(change.monthly), "pods": list(change.pods[:100])}
    links = [Link.between(node, commit_node(commit), LinkKind.PROPOSED)]
    key = f"nodepool:{change.name}:{commit}"
    return entry("proposal", key, now, _ACTOR, nodes=[node, commit_node(commit)], links=links, body=body)


def _withdrawn(known: Mapping[str, Any], now: datetime) -> Entry:
    node = _node(known["name"], known["branch"])
    body = {"text": f"{known['branch']} is withdrawn: no pod waits for it any more"}
    key = f"nodepool-withdrawn:{known['name']}:{known['commit']}"
    return entry("proposal", key, now, _ACTOR, nodes=[node], body=body)
