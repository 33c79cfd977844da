"""Both engines say the same about Facts that somebody made to part them.

    python benchmarks/engine_agreement.py [COUNT] [FIRST]       # 10,000 by default; OPA where `make parts` put it

Each case is the Facts of an object of some kind, with what an app may know beside it (review, usage, environment,
budgets, checks and relaxations of the tier, waivers), and up to twenty hostile edits: lists emptied or doubled, texts
of other alphabets, numbers at their ends, null. A half is judged with rules of a project's own beside the packaged
ones; a tenth has values of types that Facts never have, or lacks fields. The embedded engine, interpreted and (the
packaged rules) compiled, and OPA judge each; their Decision bodies are compared byte for byte. The exit status is 1
for any difference.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from agreeing_engines import compare  # noqa: E402
from conftest import locate_part  # noqa: E402 - the tests' own cases, from the path above
from customhouse.policy.adapters.opa import OpaEngine  # noqa: E402

BATCH = 250


def main() -> int:
    """Run and compare."""
    given = [int(text) for text in sys.argv[1:3]]
    count, start = (*given, *(10_000, 0)[len(given) :])
    program = locate_part("opa")
    if program is None:
        sys.stderr.write("opa is not installed: run `make parts`\n")
        return 3
    exact = OpaEngine(str(program), timeout_s=600)
    total: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    begun, shown = time.process_time(), 0
    for number, first in enumerate(range(start, start + count, BATCH)):
        typed = number % 10 != 9
        seeds = range(first, min(first + BATCH, start + count))
        told, problems = compare(exact, seeds, own=number % 2 == 1, typed=typed)
        total[typed] += told
        for problem in problems:
            shown += 1
            if shown <= 50:
                sys.stdout.write(f"{problem}\n")
        sys.stdout.flush()
        sys.stderr.write(f"\r{(number + 1) * BATCH}")
    sys.stderr.write("\n")
    for typed, name in ((True, "of Facts' types"), (False, "of other types")):
        said = ", ".join(f"{key} {number}" for key, number in sorted(total[typed].items()))
        sys.stdout.write(f"{name}: {said}\n")
    sys.stdout.write(f"{count} cases, {shown} differences, {time.process_time() - begun:.0f} CPU-s of ours\n")
    return 1 if shown else 0


if __name__ == "__main__":
    raise SystemExit(main())
