"""Ten thousand random histories of a repository and a cluster, each judged by an oracle that knows whose what is.

    .venv/bin/python benchmarks/reconcile_histories.py [HOW MANY] [FIRST SEED]

Prints the seeds of those that went wrong; there must be none. tests/properties runs a hundred of the same.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "properties"))

from reconcile_history import History, WrongError


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    began, wrong = time.process_time(), 0
    for seed in range(first, first + count):
        try:
            History(seed).run()
        except WrongError as error:
            wrong += 1
            print(f"seed {seed}: {error}")
    print(f"{count} histories, {wrong} went wrong, {time.process_time() - began:.0f} CPU-s")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
