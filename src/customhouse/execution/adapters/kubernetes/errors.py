"""What the API said when it said no: the fields of its `Status` object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from customhouse.core.errors import TargetError

_MAX_TEXT = 2000
_HINTS = {
    "Unauthorized": "the credentials of the kubeconfig are wrong or have expired",
    "Forbidden": "give the account the roles of docs/install.md; to audit, that of deploy/audit/rbac.yaml",
}


class ApiError(TargetError):
    """An answer that is no success. `reason` is the API's word (`Conflict`, `Expired` …), `retry_after` seconds."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str = "",
        where: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        stated: bool = False,
    ) -> None:
        super().__init__(message, where=where, hint=_HINTS.get(reason, ""))
        self.status = status
        self.reason = reason
        self.details = details or {}
        self.retry_after = retry_after
        self.stated = stated
        """Whether the API said so in a Status of its own; else it was a proxy, or a path that it does not serve."""

    @property
    def by_budget(self) -> bool:
        """Whether a PodDisruptionBudget refused an eviction: a 429 that says nothing of how busy the API is."""
        causes = self.details.get("causes")
        reasons = [item.get("reason") for item in causes if isinstance(item, dict)] if isinstance(causes, list) else []
        return self.status == 429 and "DisruptionBudget" in reasons


class UnreachableError(TargetError):
    """The API did not answer, in time or at all. `sent`: it may have got the request, and done what it asks."""

    def __init__(self, message: str, *, where: str = "", hint: str = "", sent: bool = False) -> None:
        super().__init__(message, where=where, hint=hint)
        self.sent = sent


def api_error(status: int, body: bytes, where: str, retry_after: str | None = None) -> ApiError:
    """The error of an answer; a body that is no Status is quoted in part."""
    message: Any = ""
    reason: Any = ""
    details: Any = None
    try:
        value = orjson.loads(body)
    except ValueError:
        value = None
    stated = isinstance(value, dict) and value.get("kind") == "Status"
    if isinstance(value, dict) and stated:
        message, reason, details = value.get("message"), value.get("reason"), value.get("details")
        code = value.get("code")
        status = code if isinstance(code, int) and not isinstance(code, bool) else status
    if not isinstance(message, str) or not message:
        said = body[:200].decode("utf-8", "replace").strip()
        message = f"the API answered {status}" + (f": {said}" if said else "")
    if status == 500 and message.startswith(_MISTYPED):
        status, reason = 422, "Invalid"
    details = details if isinstance(details, dict) else {}
    seconds = _seconds(retry_after)
    told = details.get("retryAfterSeconds")
    if seconds is None and isinstance(told, int) and not isinstance(told, bool):
        seconds = float(told)
    return ApiError(
        message[:_MAX_TEXT],
        status=status,
        reason=reason if isinstance(reason, str) and reason else _REASONS.get(status, ""),
        where=where,
        details=details,
        retry_after=seconds,
        stated=stated,
    )


# A server-side apply of what does not fit the kind's schema (an unknown field, a text for a number) is answered with
# 500 and no reason (k8s.io/apimachinery: managedfields/internal/structuredmerge.go), whatever fieldValidation says.
_MISTYPED = "failed to create typed patch object"

# An answer of a proxy before the API has no Status; its code says the same.
_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired"}


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds (RFC 9110 section 10.2.3); its other form, a date, is not used by Kubernetes."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None
