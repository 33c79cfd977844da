"""The part `sources` of customhouse.yaml, from a document that the schema has checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse.core.application import Engine


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """`reconciled_by`: whose objects whom has reconciled (an engine that is not in it: whoever's status is there).

    `repositories` are other addresses of this repository, as Applications write it; `scenes` are folders with the
    names of the clusters that they are for.
    """

    reconciled_by: Mapping[Engine, Engine] = field(default_factory=dict)
    repositories: tuple[str, ...] = ()
    scenes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Mapping[str, Any], fail: Callable[[str, str], Any]) -> SourceSpec:
        """From a checked document. `fail` raises at a pointer."""
        scenes: dict[str, str] = {}
        for name, folders in (given.get("scenes") or {}).items():
            for index, folder in enumerate(folders):
                key = folder.strip("/")
                if key in scenes:
                    fail(f"/sources/scenes/{name}/{index}", f"{folder!r} is a folder of the scene {scenes[key]!r} too")
                scenes[key] = name
        by = {Engine(engine): Engine(who) for engine, who in (given.get("reconciledBy") or {}).items()}
        return cls(by, tuple(given.get("repositories") or ()), scenes)

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        scenes: dict[str, list[str]] = {}
        for folder, name in self.scenes.items():
            scenes.setdefault(name, []).append(folder)
        value = {
            "reconciledBy": {engine.value: who.value for engine, who in self.reconciled_by.items()},
            "repositories": list(self.repositories),
            "scenes": scenes,
        }
        return {name: item for name, item in value.items() if item}
