"""AdmissionReview (admission.k8s.io/v1): what the API server asks, and the answers that it understands.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#webhook-request-and-response
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.frozen import quickly_made
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Manifest, ResourceRef

API_VERSION = "admission.k8s.io/v1"
MAX_WARNING = 256
"""Characters of one warning: the API server cuts longer ones."""
MAX_WARNINGS_SIZE = 4096
MAX_MESSAGE = 8 * 1024
_OPERATIONS = ("CREATE", "UPDATE", "DELETE", "CONNECT")


class NotAReviewError(Exception):
    """The body is nothing that an AdmissionReview can answer; `uid` is set when at least that could be read."""

    def __init__(self, message: str, uid: str = "") -> None:
        super().__init__(message)
        self.uid = uid


@quickly_made
@dataclass(frozen=True, slots=True)
class Review:
    """One request. `object` is empty for DELETE, `old` for CREATE."""

    uid: str
    operation: str
    ref: ResourceRef
    resource: str
    subresource: str
    user: str
    groups: tuple[str, ...]
    object: Manifest
    old: Manifest
    dry_run: bool
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """As it came, for policies of others."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server is told. `patch` is a JSON Patch (RFC 6902); `annotations` go to its audit log."""

    allowed: bool
    message: str = ""
    code: int = 403
    warnings: tuple[str, ...] = ()
    patch: Sequence[Mapping[str, Any]] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self, uid: str) -> bytes:
        """The AdmissionReview that carries it."""
        import orjson

        response: dict[str, Any] = {"uid": uid, "allowed": self.allowed}
        if not self.allowed or self.message:
            status = {"code": self.code, "reason": "Forbidden" if self.code == 403 else "InternalError"}
            response["status"] = {**status, "message": self.message[:MAX_MESSAGE]} if not self.allowed else {}
        if self.warnings:
            response["warnings"] = _bounded(self.warnings)
        if self.patch:
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(orjson.dumps(list(self.patch))).decode()
        if self.annotations:
            response["auditAnnotations"] = dict(self.annotations)
        return orjson.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})


def undecided(reason: str, *, code: int = 500) -> Answer:
    """Could not decide: the gate stays shut, and says why."""
    return Answer(False, f"Customhouse could not decide, so the request is refused: {reason}", code)


def read_review(body: bytes) -> Review:
    """Parse a body. Raises NotAReviewError; orjson itself refuses more than 1,024 levels without using the stack."""
    import orjson

    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotAReviewError(f"the body is not JSON: {error}"[:300]) from None
    request = document.get("request") if isinstance(document, dict) else None
    uid = request.get("uid") if isinstance(request, dict) else None
    if not isinstance(request, dict) or not isinstance(uid, str) or not 0 < len(uid) <= 256:
        raise NotAReviewError("the body is no AdmissionReview with a request and its uid")
    if document.get("kind") != "AdmissionReview" or document.get("apiVersion") != API_VERSION:
        shown = f"{document.get('apiVersion')} {document.get('kind')}"[:100]
        raise NotAReviewError(f"{shown} is asked; {API_VERSION} AdmissionReview is answered", uid)
    try:
        return _review(uid, request)
    except DeclarationError as error:
        raise NotAReviewError(f"the AdmissionReview cannot be read: {error}"[:600], uid) from None


def _review(uid: str, request: Mapping[str, Any]) -> Review:
    operation = _text(request, "operation")
    if operation not in _OPERATIONS:
        raise DeclarationError(f"the operation is {operation[:40]!r}", where="/request/operation")
    kind, resource, user = (_mapping(request, key) for key in ("kind", "resource", "userInfo"))
    new, old = _mapping(request, "object"), _mapping(request, "oldObject")
    group, version = _text(kind, "group"), _text(kind, "version")
    name = _text(request, "name") or _name(new) or _name(old)
    ref = ResourceRef(
        f"{group}/{version}" if group else version, _text(kind, "kind"), _text(request, "namespace"), name
    )
    if not ref.kind or not version:
        raise DeclarationError("the request names no kind", where="/request/kind")
    groups = user.get("groups") or ()
    return Review(
        uid=uid,
        operation=operation,
        ref=ref,
        resource=_text(resource, "resource"),
        subresource=_text(request, "subResource"),
        user=_text(user, "username"),
        groups=tuple(str(item) for item in groups) if isinstance(groups, list) else (),
        object=new,
        old=old,
        dry_run=request.get("dryRun") is True,
        request=request,
    )


def _name(manifest: Manifest) -> str:
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        return ""
    # A mutating webhook sees a generated name before it is made; the prefix is all there is.
    name = metadata.get("name") or metadata.get("generateName") or ""
    return name if isinstance(name, str) else ""


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DeclarationError(f"{key} is not a mapping", where=f"/request/{key}")
    return value


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DeclarationError(f"{key} is not text", where=f"/request/{key}")
    return value


def _bounded(warnings: Sequence[str]) -> list[str]:
    shown: list[str] = []
    size = 0
    for warning in warnings:
        text = warning if len(warning) <= MAX_WARNING else warning[: MAX_WARNING - 1] + "…"
        size += len(text)
        if size > MAX_WARNINGS_SIZE:
            break
        shown.append(text)
    return shown
