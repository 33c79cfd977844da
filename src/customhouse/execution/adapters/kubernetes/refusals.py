"""What a refused write comes to (`core.cluster.Refusal`), from the API's Status.

The status and the reason alone do not tell an account without rights from a webhook that says no, nor a quota from a
namespace that is on its way out: all are 403 Forbidden. The words in between have been the same for many versions
(k8s.io/apiserver: pkg/endpoints/handlers/responsewriters, pkg/admission/errors.go, pkg/admission/plugin); where they
are not known the refusal is the wider one, and the API's own words are always kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.core.cluster import FieldConflict, Refusal, Written
from customhouse.core.errors import TargetError
from customhouse.execution.adapters.kubernetes.errors import ApiError, UnreachableError

_MAX_CONFLICTS = 1000
_WEBHOOK = re.compile(r'^admission webhook "([^"]{1,300})" denied the request')
_POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']{1,300})' with binding '[^']{1,300}' denied request")
_QUOTA = re.compile(r"is forbidden: (?:exceeded quota|failed quota): ([^,: ]{1,300})")
_POD_SECURITY = re.compile(r'violates (PodSecurity) "')
# The authorizer's words (serviceaccounts are users too), and those of the guard against giving more than one has.
_RIGHTS = re.compile(r'is forbidden: User "[^"]*" cannot |is attempting to grant RBAC permissions')
_MANAGER = re.compile(r'^conflict with "((?:[^"\\]|\\.){1,300})"')
_LARGE = ("request is too large", "trying to send message larger than max", "Request entity too large")


def refused(error: TargetError) -> Written:
    """The value of a write that failed with this error."""
    if isinstance(error, ApiError):
        found, by = _refusal(error)
        conflicts = tuple(_conflicts(error.details)) if error.status == 409 else ()
        return Written(
            False, None, error.reason, error.message, found, conflicts, by, unknown=not 400 <= error.status < 500
        )
    unknown = isinstance(error, UnreachableError) and error.sent
    return Written(False, None, "", str(error), Refusal.UNREACHABLE, unknown=unknown)


def _refusal(error: ApiError) -> tuple[Refusal, str]:
    """What it comes to, and who denied it."""
    said = error.message
    if match := _WEBHOOK.search(said) or _POLICY.search(said):
        return Refusal.DENIED, match[1]
    if any(text in said for text in _LARGE) or error.status == 413:
        return Refusal.TOO_LARGE, ""
    if error.by_budget:
        return Refusal.BUDGET, ""
    if error.status == 403:
        return _forbidden(error)
    if error.status == 404:
        return _missing(error), ""
    if error.status >= 500:
        return (Refusal.BROKEN if error.status == 500 else Refusal.BUSY), ""
    return _BY_STATUS.get(error.status, Refusal.OTHER), ""


_BY_STATUS: Mapping[int, Refusal] = {
    400: Refusal.INVALID,
    401: Refusal.FORBIDDEN,
    409: Refusal.CONFLICT,
    422: Refusal.INVALID,
    429: Refusal.BUSY,
}


def _forbidden(error: ApiError) -> tuple[Refusal, str]:
    if any(cause.get("reason") == "NamespaceTerminating" for cause in _causes(error.details)):
        return Refusal.LEAVING, ""
    if match := _QUOTA.search(error.message):
        return Refusal.QUOTA, match[1]
    if match := _POD_SECURITY.search(error.message):
        return Refusal.DENIED, match[1]
    if not error.stated or _RIGHTS.search(error.message):
        return Refusal.FORBIDDEN, ""
    return Refusal.DENIED, ""  # an admission plugin of the API server itself


def _missing(error: ApiError) -> Refusal:
    """A path that is not served has no Status that names an object."""
    if not error.stated or not error.details.get("name"):
        return Refusal.NO_KIND
    group_and_kind = (error.details.get("group") or "", error.details.get("kind"))
    return Refusal.NO_NAMESPACE if group_and_kind == ("", "namespaces") else Refusal.NOT_FOUND


def _conflicts(details: Mapping[str, Any]) -> Iterator[FieldConflict]:
    for cause in _causes(details)[:_MAX_CONFLICTS]:
        match = _MANAGER.match(str(cause.get("message") or ""))
        if cause.get("reason") == "FieldManagerConflict" and match:
            yield FieldConflict(str(cause.get("field") or ""), match[1])


def _causes(details: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    causes = details.get("causes")
    return [item for item in causes if isinstance(item, dict)] if isinstance(causes, list) else []
