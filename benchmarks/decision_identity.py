"""Same Facts + same Bundle → byte-identical Decision body, over generated cases and both engines.

    python benchmarks/decision_identity.py [COUNT]       # 10,000 by default; OPA where `make parts` put it

Each case is an object of some kind as people write it and as an API server gives it back (defaults filled in, keys in
another order), with a tier, prices and evidence of its own. Its Facts are built from both, judged by the embedded
engine and by Open Policy Agent itself, and the bodies are compared byte for byte. Prints the count, how the verdicts
fell and how many findings there were; the exit status is 1 for any difference.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from conftest import locate_part  # noqa: E402 - the tests' own cases, from the path above
from customhouse._kit.canonical import canonical_json  # noqa: E402
from customhouse.core.decision import Point  # noqa: E402
from customhouse.policy.adapters.opa import OpaEngine  # noqa: E402
from customhouse.policy.adapters.regorus import RegorusEngine  # noqa: E402
from customhouse.policy.bundle import QUERY, builtin_bundle  # noqa: E402
from customhouse.policy.gate import Gate  # noqa: E402
from decision_cases import case  # noqa: E402
from policy_cases import NOW  # noqa: E402

BATCH = 500


class Answered:
    """An engine that gives what another one has answered already: OPA judges a batch in one process."""

    def __init__(self, name: str, findings: object) -> None:
        self.name, self._findings = name, findings

    def evaluate(self, *_: object) -> object:
        """The answer."""
        return self._findings


def main() -> int:
    """Run and compare."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    program = locate_part("opa")
    if program is None:
        sys.stderr.write("opa is not installed: run `make parts`\n")
        return 3
    bundle = builtin_bundle()
    embedded, exact = Gate(RegorusEngine(), bundle), OpaEngine(str(program))
    verdicts: Counter[str] = Counter()
    findings = differences = 0
    start = time.monotonic()
    for first in range(0, count, BATCH):
        pairs = [case(seed) for seed in range(first, min(first + BATCH, count))]
        answers = exact.evaluate_all(bundle.modules, bundle.data, [file.document for _, file, _ in pairs], QUERY)
        for (change, file, live), answer in zip(pairs, answers, strict=True):
            decided = [
                embedded.judge(change, file, point=Point.GATE, decided_at=NOW),
                embedded.judge(change, live, point=Point.ADMISSION, decided_at=NOW),
                Gate(Answered(exact.name, answer), bundle).judge(change, live, point=Point.AUDIT, decided_at=NOW),
            ]
            same = len({canonical_json(one.body()) for one in decided}) == 1
            differences += not (same and canonical_json(file.document) == canonical_json(live.document))
            verdicts[decided[0].verdict.value] += 1
            findings += len(decided[0].findings)
    seconds = time.monotonic() - start
    told = ", ".join(f"{name} {number}" for name, number in sorted(verdicts.items()))
    sys.stdout.write(f"{count} cases, 3 decisions each, 2 engines: {differences} differences ({told}; ")
    sys.stdout.write(f"{findings} findings; {seconds:.0f} s)\n")
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
