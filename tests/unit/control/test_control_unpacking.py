"""Archives that Python and Go (Helm, Flux, Argo CD) would read as different files are refused; real ones are read."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from customhouse.control.unpacking import unpack
from customhouse.core.errors import DeclarationError

POD = b"apiVersion: v1\nkind: Pod\nmetadata: {name: evil}\n"
EVIL = "web/templates/evil.yaml"


def block(name: str, data: bytes, kind: bytes = b"0", mode: int = 0o644, **places: bytes) -> bytes:
    """One header with its content; `places` (`at_257=…`) are bytes put over the header, its checksum made anew."""
    member = tarfile.TarInfo(name)
    member.size, member.type = len(data), kind
    head = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    head[100:108] = b"%07o\0" % mode
    for at, value in places.items():
        start = int(at.removeprefix("at_"))
        head[start : start + len(value)] = value
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data + b"\0" * (-len(data) % 512)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


def longer(name: str) -> bytes:
    return block("././@LongLink", name.encode() + b"\0", b"L")


def pax(*words: tuple[str, str], kind: bytes = b"x") -> bytes:
    return block("pax", b"".join(record(key, value) for key, value in words), kind)


BASE = block("web/Chart.yaml", b"apiVersion: v2\nname: web\nversion: 1.0.0\n") + block("web/values.yaml", b"a: 1\n")
END = b"\0" * 1024


def two_ways() -> Iterator[tuple[str, bytes]]:
    readme = ("path", "web/README.md")
    yield "a name of pax, then one of GNU", pax(readme) + longer(EVIL) + block("f", POD)
    yield "a name of GNU, then one of pax", longer(EVIL) + pax(readme) + block("f", POD)
    yield "two names of GNU", longer("web/README.md") + longer(EVIL) + block("f", POD)
    yield "a global name", pax(readme, kind=b"g") + pax(("mtime", "1")) + block(EVIL, POD)
    yield (
        "a comment between name and file",
        longer("web/README.md") + pax(("comment", "x"), kind=b"g") + block("f", POD),
    )
    yield "a file that a name makes of a folder", longer(EVIL) + block("d/", POD, b"\0")
    yield "a folder that pax makes of a file", pax(("path", "web/values.yaml/")) + block("web/x", POD, b"\0")
    yield "a folder by its mode", block("web/schema.json", b"{}", mode=0o40755)
    yield "a size of pax", pax(("size", "0")) + block(EVIL, POD)
    yield "a sparse file of pax", pax(("GNU.sparse.name", "web/README.md")) + block(EVIL, POD)
    yield "another character set", pax(("hdrcharset", "BINARY")) + block(EVIL, POD)
    yield "one key twice", pax(("path", EVIL), readme) + block("f", POD)
    yield "a pax header that ends early", block("pax", b"99 path=x\n", b"x") + block(EVIL, POD)
    yield "a prefix of GNU", block("web/templates/a.yaml", POD, at_257=b"ustar  \0", at_345=b"web/docs")
    yield "a prefix of no format", block("web/templates/a.yaml", POD, at_257=b"\0" * 8, at_345=b"web/docs")
    yield "a prefix of star", block("web/templates/a.yaml", POD, at_345=b"web/docs", at_508=b"tar\0")
    yield "something in the padding", pax(("mtime", "1"))[:-20] + b"18 path=web/README\n\0" + block(EVIL, POD)
    yield "after the end", b"\0" * 512 + block(EVIL, POD)
    yield "a name of nothing", longer(EVIL)
    yield "a type of its own", block(EVIL, POD, b"Z")
    yield "a contiguous file", block(EVIL, POD, b"7")
    yield "a size that is no octal number", block(EVIL, POD, at_124=b"\x80" + b"\0" * 10 + b"\x30")
    yield "a size below nothing", block(EVIL, POD, at_124=b"-0000000001\0")
    yield "a damaged header", block(EVIL, POD).replace(b"ustar", b"usTar")


@pytest.mark.parametrize("more", [item[1] for item in two_ways()], ids=[item[0] for item in two_ways()])
@pytest.mark.parametrize("chart", [True, False])
def test_an_archive_that_programs_read_in_two_ways_is_refused(more: bytes, chart: bool) -> None:
    with pytest.raises(DeclarationError, match="do not use it"):
        unpack(gzip.compress(BASE + more + END, 1), "here", chart=chart)


def test_long_names_folders_and_comments_are_read() -> None:
    long = "web/templates/" + "a" * 120 + ".yaml"
    split = block("a" * 90 + ".yaml", b"1", at_345=b"web/templates")
    deep = "web/" + "é" * 60
    comment = pax(("comment", "1" * 40), kind=b"g")
    members = [
        comment,
        block("web/", b"", b"5", 0o40755),
        longer(long),
        block("f", b"2"),
        pax(("path", deep), ("mtime", "1.5"), ("SCHILY.xattr.x", "a\nb=c")),
        block("f", b"3", mode=0o100644),
        block("web/old/", b"", b"5"),
        split,
    ]
    files = unpack(gzip.compress(BASE + b"".join(members) + END, 1), "here", chart=True)
    assert files.keys() == {
        "Chart.yaml", "values.yaml", long[4:], deep[4:], "templates/" + "a" * 90 + ".yaml",
    }  # fmt: skip
    assert unpack(gzip.compress(BASE, 1), "here", chart=True).keys() == {"Chart.yaml", "values.yaml"}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_usual_programs_write_is_read(form: int) -> None:
    name = "/".join(("web", "templates", *("b" * 30 for _ in range(5)), "c.yaml"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for path, data in (("web/Chart.yaml", b"x"), (name, POD)):
            member = tarfile.TarInfo(path)
            member.size, member.mtime, member.uid = len(data), 1_600_000_000, 1000
            archive.addfile(member, io.BytesIO(data))
    assert unpack(gzip.compress(buffer.getvalue(), 1), "here", chart=True) == {"Chart.yaml": b"x", name[4:]: POD}


@pytest.mark.part("helm")
def test_a_chart_that_helm_packed_is_read_whatever_the_length_of_its_names(
    find_part: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "web"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.0.0\n")
    long, other = "a" * 120 + ".yaml", "é" * 20 + ".yaml"
    for name in (long, other):
        (folder / "templates" / name).write_text("a: b\n")
    environment = {"PATH": "", "HOME": str(tmp_path)}
    words = [str(find_part("helm")), "package", str(folder), "-d", str(tmp_path)]
    subprocess.run(words, env=environment, check=True, capture_output=True)
    files = unpack((tmp_path / "web-1.0.0.tgz").read_bytes(), "here", chart=True)
    assert {f"templates/{long}", f"templates/{other}", "Chart.yaml"} <= files.keys()
