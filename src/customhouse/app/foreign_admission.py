"""Policies of others at admission: what they say of a review, beside the rules of the bundle.

Loaded, compiled and given what they may look up once a generation. They see the request as the API server sent it.
What may be looked up is what the commit in force declares; without a repository that is not known, and a policy that
asks for it decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse.app.admission_context import AdmissionContext
from customhouse.app.admission_objects import at_size, declared_scaled, replicas_of
from customhouse.app.admission_review import Review
from customhouse.app.foreign import Foreign, inventory_of
from customhouse.core.decision import Decision, Point, Verdict
from customhouse.core.ports import PolicyEngine
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.policy.foreign_findings import digest_with

_SERVERS = frozenset({"generation", "managedFields", "resourceVersion"})
"""Metadata that the API server writes."""


class ForeignAdmission:
    """Judges reviews under one context. Raises PolicyError and ConfigError for policies that cannot be loaded."""

    def __init__(self, context: AdmissionContext, engine: PolicyEngine) -> None:
        self._context = context
        source = context.governing.foreign
        self._foreign = None if source is None else Foreign(source, engine, guarded=False)
        self._inventory: Mapping[str, Any] | None = None
        if self._foreign is not None and context.revision is not None:
            self._inventory = inventory_of(context.declared)

    def digest_with(self, bundle_digest: str) -> str:
        """The digest of the bundle together with these policies."""
        return bundle_digest if self._foreign is None else digest_with(bundle_digest, self._foreign.policies)

    def judged(self, review: Review, decision: Decision | None, bundle: str, now: datetime) -> Decision | None:
        """The decision of the bundle with what these policies say; None: there is nothing to add.

        `decision` None: the bundle let the review through as one that changes nothing that its own rules could see;
        `bundle` is its digest. Raises PolicyError: could not decide.
        """
        if self._foreign is None or review.subresource == "status" or _idle(review):
            return None
        ref, request = self._request(review)
        alone = decision is None
        if decision is None:
            seen = json_digest(review.object or review.old)
            decision = Decision(ref, Verdict.ALLOW, (), seen, bundle, Point.ADMISSION, now)
        before = len(decision.findings)
        waivers = self._context.governing.waivers
        decision = self._foreign.admit(decision, ref, request, waivers, now, self._inventory)
        return None if alone and len(decision.findings) == before else decision

    def _request(self, review: Review) -> tuple[ResourceRef, Mapping[str, Any]]:
        """The request; for `/scale` what Git declares at that size, since a Scale does not say what is scaled."""
        if review.subresource != "scale":
            return review.ref, review.request
        declared, wanted = declared_scaled(self._context.declared, review), replicas_of(review.object)
        if declared is None or wanted is None:
            return review.ref, review.request
        ref, present = declared.ref, replicas_of(review.old)
        group, _, version = ref.api_version.rpartition("/")
        return ref, {
            **review.request,
            "kind": {"group": group, "version": version, "kind": ref.kind},
            "subResource": "",
            "object": at_size(declared, wanted).manifest,
            "oldObject": None if present is None else at_size(declared, present).manifest,
        }


def _idle(review: Review) -> bool:
    """Whether an update leaves the object as it is but for what servers write, and finalizers of what is going."""
    if review.operation != "UPDATE" or review.subresource:
        return False
    going = "deletionTimestamp" in (review.old.get("metadata") or {})
    ignored = _SERVERS | {"finalizers"} if going else _SERVERS
    return _plain(review.object, ignored) == _plain(review.old, ignored)


def _plain(manifest: Manifest, ignored: frozenset[str]) -> Mapping[str, Any]:
    metadata = manifest.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    return {**manifest, "metadata": {key: value for key, value in metadata.items() if key not in ignored}}
