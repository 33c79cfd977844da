"""Programs in text: Python, shell and others beside a model are suspicious, those that attack when read malicious."""

from __future__ import annotations

import ast
import re
import warnings

from customhouse.trust.scan.importables import dangerous_module
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.words import words

_PYTHON = re.compile(
    r"^(?:import[ \t]+[\w.]+(?:[ \t]+as[ \t]+\w+)?(?:[ \t]*,[ \t]*[\w.]+)*[ \t]*(?:[#;].*)?|"
    r"from[ \t]+[\w.]+[ \t]+import[ \t]+[\w(*].*|(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(.*|class[ \t]+\w+[ \t]*[(:].*)$",
    re.MULTILINE,
)
_PYTHON_CALL = re.compile(r"\b(?:exec|eval|__import__|compile|os\.(?:system|popen)|subprocess\.\w+)[ \t]*\(")
_WORDS = ("import", "def", "class", "exec", "eval", "compile", "popen", "system", "subprocess")
"""Python that imports, defines or executes has one of these; looking for them is quick."""
_PYTHON_PROSE = re.compile(r"(\"\"\"|\'\'\')[\s\S]*?\1|^[ \t]*#.*$", re.MULTILINE)
_SHEBANG = re.compile(r"#![ \t]*/")
_SUFFIXES = tuple(
    words(
        """.sh .bash .zsh .fish .bat .cmd .ps1 .psm1 .vbs .js .mjs .cjs .ts .rb .pl .php .lua .r .jl .scpt .applescript
        .hta .wsf .ahk .command .desktop .service .tcl .groovy .gradle .java .cs .go .rs .c .cc .cpp .cu"""
    )
)
_NAMES = re.compile(r"(?:dockerfile|containerfile|makefile|jenkinsfile|vagrantfile|justfile)(?:\.\w+)?")
_DOCKER_STEP = re.compile(r"^(?:RUN|CMD|ENTRYPOINT)[ \t]", re.MULTILINE)
_PROSE = (".md", ".rst", ".txt")
_CALLS = words(
    """os.system os.popen os.execv os.execve os.execvp os.execl os.spawnv os.posix_spawn subprocess.Popen subprocess.run
    subprocess.call subprocess.check_call subprocess.check_output subprocess.getoutput pty.spawn socket.socket
    socket.create_connection ctypes.CDLL marshal.loads runpy.run_path runpy.run_module code.interact"""
)
_EVALUATE = frozenset({"exec", "eval", "compile", "__import__"})
_MAX_SOURCE = 1 << 20


def inspect_program(text: str, look: Inspection, title: str) -> bool:
    """Judge a program; False when the text is none."""
    base = title.rpartition("/")[2]
    if _SHEBANG.match(text) or base.endswith(_SUFFIXES) or _NAMES.fullmatch(base) or _is_dockerfile(text):
        look.format = "script"
        look.suspicious("script", "a program beside a model: it starts with #! or is called or written like one")
        return True
    if title.endswith((".py", ".pyi", ".pyw")) or (not title.endswith(_PROSE) and is_python(text)):
        look.format = "python"
        look.suspicious("python-code", "Python code beside a model; loaders may import it")
        _judge_source(text, look)
        return True
    return False


def _is_dockerfile(text: str) -> bool:
    """Whether the first line that is no comment says FROM or ARG, and a later one runs something."""
    lines = (line.strip() for line in text[:65_536].splitlines())
    first = next((line for line in lines if line and line[0] != "#"), "")
    return first.startswith(("FROM ", "ARG ")) and _DOCKER_STEP.search(text) is not None


def is_python(text: str) -> bool:
    """Whether what is left without comments and docstrings imports, defines or executes, and is not prose."""
    if not any(word in text for word in _WORDS):
        return False
    code = _PYTHON_PROSE.sub("", text)
    return (_PYTHON.search(code) or _PYTHON_CALL.search(code)) is not None and _prose_share(code) < 0.3


def _prose_share(text: str) -> float:
    """The share of lines that end like sentences do."""
    lines = [line for line in text.splitlines() if line.strip()][:2000]
    return sum(line.rstrip().endswith((".", "!", "?")) for line in lines) / max(1, len(lines))


def _judge_source(text: str, look: Inspection) -> None:
    """Calls that start programs, open sockets or run built text; anything else stays merely code."""
    if len(text) > _MAX_SOURCE:
        return
    look.spend(1 + len(text) // 64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    names = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _called(node.func, names)
            plain = node.args and isinstance(node.args[0], ast.Constant)
            if called in _CALLS or (called.removeprefix("builtins.") in _EVALUATE and node.args and not plain):
                look.malicious("python-danger", f"line {node.lineno}: calls {called[:60]}")
                return


def _imported(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, dangerous modules only."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {item.asname or item.name.partition(".")[0]: item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and dangerous_module(node.module):
            names |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    return names


def _called(node: ast.expr, names: dict[str, str]) -> str:
    """The dotted name that is called, its first part as imported; empty when it is computed."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])
