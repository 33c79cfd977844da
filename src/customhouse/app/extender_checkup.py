"""`customhouse doctor` about the scheduler's extender of this state: whether it answers, and for how long still."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from customhouse._kit.clock import from_rfc3339
from customhouse._kit.http import HttpError, request
from customhouse.app import wiring
from customhouse.app.configuring import configured
from customhouse.app.extender_status import FOLDER, read_extender_status
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError
from customhouse.trust.certificates_serving import expiry

SOON = timedelta(days=14)
"""A certificate that ends within this is said: a client's is renewed two months before, a server's one."""
_TIMEOUT_S = 5.0
_NAME = "scheduler's extender"


def extender_rows(settings: Settings, repo: str) -> Iterator[dict[str, Any]]:
    """As `checkup` gives rows; none where customhouse.yaml asks for no extender, and none has run on this state."""
    try:
        configuration = configured(settings, repo)
        listen = "" if configuration is None else configuration.schedule.listen
        found = read_extender_status(settings.state)
    except CustomhouseError as error:
        yield {"name": _NAME, "state": "missing", "detail": str(error)}
        return
    if found is None:
        if listen:
            text = f"customhouse.yaml asks for one on {listen}, and none has run on {settings.state}"
            yield {"name": _NAME, "state": "missing", "detail": text}
        return
    now = wiring.clock().now()
    yield _answers(settings, found)
    yield from _certificates(settings, found, now)


def _answers(settings: Settings, found: dict[str, Any]) -> dict[str, Any]:
    """Whether it is there now, and what it says of the cluster, of its rules and of prices."""
    host, authority = str(found.get("host") or "127.0.0.1"), settings.state / FOLDER / "ca.crt"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what it listens on, asked on this machine
    url = f"https://{f'[{host}]' if ':' in host else host}:{found.get('port')}/readyz"
    try:
        answer = request(
            "GET", url, timeout_s=_TIMEOUT_S, retries=0, authority=str(authority) if authority.exists() else None
        )
    except HttpError as error:
        text = f"it does not answer, so the scheduler goes on without it: {error} (last heard of {found.get('at')})"
        return {"name": _NAME, "state": "missing", "detail": text}
    said = "; ".join(answer.body.decode(errors="replace").split("\n")[:4])
    return {"name": _NAME, "state": "ok" if answer.status == 200 else "missing", "detail": f"{url} says {said}"[:600]}


def _certificates(settings: Settings, found: dict[str, Any], now: datetime) -> Iterator[dict[str, Any]]:
    try:
        yield _ends("certificate of the extender", from_rfc3339(str(found.get("certificate_ends"))), now)
    except ValueError:
        yield {"name": "certificate of the extender", "state": "missing", "detail": "when it ends is not known"}
    client = settings.state / FOLDER / "client.crt"
    if client.exists():
        name = "certificate of the scheduler"
        try:
            yield _ends(name, expiry(client.read_bytes(), str(client)), now)
        except (OSError, CustomhouseError) as error:
            yield {"name": name, "state": "missing", "detail": str(error)}


def _ends(name: str, ends: datetime, now: datetime) -> dict[str, Any]:
    days = (ends - now).days
    if ends <= now:
        text = f"it ended on {ends:%Y-%m-%d}: the scheduler goes on without the extender"
        return {"name": name, "state": "missing", "detail": text}
    state = "absent" if ends - now < SOON else "ok"
    return {"name": name, "state": state, "detail": f"it ends on {ends:%Y-%m-%d}, in {days} days"}
