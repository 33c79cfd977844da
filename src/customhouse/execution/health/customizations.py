"""Argo CD's health customisations as it writes them: Lua scripts by group and kind, in its ConfigMap or in a folder.

Sources: Argo CD's operator manual (Resource Health, as of v3.2). In the ConfigMap `argocd-cm` a script stands under
`resource.customizations.health.GROUP_KIND` (`...health.KIND` for the core group) or, older and with wildcards, in the
YAML block `resource.customizations` as `GROUP/KIND` with `health.lua`. In a folder it is `GROUP/KIND/health.lua`, where
`_` stands for a wildcard. Of two for one kind the key of its own counts before the block, an exact name before a
pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from customhouse.core.errors import ConfigError

_KEY = "resource.customizations"
_HEALTH, _OPEN = f"{_KEY}.health.", f"{_KEY}.useOpenLibs."
MAX_SCRIPTS = 5_000
MAX_SCRIPT = 256 * 1024
"""Characters of one script; Argo CD's own longest has 11,000."""


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its text and where it stands. `open_libs`: it asks for libraries that are not given here."""

    text: str
    where: str
    open_libs: bool = False


@dataclass(frozen=True, slots=True)
class Customizations:
    """The scripts by `GROUP/KIND` (`KIND` alone in the core group), and those for patterns in their order."""

    exact: Mapping[str, Script] = field(default_factory=dict)
    patterns: tuple[tuple[str, Script], ...] = ()

    def script_of(self, group: str, kind: str) -> Script | None:
        """The script for a kind, None when there is none."""
        name = f"{group}/{kind}" if group else kind
        found = self.exact.get(name)
        if found is not None:
            return found
        return next((script for pattern, script in self.patterns if fnmatchcase(name, pattern)), None)

    def __len__(self) -> int:
        return len(self.exact) + len(self.patterns)


def of_config_map(data: Mapping[str, Any], where: str, parse: Callable[[str], Any]) -> Customizations:
    """The scripts in the `data` of a ConfigMap; `parse` reads the older block's YAML. Raises ConfigError."""
    scripts: dict[str, Script] = {}
    block = data.get(_KEY)
    if block is not None:
        if not isinstance(block, str):
            raise ConfigError(f"{_KEY} is not text", where=where, hint="it is a YAML block: `|`")
        parsed = parse(block)
        if not isinstance(parsed, Mapping):
            raise ConfigError(f"{_KEY} is not a mapping of GROUP/KIND", where=where, hint="see docs/health.md")
        for name, entry in parsed.items():
            text = entry.get("health.lua") if isinstance(entry, Mapping) else None
            if text is not None:
                opened = entry.get("health.lua.useOpenLibs") is True
                scripts[str(name)] = _script(text, f"{where}: {name}", opened=opened)
    for key, text in data.items():
        if isinstance(key, str) and key.startswith(_HEALTH):
            name = _named(key.removeprefix(_HEALTH), where)
            opened = data.get(_OPEN + key.removeprefix(_HEALTH)) in ("true", True)
            scripts[name] = _script(text, f"{where}: {key}", opened=opened)
    return _sorted(scripts, where)


def of_folder(files: Iterable[tuple[str, str]], where: str) -> Customizations:
    """The scripts of `(path below the folder, text)`. Raises ConfigError."""
    scripts = {}
    for path, text in files:
        parts = path.split("/")[:-1]
        if len(parts) not in (1, 2):
            hint = "GROUP/KIND/health.lua, KIND/health.lua for the core group"
            raise ConfigError("a script lies where no kind is named", where=f"{where}/{path}", hint=hint)
        scripts["/".join(parts).replace("_", "*")] = _script(text, f"{where}/{path}", opened=False)
    return _sorted(scripts, where)


def _named(written: str, where: str) -> str:
    group, mark, kind = written.rpartition("_")
    if not kind or "_" in group:
        raise ConfigError(f"{_HEALTH}{written} names no kind", where=where, hint=f"{_HEALTH}GROUP_KIND")
    return f"{group}/{kind}" if mark and group else kind


def _script(text: Any, where: str, *, opened: bool) -> Script:
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("the script is empty", where=where, hint="write it as a YAML block: `|`")
    if len(text) > MAX_SCRIPT:
        raise ConfigError(f"the script is longer than {MAX_SCRIPT} characters", where=where, hint="shorten it")
    return Script(text, where, opened)


def _sorted(scripts: Mapping[str, Script], where: str) -> Customizations:
    if not scripts:
        hint = "argocd-cm has them under resource.customizations.health.GROUP_KIND; a folder in GROUP/KIND/health.lua"
        raise ConfigError("there is no health customisation in it", where=where, hint=hint)
    if len(scripts) > MAX_SCRIPTS:
        raise ConfigError(f"there are more than {MAX_SCRIPTS} scripts", where=where, hint="name a smaller folder")
    patterns = tuple((name, script) for name, script in scripts.items() if "*" in name)
    return Customizations({name: script for name, script in scripts.items() if "*" not in name}, patterns)
