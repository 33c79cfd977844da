"""Controls of regulations and standards, held against what is known of one release. Pure: nothing is fetched here.

A control is met by proofs alone: each of its needs names a check, and a check is met when something that can be looked
up again (a statement by its digest, an Entry by its index, a Decision, a commit) says so. A control without needs is
one of the organisation's own processes: a dated, owned statement meets it, and without one it is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How a control stands."""

    MET = "met"
    PARTLY = "partly"
    MISSING = "missing"
    NOT_SHOWN = "not-shown"
    """A process that no system shows, and nobody has stated."""
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True, slots=True)
class Need:
    """One check: `check` names it, `value` says of what, `where` what must be said there; `todo` is how it gets met."""

    check: str
    value: str
    where: Mapping[str, Any] = field(default_factory=dict)
    todo: str = ""

    def __str__(self) -> str:
        said = ", ".join(f"{key} {_word(value)}" for key, value in self.where.items())
        return f"{self.check} {self.value}" + (f" ({said})" if said else "")


@dataclass(frozen=True, slots=True)
class Control:
    """One control in our words; `source` is where its own text stands."""

    id: str
    title: str
    source: str
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class Framework:
    """The controls of one text. `text` names it with its date; `digest` is that of the mapping's file."""

    id: str
    title: str
    text: str
    url: str
    controls: tuple[Control, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What can be looked up again: `kind` is evidence, entry, decision, commit, facts or statement."""

    kind: str
    reference: str
    said: str

    def to_json(self) -> dict[str, str]:
        """`{"kind","ref","said"}`."""
        return {"kind": self.kind, "ref": self.reference, "said": self.said}


@dataclass(frozen=True, slots=True)
class Spoken:
    """What an owner states of a control, in Git. `applies` False: it does not apply here, for the reason in `text`."""

    control: str
    owner: str
    text: str
    until: date
    place: str
    applies: bool = True


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that is known: for `check` and `value`, the fields that `where` may ask for, and its proof."""

    check: str
    value: str
    fields: Mapping[str, Any]
    proof: Proof


@dataclass(frozen=True, slots=True)
class Checked:
    """A need with the proofs that meet it, or none."""

    need: Need
    proofs: tuple[Proof, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """A control and how it stands; `note` says why where the needs do not."""

    control: Control
    state: State
    checked: tuple[Checked, ...] = ()
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """`{"id","title","source","state","note","met":[{"need","proofs"}],"missing":[{"need","todo"}]}`."""
        return {
            "id": self.control.id,
            "title": self.control.title,
            "source": self.control.source,
            "state": self.state.value,
            "note": self.note,
            "met": [
                {"need": str(item.need), "proofs": [proof.to_json() for proof in item.proofs]}
                for item in self.checked
                if item.proofs
            ],
            "missing": [{"need": str(item.need), "todo": item.need.todo} for item in self.checked if not item.proofs],
        }


def judge(framework: Framework, known: Sequence[Said], spoken: Sequence[Spoken], today: date) -> tuple[Judged, ...]:
    """Each control of a framework, in order. More that is known never makes a control worse (a property test)."""
    by_check: dict[tuple[str, str], list[Said]] = {}
    for item in known:
        by_check.setdefault((item.check, item.value), []).append(item)
    stated: dict[str, list[Spoken]] = {}
    for word in spoken:
        stated.setdefault(word.control, []).append(word)
    return tuple(_judged(control, by_check, stated.get(control.id, ()), today) for control in framework.controls)


def _judged(
    control: Control, known: Mapping[tuple[str, str], Sequence[Said]], spoken: Sequence[Spoken], today: date
) -> Judged:
    valid = [word for word in spoken if word.until >= today]
    late = [word for word in spoken if word.until < today]
    excused = next((word for word in valid if not word.applies), None)
    if excused is not None:
        return Judged(control, State.NOT_APPLICABLE, (), f"{excused.owner} says until {excused.until}: {excused.text}")
    checked = [Checked(need, _met(need, known)) for need in control.needs]
    checked += [
        Checked(Need("statement", word.owner), (Proof("statement", word.place, f"until {word.until}: {word.text}"),))
        for word in valid
    ]
    note = f"the statement of {late[0].owner} ended on {late[0].until}" if late and not valid else ""
    if not control.needs:
        state = State.MET if valid else State.NOT_SHOWN
        said = "a process of the organisation: no system shows it, and nobody has stated it"
        return Judged(control, state, tuple(checked), note or ("" if valid else said))
    asked = [item for item in checked if item.need in control.needs]
    count = sum(bool(item.proofs) for item in asked)
    state = (
        State.MET if count == len(asked) else State.PARTLY if any(item.proofs for item in checked) else State.MISSING
    )
    return Judged(control, state, tuple(checked), note)


def _met(need: Need, known: Mapping[tuple[str, str], Sequence[Said]]) -> tuple[Proof, ...]:
    return tuple(item.proof for item in known.get((need.check, need.value), ()) if _fits(need.where, item.fields))


def _fits(where: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Every key as asked: a list asks for each of its words, `{min: n}` for a number that is not smaller."""
    for key, asked in where.items():
        given = fields.get(key)
        if isinstance(asked, list):
            fits = isinstance(given, (list, tuple)) and set(asked) <= set(given)
        elif isinstance(asked, Mapping):
            known = isinstance(given, int) and not isinstance(given, bool)
            fits = known and given >= asked["min"]
        else:
            fits = given == asked
        if not fits:
            return False
    return True


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"≥ {value['min']}"
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value).lower()
