"""Where health comes from: our rules, and before them Argo CD's Lua customisations where a person names some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from customhouse.control.render import read_file
from customhouse.control.yaml_limits import Limits
from customhouse.core.errors import ConfigError, SourceError, UsageError
from customhouse.core.plan import Health
from customhouse.core.resource import Manifest
from customhouse.execution.health.customizations import Customizations, of_config_map, of_folder

_LIMITS = Limits()
_SCRIPT = "health.lua"
_MAX_BYTES = 1024 * 1024
Custom = Callable[[Manifest], Health | None]


def customizations_at(path: str) -> Customizations:
    """The Lua health customisations in a file (a ConfigMap, as `argocd-cm`) or below a folder.

    Raises UsageError where there is nothing, SourceError, ConfigError for a file that holds none.
    """
    place = Path(path)
    if place.is_dir():
        files = sorted(file for file in place.glob("**/" + _SCRIPT) if file.is_file())
        return of_folder(((file.relative_to(place).as_posix(), _text(file)) for file in files), path)
    if not place.is_file():
        raise UsageError(f"there is no file or folder {path}", hint="Argo CD's ConfigMap, or GROUP/KIND/health.lua")
    return _of_map(path, _text(place))


def customizations_in(path: str, files: Mapping[str, bytes]) -> Customizations:
    """The same of a repository: `files` are those at a path, one of that name or the scripts below it.

    Raises SourceError for what is no text, ConfigError for a file that holds none.
    """
    texts = {name: _decoded(name, data) for name, data in files.items()}
    if path in texts:
        return _of_map(path, texts[path])
    folder = path.rstrip("/")
    return of_folder(((name.removeprefix(f"{folder}/"), text) for name, text in sorted(texts.items())), folder)


def _of_map(path: str, text: str) -> Customizations:
    name = Path(path).name
    found, _ = read_file(name if Path(path).suffix else f"{name}.yaml", text.encode(), _LIMITS)
    maps = [item.value for item in found if isinstance(item.value, dict) and item.value.get("kind") == "ConfigMap"]
    for value in maps:
        data = value.get("data")
        if isinstance(data, dict) and any(str(key).startswith("resource.customizations") for key in data):
            return of_config_map(data, path, lambda text: _block(text, path))
    raise ConfigError(
        "it holds no ConfigMap with resource.customizations", where=path, hint="`kubectl -n argocd get cm argocd-cm`"
    )


def _block(text: str, path: str) -> Any:
    found, _ = read_file(f"{path} (resource.customizations)", text.encode(), _LIMITS)
    return found[0].value if len(found) == 1 else None


def _text(file: Path) -> str:
    try:
        data = file.read_bytes() if file.stat().st_size <= _MAX_BYTES else None
    except OSError as error:
        raise SourceError(
            f"it cannot be read: {error.strerror}", where=str(file), hint="check who may read it"
        ) from error
    return _decoded(str(file), data)


def _decoded(name: str, data: bytes | None) -> str:
    if data is None or len(data) > _MAX_BYTES:
        raise SourceError(f"a file over {_MAX_BYTES >> 20} MiB is not read", where=name, hint="split it")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError("the file is not UTF-8 text", where=name, hint="save it as UTF-8") from error
