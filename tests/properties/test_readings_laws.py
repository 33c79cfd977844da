"""What plain files read to is kept from one revision to the next: the same as reading every revision anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha1

from hypothesis import given, settings
from hypothesis import strategies as some

from customhouse.control.rendering import Job, Output
from customhouse.control.rendering_memory import Readings
from customhouse.control.rendering_tree import render_tree
from customhouse.core.errors import CustomhouseError, SourceError

PATHS = ("a.yaml", "b.yaml", "team/a.yaml", "team/c.json", ".hidden/a.yaml")
TEXT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}}}\ndata: {{text: {}}}\n"
CONTENTS = (
    *(TEXT.format(name, text) for name in ("one", "two") for text in ("x", "y")),
    TEXT.format("one", "x") + "---\n" + TEXT.format("three", "z"),
    '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "four"}}',
    "metadata: [",
    "just: data\n",
    "",
)
EDITS = some.lists(
    some.tuples(some.sampled_from(PATHS), some.sampled_from((*CONTENTS, None)), some.booleans()),
    min_size=1,
    max_size=12,
)


class Files(Mapping[str, bytes]):
    """A tree as Git gives it: contents have names, and what is a link is not given out."""

    def __init__(self, texts: Mapping[str, str], links: frozenset[str]) -> None:
        self.texts, self.links, self.read = texts, links, list[str]()

    def __getitem__(self, path: str) -> bytes:
        self.read.append(path)
        if path in self.links:
            raise SourceError("a symbolic link is not followed", where=path)
        return self.texts[path].encode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __contains__(self, path: object) -> bool:
        return path in self.texts

    def identity(self, path: str) -> str:
        return "" if path in self.links else sha1(self.texts[path].encode(), usedforsecurity=False).hexdigest()

    def only(self, paths: Iterable[str]) -> Files:
        return Files({path: self.texts[path] for path in paths}, self.links)


class NoProgram:
    def run(self, job: Job) -> Output:
        raise AssertionError(job.root)


def outcome(files: Files, readings: Readings | None) -> object:
    try:
        found = render_tree(files, NoProgram(), readings=readings)
    except CustomhouseError as error:
        return (type(error), str(error))
    return [(item, item.digest, dict(item.marks), item.scene, item.locate("/metadata/name")) for item in found]


@settings(max_examples=150, deadline=None)
@given(EDITS)
def test_a_way_of_edits_gives_what_each_revision_gives_by_itself(edits: list[tuple[str, str | None, bool]]) -> None:
    readings, texts, links = Readings(), dict[str, str](), frozenset[str]()
    for path, text, is_link in edits:
        texts = {name: held for name, held in texts.items() if name != path}
        links = links - {path} | ({path} if is_link else frozenset())
        if text is not None:
            texts[path] = text
        assert outcome(Files(texts, links), readings) == outcome(Files(texts, links), None)


def test_only_what_changed_is_read() -> None:
    texts = {f"{number}.yaml": TEXT.format(f"n{number}", "x") for number in range(20)}
    readings = Readings()
    render_tree(Files(texts, frozenset()), NoProgram(), readings=readings)
    again = Files({**texts, "3.yaml": TEXT.format("n3", "new")}, frozenset())
    found = render_tree(again, NoProgram(), readings=readings)
    assert again.read == []  # the one that changed is read through `only`
    assert [item.manifest["data"]["text"] for item in found].count("new") == 1
