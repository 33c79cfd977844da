"""`customhouse policy verify --conftest`: files under the packages of a folder, as `conftest test` judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse.app.foreign import conftest_of
from customhouse.app.foreign_files import SUFFIXES, documents_of, engine, files_below, read_file
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError
from customhouse.policy.conftest import DEFAULT_NAMESPACE, Message, combined, judge_documents


@dataclass(frozen=True, slots=True)
class Tested:
    """The messages about one document; `where` is its place, or `Combined`."""

    where: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class ConftestRun:
    """What was tested in which namespaces."""

    namespaces: tuple[str, ...]
    tested: tuple[Tested, ...]

    @property
    def failed(self) -> bool:
        """Whether a rule that denies said something."""
        return any(not message.warning for item in self.tested for message in item.messages)

    def to_json(self) -> dict[str, Any]:
        """`{"documents","failures","warnings","failed":[{"file","namespace","rule","message"}],"warned":[…]}`."""
        rows = [
            (
                message.warning,
                {"file": item.where, "namespace": message.namespace, "rule": message.rule, "message": message.text},
            )
            for item in self.tested
            for message in item.messages
        ]
        failed, warned = ([row for warning, row in rows if warning is wanted] for wanted in (False, True))
        return {
            "documents": len(self.tested),
            "namespaces": list(self.namespaces),
            "failures": len(failed),
            "warnings": len(warned),
            "failed": failed,
            "warned": warned,
        }


def judge_files(
    settings: Settings,
    folder: str,
    paths: Sequence[str],
    *,
    namespaces: Sequence[str] = (),
    every: bool = False,
    combine: bool = False,
) -> ConftestRun:
    """Judge each document of the files. `namespaces` empty: main; `every`: all that have rules.

    Raises UsageError for a folder or a path that is not there, PolicyError for what cannot be judged.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"there is no folder {folder}")
    files = {shown: read_file(path, shown) for shown, path in files_below([folder], (".rego", ".json", *SUFFIXES))}
    asked = engine(settings)
    policies = conftest_of(files, asked)
    chosen = policies.namespaces if every else tuple(namespaces) or (DEFAULT_NAMESPACE,)
    documents = []
    for shown, path in files_below(paths, (".json", *SUFFIXES)):
        documents += [(shown, document) for document in documents_of(read_file(path, shown), shown)]
    if not documents:
        raise UsageError(f"there is no document at {', '.join(paths)}")
    if combine:
        together = combined([(shown, document.value) for shown, document in documents])
        found = judge_documents(policies, [("Combined", together)], asked, chosen)
        return ConftestRun(chosen, (Tested("Combined", found[0]),))
    found = judge_documents(policies, [(shown, document.value) for shown, document in documents], asked, chosen)
    pairs = zip(documents, found, strict=True)
    return ConftestRun(chosen, tuple(Tested(document.where, messages) for (_, document), messages in pairs))
