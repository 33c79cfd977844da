"""House rules that no linter holds: size, names, packages that say what may live in them, ports of one page."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BANNED_NAMES = {"util", "utils", "helper", "helpers", "manager", "base", "common", "misc"}
PLANES = ("_kit", "core", "control", "policy", "execution", "observability", "trust", "optimisation")


@pytest.fixture(scope="module")
def modules(repository_root: Path) -> list[Path]:
    return sorted((repository_root / "src" / "customhouse").rglob("*.py"))


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_is_longer_than_500_lines(modules: list[Path]) -> None:
    long = {str(path): count for path in modules if (count := len(path.read_text().splitlines())) > 500}
    assert long == {}


def test_no_function_is_longer_than_80_lines(modules: list[Path]) -> None:
    long = {f"{path}:{name}": count for path in modules for name, count in _functions(path) if count > 80}
    assert long == {}


def test_modules_are_named_for_what_they_hold(modules: list[Path]) -> None:
    assert [str(path) for path in modules if path.stem.strip("_") in BANNED_NAMES] == []


def test_every_module_has_a_docstring(modules: list[Path]) -> None:
    assert [str(path) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize("plane", PLANES)
def test_a_plane_says_what_may_live_in_it(plane: str, repository_root: Path) -> None:
    text = ast.get_docstring(ast.parse((repository_root / "src" / "customhouse" / plane / "__init__.py").read_text()))
    assert text is not None
    assert " not" in text.lower(), f"{plane}/__init__.py says nothing of what may not live in it"


def test_core_and_kit_import_nothing_but_python_and_themselves(repository_root: Path) -> None:
    foreign: dict[str, str] = {}
    for package in ("core", "_kit"):
        for path in (repository_root / "src" / "customhouse" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
                for name in names:
                    top = name.partition(".")[0]
                    if top != "customhouse" and top not in sys.stdlib_module_names:
                        foreign[str(path)] = name
    assert foreign == {}


def test_a_port_has_five_methods_at_most() -> None:
    from customhouse.core import ports

    found = {
        name: [method for method, value in vars(port).items() if inspect.isfunction(value) and method[0] != "_"]
        for name, port in vars(ports).items()
        if inspect.isclass(port) and getattr(port, "_is_protocol", False) and name != "Protocol"
    }
    assert len(found) >= 8
    assert {name: methods for name, methods in found.items() if not 1 <= len(methods) <= 5} == {}


def test_test_files_have_names_of_their_own(repository_root: Path) -> None:
    """There is no __init__.py among the tests, so two files of one name could not both be collected."""
    seen: dict[str, Path] = {}
    for path in sorted((repository_root / "tests").rglob("test_*.py")):
        assert path.name not in seen, f"{path} and {seen[path.name]}"
        seen[path.name] = path


def test_no_path_of_one_machine_is_written_down(repository_root: Path) -> None:
    roots = ("src", "tests", "docs", "scripts", "benchmarks", "examples", "requirements", ".ci")
    texts = {".py", ".md", ".sh", ".toml", ".yaml", ".yml", ".txt", ".rego", ".json", ""}
    found = []
    for root in roots:
        for path in (repository_root / root).rglob("*"):
            if path.is_file() and path.suffix in texts and "__pycache__" not in path.parts and path != Path(__file__):
                text = path.read_text(errors="replace")
                if str(repository_root) in text or re.search(r"/(root|home)/[a-z]", text):
                    found.append(str(path.relative_to(repository_root)))
    assert found == []
