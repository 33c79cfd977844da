"""Argo CD's Lua health customisations, run unchanged, in a process that may be killed.

`runner` is that process: Lua (the extra `lua`) without files, programs, modules or debugging, with limits on memory
and steps; each object gets a Lua of its own. What it makes of an object is checked here.
"""

from __future__ import annotations

import json
from importlib.util import find_spec

from customhouse._kit.companion import Companion, CompanionError
from customhouse.core.errors import ConfigError
from customhouse.core.plan import Health, HealthStatus
from customhouse.core.resource import Manifest
from customhouse.execution.health.customizations import Customizations, Script
from customhouse.execution.health.seen import seen

TIMEOUT_S = 5.0
"""Of one script for one object, the start of the process included; they take some tenths of a millisecond."""
_STRIKES = 3
"""A script that was ended so often is not started again: thousands of objects may be of its kind."""
_MODULE = "customhouse.execution.adapters.lua.runner"
_STATUSES = {status.value: status for status in HealthStatus}


class LuaHealth:
    """A function of a manifest: its Health by the script for its kind, None without a script or when it has no opinion.

    A script that fails, or says what is no health, gives Unknown with the reason. Raises ConfigError at the start when
    the extra is not installed. `close` ends the process; it is started again when asked.
    """

    def __init__(self, customizations: Customizations, *, timeout_s: float = TIMEOUT_S) -> None:
        if find_spec("lupa") is None:
            raise ConfigError(
                "Lua health customisations need an interpreter",
                where="health",
                hint="pip install 'customhouse[lua]' (lupa, MIT, 5 MB)",
            )
        self._customizations = customizations
        self._timeout_s = timeout_s
        self._companion = Companion(_MODULE)
        self._told: tuple[int, set[str]] = (0, set())
        self._strikes: dict[str, int] = {}

    def __call__(self, manifest: Manifest) -> Health | None:
        """The script's opinion."""
        parts = seen(manifest)
        script = self._customizations.script_of(parts.group, parts.kind)
        return None if script is None else self._judged(script, manifest)

    def close(self) -> None:
        """End the process."""
        self._companion.close()

    def _judged(self, script: Script, manifest: Manifest) -> Health | None:
        if self._strikes.get(script.where, 0) >= _STRIKES:
            return _unknown(script, f"it was ended {_STRIKES} times, and is not run again")
        try:
            asked = b"R" + json.dumps({"name": script.where, "obj": manifest}, default=str).encode()
            answer = json.loads(self._answer(script, asked))
        except CompanionError as error:
            self._strikes[script.where] = self._strikes.get(script.where, 0) + 1
            return _unknown(script, str(error))
        except (ValueError, TypeError, RecursionError) as error:
            return _unknown(script, f"the object cannot be given to it: {error}")
        if "error" in answer:
            hint = " (it asks for open libraries, and gets string, table, math and time)" if script.open_libs else ""
            return _unknown(script, f"{answer['error']}{hint}")
        if answer.get("nothing"):
            return None
        status = _STATUSES.get(answer["status"])
        if status is None:
            return _unknown(script, f"it returned the status {answer['status'][:100]!r}")
        return Health(status, answer["message"])

    def _answer(self, script: Script, asked: bytes) -> bytes:
        for attempt in (1, 2):
            self._companion.start()
            generation = self._companion.generation
            known = self._told[1] if self._told[0] == generation else set()
            told = b"S" + json.dumps({"name": script.where, "text": script.text}).encode()
            frames = [asked] if script.where in known else [told, asked]
            try:
                answer = self._companion.ask(frames, generation=generation, timeout_s=self._timeout_s)
            except CompanionError:
                # One that died between two questions is no fault of this one.
                if attempt == 1 and generation != self._companion.generation:
                    continue
                raise
            self._told = (generation, {*known, script.where})
            return answer
        raise CompanionError("it does not start")


def _unknown(script: Script, reason: str) -> Health:
    return Health(HealthStatus.UNKNOWN, f"{script.where}: {reason}"[:4096])
