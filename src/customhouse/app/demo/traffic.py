"""Live traffic of the demo: labelled card transactions sent to the gateway, every failed request counted.

A transaction is scored first; its label (was it fraud?) is known to the bank later and is sent as feedback.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from customhouse._kit.clock import Clock


@dataclass(slots=True)
class Tally:
    """What the load generator has seen so far."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    feedback_failed: int = 0
    failures: list[str] = field(default_factory=list)
    releases: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One live transaction: the model's features in order, and the label."""

    features: tuple[float, ...]
    label: int


class Traffic:
    """A context manager that sends `samples` round and round at about `per_second` until it is left.

    Everything that is not a 200 with an answer counts as failed; nothing is retried here, so a request that fails
    during a roll is seen.
    """

    def __init__(
        self, host: str, port: int, path: str, samples: Sequence[Sample], clock: Clock, *, per_second: float = 150.0
    ) -> None:
        self._host, self._port, self._path = host, port, path
        self._samples = samples
        self._clock = clock
        self._interval = 1.0 / per_second
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._position = 0
        self._threads: list[threading.Thread] = []
        self.tally = Tally()

    def __enter__(self) -> Traffic:
        for number in range(2):
            thread = threading.Thread(target=self._run, name=f"traffic-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def snapshot(self) -> Tally:
        """A copy of the counts."""
        with self._lock:
            tally = self.tally
            return Tally(
                tally.sent,
                tally.answered,
                tally.failed,
                tally.feedback_failed,
                list(tally.failures),
                dict(tally.releases),
            )

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=10)
        period = self._interval * 2  # two senders share the rate
        due = self._clock.monotonic()
        while not self._stop.is_set():
            with self._lock:
                sample = self._samples[self._position % len(self._samples)]
                self._position += 1
            self._send(connection, sample)
            due = max(due + period, self._clock.monotonic() - 1.0)
            self._stop.wait(max(0.0, due - self._clock.monotonic()))
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, sample: Sample) -> None:
        body = {
            "inputs": [
                {"name": "input", "datatype": "FP32", "shape": [1, len(sample.features)], "data": list(sample.features)}
            ]
        }
        answer = self._post(connection, f"{self._path}/infer", body)
        with self._lock:
            self.tally.sent += 1
            if isinstance(answer, str):
                self.tally.failed += 1
                if len(self.tally.failures) < 20:
                    self.tally.failures.append(answer)
                return
            self.tally.answered += 1
            release = answer["release"]
            self.tally.releases[release] = self.tally.releases.get(release, 0) + 1
        feedback = self._post(
            connection, f"{self._path.partition('/v2/')[0]}/feedback", {"id": answer["id"], "label": sample.label}
        )
        if isinstance(feedback, str):
            with self._lock:
                self.tally.feedback_failed += 1
                if len(self.tally.failures) < 20:
                    self.tally.failures.append(f"feedback: {feedback}")

    def _post(self, connection: http.client.HTTPConnection, path: str, body: object) -> dict[str, str] | str:
        """The request id and release of a good answer, or what went wrong."""
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return f"{type(error).__name__}: {error}"
        if response.status >= 300:
            return f"{response.status}: {data[:200].decode(errors='replace')}"
        return {
            "id": response.getheader("customhouse-request-id", "") or "",
            "release": response.getheader("customhouse-release", "") or "",
        }
