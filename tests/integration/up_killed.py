"""A program: `customhouse up` that ends itself with SIGKILL at a durable step, before it is done or right after it.

python up_killed.py before:7 up --repo …      dies instead of doing its seventh durable step
python up_killed.py after:7 up --repo …       dies when it has done it
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from customhouse.cli import main
from customhouse.control.adapters.git import GitRepository
from customhouse.execution.adapters.local.target import LocalTarget
from customhouse.store.history import DecisionTable, ReleaseTable
from customhouse.store.measurements import MeasurementTable
from customhouse.store.state import DocumentTable
from customhouse.trust.ledger import Ledger

STEPS: list[tuple[type, str]] = [
    (DocumentTable, "put"),
    (DecisionTable, "record"),
    (ReleaseTable, "record"),
    (MeasurementTable, "charge"),
    (Ledger, "append"),
    (LocalTarget, "apply"),
    (GitRepository, "_push"),
]


def arm(moment: str, at: int) -> None:
    """Replace every durable step by one that counts."""
    seen = 0

    def counted(step: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(step)
        def run(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            here = seen == at
            if here:
                print(f"killed {moment} step {at}: {name}", file=sys.stderr, flush=True)
            if here and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = step(*arguments, **named)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name), f"{owner.__name__}.{name}"))


if __name__ == "__main__":
    moment, _, number = sys.argv[1].partition(":")
    arm(moment, int(number))
    sys.argv = ["customhouse", *sys.argv[2:]]
    main()
