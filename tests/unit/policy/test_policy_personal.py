"""Personal data and data files: found by check digits and content, and told apart from what only looks like it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from customhouse.policy.personal import personal_data
from customhouse.policy.projection import project
from customhouse.policy.repository_files import MAX_FOUND, as_manifest, inspect

MAILS = [f"person{number}@mail.co" for number in range(5)]
PHONES = ["+49 30 901820", "+1 (212) 555-0100", "+44 20 7946 0958", "+33 1 42 68 53 00", "+31 20 794 6000"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("card: 4111 1111 1111 1111", None),  # filler: two different digits
        ("card: 4539 1488 0343 6467", "1 payment card number"),
        ("card=4539148803436467;", "1 payment card number"),
        ("amex 3782-822463-10005", "1 payment card number"),
        ("5425233430109903 and 2223000048410010", "2 payment card numbers"),
        ("DE89 3704 0044 0532 0130 00", "1 IBAN"),
        ("iban: GB29NWBK60161331926819", "1 IBAN"),
        ("NL91ABNA0417164300, FR1420041010050500013M02606", "2 IBANs"),
        (" ".join(MAILS), "5 e-mail addresses"),
        ("\n".join(PHONES), "5 telephone numbers"),
        ("4539 1488 0343 6467 " + " ".join(MAILS), "1 payment card number and 5 e-mail addresses"),
    ],
)
def test_personal_data_is_found_and_counted(text, said):
    assert personal_data(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "4539 1488 0343 6468",  # the check digit is wrong
        "9539148803436467",  # nobody issues these
        "id-4539148803436467",
        "4539148803436467.25",
        "a3f4539148803436467",
        "sha256:4539148803436467453914880343646745391488034364674539148803436467",
        "DE88 3704 0044 0532 0130 00",
        "DE89370400440532013",
        "owner: ada@mail.co, grace@mail.co",
        " ".join(f"a{number}@example.com" for number in range(50)),
        " ".join(f"a{number}@svc.cluster.local" for number in range(50)),
        " ".join(MAILS[:1] * 50),
        "+1 2 3",
        "1700000000000 1700000000001 1700000000002",
        "",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text):
    assert personal_data(text) is None


def test_a_long_hostile_text_takes_no_longer_for_being_hostile():
    for text in ("4" * 200_000, "a@" * 100_000, "+1 " * 60_000, "DE89 " * 40_000, "a." * 100_000 + "@"):
        assert personal_data(text) is None


@pytest.mark.parametrize(
    ("path", "content", "found"),
    [
        ("d/train.parquet", b"PAR1" + b"\x00" * 50, {("data", "a Parquet table")}),
        ("d/innocent.txt", b"PAR1" + b"\x00" * 50, {("data", "a Parquet table")}),
        ("x.npy", b"\x93NUMPY\x01\x00", {("data", "a NumPy array")}),
        ("x.db", b"SQLite format 3\x00...", {("data", "an SQLite database")}),
        ("x.duckdb", b"\x01" * 8 + b"DUCK" + b"\x00" * 9, {("data", "a DuckDB database")}),
        ("big.csv", b"1,2\n" * 10_001, {("data", "a table of 10001 rows (40004 bytes)")}),
        ("train.csv.gz", b"\x1f\x8b\x08", {("data", "a compressed table")}),
        ("small.csv", b"a,b\n1,2\n", set()),
        ("people.csv", "\n".join(MAILS).encode(), {("personal", "5 e-mail addresses")}),
        ("notes.md", b"pay to DE89370400440532013000", {("personal", "1 IBAN")}),
        ("key.txt", b"x" * 60_000 + b" ghp_" + b"a1B2" * 9, {("secret", "a GitHub token")}),
        ("model.onnx", b"\x08\x07\x12" + b"\x00" * 90 + b"4539148803436467", set()),
        ("lfs.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", set()),
        ("empty.parquet", b"", set()),
    ],
)
def test_a_file_is_judged_by_its_content(path, content, found):
    assert {(item.problem, item.detail) for item in inspect(path, content)} == found


def test_what_was_found_is_one_object_whose_projection_shows_no_value():
    found = inspect("b.md", b"DE89370400440532013000") + inspect("a.npy", b"\x93NUMPY")
    manifest = as_manifest(found)
    assert manifest == as_manifest(reversed(found))
    files = project(manifest)["spec"]["files"]
    assert [(item["path"], item["problem"], item["pointer"]) for item in files] == [
        ("a.npy", "data", "/spec/files/0"),
        ("b.md", "personal", "/spec/files/1"),
    ]
    assert "3704" not in str(manifest)
    assert as_manifest(()) is None


def test_a_thousand_findings_make_a_bounded_object_that_says_so():
    manifest = as_manifest(item for number in range(1000) for item in inspect(f"{number:04}.npy", b"\x93NUMPY"))
    assert len(manifest["spec"]["files"]) == MAX_FOUND + 1
    assert "500 more" in manifest["spec"]["files"][-1]["detail"]


def test_a_config_map_tells_what_its_values_hold_and_never_the_values():
    seen = project(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a"},
            "data": {"a/b": "4539148803436467", "DB_PASSWORD": "hunter2!", "level": "info"},
        }
    )["spec"]
    assert seen["personal_data"] == [{"pointer": "/data/a~1b", "detail": "1 payment card number"}]
    assert seen["credentials"] == [{"pointer": "/data/DB_PASSWORD", "looks_like": "a credential by its name"}]
    assert "hunter2" not in str(seen)


def test_a_secret_that_sops_encrypted_has_no_plain_keys():
    value = "ENC[AES256_GCM,data:p673w==,iv:YY=,tag:UA==,type:str]"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"a": value, "b": "plain"}}
    assert project(secret)["spec"]["plain_keys"] == ["a", "b"], "without its metadata nothing says that SOPS wrote it"
    assert project({**secret, "sops": {"mac": "ENC[…]"}})["spec"]["plain_keys"] == ["b"]


def test_a_credential_anywhere_in_an_unknown_kind_is_found():
    token = "ghp_" + "a1B2" * 9
    seen = project(
        {"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"list": [{"auth": token}]}}
    )
    assert seen["spec"]["credentials"] == [{"pointer": "/spec/list/0/auth", "looks_like": "a GitHub token"}]
    assert token not in str(seen)


def test_a_whole_file_that_sops_encrypted_is_told_from_values_in_the_clear():
    text = (Path(__file__).resolve().parents[2] / "conformance" / "sops" / "by-pgp.yaml").read_text()
    data = {"file": base64.b64encode(text.encode()).decode(), "plain": "aHVudGVyMg==", "odd": "a" * 301}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": data}
    seen = project(secret)["spec"]
    assert (seen["plain_keys"], seen["encrypted_files"]) == (["file", "odd", "plain"], ["file"])
    assert project({**secret, "data": {}, "stringData": {"file": text}})["spec"]["encrypted_files"] == ["file"]
