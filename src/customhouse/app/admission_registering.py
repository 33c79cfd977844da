"""Keeping the webhook registered: a process beside it that applies both configurations once it answers, and again.

It is another container than the webhook's own: only this one has a token, and it may write two objects (deploy/).
Before the webhook is ready nothing is registered, since `failurePolicy: Fail` would refuse what nobody can judge yet;
once registered it stays so, also while the webhook is away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from customhouse._kit.http import HttpError, request
from customhouse.app.admission_manifest import apply_configurations
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError

EVERY_S = 60.0
SOON_S = 2.0
"""After what did not go well: a first start is a matter of seconds."""
_MAX_AUTHORITIES = 1024 * 1024
_READY_S = 10.0


class Registering:
    """Applies what is to be registered when the webhook is ready, and again when it changed or somebody edited it."""

    def __init__(
        self,
        settings: Settings,
        repo: str | None,
        place: tuple[Path, str | None, str | None],
        ready: str,
        tell: Callable[[str], None],
    ) -> None:
        """`place`: the authorities' file, `--url` and `--kubeconfig`. `ready`: the address of `/readyz`."""
        self._settings = settings
        self._repo = repo
        self._authorities, self._url, self._kubeconfig = place
        self._ready = ready
        self._tell = tell
        self._said = ""

    def once(self) -> float:
        """One round; the seconds until the next. Nothing that goes wrong ends it: it is told, once, and tried again."""
        try:
            with self._authorities.open("rb") as handle:
                authorities = handle.read(_MAX_AUTHORITIES)
            answer = request("GET", self._ready, authority=str(self._authorities), timeout_s=_READY_S)
        except FileNotFoundError:
            return self._later("the webhook has made no certificate yet")
        except (OSError, HttpError) as error:
            return self._later(f"the webhook does not answer: {error}")
        if answer.status != 200:
            return self._later(f"the webhook is not ready: {answer.body[:200].decode(errors='replace').strip()}")
        try:
            names = apply_configurations(self._settings, self._repo, authorities, self._url, self._kubeconfig)
        except CustomhouseError as error:
            return self._later(str(error))
        self._now(f"{' and '.join(names)} applied (authority {hashlib.sha256(authorities).hexdigest()[:12]})")
        return EVERY_S

    def _later(self, why: str) -> float:
        self._now(f"not registered now: {why}")
        return SOON_S

    def _now(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._tell(text)
