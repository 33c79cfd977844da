"""Snapshots by Feast's own files: a registry that Feast 0.67 wrote, matched with the files of a dataset.

`tests/conformance/feast_registry.db` is of `feast apply`: two views of one file source (one is pushed to; a column
is renamed), one of a folder in an object store, one of a table of BigQuery without an entity.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from gate_world import Said, Shell, released, shell

from customhouse.core.errors import ArtifactError
from customhouse.trust.dataset.feast import read_registry, views_of

__all__ = ["released", "shell"]

REGISTRY = Path(__file__).parents[1] / "conformance" / "feast_registry.db"
CARDS = "card_id,spent,count_1h,country,at\n1,5.5,2,DE,2026-01-02T00:00:00Z\n2,7,3,FR,2026-01-30T00:00:00Z\n"
STORE = "project: bank\nregistry: {path: registry.db, registry_type: file}\nprovider: local\n"


@pytest.fixture
def bank(shell: Shell) -> Shell:
    shell.write("../bank/data/cards.csv", CARDS)
    shell.write("../bank/feature_store.yaml", STORE)
    shutil.copy(REGISTRY, shell.path("../bank/registry.db"))
    return shell


def register(shell: Shell, *more: str, snapshot: str = "../bank/feature_store.yaml") -> Said:
    return shell.run("data", "register", "../bank/data", "--name", "bank", "--snapshot", snapshot, *more, "-o", "json")


def test_a_registry_that_feast_wrote_is_read_as_it_was_declared() -> None:
    found = read_registry(REGISTRY.read_bytes(), "registry.db")
    views = {view.name: view for view in views_of(found, "", "registry.db")}
    assert set(views) == {"card_spending", "card_spending_fresh", "shop_risk", "terms"}
    cards = views["card_spending"]
    assert (cards.project, cards.keys, cards.source.timestamp) == ("bank", ("card_id",), "at")
    assert cards.features == {"spent_1h": "float", "count_1h": "int64", "country": "string"}
    assert (cards.source.kind, cards.source.place) == ("file", "data/cards.csv")
    assert cards.source.renamed == {"spent": "spent_1h"}
    assert views["card_spending_fresh"].source.place == "data/cards.csv"
    assert (views["terms"].keys, views["terms"].source.kind) == ((), "bigquery")
    assert views["terms"].source.place == "bank.risk.terms"
    assert views["shop_risk"].keys == ("shop",)


@pytest.mark.parametrize("snapshot", ["../bank/feature_store.yaml", "../bank/registry.db"])
def test_views_are_matched_with_their_files_and_entered_by_digest(bank: Shell, snapshot: str) -> None:
    done = register(bank, snapshot=snapshot)
    assert done.status == 0, done.out
    said = done.json["snapshot"]
    assert [(view["name"], view["rows"]) for view in said["views"]] == [
        ("card_spending", 2),
        ("card_spending_fresh", 2),
    ]
    assert (said["store"], said["project"], said["asOf"]) == ("feast", "bank", "2026-01-30T00:00:00Z")
    assert said["registry"]["notExported"] == ["shop_risk", "terms"]
    told = bank.run("trace", done.json["digest"], "-o", "json").json
    assert "feature-view:feast/bank/card_spending" in {node["id"] for node in told["nodes"]}
    again = register(bank, snapshot=snapshot)
    assert (again.json["registered"], again.json["entry"]) == (False, done.json["entry"])
    other = register(bank, "--as-of", "2026-01-31T00:00:00Z", snapshot=snapshot)
    assert (other.json["registered"], other.json["version"]) == (True, 2)


def test_folders_of_an_object_store_and_tables_of_a_warehouse_are_matched_too(bank: Shell) -> None:
    bank.write("../bank/data/shops/current/part-0.csv", "shop,risk,open,at\na,0.5,true,2026-01-01T00:00:00Z\n")
    bank.write("../bank/data/terms.csv", "rate,at\n0.05,2026-01-01T00:00:00Z\n")
    bank.write("../bank/schema.yaml", "schema: customhouse.dev/dataset/v1\nfiles: [cards.csv]\n")
    done = register(bank, "--schema", "../bank/schema.yaml")
    assert done.status == 0, done.out
    assert {view["name"]: view["rows"] for view in done.json["snapshot"]["views"]} == {
        "card_spending": 2, "card_spending_fresh": 2, "shop_risk": 1, "terms": 1,
    }  # fmt: skip
    assert done.json["snapshot"]["registry"]["notExported"] == []


@pytest.mark.parametrize(
    ("rows", "rule", "column"),
    [
        (CARDS.replace("country", "land"), "missing-column", "country"),
        (CARDS.replace(",3,", ",three,"), "type", "count_1h"),
        (CARDS.replace("2026-01-30", "2226-01-30"), "leakage-by-time", "at"),
        (CARDS.replace("2026-01-30T00:00:00Z", "soon"), "leakage-by-time", "at"),
    ],
)
def test_files_that_are_not_what_the_registry_says_are_not_registered(
    bank: Shell, rows: str, rule: str, column: str
) -> None:
    bank.write("../bank/data/cards.csv", rows)
    done = register(bank)
    assert (done.status, done.json["registered"]) == (1, False)
    assert (rule, column) in {(item["rule"], item["column"]) for item in done.json["findings"]}


def test_the_moment_that_was_said_holds(bank: Shell) -> None:
    assert register(bank, "--as-of", "2026-01-30T00:00:00Z").status == 0
    late = register(bank, "--as-of", "2026-01-29T00:00:00Z")
    assert (late.status, late.json["findings"][0]["rule"]) == (1, "leakage-by-time")


@pytest.mark.parametrize(
    ("file", "content", "status", "said"),
    [
        ("feature_store.yaml", STORE.replace("bank", "shop"), 3, "no view of the project 'shop'"),
        ("feature_store.yaml", STORE.replace("registry.db", "gone.db"), 2, "feast apply"),
        ("feature_store.yaml", STORE.replace("registry_type: file", "registry_type: sql"), 2, "only Feast's registry"),
        ("feature_store.yaml", STORE.replace("registry.db", "s3://u:pw@b/r.db"), 2, "copy the file here"),
        ("registry.db", b"SQLite format 3\0....", 3, "registry in SQL"),
        ("registry.db", b"", 3, "without any feature view"),
        ("registry.db", b"\xff" * 200, 3, "no registry of Feast"),
        ("data/cards.csv", None, 3, "cards.csv"),
    ],
)
def test_what_cannot_be_a_snapshot_says_why(bank: Shell, file: str, content: object, status: int, said: str) -> None:
    place = bank.path(f"../bank/{file}")
    if content is None:
        place.rename(place.with_name("other.csv"))
    elif isinstance(content, bytes):
        place.write_bytes(content)
    else:
        place.write_text(str(content))
    done = register(bank)
    assert (done.status, said in done.err) == (status, True), done.err
    assert "pw@" not in done.err


def test_two_sources_that_one_file_would_fit_are_told_apart_by_nobody(bank: Shell) -> None:
    data = REGISTRY.read_bytes().replace(b"s3://lake/shops/current", b"s3://lake/aaa/cards.csv")
    bank.path("../bank/registry.db").write_bytes(data)
    done = register(bank)
    assert (done.status, "fits the sources of two views" in done.err) == (3, True), done.err


def test_an_entry_has_room_for_views_of_thousands_of_features(bank: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("customhouse.app.data_snapshot.MAX_ENTERED", 100)
    whole = register(bank)
    assert (whole.status, len(whole.json["snapshot"]["views"][0]["features"])) == (0, 3)
    told = bank.run("trace", whole.json["digest"], "-o", "json")
    assert "feature-view:feast/bank/card_spending" in told.out
    monkeypatch.setattr("customhouse.app.data_snapshot.MAX_VIEWS", 1)
    refused = register(bank)
    assert (refused.status, "2 views have files here" in refused.err) == (3, True)


def test_no_changed_byte_of_a_registry_is_more_than_an_error() -> None:
    whole, chance = REGISTRY.read_bytes(), random.Random(7)
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        cut = bytes(data[: chance.randrange(len(data))]) if chance.random() < 0.2 else bytes(data)
        refused = None
        try:
            read_registry(cut, "registry.db")
        except ArtifactError as error:
            refused = error
        assert refused is None or (refused.where, bool(refused.hint)) == ("registry.db", True)
