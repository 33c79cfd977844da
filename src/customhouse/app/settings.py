"""Settings of a process: flags over environment over customhouse.yaml over defaults. Nobody else reads these."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from customhouse.core.errors import UsageError

DEFAULT_STATE = ".customhouse"


@dataclass(frozen=True, slots=True)
class Settings:
    """What one process was told besides the repository's customhouse.yaml.

    `state` holds everything durable; `workspace` is the folder that holds it: relative volume folders start there.
    `engine` is `auto` (OPA 1.0 or later when it is on PATH, else the embedded one), `embedded` or `opa`.
    """

    state: Path
    engine: str = "auto"
    quiet: bool = False
    colour: bool = True
    config: Path | None = None
    state_named: bool = False
    """Whether the state was asked for by name (a flag, or the environment): `gate` records only then."""
    store: str = field(default="", repr=False)
    """The URL of a database server that holds the store instead of a file in `state`; it may hold a password."""
    allowed: Path | None = None
    """CUSTOMHOUSE_ALLOWED: the file that says which commit was allowed last (`app.in_force`)."""
    target: str = ""
    """CUSTOMHOUSE_TARGET: which of several `targets` the cluster that is judged or audited is; empty: not known."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The process environment: adapters pick out what the programs that they start may see."""

    @property
    def opa(self) -> str:
        """CUSTOMHOUSE_OPA: the address of an Open Policy Agent that somebody else runs on this machine; or empty."""
        return self.environment.get("CUSTOMHOUSE_OPA", "")

    @property
    def allowed_in(self) -> str:
        """CUSTOMHOUSE_ALLOWED_IN: the ConfigMap of customhouse-system that `up` notes the last allowed commit in."""
        return self.environment.get("CUSTOMHOUSE_ALLOWED_IN", "")

    @property
    def workspace(self) -> Path:
        """The folder that holds the state directory."""
        return self.state.parent

    @property
    def keys(self) -> Path:
        """Where Customhouse keeps its own private keys (mode 0700)."""
        return self.state / "keys"


def read_settings(
    *,
    state: str | None = None,
    engine: str | None = None,
    quiet: bool = False,
    config: str | None = None,
    repo: str | None = None,
) -> Settings:
    """Combine flags (None: not given) with CUSTOMHOUSE_STATE, _STORE, _ENGINE, _CONFIG, _ALLOWED, _TARGET and NO_COLOR.

    Where no state directory is named, a local repository that has one (`customhouse init` makes it) brings its own;
    otherwise it is that of the working directory.
    """
    chosen = engine or os.environ.get("CUSTOMHOUSE_ENGINE") or "auto"
    if chosen not in ("auto", "embedded", "opa"):
        raise UsageError(f"no policy engine is called {chosen!r}", hint="one of: auto, embedded, opa")
    folder = Path(state or os.environ.get("CUSTOMHOUSE_STATE") or _default_state(repo)).absolute()
    file = config or os.environ.get("CUSTOMHOUSE_CONFIG")
    if file is not None and not Path(file).is_file():
        from customhouse._kit.reading import absent

        raise UsageError(absent(file), hint="--config names a customhouse.yaml")
    return Settings(
        state=folder,
        engine=chosen,
        quiet=quiet,
        colour="NO_COLOR" not in os.environ and sys.stdout.isatty(),
        config=Path(file) if file else None,
        state_named=bool(state or os.environ.get("CUSTOMHOUSE_STATE")),
        store=_store(os.environ),
        allowed=Path(note) if (note := os.environ.get("CUSTOMHOUSE_ALLOWED")) else None,
        target=os.environ.get("CUSTOMHOUSE_TARGET", ""),
        environment=dict(os.environ),
    )


def _store(environment: Mapping[str, str]) -> str:
    """CUSTOMHOUSE_STORE, with CUSTOMHOUSE_STORE_PASSWORD in it. What is wrong is said without showing either."""
    url = environment.get("CUSTOMHOUSE_STORE", "")
    if not url:
        return ""
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.startswith("postgresql"):
        raise UsageError(
            "CUSTOMHOUSE_STORE is no address of a PostgreSQL server",
            hint="postgresql://user@host/database (pip install 'customhouse[postgres]'); without it a file is used",
        )
    # Nobody should have to know which of SQLAlchemy's drivers is shipped.
    scheme = "postgresql+pg8000" if scheme == "postgresql" else scheme
    password = environment.get("CUSTOMHOUSE_STORE_PASSWORD", "")
    user, at, place = rest.partition("@")
    if password and at and ":" not in user:
        from urllib.parse import quote

        rest = f"{user}:{quote(password, safe='')}@{place}"
    return f"{scheme}://{rest}"


def _default_state(repo: str | None) -> Path:
    if repo and "://" not in repo:
        own = Path(repo) / DEFAULT_STATE
        if own.is_dir():
            return own
    return Path(DEFAULT_STATE)


def terminal_columns() -> int | None:
    """The width that COLUMNS asks for; None when it does not say."""
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdigit() and int(given) > 0 else None
