"""RFC 6962 proofs, good and broken, of transparency-dev/merkle."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from customhouse.core.errors import TamperError
from customhouse.trust.merkle import verify_consistency, verify_inclusion


def cases(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.rglob("*.json")):
        yield path.relative_to(folder).as_posix(), json.loads(path.read_text())


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def judged(check: Any) -> bool:
    try:
        check()
    except TamperError:
        return False
    return True


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_every_good_proof_is_accepted_and_every_broken_one_is_refused(shared_data: Path, kind: str) -> None:
    wrong, seen = [], {True: 0, False: 0}
    for name, case in cases(shared_data / "transparency" / "merkle" / kind):
        proof = [raw(step) for step in case["proof"] or ()]
        if kind == "inclusion":
            arguments: tuple[Any, ...] = (case["leafIdx"], case["treeSize"], raw(case["leafHash"]), proof)
            good = judged(lambda a=arguments, c=case: verify_inclusion(*a, raw(c["root"])))
        else:
            arguments = (case["size1"], case["size2"], proof, raw(case["root1"]), raw(case["root2"]))
            good = judged(lambda a=arguments: verify_consistency(*a))
        seen[good] += 1
        if good is case["wantErr"]:
            wrong.append(f"{name}: {case['desc']}")
    assert wrong == []
    assert seen[True] >= 5
    assert seen[False] >= 80
