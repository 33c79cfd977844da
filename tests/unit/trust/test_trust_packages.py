"""Package lists of every kind: what they say is told, and what is broken is said and never "no packages"."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.trust.libraries import plain_name
from customhouse.trust.packages.distribution import distribution_of, read_release
from customhouse.trust.packages.found import Found, Reading
from customhouse.trust.packages.readers import Reader, read, reader_of, reader_of_head
from customhouse.trust.scan.source import Source

APK = """C:Q1abc=
P:musl
V:1.2.4-r2
A:x86_64
L:MIT
o:musl
F:lib
R:ld-musl-x86_64.so.1

C:Q1def=
P:libcrypto3
V:3.1.4-r5
o:openssl
F:lib
R:libcrypto.so.3
F:usr/lib/python3.11/site-packages/x-1.dist-info
R:METADATA

"""


def of(reader: Reader, data: bytes | str, path: str = "x") -> Reading:
    return read(reader, path, Source.of(data.encode() if isinstance(data, str) else data))


def pairs(reading: Reading) -> set[tuple[str, str]]:
    assert reading.unread == []
    return {(item.name, item.version) for item in reading.packages}


@pytest.mark.parametrize(
    ("path", "reader"),
    [
        ("var/lib/dpkg/status", Reader.DPKG),
        ("backup/var/lib/dpkg/status", None),
        ("var/lib/dpkg/status.d/base", Reader.DPKG_PART),
        ("var/lib/dpkg/status.d/libc6.md5sums", Reader.DPKG_FILES),
        ("var/lib/dpkg/info/bash.list", Reader.DPKG_FILES),
        ("var/lib/dpkg/info/bash.postinst", None),
        ("lib/apk/db/installed", Reader.APK),
        ("usr/lib/apk/db/installed", Reader.APK),
        ("var/lib/rpm/rpmdb.sqlite", Reader.RPM),
        ("usr/lib/sysimage/rpm/Packages.db", Reader.RPM),
        ("opt/venv/lib/python3.12/site-packages/a-1.dist-info/METADATA", Reader.PYTHON),
        ("a/METADATA", None),
        ("usr/lib/python3/dist-packages/six-1.16.0.egg-info", Reader.PYTHON),
        ("x/y.egg-info/PKG-INFO", Reader.PYTHON),
        ("x/site-packages/pip/_vendor/vendor.txt", Reader.PYTHON_VENDORED),
        ("opt/conda/conda-meta/numpy-1.26.json", Reader.CONDA),
        ("app/node_modules/left-pad/package.json", Reader.NPM),
        ("app/node_modules/@scope/name/package.json", Reader.NPM),
        ("app/node_modules/a/node_modules/b/package.json", Reader.NPM),
        ("app/node_modules/a/test/package.json", None),
        ("app/package.json", None),
        ("app/package-lock.json", Reader.NPM_LOCK),
        ("usr/lib/ruby/specifications/rack-2.2.3.gemspec", Reader.GEM),
        ("srv/vendor/composer/installed.json", Reader.COMPOSER),
        ("srv/app.deps.json", Reader.DOTNET),
        ("srv/app.jar", Reader.JAVA),
        ("srv/app.pex", Reader.PYTHON_ARCHIVE),
        ("srv/model.pkl", Reader.MODEL),
        ("srv/pytorch_model.bin", Reader.MODEL),
        ("usr/share/locale.bin", None),
        (".pkl", None),
    ],
)
def test_files_are_known_by_their_place(path: str, reader: Reader | None) -> None:
    assert reader_of(path) is reader


def test_the_status_of_this_machine_is_read_as_dpkg_reads_it() -> None:
    status = Path("/var/lib/dpkg/status")
    if not status.is_file():
        pytest.skip("no system of Debian's")
    form = "${db:Status-Status} ${Package} ${Version} ${source:Package} ${source:Version} ${Architecture}\n"
    said = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True, timeout=60)
    rows = (line.split(" ") for line in said.stdout.splitlines())
    want = {tuple(row[1:]) for row in rows if row[0] not in ("config-files", "not-installed")}
    found = of(Reader.DPKG, status.read_bytes())
    assert found.unread == []
    assert {(f.name, f.version, f.source, f.source_version, f.architecture) for f in found.packages} == want


@pytest.mark.parametrize(
    "text",
    [
        "no fields at all",
        "Package: a\nStatus: install ok installed\n",
        "Status: install ok installed\nVersion: 1\n",
        "Package: a\nVersion: 1\n",
        " goes on\n",
        "Package: a\nPackage: b\nStatus: install ok installed\nVersion: 1\n",
        "Package: a\nStatus: install ok installed\nVersion: 1\nSource: a (1\n",
    ],
)
def test_a_broken_status_says_the_line_and_is_not_an_empty_one(text: str) -> None:
    (why,) = of(Reader.DPKG, text).unread
    assert why.startswith("line ")


def test_what_was_removed_is_not_installed_and_half_done_is_said() -> None:
    found = of(
        Reader.DPKG,
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        "Package: half\nStatus: install reinstreq half-installed\nVersion: 2\n",
    )
    assert [(item.name, item.note) for item in found.packages] == [("half", "dpkg left it half-installed")]


def test_distroless_keeps_a_paragraph_a_file() -> None:
    found = of(Reader.DPKG_PART, "Package: libssl3\nVersion: 3.0.9-1\nSource: openssl\nArchitecture: arm64\n")
    assert [(f.name, f.source, f.source_version) for f in found.packages] == [("libssl3", "openssl", "3.0.9-1")]


def test_apk_gives_packages_their_source_and_the_files_that_matter() -> None:
    found = of(Reader.APK, APK)
    assert pairs(found) == {("musl", "1.2.4-r2"), ("libcrypto3", "3.1.4-r5")}
    assert {item.source for item in found.packages} == {"musl", "openssl"}
    assert "usr/lib/python3.11/site-packages/x-1.dist-info/METADATA" in found.owned
    lacking = of(Reader.APK, APK.replace("V:1.2.4-r2\n", ""))
    assert lacking.unread
    assert [item.name for item in lacking.packages] == ["libcrypto3"]
    assert of(Reader.APK, "broken").unread


_TYPES = {int: 4, str: 6, list: 8}


Tags = dict[int, int | str | list[str]]


def _header(tags: Tags) -> bytes:
    """A header of RPM: an index of tags and a store of their values."""
    index, store = b"", b""
    for tag, value in tags.items():
        if isinstance(value, int):
            store += bytes(-len(store) % 4)
            data = value.to_bytes(4, "big")
        else:
            data = b"".join(text.encode() + b"\0" for text in ([value] if isinstance(value, str) else value))
        count = len(value) if isinstance(value, list) else 1
        index += b"".join(part.to_bytes(4, "big") for part in (tag, _TYPES[type(value)], len(store), count))
        store += data
    return len(tags).to_bytes(4, "big") + len(store).to_bytes(4, "big") + index + store


def _rpm(name: str, **more: int | str | list[str]) -> bytes:
    tags: Tags = {1000: name, 1001: "1.2", 1002: "3.el9", 1022: "x86_64", 1044: f"src-{name}-1.2-3.el9.src.rpm"}
    return _header({**tags, **{int(key[1:]): value for key, value in more.items()}})


def _rpmdb(place: Path, rows: list[bytes]) -> bytes:
    with sqlite3.connect(place) as database:
        database.execute("CREATE TABLE Other (a)")
        database.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        database.executemany("INSERT INTO Packages (blob) VALUES (?)", [(row,) for row in rows])
    database.close()
    return place.read_bytes()


def test_rpms_database_is_read_without_sqlite_small_rows_and_long_ones_on_many_pages(tmp_path: Path) -> None:
    rows = [_rpm(f"p{number}", t1014="MIT", t1004="text " * (1 + 97 * number)) for number in range(150)]
    rows[3] = _rpm("p3", t1003=2, t1118=["/usr/bin/"], t1117=["tool"], t1116=0)
    data = _rpmdb(tmp_path / "rpmdb.sqlite", [*rows, _rpm("gpg-pubkey")])
    found = of(Reader.RPM, data)
    assert pairs(found) == {(f"p{n}", "2:1.2-3.el9" if n == 3 else "1.2-3.el9") for n in range(150)}
    assert {item.source for item in found.packages} == {f"src-p{n}" for n in range(150)}
    assert found.owned == ["usr/bin/tool"]


def test_a_database_of_rpm_that_lies_about_its_pages_is_unread(tmp_path: Path) -> None:
    data = _rpmdb(tmp_path / "db", [_rpm(f"p{number}", t1004="x" * 9000) for number in range(40)])
    assert of(Reader.RPM, data[: len(data) // 2]).unread
    circle = bytearray(data)
    size = int.from_bytes(data[16:18], "big")
    for page in range(2, len(data) // size):
        circle[page * size : page * size + 4] = (page + 1).to_bytes(4, "big")
    assert of(Reader.RPM, bytes(circle)).unread
    assert of(Reader.RPM, bytes(12) + b"\x61\x15\x06\x00" + bytes(512)).unread[0].startswith("it is a Berkeley DB")
    assert of(Reader.RPM_LOG, b"changes").unread
    assert of(Reader.RPM_LOG, b"").unread == []


def test_ndb_is_read_by_its_slots() -> None:
    blob = _rpm("small")
    body = b"BlbS" + (1).to_bytes(4, "little") + bytes(4) + len(blob).to_bytes(4, "little") + blob
    body += bytes(-len(body) % 16)
    head = b"RpmP" + bytes(8) + (1).to_bytes(4, "little") + bytes(16)
    slot = b"Slot" + b"".join(n.to_bytes(4, "little") for n in (1, 4096 // 16, len(body) // 16))
    free = b"Slot" + bytes(12)
    data = (head + slot + free * ((4096 - 48) // 16)) + body
    assert pairs(of(Reader.RPM, data)) == {("small", "1.2-3.el9")}
    assert of(Reader.RPM, data[:4100]).unread


def test_the_environment_of_the_tests_is_read_as_importlib_reads_it() -> None:
    want, found = set(), set()
    for item in metadata.distributions():
        text = item.read_text("METADATA")
        if text:
            want.add((plain_name(item.metadata["Name"]), item.version))
            found |= pairs(of(Reader.PYTHON, text))
    assert found == want
    assert len(found) > 20


def test_vendored_copies_conda_and_what_is_no_metadata() -> None:
    assert pairs(of(Reader.PYTHON_VENDORED, "CacheControl==0.13.1\n    idna==3.7 # why\n# x==1\n")) == {
        ("cachecontrol", "0.13.1"),
        ("idna", "3.7"),
    }
    assert pairs(of(Reader.CONDA, '{"name": "numpy", "version": "1.26.4", "channel": "conda-forge"}')) == {
        ("numpy", "1.26.4")
    }
    assert of(Reader.PYTHON, "Summary: x\n\nName: hidden\nVersion: 1\n").unread
    assert of(Reader.CONDA, "[]").unread
    assert of(Reader.CONDA, "{" * 10).unread


def test_npm_ruby_php_and_dotnet() -> None:
    assert pairs(of(Reader.NPM, '{"name": "@a/b", "version": "1.2.3"}')) == {("@a/b", "1.2.3")}
    assert of(Reader.NPM, '{"name": "@a/b"').unread
    assert pairs(of(Reader.NPM, '{"type": "module"}')) == set()
    entry = {"version": "2.0.0", "resolved": "https://registry.npmjs.org/x/-/x-2.0.0.tgz"}
    lock = {"lockfileVersion": 3, "packages": {"": {"name": "app"}, "node_modules/x": entry}}
    assert pairs(of(Reader.NPM_LOCK, json.dumps(lock))) == {("x", "2.0.0")}
    assert pairs(of(Reader.GEM, "", "specifications/nokogiri-1.15.4-x86_64-linux.gemspec")) == {("nokogiri", "1.15.4")}
    assert pairs(of(Reader.COMPOSER, '{"packages": [{"name": "a/b", "version": "v1.0"}]}')) == {("a/b", "1.0")}
    deps = {"libraries": {"Newtonsoft.Json/13.0.1": {"type": "package"}, "App/1.0": {"type": "project"}}}
    assert pairs(of(Reader.DOTNET, json.dumps(deps))) == {("Newtonsoft.Json", "13.0.1")}
    assert of(Reader.DOTNET, "{}").unread


def _jar(files: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_java_archives_in_archives_by_coordinates_and_manifest() -> None:
    pom = "#made\ngroupId=org.apache.logging.log4j\nartifactId=log4j-core\nversion=2.14.1\n"
    inner = _jar({"META-INF/maven/org.apache.logging.log4j/log4j-core/pom.properties": pom})
    plain = _jar({"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\r\nBundle-SymbolicName: com.google.guava\r\n\r\n"})
    whole = _jar({"BOOT-INF/lib/log4j-core-2.14.1.jar": inner, "lib/guava-31.1-jre.jar": plain, "A.class": b""})
    found = of(Reader.JAVA, whole, "srv/app.jar")
    assert pairs(found) == {("org.apache.logging.log4j:log4j-core", "2.14.1"), ("com.google:guava", "31.1-jre")}
    assert found.packages[0].purl() == "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"
    deep = whole
    for _ in range(6):
        deep = _jar({"x.jar": deep})
    assert "deeper" in of(Reader.JAVA, deep, "a.jar").unread[0]
    assert of(Reader.JAVA, b"PK\x03\x04 no archive", "a.jar").unread


@pytest.mark.part("jsonnet")
def test_a_real_program_of_go_says_what_go_says(find_part: Callable[[str], Path]) -> None:
    program = find_part("jsonnet")
    data = program.read_bytes()
    assert reader_of_head(data[:16]) is Reader.PROGRAM
    found = of(Reader.PROGRAM, data)
    names = pairs(found)
    assert any(name == "stdlib" and re.fullmatch(r"1\.\d+(\.\d+)?", version) for name, version in names)
    assert any(name == "github.com/google/go-jsonnet" for name, _ in names)
    if go := __import__("shutil").which("go"):
        said = subprocess.run([go, "version", "-m", program], capture_output=True, text=True, check=True, timeout=120)
        rows = [line.split("\t")[1:] for line in said.stdout.splitlines()[1:]]
        want = {(row[1], row[2].removeprefix("v")) for row in rows if row[0] in ("mod", "dep")}
        assert {pair for pair in names if pair[0] != "stdlib"} == want
    for cut in (60, 200, len(data) // 2):
        assert of(Reader.PROGRAM, data[:cut]).unread


def _elf(name: str, body: bytes) -> bytes:
    """A program of 64 bits with one section of this name."""
    names = b"\0" + name.encode() + b"\0.shstrtab\0"
    start = 64
    sections = bytes(64)
    for label, offset, size in ((1, start, len(body)), (2 + len(name), start + len(body), len(names))):
        sections += b"".join(
            value.to_bytes(width, "little")
            for value, width in ((label, 4), (1, 4), (2, 8), (0, 8), (offset, 8), (size, 8), (0, 8), (1, 8), (0, 8))
        )
    at = start + len(body) + len(names)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (62).to_bytes(2, "little") + bytes(20)
    head += at.to_bytes(8, "little") + bytes(4)
    head += b"".join(value.to_bytes(2, "little") for value in (64, 56, 0, 64, 3, 2))
    head = head[:32] + bytes(8) + at.to_bytes(8, "little") + head[48:]
    return head.ljust(64, b"\0")[:64] + body + names + sections


def _go(version: str, modules: str) -> bytes:
    def counted(text: bytes) -> bytes:
        size, out = len(text), b""
        while size >= 0x80:
            out += bytes([size & 0x7F | 0x80])
            size >>= 7
        return out + bytes([size]) + text

    mark = b"\x30\x77\xaf\x0c\x92\x74\x08\x02\x41\xe1\xc1\x07\xe6\xd6\x18\xe6"
    body = mark + modules.encode() + mark
    return (b"\xff Go buildinf:\x08\x02").ljust(32, b"\0") + counted(version.encode()) + counted(body)


def test_replaced_modules_and_work_trees_of_go() -> None:
    modules = (
        "path\texample.com/app\nmod\texample.com/app\t(devel)\t\n"
        "dep\tgithub.com/a/b\tv1.0.0\n=>\tgithub.com/fork/b\tv1.0.1\th1:x=\n"
        "dep\tgithub.com/c/d\tv2.0.0+incompatible\th1:y=\ndep\tlocal/e\tv0.0.0\n=>\t../e\t(devel)\t\n"
    )
    found = of(Reader.PROGRAM, _elf(".go.buildinfo", _go("go1.22.3 X:boringcrypto", modules)))
    assert pairs(found) == {
        ("stdlib", "1.22.3"), ("example.com/app", "(devel)"), ("github.com/fork/b", "1.0.1"),
        ("github.com/c/d", "2.0.0+incompatible"), ("../e", "(devel)"),
    }  # fmt: skip
    assert "in place of github.com/a/b v1.0.0" in {item.note for item in found.packages}
    assert of(Reader.PROGRAM, _elf(".go.buildinfo", _go("weird", modules))).unread


def test_crates_of_an_auditable_program() -> None:
    said = {
        "packages": [
            {"name": "app", "version": "0.1.0", "source": "local", "root": True},
            {"name": "serde", "version": "1.0.2", "source": "crates.io"},
            {"name": "cc", "version": "1.0.0", "source": "crates.io", "kind": "build"},
        ]
    }
    packed = zlib.compress(json.dumps(said).encode())
    assert pairs(of(Reader.PROGRAM, _elf(".dep-v0", packed))) == {("app", "0.1.0"), ("serde", "1.0.2")}
    assert of(Reader.PROGRAM, _elf(".dep-v0", packed[:-9] + b"broken")).unread


@pytest.mark.parametrize(
    ("text", "ecosystem"),
    [
        ('ID=debian\nVERSION_ID="12"', "Debian:12"),
        ("ID=debian\nVERSION_CODENAME=trixie", "Debian:13"),
        ("ID=debian", "Debian"),
        ('ID=ubuntu\nVERSION_ID="22.04"\nVERSION="22.04.4 LTS (Jammy)"', "Ubuntu:22.04:LTS"),
        ('ID=ubuntu\nVERSION_ID="23.10"', "Ubuntu:23.10"),
        ("ID=alpine\nVERSION_ID=3.19.1", "Alpine:v3.19"),
        ("ID=alpine\nVERSION_ID=3.21_alpha20240923", "Alpine"),
        ("ID=wolfi\nVERSION_ID=20230201", "Wolfi"),
        ('ID="rocky"\nVERSION_ID="9.3"', "Rocky Linux:9"),
        ("ID=fedora\nVERSION_ID=40", "fedora:40"),
        ("NAME=Nothing", ""),
    ],
)
def test_distributions_have_the_ecosystems_of_osv(text: str, ecosystem: str) -> None:
    assert distribution_of(read_release(text)).ecosystem == ecosystem


@pytest.mark.parametrize(
    ("release", "found", "doubt"),
    [
        ('ID=debian\nVERSION_ID="11"', Found("deb", "base-files", "12.4+deb12u5"), "is that of 12"),
        ('ID=debian\nVERSION_ID="12"', Found("deb", "base-files", "12.4+deb12u5"), ""),
        ("ID=alpine\nVERSION_ID=3.19.1", Found("deb", "bash", "5.2"), "of kind deb"),
        ("ID=alpine\nVERSION_ID=3.18.0", Found("apk", "alpine-release", "3.19.1-r0"), "is that of 3.19"),
        ("ID=kali\nID_LIKE=debian\nVERSION_ID=2024.1", Found("deb", "base-files", "1:2024.1"), ""),
        (
            'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.3"',
            Found("rpm", "rocky-release", "9.3-1.2.el9"),
            "",
        ),
    ],
)
def test_a_distribution_that_its_packages_deny_is_doubted(release: str, found: Found, doubt: str) -> None:
    doubts = list(distribution_of(read_release(release)).doubts([found]))
    assert (doubt in doubts[0]) if doubt else not doubts


def test_python_archives_and_packed_programs() -> None:
    egg = _jar(
        {"EGG-INFO/PKG-INFO": "Name: one\nVersion: 1\n", "deps/two-2.dist-info/METADATA": "Name: two\nVersion: 2\n"}
    )
    assert pairs(of(Reader.PYTHON_ARCHIVE, egg)) == {("one", "1"), ("two", "2")}
    assert of(Reader.PYTHON_ARCHIVE, b"no archive").unread
    assert "UPX" in of(Reader.PROGRAM, b"\x7fELF\x02\x01" + bytes(200) + b"UPX!").unread[0]


def test_models_are_known_by_their_first_bytes_too() -> None:
    torch = _jar({"archive/data.pkl": b"x"})
    for head in (torch, b"\x80\x04\x95", b"\x80\x02cos\n", b"cos\nsystem\n(S'id'\ntR.", b"(cos\nsystem\n(", b"GGUF"):
        assert reader_of_head(head[:256]) is Reader.MODEL
    for head in (b"#!/bin/sh\n", b"cat\n", _jar({"a.txt": b"x"}), b"{}"):
        assert reader_of_head(head[:256]) is None


def test_package_urls() -> None:
    deb = Found("deb", "libssl3", "1:3.0.9-1+deb12u1", "openssl", "3.0.9-1", "amd64")
    assert deb.purl("debian", "12") == (
        "pkg:deb/debian/libssl3@1:3.0.9-1%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=openssl%403.0.9-1"
    )
    assert Found("npm", "@a/b", "1").purl() == "pkg:npm/%40a/b@1"
    assert Found("golang", "github.com/a/b", "1.0.0").purl() == "pkg:golang/github.com/a/b@v1.0.0"
    assert Found("golang", "stdlib", "1.22").purl() == "pkg:golang/stdlib@1.22"


def test_names_that_are_none_are_said() -> None:
    assert "characters that none has" in of(Reader.NPM, '{"name": "a\\u001b[2J", "version": "1"}').unread[0]
    assert of(Reader.NPM, json.dumps({"name": "a" * 600, "version": "1"})).unread


@given(st.binary(max_size=400), st.sampled_from([item for item in Reader if item is not Reader.MODEL]))
def test_no_bytes_make_a_reader_raise(data: bytes, reader: Reader) -> None:
    for start in (b"", b"\x7fELF\x02\x01", b"SQLite format 3\x00\x10\x00\x01\x01\x00", b"RpmP", b"PK\x03\x04"):
        read(reader, "a-1.gemspec", Source.of(start + data))
