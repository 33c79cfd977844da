"""Files of a compliance report that people write: mappings of controls to checks, and statements of owners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from customhouse._kit.digest import bytes_digest
from customhouse._kit.reading import open_regular
from customhouse.app.governance import read_document
from customhouse.core.compliance import Control, Framework, Need, Proof, Said, Spoken
from customhouse.core.errors import ConfigError

_EVIDENCE = "scan signature bom provenance evaluation data-validation vulnerabilities vex"
_ENTRIES = "dataset data-preparation training-run decision deployment rollout usage charge proposal"
CHECKS: Mapping[str, frozenset[str] | None] = {
    "evidence": frozenset(_EVIDENCE.split()),
    "entry": frozenset(_ENTRIES.split()),
    "decision": frozenset({"allowed"}),
    "commit": frozenset({"named", "signed", "reviewed"}),
    "ledger": frozenset({"verified"}),
    "rollback": frozenset({"possible"}),
    "facts": frozenset({"metrics", "owner", "budget", "default-deny"}),
    "no-findings": frozenset({"security", "cost", "reliability", "compliance", "secrets"}),
    "statement": None,  # whatever the organisation names
}
"""What a need may name; a word that is none is an error, so that no control is missing for a slip of the pen."""
PACKAGED = ("eu-ai-act", "gdpr", "nist-ai-rmf", "iso-42001", "soc2")
_MAX_FILE = 1 << 20
_MOST = 1000


def frameworks(files: Iterable[str], names: Iterable[str]) -> tuple[Framework, ...]:
    """The packaged ones of these names (all, when neither names nor files are given), then those of files."""
    wanted, given = tuple(names), tuple(files)
    if not wanted and not given:
        wanted = PACKAGED
    folder = resources.files("customhouse.app") / "frameworks"
    found = []
    for name in wanted:
        if name not in PACKAGED:
            raise ConfigError(f"no framework is called {name!r}", hint=f"one of {', '.join(PACKAGED)}, or a file")
        found.append(framework((folder / f"{name}.yaml").read_bytes(), f"{name}.yaml"))
    found += [framework(_bytes(file), file) for file in given]
    return tuple(found)


def framework(data: bytes, file: str) -> Framework:
    """One mapping. Raises ConfigError with the file, the line and what is wrong."""
    whole = _Part.of(data, file)
    whole.only("id", "title", "text", "url", "controls")
    controls = tuple(_control(part) for part in whole.parts("controls"))
    named = [control.id for control in controls]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"the control {twice!r} is there twice", where=file)
    return Framework(
        whole.text("id"), whole.text("title"), whole.text("text"), whole.text("url"), controls, bytes_digest(data)
    )


def _control(part: _Part) -> Control:
    part.only("id", "title", "source", "needs")
    return Control(
        part.text("id"), part.text("title"), part.text("source"), tuple(_need(item) for item in part.parts("needs"))
    )


def _need(part: _Part) -> Need:
    part.only("check", "value", "where", "todo")
    check, value = part.text("check"), part.text("value")
    if check not in CHECKS:
        part.fail(f"no check is called {check!r}", f"one of {', '.join(CHECKS)}")
    known = CHECKS[check]
    if known is not None and value not in known:
        part.fail(f"{check} knows no {value!r}", f"one of {', '.join(sorted(known))}")
    where = part.value.get("where", {})
    if not isinstance(where, dict) or not all(_asked(item) for item in where.values()):
        part.fail("`where` is no map of words, lists of words, true, false, or {min: number}", "")
    return Need(check, value, where, part.text("todo"))


def _asked(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() == {"min"} and isinstance(value["min"], int)
    return isinstance(value, (str, bool, int)) or (isinstance(value, list) and all(isinstance(i, str) for i in value))


def statements(file: str | None) -> tuple[Mapping[str, tuple[Spoken, ...]], tuple[Said, ...], str]:
    """(what owners state of controls, by framework; what they state for checks; the file's digest).

    An expired statement for a check is left out, one for a control is kept, so that the report says that it ended.
    """
    if file is None:
        return {}, (), ""
    data = _bytes(file)
    whole = _Part.of(data, file)
    whole.only("statements")
    spoken: dict[str, list[Spoken]] = {}
    checks: list[Said] = []
    for part in whole.parts("statements"):
        part.only("framework", "control", "check", "owner", "text", "until", "applies")
        until, owner, text, place = part.day("until"), part.text("owner"), part.text("text"), part.where
        applies = part.value.get("applies", True)
        if not isinstance(applies, bool):
            part.fail("`applies` is true or false", "")
        if "check" in part.value:
            if "control" in part.value or not applies:
                part.fail("a statement is of a control or for a check", "leave one of them out")
            proof = Proof("statement", place, f"{owner}, until {until}: {text}")
            checks.append(Said("statement", part.text("check"), {"until": until}, proof))
        else:
            word = Spoken(part.text("control"), owner, text, until, place, applies)
            spoken.setdefault(part.text("framework"), []).append(word)
    return {key: tuple(words) for key, words in spoken.items()}, tuple(checks), bytes_digest(data)


class _Part:
    """A mapping of a file, and where it stands."""

    def __init__(self, value: Any, pointer: str, marks: Mapping[str, Any], file: str) -> None:
        self._pointer, self._marks, self._file = pointer, marks, file
        if not isinstance(value, dict):
            self.value: dict[str, Any] = {}
            self.fail("no mapping of keys", "")
        self.value = value

    @classmethod
    def of(cls, data: bytes, file: str) -> _Part:
        read = read_document(data, file)
        return cls(read.value, "", read.marks, file)

    @property
    def where(self) -> str:
        return self._place("")

    def _place(self, key: str) -> str:
        own = self._marks.get(f"{self._pointer}/{key}") if key else None
        mark = own or self._marks.get(self._pointer)
        return self._file if mark is None else f"{self._file}:{mark.line}"

    def fail(self, message: str, hint: str, key: str = "") -> NoReturn:
        raise ConfigError(message, where=self._place(key), hint=hint)

    def only(self, *keys: str) -> None:
        unknown = next((key for key in self.value if key not in keys), None)
        if unknown is not None:
            self.fail(f"no key is called {unknown!r}", f"one of {', '.join(keys)}", unknown)

    def text(self, key: str) -> str:
        value = self.value.get(key)
        if not isinstance(value, str) or not value.strip():
            self.fail(f"{key!r} is missing, or no text", "", key)
        return str(value)

    def day(self, key: str) -> date:
        value = self.value.get(key)
        try:
            return value if isinstance(value, date) else date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{key!r} is no date", "write it as 2027-06-30", key)

    def parts(self, key: str) -> list[_Part]:
        value = self.value.get(key) or []
        if not isinstance(value, list) or len(value) > _MOST:
            self.fail(f"{key!r} is no list, or one of more than {_MOST}", "")
        return [
            _Part(item, f"{self._pointer}/{key}/{number}", self._marks, self._file) for number, item in enumerate(value)
        ]


def _bytes(file: str) -> bytes:
    try:
        with open_regular(Path(file)) as handle:
            data = handle.read(_MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=file) from error
    if len(data) > _MAX_FILE:
        raise ConfigError("over 1 MiB", where=file)
    return data
