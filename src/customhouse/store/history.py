"""DecisionLog and ReleaseLog over the database: what was judged and what was deployed, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from customhouse._kit.canonical import Canonical
from customhouse._kit.clock import from_rfc3339
from customhouse._kit.digest import json_digest
from customhouse.core.decision import Decision
from customhouse.core.errors import TamperError, UsageError
from customhouse.core.release import Release, RolloutPhase
from customhouse.store.engine import Database
from customhouse.store.rows import dump, insert_new, load, resource_columns, resource_of, stamp, unstamp
from customhouse.store.schema import decisions, facts, releases

_MOST = 10_000
_PAGE = 200
"""Rows read at once: with Facts of 1 MiB at most, 200 MiB; as a rule some 4 MB."""


class DecisionTable:
    """Decisions with the Facts that they rest on (stored once per digest)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, decision: Decision, facts_document: Mapping[str, Any]) -> None:
        """Store durably; the same body, point and revision twice is one row.

        Raises UsageError when the Facts do not have the digest that the Decision names.
        """
        self.record_all(((decision, facts_document),))

    def record_all(self, judged: Iterable[tuple[Decision, Mapping[str, Any]]]) -> None:
        """As `record`, all of them or none: one transaction, so one wait for the disk. Raises UsageError."""
        rows, documents = [], []
        for decision, document in judged:
            if json_digest(document) != decision.facts_digest:
                raise UsageError("these are not the Facts that the decision rests on", where=decision.digest)
            row = {
                "digest": decision.digest,
                "point": decision.point.value,
                "revision": decision.revision or "",
                "decided_at": stamp(decision.decided_at),
                "body": dump(decision.body()),
                "envelope": dump(decision.envelope()),
                "facts_digest": decision.facts_digest,
            }
            rows.append(row)
            written = document.text.decode() if isinstance(document, Canonical) else dump(document)
            documents.append({"digest": decision.facts_digest, "document": written})
        if not rows:
            return
        with self._database.write() as connection:
            dialect = connection.dialect.name
            connection.execute(insert_new(facts, dialect), documents)
            connection.execute(insert_new(decisions, dialect), rows)

    def recent(self, limit: int = 100, point: str = "") -> Sequence[Mapping[str, Any]]:
        """The newest first: `{"digest","body","envelope"}`; of one point, or of all."""
        rows_of = select(decisions).where(decisions.c.point == point) if point else select(decisions)
        query = rows_of.order_by(decisions.c.id.desc()).limit(max(0, min(limit, _MOST)))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(_decision(row.digest, row.body, row.envelope) for row in rows)

    def find(self, digest_prefix: str) -> Sequence[Mapping[str, Any]]:
        """Those whose digest starts with a prefix (`sha256:` may be left out), newest first, with `"facts"`.

        Raises TamperError for a row that is not what its digest says: the ledger holds that digest.
        """
        prefix = "sha256:" + digest_prefix.removeprefix("sha256:").lower()
        query = (
            select(decisions, facts.c.document)
            .join(facts, facts.c.digest == decisions.c.facts_digest)
            .where(decisions.c.digest.startswith(prefix, autoescape=True))
            .order_by(decisions.c.id.desc())
            .limit(_MOST)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(
            _checked({**_decision(row.digest, row.body, row.envelope), "facts": load(row.document)}) for row in rows
        )

    def recorded(self, since: str = "") -> Iterator[Mapping[str, Any]]:
        """Every one with its Facts, in the order in which they were recorded; `since` is RFC 3339, by `decided_at`.

        Pages by position, so that no transaction stays open. Raises TamperError for a row that was changed, ValueError
        for a `since` that is no time.
        """
        start = stamp(from_rfc3339(since)) if since else ""
        position = 0
        while True:
            query = (
                select(decisions, facts.c.document)
                .join(facts, facts.c.digest == decisions.c.facts_digest)
                .where(decisions.c.id > position, decisions.c.decided_at >= start)
                .order_by(decisions.c.id)
                .limit(_PAGE)
            )
            with self._database.read() as connection:
                rows = connection.execute(query).all()
            if not rows:
                return
            for row in rows:
                yield _checked({**_decision(row.digest, row.body, row.envelope), "facts": load(row.document)})
            position = rows[-1].id


def _decision(digest: str, body: str, envelope: str) -> dict[str, Any]:
    return {"digest": digest, "body": load(body), "envelope": load(envelope)}


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    if json_digest(found["body"]) != found["digest"]:
        raise TamperError("the stored decision is not the one that was made", where=found["digest"])
    if json_digest(found["facts"]) != found["body"]["facts_digest"]:
        raise TamperError("the stored facts are not those that were judged", where=found["digest"])
    return found


class ReleaseTable:
    """Releases by phase."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, release: Release) -> None:
        """Append; (resource, release, revision, phase) twice is one row."""
        self.record_all((release,))

    def record_all(self, released: Iterable[Release]) -> None:
        """As `record`, in order, in one transaction."""
        rows = [
            {
                **resource_columns(release.resource),
                "release": release.release,
                "revision": release.revision,
                "phase": release.phase.value,
                "author": release.author,
                "artifact": release.artifact,
                "verdict": release.verdict,
                "decision": release.decision,
                "at": stamp(release.at),
                "reason": release.reason,
            }
            for release in released
        ]
        if rows:
            with self._database.write() as connection:
                connection.execute(insert_new(releases, connection.dialect.name), rows)

    def history(self, name: str | None = None, limit: int = 100) -> Sequence[Release]:
        """The newest first (as recorded); `name` is that of the resource."""
        query = select(releases).order_by(releases.c.id.desc()).limit(max(0, min(limit, _MOST)))
        if name is not None:
            query = query.where(releases.c.name == name)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Release(
                resource=resource_of(row),
                release=row.release,
                revision=row.revision,
                author=row.author,
                artifact=row.artifact,
                verdict=row.verdict,
                decision=row.decision,
                phase=RolloutPhase(row.phase),
                at=unstamp(row.at),
                reason=row.reason,
            )
            for row in rows
        )
