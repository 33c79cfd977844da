"""What is found in a table: by its schema, by itself, between its splits, and of personal data without telling any."""

from __future__ import annotations

import json
import random
import re

import pytest

from customhouse.core.errors import ArtifactError
from customhouse.trust.dataset.near import near_texts
from customhouse.trust.dataset.patience import patience
from customhouse.trust.dataset.schema import SchemaError, schema_of
from customhouse.trust.dataset.sensitive import by_name, by_values, iban, luhn
from dataset_cases import found, looked_at, rules, table, written

COLUMNS = {"a": {"type": "integer"}, "b": {"type": "number"}, "label": {}}


@pytest.mark.parametrize(
    ("rule", "column", "values"),
    [
        ("type", {"type": "integer"}, ["1", "2.5"]),
        ("type", {"type": "number"}, ["1", "x"]),
        ("type", {"type": "number"}, ["1", "inf"]),
        ("type", {"type": "datetime"}, ["2026-01-01", "01/02/2026"]),
        ("type", {"type": "datetime"}, ["2026-01-01T10:00:00Z", "2026-13-01"]),
        ("type", {"type": "boolean"}, ["true", "maybe"]),
        ("range", {"type": "number", "min": 0}, ["1", "-0.5"]),
        ("range", {"type": "number", "max": 10}, ["1", "11"]),
        ("range", {"max": 10}, ["x", "11"]),
        ("range", {"type": "datetime", "min": "2026-01-01"}, ["2026-01-02", "2025-12-31"]),
        ("value-not-listed", {"values": ["x", "y"]}, ["x", "z"]),
        ("pattern", {"pattern": "[A-Z]{2}"}, ["DE", "DEU"]),
        ("length", {"maxLength": 2}, ["ab", "abc"]),
        ("null", {"nullable": False}, ["x", ""]),
        ("null", {"nullable": False}, ["x", "NA"]),
        ("not-unique", {"unique": True}, ["x", "x"]),
    ],
)
def test_a_value_that_the_schema_forbids_is_named_by_its_line(tmp_path, rule, column, values):
    rows = "".join(f"{i},{value}\n" for i, value in enumerate(values))
    report = looked_at(written(tmp_path, rows__csv="id,v\n" + rows), {"columns": {"id": {}, "v": column}})
    item = found(report, rule)
    assert (item.column, item.rows, item.count, item.severity) == ("v", ("rows.csv:3",), 1, "error")
    assert not report.passed


def test_null_shares_columns_and_counts(tmp_path):
    path = written(tmp_path, rows__csv="a,b,extra\n1,,x\n2,,x\n3,5,x\n")
    document = {"columns": {"a": {}, "b": {"maxNullShare": 0.5}, "c": {}, "d": {"required": False}}, "rows": {"min": 4}}
    report = looked_at(path, document)
    assert {"null-share", "missing-column", "extra-column", "row-count"} <= rules(report)
    assert found(report, "missing-column").column == "c"
    assert "extra-column" not in rules(looked_at(path, {**document, "extraColumns": "allow"}))


def test_a_check_can_be_stricter_laxer_and_off(tmp_path):
    path = written(tmp_path, rows__csv=table(20) + "0,0,0\n")
    assert found(looked_at(path), "duplicate-rows").severity == "warning"
    for severity in ("error", "note"):
        assert found(looked_at(path, {"checks": {"duplicate-rows": severity}}), "duplicate-rows").severity == severity
    assert "duplicate-rows" not in rules(looked_at(path, {"checks": {"duplicate-rows": "off"}}))


def test_mixed_types_without_a_schema(tmp_path):
    report = looked_at(written(tmp_path, rows__csv=table(100) + "twelve,3,1\n"))
    item = found(report, "mixed-type")
    assert (item.column, item.rows, item.severity) == ("a", ("rows.csv:102",), "error")
    assert "twelve" not in json.dumps(report.to_json()["findings"])


@pytest.mark.parametrize("value", ["1_000", "٣", "0x10", "1,5"])
def test_what_only_python_reads_as_a_number_is_none(tmp_path, value):
    report = looked_at(written(tmp_path, rows__csv=table(100) + f'"{value}",3,1\n'))
    assert found(report, "mixed-type").column == "a"


def test_duplicates_count_without_their_id(tmp_path):
    path = written(tmp_path, rows__csv="id,a,b\n" + "".join(f"{i},{i % 30},x\n" for i in range(60)))
    item = found(looked_at(path, {"id": "id", "duplicates": {"maxShare": 0.1}}), "duplicate-rows")
    assert (item.count, item.share, item.rows[0], item.severity) == (30, 0.5, "rows.csv:32", "error")


def test_the_same_content_under_two_labels(tmp_path):
    path = written(tmp_path, rows__csv=table(40) + "0,0,1\n")
    item = found(looked_at(path, {"label": "label"}), "contradicting-labels")
    assert item.rows == ("rows.csv:42",)


def test_labels_out_of_balance(tmp_path):
    path = written(tmp_path, rows__csv=table(90) + "7,7,\n")
    document = {"label": "label", "labels": {"balance": {"0": [0.1, 0.4]}}}
    report = looked_at(path, document)
    assert "'0' is on 50.00% of the rows" in found(report, "label-balance").message
    assert found(report, "label").rows == ("rows.csv:92",)
    assert found(looked_at(path, {"label": "tag"}), "label").severity == "error"


def test_leaks_between_files_by_content_key_and_time(tmp_path):
    head = "customer,day,a,label\n"
    train = head + "".join(f"c{i},2026-01-{i % 20 + 1:02},{i},0\n" for i in range(50))
    test = (
        head
        + "c1,2026-01-10,999,1\nnew,2026-01-25,7,0\n"
        + "".join(f"n{i},2026-01-26,{i + 1000},0\n" for i in range(50))
    )
    path = written(tmp_path, train__csv=train, test__csv=test)
    document = {"time": "day", "label": "label", "leakage": {"by": ["customer"], "byTime": True}}
    report = looked_at(path, document)
    assert report.splits == ("test", "train")
    assert found(report, "leakage-by-key").rows == ("test.csv:2",)
    assert "test begins before train ends" in found(report, "leakage-by-time").message
    assert "leakage" not in rules(report)
    written(tmp_path, test__csv=test + "c1,2026-01-27,1,0\n")
    assert found(looked_at(path, document), "leakage").rows == ("test.csv:54",)


def test_a_split_by_column_and_a_missing_one(tmp_path):
    rows = "part,a\n" + "".join(f"train,{i}\n" for i in range(30)) + "test,5\n"
    path = written(tmp_path, rows__csv=rows)
    assert found(looked_at(path, {"splits": {"column": "part"}}), "leakage").rows == ("rows.csv:32",)
    assert "missing-split" in rules(looked_at(path, {"leakage": {"by": ["a"]}}))


def test_freshness(tmp_path):
    path = written(tmp_path, rows__csv="at,a\n2026-01-01,1\n2026-01-20 10:00,2\n")
    assert "freshness" not in rules(looked_at(path, {"time": "at", "maxAgeDays": 12}))
    assert "10.6 days ago" in found(looked_at(path, {"time": "at", "maxAgeDays": 5}), "freshness").message
    written(tmp_path, rows__csv="at,a\n2027-01-01,1\n")
    assert "the future" in found(looked_at(path, {"time": "at", "maxAgeDays": 5}), "freshness").message
    assert "no time" in found(looked_at(path, {"maxAgeDays": 5}), "freshness").message


def test_a_mark_for_unknown_is_an_outlier_and_a_long_tail_is_none(tmp_path):
    chance = random.Random(4)
    tail = [f"{chance.lognormvariate(3, 1.2):.3f}" for _ in range(2000)]
    path = written(tmp_path, rows__csv="amount\n" + "\n".join(tail) + "\n")
    assert "outlier" not in rules(looked_at(path))
    written(tmp_path, rows__csv="amount\n" + "\n".join([*tail, "9999999"]) + "\n")
    assert found(looked_at(path), "outlier").column == "amount"


def test_quantiles_are_of_all_rows_and_not_of_the_first(tmp_path):
    path = written(tmp_path, rows__csv="n,m\n" + "".join(f"{i},x\n" for i in range(100_000)))
    (row,) = [row for row in looked_at(path).columns if row["name"] == "n"]
    assert [round(cut / 100_000, 2) for cut in row["quantiles"].values()] == [0.05, 0.5, 0.95]
    assert row["mean"] == pytest.approx(49_999.5)
    assert row["deviation"] == pytest.approx(28_867.51, abs=0.1)


def test_drift_is_told_by_size(tmp_path):
    chance = random.Random(5)
    head = "x,kind\n"
    before = head + "".join(f"{chance.gauss(0, 1):.4f},{chance.choice('abc')}\n" for _ in range(1000))
    same = head + "".join(f"{chance.gauss(0, 1):.4f},{chance.choice('abc')}\n" for _ in range(1000))
    moved = head + "".join(f"{chance.gauss(0.8, 1):.4f},{chance.choice('aab')}\n" for _ in range(1000))
    reference = looked_at(written(tmp_path, rows__csv=before)).to_json()
    assert "drift" not in rules(looked_at(written(tmp_path, rows__csv=same), reference=reference))
    report = looked_at(written(tmp_path, rows__csv=moved), reference=reference)
    assert {item.column for item in report.findings if item.rule == "drift"} == {"x", "kind"}


def test_near_duplicates_of_texts(tmp_path):
    chance = random.Random(6)
    words = [f"word{i}" for i in range(400)]
    texts = [" ".join(chance.choice(words) for _ in range(60)) for _ in range(120)]
    copy = texts[17].split()
    copy[30] = "other"
    assert near_texts([*texts, " ".join(copy)]) == [(17, 120)]
    rows = "text,label\n" + "".join(f"{text},{i % 2}\n" for i, text in enumerate([*texts, " ".join(copy)]))
    assert found(looked_at(written(tmp_path, rows__csv=rows)), "near-duplicate-rows").rows == ("rows.csv:122",)


def test_near_duplicates_of_numbers_beyond_chance(tmp_path):
    chance = random.Random(7)
    rows = [[chance.gauss(0, 1) for _ in range(6)] for _ in range(600)]
    plain = ["{:.5f},{:.5f},{:.5f},{:.5f},{:.5f},{:.5f}".format(*row) for row in rows]
    close = ["{:.5f},{:.5f},{:.5f},{:.5f},{:.5f},{:.5f}".format(*(x + 0.001 for x in row)) for row in rows[:20]]
    path = written(tmp_path, rows__csv="a,b,c,d,e,f\n" + "\n".join(plain) + "\n")
    assert "near-duplicate-rows" not in rules(looked_at(path))
    written(tmp_path, rows__csv="a,b,c,d,e,f\n" + "\n".join([*plain, *close]) + "\n")
    assert found(looked_at(path), "near-duplicate-rows").count >= 18


PERSONAL = {
    "contact": [f"user{i}@example.org" for i in range(20)],
    "account": [f"{'DE89370400440532013000'}" for _ in range(20)],
    "payment": ["4111 1111 1111 1111", "5500-0000-0000-0004"] * 10,
    "number": ["+49 30 1234567", "(212) 555-0100"] * 10,
    "host": [f"8.8.{i}.1" for i in range(20)],
    "ref": [f"123-45-{6000 + i}" for i in range(20)],
}


@pytest.mark.parametrize("column", PERSONAL)
def test_personal_data_are_found_by_their_values_and_never_told(tmp_path, column):
    rows = f"{column},a\n" + "".join(f"{value},{i}\n" for i, value in enumerate(PERSONAL[column]))
    report = looked_at(written(tmp_path, rows__csv=rows))
    assert [item.column for item in report.sensitive] == [column]
    said = json.dumps(report.to_json())
    assert not any(value in said for value in PERSONAL[column])


def test_personal_data_within_texts_are_found():
    texts = [f"a long note about order {i} and what came of it afterwards" for i in range(90)]
    assert by_values(texts) is None
    assert by_values([*texts, *["please write to anna@example.org about all that happened"] * 3]) is not None


@pytest.mark.parametrize(
    "values", [[f"{i:016}" for i in range(4111, 4200)], [f"1.{i}.2" for i in range(30)], ["x"] * 30]
)
def test_long_numbers_and_versions_are_no_personal_data(values):
    assert by_values(values) is None


def test_check_digits():
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    assert not luhn("0000000000000000")
    assert iban("GB82 WEST 1234 5698 7654 32")
    assert not iban("GB82 WEST 1234 5698 7654 33")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("customer_email", "pii"),
        ("dateOfBirth", "pii"),
        ("ip-address", "pii"),
        ("Religion", "special"),
        ("icd10", "special"),
    ],
)
def test_names_that_say_what_is_in_a_column(name, kind):
    assert by_name(name)[0] == kind


@pytest.mark.parametrize("name", ["average", "message", "page", "shipment", "racecar_speed", "latency"])
def test_names_that_only_sound_alike(name):
    assert by_name(name) is None


def test_declared_columns_are_notes_and_undeclared_ones_fail_under_a_schema(tmp_path):
    path = written(tmp_path, rows__csv="mail,a\n" + "".join(f"u{i}@example.org,{i}\n" for i in range(30)))
    columns = {"mail": {}, "a": {}}
    assert found(looked_at(path, {"columns": columns}), "sensitive-undeclared").severity == "error"
    columns["mail"] = {"sensitive": "pii"}
    assert found(looked_at(path, {"columns": columns}), "sensitive-column").severity == "note"
    columns["mail"] = {"sensitive": "none"}
    assert looked_at(path, {"columns": columns}).sensitive == ()


def test_the_values_of_a_sensitive_label_are_not_told(tmp_path):
    rows = "a,diagnosis\n" + "".join(f"{i},{'melanoma' if i % 3 else 'none of it'}\n" for i in range(300))
    report = looked_at(written(tmp_path, rows__csv=rows), {"label": "diagnosis", "labels": {"minShare": 0.4}})
    assert not any(label in json.dumps(report.to_json()) for label in ("melanoma", "none of it"))
    assert found(report, "label-balance").column == "diagnosis"


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"columns": {"a": {"pattern": "("}}}, "/columns/a/pattern"),
        ({"columns": {"a": {"pattern": "(a+)+b"}}}, "/columns/a/pattern"),
        ({"columns": {"a": {"pattern": "(x|xx)*y"}}}, "/columns/a/pattern"),
        ({"columns": {"a": {"pattern": "((a{2})|b)*"}}}, "/columns/a/pattern"),
        ({"columns": {"a": {"min": "x"}}}, "/columns/a/min"),
        ({"columns": {"a": {"type": "datetime", "min": 3}}}, "/columns/a/min"),
        ({"columns": {"a": {"maxNullShare": 2}}}, "/columns/a/maxNullShare"),
        ({"columns": COLUMNS, "label": "tag"}, "/label"),
        ({"columns": COLUMNS, "leakage": {"by": ["x"]}}, "/leakage/by"),
        ({"labels": {"balance": {"0": [0.5, 0.1]}}}, "/labels/balance/0"),
        ({"checks": {"duplicate-row": "off"}}, "/checks/duplicate-row"),
        ({"checks": {"unreadable-file": "off"}}, "/checks/unreadable-file"),
    ],
)
def test_a_schema_that_makes_no_sense_is_refused_with_its_place(document, pointer):
    with pytest.raises(SchemaError) as caught:
        schema_of(document)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    "pattern", ["[A-Z]{2}[0-9]+", "(?:,[0-9]{3})*", r"[(]+\(x+", "(foo|bar)?[*+]", "([+|]c)*", "(a|b){0,9}"]
)
def test_patterns_that_do_no_harm_are_taken(pattern):
    assert schema_of({"columns": {"a": {"pattern": pattern}}}).columns[0].pattern is not None


def test_a_pattern_that_takes_long_is_interrupted(tmp_path, monkeypatch):
    with (
        pytest.raises(ArtifactError, match="the pattern of the column a takes more than"),
        patience("a", "f.csv:2", 0.05),
    ):
        re.fullmatch("(x|xx)*y", "x" * 200)


def test_numbers_beyond_all_measure_leave_no_infinity_in_a_report(tmp_path):
    rows = "a,b\n" + "".join(f"1e308,{i}\n" for i in range(50)) + f"{10**400},1\n"
    report = looked_at(written(tmp_path, rows__csv=rows))
    json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert found(report, "outlier").column == "a"
