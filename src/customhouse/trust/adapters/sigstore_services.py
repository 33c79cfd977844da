"""The way to Sigstore's services: one POST each, https but for loopback, no redirects, bounded in size and time."""

from __future__ import annotations

from customhouse._kit.http import HttpError, request, shown
from customhouse.core.errors import EvidenceError

_TIMEOUT_S = 60.0
"""A log of version 2 answers when the entry is in: that may take some ten seconds."""
_MAX_BYTES = 4 << 20


def post(url: str, headers: dict[str, str], body: bytes) -> bytes:
    """The body of a good answer (`keyless.Post`). Raises EvidenceError; no header's value is in it."""
    try:
        answer = request(
            "POST",
            url,
            headers=headers,
            body=body,
            timeout_s=_TIMEOUT_S,
            max_bytes=_MAX_BYTES,
            redirects=lambda _before, _after: False,
        )
    except HttpError as error:
        raise EvidenceError(f"the service is out of reach: {error}", where=shown(url)) from error
    if answer.status not in (200, 201):
        said = answer.body[:200].decode("utf-8", "replace")
        hint = "the token may be expired, or of another audience" if answer.status in (400, 401, 403) else ""
        raise EvidenceError(f"the service answered {answer.status}: {said}", where=shown(url), hint=hint)
    return answer.body
