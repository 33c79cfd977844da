"""A Prometheus, asked for numbers as of now (HTTP API v1, `/api/v1/query`).

What cannot be answered is an error that says why, and never an empty answer: who judges a release by numbers takes
"not known" for inconclusive, and "nothing" would be a number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.http import Answer, HttpError, request, shown
from customhouse.core.errors import TargetError

TIMEOUT_S = 5.0
MOST_BYTES = 4 * 1024 * 1024
MOST_SAMPLES = 2_000
_LONGEST_QUERY = 8_192


@dataclass(frozen=True, slots=True)
class Sample:
    """One series' value: its labels and the number, which is finite."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """One server by its address; `send` is `_kit.http.request`, bounded in time and size. Belongs to any thread."""

    def __init__(self, address: str, *, authority: str | None = None, send: Callable[..., Answer] = request) -> None:
        self._address = address.rstrip("/")
        self._authority, self._send = authority, send

    def query(self, text: str, at: datetime) -> tuple[Sample, ...]:
        """The instant vector or scalar of a query; values that are no finite number are left out.

        Raises TargetError when the server is out of reach, refuses, answers too much, or not as its API says.
        """
        if len(text) > _LONGEST_QUERY:
            raise TargetError(f"the query has more than {_LONGEST_QUERY} characters", where=shown(self._address))
        asked = urlencode({"query": text, "time": to_rfc3339(at), "timeout": f"{TIMEOUT_S:g}s"})
        try:
            answer = self._send(
                "GET",
                f"{self._address}/api/v1/query?{asked}",
                timeout_s=TIMEOUT_S,
                max_bytes=MOST_BYTES,
                retries=1,
                authority=self._authority,
            )
            document = answer.json()
        except HttpError as error:
            raise TargetError(
                f"Prometheus cannot be asked: {error}", hint="metrics.prometheus of customhouse.yaml names it"
            ) from error
        said = document if isinstance(document, Mapping) else {}
        if answer.status != 200 or said.get("status") != "success":
            reason = str(said.get("error") or f"status {answer.status}")[:300]
            raise TargetError(f"Prometheus refuses {text[:120]!r}: {reason}", where=shown(self._address))
        return self._samples(said.get("data"), text)

    def _samples(self, data: Any, text: str) -> tuple[Sample, ...]:
        kind = data.get("resultType") if isinstance(data, Mapping) else None
        result = data.get("result") if isinstance(data, Mapping) else None
        if kind == "scalar":
            result = [{"metric": {}, "value": result}]
        elif kind != "vector":
            raise TargetError(
                f"{text[:120]!r} gives {kind}, not one value a series",
                where=shown(self._address),
                hint="write a query whose answer is an instant vector",
            )
        if not isinstance(result, list) or len(result) > MOST_SAMPLES:
            raise TargetError(
                f"{text[:120]!r} gives more than {MOST_SAMPLES} series",
                where=shown(self._address),
                hint="sum over the labels that are not needed",
            )
        try:
            found = [Sample(dict(item["metric"]), float(item["value"][1])) for item in result]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            shape = json.dumps(result)[:120]
            raise TargetError(f"Prometheus answered {shape}", where=shown(self._address)) from error
        return tuple(item for item in found if math.isfinite(item.value))
