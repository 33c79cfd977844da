"""Run as a program: which contracts of pyproject.toml does a copy of the sources break?

Reads `[{"name", "files": {path: text}}]` on stdin: each case adds files to the copy in the folder given as the first
argument, and takes them away again. Prints `{name: [ids of broken contracts]}`. A process of its own, since grimp finds
a package by importing it and the test process already has the real one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def broken_contracts(options: Any, cache: Path) -> list[str]:
    """Every contract, one at a time, against a graph that is built anew (files that did not change are cached)."""
    from importlinter.application import use_cases

    report = use_cases.create_report(options, cache_dir=str(cache))
    if report.could_not_run:
        raise SystemExit(f"import-linter could not run: {report.invalid_contract_options}")
    ids = {contract["name"]: contract["id"] for contract in options.contracts_options}
    return sorted(ids[contract.name] for contract, check in report.get_contracts_and_checks() if not check.kept)


def main() -> None:
    """Apply each case to the copy and report."""
    copy, pyproject = Path(sys.argv[1]), sys.argv[2]
    sys.path.insert(0, str(copy))
    from importlinter import configuration
    from importlinter.application import use_cases
    from importlinter.domain.contract import registry

    configuration.configure()
    options = use_cases.read_user_options(pyproject)
    use_cases._register_contract_types(options)
    assert registry.get_contract_class("layers")
    result: dict[str, list[str]] = {}
    for case in json.load(sys.stdin):
        for path, text in case["files"].items():
            (copy / path).write_text(text)
        result[case["name"]] = broken_contracts(options, copy.parent / "cache")
        for path in case["files"]:
            (copy / path).unlink()
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
