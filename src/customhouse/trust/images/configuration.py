"""What an image's configuration says: who it runs as, what it is made from, names of variables that look like secrets.

Values of such variables are never shown: not in the environment, not in the history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse.trust.packages.found import visible

_SECRET = re.compile(
    r"(?:^|_)(?:PASS(?:WD|WORD|PHRASE)?|SECRETS?|TOKEN|API_?KEYS?|ACCESS_?KEY(?:_ID)?|PRIVATE_?KEY|CREDENTIALS?|AUTH|DSN|"
    r"CONNECTION_?STRING|ENCRYPTION_?KEY|SIGNING_?KEY|LICEN[CS]E_?KEY|PAT)(?:$|_)",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"(?:_FILE|_PATH|_DIR|_URL|_NAME|_TYPE|_HEADER|_ENDPOINT)$", re.IGNORECASE)
_GIVEN = re.compile(r"""\b([A-Za-z_][A-Za-z0-9_]*)=("(?:[^"\\]|\\.)*"|'[^']*'|\S+)""")
_SHAPES = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{40,}|AKIA[0-9A-Z]{16}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}|"
    r"sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
)
_URL_LOGIN = re.compile(r"(\w+://[^/\s:@]*):[^/\s@]+@")
_MAX_HISTORY = 1_000
_MAX_COMMAND, _MAX_SEARCHED = 4_000, 400_000
_BASE = ("org.opencontainers.image.base.name", "org.opencontainers.image.base.digest")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the history. `empty`: it made no layer."""

    command: str
    created: str
    empty: bool


@dataclass(frozen=True, slots=True)
class ImageConfiguration:
    """What is worth telling. `diff_ids` are the digests of the unpacked layers, in their order."""

    platform: str
    created: str
    user: str
    base: str
    secrets: tuple[str, ...]
    """Names of variables that look like secrets and have a value, with the place they were seen at."""
    ports: tuple[str, ...]
    command: tuple[str, ...]
    labels: Mapping[str, str]
    diff_ids: tuple[str, ...]
    history: tuple[Step, ...]

    @property
    def as_root(self) -> bool:
        """Whether it starts as root, or as nobody knows whom."""
        return self.user.partition(":")[0] in ("", "0", "root")

    def commands(self) -> list[str]:
        """The step that made each layer, as far as the history has one for each; else nothing is guessed."""
        made = [step.command for step in self.history if not step.empty]
        return made if len(made) == len(self.diff_ids) else [""] * len(self.diff_ids)

    def to_json(self) -> dict[str, Any]:
        """As `image scan` shows it."""
        return {
            "platform": self.platform,
            "created": self.created,
            "user": self.user,
            "as_root": self.as_root,
            "base": self.base,
            "secrets": list(self.secrets),
            "ports": list(self.ports),
            "command": list(self.command),
        }


def read_configuration(said: Mapping[str, Any], annotations: Mapping[str, Any]) -> ImageConfiguration:
    """The configuration of an image; wrong types are taken as absent, but for `rootfs`. Raises ValueError for that."""
    roots = said.get("rootfs")
    diff_ids = roots.get("diff_ids") if isinstance(roots, dict) else None
    if not isinstance(diff_ids, list) or not all(isinstance(item, str) for item in diff_ids):
        raise ValueError("the configuration lists no layers (rootfs.diff_ids)")
    own = said.get("config")
    config: Mapping[str, Any] = own if isinstance(own, dict) else {}
    steps = tuple(_steps(said.get("history")))
    given = config.get("Labels")
    labels = {str(key): str(text) for key, text in given.items()} if isinstance(given, dict) else {}
    raw = said.get("history")
    texts = _bounded(item.get("created_by") for item in _list(raw) if isinstance(item, dict))
    ports = config.get("ExposedPorts")
    return ImageConfiguration(
        visible("/".join(str(said[key])[:64] for key in ("os", "architecture", "variant") if said.get(key))),
        visible(str(said.get("created") or "")[:64]),
        visible(str(config.get("User") or "")[:128]),
        _base(labels, annotations),
        tuple(_secrets(config.get("Env"), texts)),
        tuple(sorted(visible(str(port)[:64]) for port in ports)[:100]) if isinstance(ports, dict) else (),
        tuple(redacted(text)[:500] for key in ("Entrypoint", "Cmd") for text in _bounded(_list(config.get(key)))),
        labels,
        tuple(diff_ids),
        steps,
    )


def redacted(text: str) -> str:
    """A command without the values of what looks like secrets."""

    def hidden(match: re.Match[str]) -> str:
        return f"{match[1]}=***" if looks_secret(match[1]) else match[0]

    return visible(_URL_LOGIN.sub(r"\1:***@", _SHAPES.sub("***", _GIVEN.sub(hidden, text))))


def looks_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)


def _secrets(env: Any, commands: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for item in _bounded(_list(env)):
        name, _, value = item.partition("=")
        if value and (looks_secret(name) or _SHAPES.search(value) or _URL_LOGIN.search(value)):
            found[f"{name[:100]} (environment)"] = None
    for text in commands:
        for match in _GIVEN.finditer(text):
            value = match[2].strip("\"'")
            variable = value.startswith("$") and _SHAPES.search(value) is None
            if value and not variable and (looks_secret(match[1]) or _SHAPES.search(value)):
                found[f"{match[1][:100]} (history)"] = None
    return [visible(text) for text in found][:100]


def _bounded(items: Iterable[Any]) -> list[str]:
    """Texts, cut, and only as many as are searched soon: a stranger wrote them."""
    found, left = [], _MAX_SEARCHED
    for item in items:
        text = str(item or "")[:_MAX_COMMAND]
        left -= len(text) + 1
        if left < 0:
            break
        found.append(text)
    return found


def _steps(history: Any) -> list[Step]:
    found = []
    for item in _list(history)[:_MAX_HISTORY]:
        fields = item if isinstance(item, dict) else {}
        command = redacted(" ".join(str(fields.get("created_by") or "")[:_MAX_COMMAND].split()))
        command = command.removeprefix("/bin/sh -c #(nop) ").removeprefix("/bin/sh -c ").strip()
        found.append(Step(command[:500], str(fields.get("created") or "")[:64], fields.get("empty_layer") is True))
    return found


def _base(labels: Mapping[str, str], annotations: Mapping[str, Any]) -> str:
    name, digest = (str(annotations.get(key) or labels.get(key) or "")[:300] for key in _BASE)
    name, digest = visible(name), visible(digest)
    return f"{name}@{digest}" if name and digest else name or digest


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [value]
    return value if isinstance(value, list) else []
