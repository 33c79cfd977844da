"""What `customhouse ledger witness` does: this machine as a witness, and asking other machines to be one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.reading import open_regular
from customhouse.app import wiring
from customhouse.app.ledger_spec import LedgerSpec, WitnessSpec
from customhouse.app.ledger_witnesses import Asked, Watch, ask, remembered, watch
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError
from customhouse.trust.cosignature import CosignerKey
from customhouse.trust.keys import open_pair
from customhouse.trust.witness import MAX_REQUEST_BYTES, Witness, WitnessAnswer

_MOST_LOGS = 10_000
_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Serving:
    """A witness over its opened store, as the server wants it."""

    witness: Witness
    store: Any
    max_bytes: int = MAX_REQUEST_BYTES

    def add_checkpoint(self, body: bytes) -> WitnessAnswer:
        """The answer to one request."""
        return self.witness.add_checkpoint(body)

    @property
    def vkey(self) -> str:
        """The verifier key to give to whoever asks for cosignatures."""
        return self.witness.cosigner.vkey

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def open_witness(settings: Settings, name: str, logs: Sequence[str], logs_file: Path | None) -> Serving:
    """Open the witness that this machine is. Raises UsageError when no log is named, ConfigError for a broken key."""
    known = [*logs, *(() if logs_file is None else _listed(logs_file))]
    if not known:
        raise UsageError("no log is named", hint="--log VKEY, as `customhouse ledger key` of that log prints it")
    opened = wiring.store(settings)
    try:
        return Serving(wiring.witness(settings, opened, name, known), opened)
    except BaseException:
        opened.close()
        raise


def _listed(file: Path) -> list[str]:
    try:
        with open_regular(file) as handle:
            data = handle.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UsageError(f"more than {_MOST_BYTES} bytes", where=str(file))
        lines = data.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot be read: {why}", where=str(file)) from error
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if len(found) > _MOST_LOGS:
        raise UsageError(f"more than {_MOST_LOGS} logs", where=str(file))
    return found


def witness_vkey(settings: Settings, name: str) -> str:
    """The verifier key of this machine as a witness; the key is made the first time."""
    return CosignerKey(name, open_pair(settings.keys, wiring.WITNESS_KEY).public).vkey


def log_vkey(settings: Settings) -> str:
    """The verifier key of this machine's ledger, as witnesses and strangers need it."""
    from customhouse.trust.keys import load_public
    from customhouse.trust.note import NoteKey

    return NoteKey(wiring.LEDGER_ORIGIN, load_public(settings.keys / f"{wiring.LEDGER_KEY}.pub")).vkey


def one_witness(url: str, key: str) -> LedgerSpec:
    """A witness that is given by hand; its name is that of its key."""
    if not url or not key:
        raise UsageError("a witness has an address and a key", hint="--url URL --key VKEY")
    return LedgerSpec((WitnessSpec(CosignerKey.from_vkey(key).name, url, key.strip()),), 1)


def ask_now(settings: Settings, spec: LedgerSpec | None = None) -> tuple[Asked, ...]:
    """Ask the witnesses that customhouse.yaml names (as `up` last read it) about the latest checkpoint."""
    with wiring.store(settings, create=False) as opened:
        found = spec or remembered(opened)
        if not found.witnesses:
            raise UsageError(
                "no witness is named",
                hint="--url URL --key VKEY; or `ledger.witnesses` in customhouse.yaml, which `up` takes over",
            )
        return ask(wiring.ledger(settings, opened, write=True), opened, found, wiring.witness_post, wiring.clock())


def watch_now(settings: Settings) -> Watch:
    """How far the witnesses came."""
    with wiring.store(settings, create=False) as opened:
        return watch(opened, remembered(opened), wiring.clock().now())
