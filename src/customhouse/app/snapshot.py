"""The spend snapshot: what this month cost so far, signed, for gates that have no state of their own (CI).

`customhouse up` publishes it to `refs/customhouse/snapshot` of the remote when customhouse.yaml trusts the control
plane's ledger key (`.customhouse/keys/ledger.pub`) for the kind `forecast`. A gate believes it only under the trust
roots of the base revision. It holds sums per resource and labels, which is what budgets are evaluated on; no releases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import json_digest
from customhouse._kit.money import Money, MoneyError
from customhouse.app.clearance import Spend
from customhouse.app.memory import ref_of
from customhouse.app.spend import month_charges
from customhouse.core.cost import Charge
from customhouse.core.errors import CannotDecideError, CustomhouseError, StateError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import ResourceRef
from customhouse.observability.budgets import month_of
from customhouse.trust.attestation import attest, read_evidence
from customhouse.trust.keys import TrustRoot, load_private

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane

REF = "refs/customhouse/snapshot"
FILE = "snapshot.sigstore.json"
SCHEMA = "customhouse.dev/spend-snapshot/v1"
_CLOCKS_APART = timedelta(minutes=5)
_EVERY_S = 600.0
_HINT = "run `customhouse up`, then `git fetch origin refs/customhouse/snapshot:refs/customhouse/snapshot`"

_Key = tuple[ResourceRef, tuple[tuple[str, str], ...], str]


def predicate(charges: Iterable[Charge], as_of: datetime) -> dict[str, Any]:
    """What is signed: exact sums (decimal text) of the month's Charges per resource and labels, as of a moment (UTC).

    Each Charge is part of the month in which it starts, as in `spend.month_charges`.
    """
    sums: dict[_Key, int] = defaultdict(int)
    for charge in charges:
        key = (charge.resource, tuple(sorted(charge.labels.items())), charge.amount.currency)
        sums[key] += charge.amount.pico
    return {
        "schema": SCHEMA,
        "as_of": to_rfc3339(as_of),
        "month": to_rfc3339(month_of(as_of)[0]),
        "spent": [
            {
                "resource": ref.to_json(),
                "labels": dict(labels),
                "amount": str(Money(pico, currency)),
                "currency": currency,
            }
            for (ref, labels, currency), pico in sorted(sums.items())
        ],
    }


def spend_from_snapshot(data: bytes, roots: Sequence[TrustRoot], now: datetime) -> Spend:
    """The month's spend as a published snapshot says it.

    One that is older than a day is a finding of the rule `spend-stale`. Raises CannotDecideError (EvidenceError when it
    is malformed): not signed by a trust root that may sign `forecast`, from the future, or of another month: nothing is
    known of this one then.
    """
    found = read_evidence(data, roots, REF)
    if len(found) != 1 or found[0].kind is not EvidenceKind.FORECAST:
        raise CannotDecideError("it is not a spend snapshot", where=REF, hint=_HINT)
    evidence = found[0]
    if not evidence.verified:
        raise CannotDecideError(
            f"the spend snapshot is not to be believed: {evidence.problem}",
            where=REF,
            hint="trust.keys of customhouse.yaml must name the control plane's ledger key with the kind forecast",
        )
    try:
        return _spend(evidence.subject, evidence.predicate, now)
    except (KeyError, TypeError, ValueError, AttributeError, MoneyError) as error:
        raise CannotDecideError(f"the spend snapshot cannot be read: {error!r}"[:300], where=REF, hint=_HINT) from error


def _spend(subject: str, said: Mapping[str, Any], now: datetime) -> Spend:
    if said["schema"] != SCHEMA or json_digest(said) != subject:
        raise ValueError("it is of another kind, or not what its subject says")
    as_of, month = from_rfc3339(said["as_of"]), from_rfc3339(said["month"])
    if month != month_of(now)[0] or as_of - now > _CLOCKS_APART:
        raise CannotDecideError(
            f"the spend snapshot is of {said['as_of']}, which is not a moment of this month that has passed",
            where=REF,
            hint=_HINT,
        )
    end = min(as_of, now)
    charges = [
        Charge(
            resource=ref_of(item["resource"]),
            release="",
            artifact="",
            start=month,
            end=max(end, month),
            category="snapshot",
            amount=Money.parse(item["amount"], item["currency"]),
            labels={str(key): str(value) for key, value in item["labels"].items()},
        )
        for item in said["spent"]
    ]
    return Spend(tuple(charges), snapshot=subject, as_of=as_of)


class Publisher:
    """Publishes the snapshot of one control plane now and then. Called by its thread."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._due = 0.0
        self.problem = ""
        """Why the last try failed; empty when it did not."""

    def step(self) -> bool:
        """Publish when it is due, a budget is declared and the key is trusted; whether it was published."""
        try:
            published = self._publish()
        except StateError:
            raise
        except CustomhouseError as error:
            self.problem, published = f"spend snapshot: {error}", False
        return published

    def _publish(self) -> bool:
        plane = self._plane
        now = plane.clock.monotonic()
        if now < self._due or plane.memory.deployed is None:
            return False
        self._due = now + _EVERY_S
        governing = plane.governing()
        key = load_private(plane.settings.keys / "ledger.key")
        trusted = any(root.key == key.public and EvidenceKind.FORECAST in root.kinds for root in governing.roots)
        if not governing.budgets or not trusted:
            return False
        at = plane.clock.now()
        said = predicate(month_charges(plane.store.measurements, at), at)
        data = attest("spend-snapshot", json_digest(said), EvidenceKind.FORECAST, said, key, issued_at=at)
        plane.source.publish(REF, {FILE: data}, "What this month cost so far")
        self.problem = ""
        return True
