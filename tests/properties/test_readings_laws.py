"""What plain files read to is kept from one revision to the next: the same as reading every revision anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha1

from hypothesis import given, settings
from hypothesis import strategies as some

from customhouse.control.diff import changes
from customhouse.control.rendering import Job, Output
from customhouse.control.rendering_memory import Readings
from customhouse.control.rendering_tree import render_tree
from customhouse.core.change import Actor, ActorKind
from customhouse.core.errors import CustomhouseError, SourceError
from customhouse.core.resource import Declaration

PATHS = ("a.yaml", "b.yaml", "team/a.yaml", "team/c.json", ".hidden/a.yaml")
TEXT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}}}\ndata: {{text: {}}}\n"
KIND = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: gates.example.com}}
spec:
  group: example.com
  scope: {}
  names: {{kind: Gate, plural: gates}}
"""
CONTENTS = (
    *(KIND.format(scope) for scope in ("Cluster", "Namespaced")),
    *(
        "apiVersion: example.com/v1\nkind: Gate\nmetadata: {name: north}\nspec: {open: " + way + "}\n"
        for way in ("a", "b")
    ),
    *(TEXT.format(name, text) for name in ("one", "two") for text in ("x", "y")),
    TEXT.format("one", "x") + "---\n" + TEXT.format("three", "z"),
    '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "four"}}',
    "metadata: [",
    "just: data\n",
    "",
)
EDITS = some.lists(
    some.tuples(
        some.sampled_from(PATHS),
        some.sampled_from((*CONTENTS, None)),
        some.booleans(),
        some.sampled_from(["default", "default", "other"]),
        some.sampled_from([{}, {}, {"team": "east"}]),
    ),
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


def declared(
    files: Files, readings: Readings | None, namespace: str, scenes: Mapping[str, str]
) -> tuple[Declaration, ...] | str:
    try:
        return render_tree(files, NoProgram(), readings=readings, default_namespace=namespace, scenes=scenes)
    except CustomhouseError as error:
        return f"{type(error)} {error}"


def shown(found: tuple[Declaration, ...] | str) -> object:
    if isinstance(found, str):
        return found
    return [(item, item.digest, dict(item.marks), item.scene, item.locate("/metadata/name")) for item in found]


@settings(max_examples=150, deadline=None)
@given(EDITS)
def test_a_way_of_edits_gives_what_each_revision_gives_by_itself(
    edits: list[tuple[str, str | None, bool, str, dict[str, str]]],
) -> None:
    """The same objects, and the same changes from one revision to the next."""
    readings, texts, links = Readings(), dict[str, str](), frozenset[str]()
    before: tuple[Declaration, ...] = ()
    anew: tuple[Declaration, ...] = ()
    nobody = Actor(ActorKind.PERSON, "a")
    for path, text, is_link, namespace, scenes in edits:
        texts = {name: held for name, held in texts.items() if name != path}
        links = links - {path} | ({path} if is_link else frozenset())
        if text is not None:
            texts[path] = text
        found = declared(Files(texts, links), readings, namespace, scenes)
        alone = declared(Files(texts, links), None, namespace, scenes)
        assert shown(found) == shown(alone)
        if not isinstance(found, str) and not isinstance(alone, str):
            assert changes(before, found, None, nobody) == changes(anew, alone, None, nobody)
            before, anew = found, alone


def test_another_scope_of_a_kind_or_another_namespace_reaches_files_that_are_as_they_were() -> None:
    gate = "apiVersion: example.com/v1\nkind: Gate\nmetadata: {name: north}\n"
    readings = Readings()
    for scope, namespace, place in [
        ("Namespaced", "default", "default"),
        ("Cluster", "default", ""),
        ("Cluster", "other", ""),
        ("Namespaced", "other", "other"),
        ("Namespaced", "default", "default"),
    ]:
        files = Files({"kind.yaml": KIND.format(scope), "gate.yaml": gate}, frozenset())
        found = declared(files, readings, namespace, {})
        assert [item.ref.namespace for item in found if not isinstance(item, str)] == [place, ""]


def test_only_what_changed_is_read() -> None:
    texts = {f"{number}.yaml": TEXT.format(f"n{number}", "x") for number in range(20)}
    readings = Readings()
    render_tree(Files(texts, frozenset()), NoProgram(), readings=readings)
    again = Files({**texts, "3.yaml": TEXT.format("n3", "new")}, frozenset())
    found = render_tree(again, NoProgram(), readings=readings)
    assert again.read == []  # the one that changed is read through `only`
    assert [item.manifest["data"]["text"] for item in found].count("new") == 1
