"""The directions of import hold, and each contract that says so can be broken."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# One way to break each contract: files to add, the imports in them, and nothing else broken by it.
VIOLATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "a plane imports another": ("layers", {"policy/intruder.py": "import customhouse.trust"}),
    "a plane imports the store": ("layers", {"control/intruder.py": "import customhouse.store"}),
    "an import inside a function": ("layers", {"trust/intruder.py": "def f():\n    import customhouse.execution"}),
    "a module in no plane": ("layers", {"intruder.py": ""}),
    "a command calls a plane": ("composer", {"cli/intruder.py": "import customhouse.policy"}),
    "a page calls the store": ("composer", {"server/intruder.py": "import customhouse.store"}),
    "a use case names an adapter": ("adapters", {"app/intruder.py": "import customhouse.policy.adapters"}),
    "a plane names its own adapter": (
        "adapters",
        {
            "trust/intruder.py": "import customhouse.trust.adapters.intruder",
            "trust/adapters/intruder.py": "",
        },
    ),
    "core starts programs": ("core-kit", {"core/intruder.py": "import customhouse._kit.process"}),
    "core needs a library": ("values-are-plain", {"core/intruder.py": "import orjson"}),
    "core opens a socket": ("core-does-nothing", {"core/intruder.py": "import socket"}),
    "a second home of the Rego engine": ("engines", {"policy/intruder.py": "import regorus"}),
    "a second home of SQL": ("engines", {"observability/intruder.py": "import sqlalchemy.engine"}),
    "a second home of the HTTP client": ("engines", {"control/intruder.py": "import aiohttp"}),
    "a plane paints the terminal": ("faces", {"trust/intruder.py": "import rich"}),
    "trust loads a pickle": ("trust-runs-nothing", {"trust/intruder.py": "import pickle"}),
    "the optimiser starts programs": (
        "optimiser-cannot-act",
        {"optimisation/intruder.py": "import customhouse._kit.process"},
    ),
    "the optimiser opens a connection": ("optimiser-cannot-act", {"optimisation/intruder.py": "import socket"}),
    "testing uses a plane": ("testing-is-outside", {"testing/intruder.py": "import customhouse.policy"}),
    "the product uses testing": ("testing-is-not-used", {"app/intruder.py": "import customhouse.testing"}),
    "two modules import each other": (
        "no-cycles",
        {
            "policy/intruder.py": "import customhouse.policy.accomplice",
            "policy/accomplice.py": "import customhouse.policy.intruder",
        },
    ),
}
AS_IT_IS = "the sources as they are"


@pytest.fixture(scope="module")
def broken(repository_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The ids of the contracts that each violation breaks, from one process over one copy of the sources."""
    copy = tmp_path_factory.mktemp("contracts") / "src"
    shutil.copytree(
        repository_root / "src" / "customhouse", copy / "customhouse", ignore=shutil.ignore_patterns("__pycache__")
    )
    cases: list[dict[str, object]] = [{"name": AS_IT_IS, "files": {}}]
    for name, (_, files) in VIOLATIONS.items():
        cases.append({"name": name, "files": {f"customhouse/{path}": text + "\n" for path, text in files.items()}})
    done = subprocess.run(
        [sys.executable, HERE / "import_report.py", copy, repository_root / "pyproject.toml"],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=100,
        cwd=copy.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


def test_the_sources_keep_every_contract(broken: dict[str, list[str]]) -> None:
    assert broken[AS_IT_IS] == []


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_breaks_exactly_its_contract(name: str, broken: dict[str, list[str]]) -> None:
    # Whatever the sources break already is reported above, once.
    assert set(broken[name]) - set(broken[AS_IT_IS]) == {VIOLATIONS[name][0]}


def test_every_contract_has_a_violation_that_breaks_it(repository_root: Path) -> None:
    configuration = tomllib.loads((repository_root / "pyproject.toml").read_text())
    contracts = {contract["id"] for contract in configuration["tool"]["importlinter"]["contracts"]}
    assert contracts == {contract for contract, _ in VIOLATIONS.values()}
