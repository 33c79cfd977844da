"""Bundles as archives: the same bytes everywhere, OPA's format, and nothing hostile read half."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from customhouse._kit.process import run
from customhouse.core.errors import PolicyError
from customhouse.policy.bundle import builtin_bundle, load_bundle
from customhouse.policy.bundle_archive import MAX_ARCHIVE, pack, unpack

RULE = b"""package customhouse.rules.mine

import data.customhouse.lib

findings contains lib.note("cost", "mine", "", data.words.hello, "f") if input.change
"""
FILES = {"mine.rego": RULE, "p/data.yaml": b"words: {hello: hi}\n", "mine_test.rego": b"package t\n\ntest_a if true\n"}


def archive(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for given, content in members:
            member = tarfile.TarInfo(given) if isinstance(given, str) else given
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue())


def special(kind: bytes, name: str = "a.rego", target: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_the_archive_is_the_same_bytes_whatever_the_order_and_judges_like_the_folder():
    packed = pack(FILES, "1.2")
    assert packed == pack(dict(reversed(FILES.items())), "1.2")
    # Made once on another machine: no compressor, no clock and no user is in it.
    read = unpack(packed)
    assert (read.version, sorted(read.files)) == ("1.2", ["data.json", "mine.rego"])
    base = builtin_bundle()
    assert read.bundle(base).digest == load_bundle(FILES, base=base, version="1.2").digest
    assert pack(FILES, "1.3") != packed


def test_built_in_rules_in_an_archive_are_those_of_this_program_or_it_is_refused():
    packed = pack(FILES, "1", with_builtin=True)
    assert unpack(packed).bundle(builtin_bundle()).digest == unpack(pack(FILES, "1")).bundle(builtin_bundle()).digest
    alone = unpack(pack({}, "1", with_builtin=True)).bundle(builtin_bundle())
    assert alone.digest == builtin_bundle().digest
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        members = [(item.name, (tar.extractfile(item) or io.BytesIO()).read()) for item in tar]
    weakened = archive(*((name, data.replace(b'"error"', b'"note"')) for name, data in members))
    with pytest.raises(PolicyError, match="other built-in rules"):
        unpack(weakened).bundle(builtin_bundle())


def test_names_as_opa_writes_them_are_read():
    read = unpack(
        archive(
            ("/.manifest", b'{"revision":"7","rego_version":1}'), ("/a/x.rego", RULE), ("./b/c/data.json", b'{"d":1}')
        )
    )
    assert (read.version, sorted(read.files), json.loads(read.files["data.json"])) == (
        "7",
        ["a/x.rego", "data.json"],
        {"b": {"c": {"d": 1}}},
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cut off"),
        (b"not a gzip", "not a gzip"),
        (gzip.compress(b"not a tar" * 100), "not a tar|holds no file"),
        (pack(FILES, "1")[:-9], "cut off"),
        (pack(FILES, "1") + b"more", "behind the archive's end"),
        (pack(FILES, "1") * 2, "behind the archive's end"),
        (gzip.compress(bytes(200 * 1024 * 1024)), "unpacks to more"),
        (bytes(MAX_ARCHIVE + 1), "the limit is"),
        (archive(("../a.rego", RULE)), "leads out"),
        (archive(("a/../../b.rego", RULE)), "leads out"),
        (archive(("a\\b.rego", RULE)), "leads out"),
        (archive(("a\x1b[2J.rego", RULE)), "leads out"),
        (archive(("a.rego", RULE), ("./a.rego", RULE)), "there twice"),
        (archive((special(tarfile.SYMTYPE), b"")), "a link or a device"),
        (archive((special(tarfile.LNKTYPE), b"")), "a link or a device"),
        (archive((special(tarfile.CHRTYPE), b"")), "a link or a device"),
        (archive((special(tarfile.FIFOTYPE), b"")), "a link or a device"),
        (archive(("a.rego", RULE), ("policy.wasm", b"\0asm")), "no place in a bundle"),
        (archive(("a.rego", RULE), (".manifest", b'{"rego_version":0}')), "Rego v0"),
        (archive(("a.rego", RULE), (".manifest", b"[" * 100_000)), "manifest"),
        (archive(("a.rego", RULE), ("data.json", b"{")), "data cannot be read"),
        (archive(("a.rego", RULE), ("data.json", b'{"p":1}'), ("p/data.json", b'{"x":1}')), "is taken"),
        (archive(("big.rego", b"#" * 600_000)), "the limit is"),
        (archive(*((f"{n}.rego", b"#" * 10) for n in range(1001))), "more than 1000 members"),
        (archive(), "holds no file"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_hostile_archive_is_refused_with_the_reason(data: bytes, said: str):
    with pytest.raises(PolicyError, match=said):
        unpack(data, "bad.tar.gz").bundle(builtin_bundle())


def test_what_could_not_judge_is_not_built():
    with pytest.raises(PolicyError, match="no Rego module"):
        pack({}, "1")
    with pytest.raises(PolicyError, match=r"http\.send"):
        pack({"a.rego": b'package a\n\nx if http.send({"url": "x"})\n'}, "1")


@pytest.mark.part("opa")
def test_the_real_opa_loads_the_archive_and_judges_with_it(find_part: Callable[[str], Path], tmp_path: Path):
    place = tmp_path / "bundle.tar.gz"
    place.write_bytes(pack(FILES, "1.2", with_builtin=True))
    opa = str(find_part("opa"))
    facts = b'{"change":{"after":null,"operation":"delete"},"settings":{},"revision":null,"cost":{}}'
    asked = [opa, "eval", "--bundle", str(place), "--stdin-input", "--format", "json", "data.customhouse.findings"]
    found = json.loads(run(asked, stdin=facts).stdout)["result"][0]["expressions"][0]["value"]
    assert ("mine", "hi") in {(item["rule"], item["message"]) for item in found}
    # And the other way round: what OPA builds from it is read here.
    built = tmp_path / "built.tar.gz"
    run([opa, "build", "--bundle", str(place), "--output", str(built)])
    assert any(name.endswith("mine.rego") for name in unpack(built.read_bytes()).files)
