"""Layers one upon the other: what is there, what is only hidden, and what no runtime takes is said."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from customhouse._kit.digest import bytes_digest
from customhouse.trust.images.bounds import Bounds, LayerError
from customhouse.trust.images.folder import packages_of_folder
from customhouse.trust.images.layer import Layer, from_json, read_layer, to_json
from customhouse.trust.images.listing import Listing, listing_of, to_read
from customhouse.trust.images.merged import Merged, merged
from customhouse.trust.scan.source import Source
from image_builder import Item, entry, gzipped, tar_of

STATUS = "Package: {0}\nStatus: install ok installed\nVersion: {1}\nArchitecture: amd64\n\n"
DEBIAN = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
Files = Mapping[str, Item] | Iterable[tuple[str, Item]] | bytes


def layer(files: Files, wanted: dict[int, object] | None = None, **bounds: int) -> Layer:
    plain = files if isinstance(files, bytes) else tar_of(files)
    packed = gzipped(plain)
    source = Source.of(packed)
    return read_layer(source, bytes_digest(packed), bytes_digest(plain), Bounds(**bounds), "here", wanted=wanted)  # type: ignore[arg-type]


def whole(*layers: Files) -> tuple[Merged, Listing]:
    """As the use case does it: read, merge, read again what only the merged image gives away."""
    read: list[Layer | None] = [layer(files) for files in layers]
    image = merged(read)
    for number, wanted in to_read(image, read).items():
        read[number] = layer(layers[number], dict(wanted))
    return image, listing_of(image, read)


def names(listing: Listing) -> set[str]:
    return {item.found.name for item in listing.packages}


def python(name: str, version: str = "1.0") -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: other\n"


def test_a_whiteout_removes_a_file_and_the_package_is_told_as_hidden() -> None:
    _, found = whole(
        {"app/a-1.0.dist-info/METADATA": python("a"), "app/b-1.0.dist-info/METADATA": python("b")},
        {"app/.wh.a-1.0.dist-info": b""},
    )
    assert names(found) == {"b"}
    assert [(item.found.name, item.layer, item.removed_by) for item in found.removed] == [("a", 0, 1)]
    assert found.complete


def test_an_opaque_folder_hides_only_what_lower_layers_put_there_wherever_its_mark_stands() -> None:
    image, _ = whole(
        {"app/old": "x", "app/sub/old": "x", "other": "x"},
        [("app/new", "x"), ("app/.wh..wh..opq", b""), ("app/later", "x")],
    )
    assert {path for path, _ in image.files()} == {"app/new", "app/later", "other"}


def test_a_whiteout_of_the_layer_itself_does_not_hide_what_it_brings_and_is_said() -> None:
    image, found = whole({"x": "1"}, [("app/f", "1"), ("app/.wh.f", b"")])
    assert image.find("app/f") is not None
    assert "runtimes differ" in found.unread[0][1]


def test_marks_of_other_tools_are_no_files() -> None:
    image, found = whole({"a/.wh..wh.plnk/1": "x", ".wh..wh.aufs": b"", "b": "1"}, {"c": "1"})
    assert {path for path, _ in image.files()} >= {"b", "c"}
    assert found.complete


def test_an_entry_behind_a_link_lands_where_the_link_leads_inside_of_the_image() -> None:
    below: dict[str, Item] = {"usr/lib": None, "lib": ("link", "usr/lib"), "out": ("link", "../../../etc")}
    image, _ = whole(below, {"lib/x": "1", "etc/y": "2"})
    assert image.find("usr/lib/x") is not None
    assert image.canonical("lib/x") == "usr/lib/x"
    assert image.canonical("out/y") == "etc/y"


def test_a_folder_takes_the_place_of_a_link_and_a_file_that_of_a_folder() -> None:
    image, _ = whole(
        {"lib": ("link", "usr/lib"), "usr/lib/a": "1", "d/x": "1"}, {"lib": None, "lib/b": "1", "d": "file"}
    )
    assert image.canonical("lib/b") == "lib/b"
    assert image.find("lib/a") is None
    assert {path for path, _ in image.files()} == {"lib/b", "usr/lib/a", "d"}


def test_links_in_a_circle_lead_nowhere() -> None:
    image, found = whole({"a": ("link", "b"), "b": ("link", "a")}, {"a/x": "1"})
    assert image.find("a/x") is None
    assert "no folder" in found.unread[0][1]


def test_a_package_list_behind_a_link_is_found() -> None:
    _, found = whole({"data/status": STATUS.format("bash", "5.2"), "var/lib/dpkg/status": ("link", "/data/status")})
    assert names(found) == {"bash"}


def test_metadata_that_has_another_name_first_is_read_by_its_second_one() -> None:
    _, found = whole([("store/ab12", python("hidden")), ("app/hidden-1.0.dist-info/METADATA", ("hard", "store/ab12"))])
    assert names(found) == {"hidden"}


def test_a_second_name_keeps_what_a_whiteout_takes_the_first_of() -> None:
    first, second = "app/a-1.dist-info/METADATA", "keep/a-1.dist-info/METADATA"
    _, found = whole([(first, python("a")), (second, ("hard", first))], {".wh.app": b""})
    assert names(found) == {"a"}
    assert found.packages[0].path.startswith("keep/")
    assert not found.removed


def test_of_two_entries_of_one_name_the_later_counts() -> None:
    _, found = whole(
        [("var/lib/dpkg/status", STATUS.format("old", "1")), ("var/lib/dpkg/status", STATUS.format("new", "1"))]
    )
    assert names(found) == {"new"}


def test_a_package_of_the_distribution_belongs_to_the_layer_that_first_lists_it() -> None:
    one, two = STATUS.format("bash", "5.2"), STATUS.format("curl", "7.88")
    _, found = whole(
        {"usr/lib/os-release": DEBIAN, "etc/os-release": ("link", "../usr/lib/os-release"), "var/lib/dpkg/status": one},
        {"var/lib/dpkg/status": one + two},
    )
    assert {item.found.name: item.layer for item in found.packages} == {"bash": 0, "curl": 1}
    assert found.distribution.ecosystem == "Debian:12"
    assert found.packages[0].purl == "pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-12"
    assert found.removed == []


def test_a_distribution_whose_list_was_taken_away_is_incomplete() -> None:
    files: dict[str, Item] = {"etc/os-release": DEBIAN, "var/lib/dpkg/status": STATUS.format("bash", "5.2")}
    _, hidden = whole(files, {"var/lib/dpkg/.wh.status": b""})
    assert "taken away" in hidden.unread[0][1]
    assert {item.found.name for item in hidden.removed} == {"bash"}
    _, never = whole({"etc/os-release": DEBIAN})
    assert "no list" in never.unread[0][1]
    _, scratch = whole({"program": "x"})
    assert scratch.complete


def test_an_emptied_list_and_one_that_lacks_a_package_are_incomplete() -> None:
    _, emptied = whole({"etc/os-release": DEBIAN, "var/lib/dpkg/status": ""})
    assert "no list" in emptied.unread[0][1]
    files: dict[str, Item] = {
        "etc/os-release": DEBIAN,
        "var/lib/dpkg/status": STATUS.format("bash", "5.2")
        + "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
        "var/lib/dpkg/info/bash.list": "/usr/bin/bash\n",
        "var/lib/dpkg/info/gone.list": "/etc/gone\n",
    }
    assert whole(files)[1].complete
    _, lacking = whole({**files, "var/lib/dpkg/info/libssl3:amd64.list": "/usr/lib/libssl.so.3\n"})
    assert lacking.unread == [
        ("/var/lib/dpkg/info/libssl3:amd64.list", "files of libssl3, which is in no list of packages")
    ]


def test_a_list_of_files_vouches_for_nothing_outside_of_the_system() -> None:
    place = "opt/venv/jinja2-2.10.dist-info/METADATA"
    _, found = whole(
        {
            "etc/os-release": DEBIAN,
            "var/lib/dpkg/status": STATUS.format("bash", "5.2"),
            "var/lib/dpkg/info/bash.list": f"/{place}\n",
            place: python("jinja2"),
        }
    )
    assert {item.owner for item in found.packages} == {""}


def test_names_drive_no_terminal() -> None:
    image, _ = whole({"a\x1b[2Jb\u202e": "1"})
    assert [path for path, _ in image.files()] == ["a\\x1b[2Jb\\u202e"]


def test_a_program_too_long_to_be_held_is_read_when_it_has_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("customhouse.trust.images.layer.IN_MEMORY", 100)
    program = b"\x7fELF\x09\x01" + bytes(2 << 20) + b"\xff Go buildinf:" + bytes(200)
    image, found = whole({"plain": program.replace(b"\xff Go", b"no Go"), "go": program})
    assert [where for where, _ in found.unread] == ["/go"]  # it was read, and is no program
    assert len(list(image.files())) == 2


def test_what_the_distribution_brought_is_its_own_to_warn_of() -> None:
    path = "usr/lib/python3/dist-packages/six-1.16.0.egg-info"
    _, found = whole(
        {
            "etc/os-release": DEBIAN,
            "var/lib/dpkg/status": STATUS.format("python3-six", "1.16.0-4"),
            "var/lib/dpkg/info/python3-six.list": f"/.\n/usr\n/{path}\n",
            path: python("six", "1.16.0"),
            "opt/x-1.dist-info/METADATA": python("x"),
        }
    )
    assert {item.found.name: item.owner for item in found.packages} == {
        "python3-six": "",
        "six": "python3-six",
        "x": "",
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [("../../etc/passwd", "leads outside"), ("a/../../b", "leads outside"), ("n" * 300, "no file system")],
)
def test_names_that_no_runtime_takes_are_said_and_not_applied(name: str, why: str) -> None:
    image, found = whole({"ok": "1", name: "2"})
    assert {path for path, _ in image.files()} == {"ok"}
    assert why in found.unread[0][1]


def test_a_hard_link_to_nothing_is_said() -> None:
    _, found = whole({"app/x-1.dist-info/METADATA": ("hard", "not/there")})
    assert "not there" in found.unread[0][1]


def test_a_sparse_or_oversized_list_is_unread() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        item = entry("var/lib/dpkg/status", size=4)
        item.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "var/lib/dpkg/status"}
        tar.addfile(item, io.BytesIO(b"0\n\n\n"))
    _, found = whole(out.getvalue())
    assert "sparse" in found.unread[0][1]


def test_pax_headers_say_name_link_and_size_as_go_reads_them() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.pax_headers = {"path": "everywhere"}  # global: no runtime applies it
        long = entry("d/" + "x" * 200 + "/METADATA", size=3)
        tar.addfile(long, io.BytesIO(b"abc"))
    read = layer(out.getvalue())
    assert [item.path for item in read.entries] == ["d/" + "x" * 200 + "/METADATA"]


def _header(**fields: bytes) -> bytes:
    head = bytearray(entry("f", size=0).tobuf(tarfile.USTAR_FORMAT))
    places = {"size": 124, "kind": 156, "name": 0}
    for key, value in fields.items():
        head[places[key] : places[key] + len(value)] = value
    head[148:156] = b"        "
    head[148:156] = b"%06o\x00 " % sum(head)
    return bytes(head)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x01" * 512, "header that is none"),
        (_header(size=b"00000001000\x00"), "middle of a file"),
        (_header(size=b"0000000zzzz\x00"), "size that is none"),
        (_header(size=b"\xff" * 12), "size that is none"),
        (_header(kind=b"x", size=b"00000000007\x00") + b"garbage".ljust(512, b"\x00"), "pax header"),
        (_header(kind=b"x", size=b"77777777777\x00"), "header of"),
        (bytes(512) + _header(), "half an end mark"),
    ],
)
def test_an_archive_that_is_broken_is_an_error_and_not_an_empty_layer(data: bytes, why: str) -> None:
    with pytest.raises(LayerError, match=why):
        layer(data)


def test_bytes_behind_the_end_are_said() -> None:
    read = layer(tar_of({"a": "1"}) + b"hidden" + bytes(506))
    assert read.remarks
    assert [item.path for item in read.entries] == ["a"]


def test_a_layer_that_lies_about_its_digests_is_not_believed() -> None:
    plain = tar_of({"a": "1"})
    packed = gzipped(plain)
    good = bytes_digest(packed), bytes_digest(plain)
    for digest, diff_id in ((bytes_digest(b"x"), good[1]), (good[0], bytes_digest(b"x"))):
        with pytest.raises(LayerError, match="digest"):
            read_layer(Source.of(packed), digest, diff_id, Bounds(), "here")


def test_bombs_end_early() -> None:
    with pytest.raises(LayerError, match="bomb"):
        layer({"zeros": bytes(8 << 20)}, free=1 << 20, ratio=100)
    with pytest.raises(LayerError, match="unpacks to more"):
        layer({"zeros": bytes(8 << 20)}, unpacked=1 << 20)
    with pytest.raises(LayerError, match="more entries"):
        layer({f"f{number}": b"" for number in range(100)}, entries=50)
    with pytest.raises(LayerError, match="longer names"):
        layer({f"{'n' * 100}{number}": b"" for number in range(100)}, names=500)


def test_a_maze_of_links_and_a_forest_of_folders_end_early() -> None:
    long = "../".join("d/" for _ in range(200))
    maze = layer({"d": None, "l": ("link", long + "d"), **{f"l/f{number}": "" for number in range(50)}})
    with pytest.raises(LayerError, match="further than is followed"):
        merged([maze], steps=5_000)
    forest = layer({f"{number}/" + "x/" * 300 + "f": "" for number in range(10)})
    with pytest.raises(LayerError, match="more folders"):
        merged([forest], folders=1_000)
    assert len(list(merged([forest]).files())) == 10


def test_a_cut_stream_and_bytes_behind_it_are_errors() -> None:
    packed = gzipped(tar_of({"a": "1" * 5000}))
    for bad in (packed[:-20], packed + b"more"):
        with pytest.raises(LayerError, match="cannot be unpacked"):
            read_layer(Source.of(bad), bytes_digest(bad), "", Bounds(), "here")


@pytest.mark.parametrize("kind", ["plain", "gzip", "gzip-members", "zstd", "zstd-chunked", "xz", "bzip2"])
def test_every_packing_that_runtimes_take_is_read(kind: str) -> None:
    import bz2
    import lzma
    import sys

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    plain = tar_of({"a-1.dist-info/METADATA": python("a"), "x": "y" * 100_000})
    half = len(plain) // 2
    packed = {
        "plain": lambda: plain,
        "gzip": lambda: gzipped(plain),
        "gzip-members": lambda: gzipped(plain[:half]) + gzipped(plain[half:]),
        "zstd": lambda: zstd.compress(plain),
        "zstd-chunked": lambda: (
            zstd.compress(plain[:half]) + zstd.compress(plain[half:]) + b"\x50\x2a\x4d\x18\x04\0\0\0toc!"
        ),
        "xz": lambda: lzma.compress(plain),
        "bzip2": lambda: bz2.compress(plain),
    }[kind]()
    read = read_layer(Source.of(packed), bytes_digest(packed), bytes_digest(plain), Bounds(), "here")
    assert [item.packages[0].name for item in read.contents.values()] == ["a"]


def test_a_layer_is_remembered_as_it_was_read() -> None:
    read = layer(
        {
            "etc/os-release": DEBIAN,
            "var/lib/dpkg/status": STATUS.format("bash", "5.2") + "broken",
            "m.pkl": b"\x80\x04cos\nsystem\n(S'id'\ntR.",
            "l": ("link", "m.pkl"),
            b"\xff\xfe".decode("utf-8", "surrogateescape"): "1",
        }
    )
    assert from_json(to_json(read)) == read


def test_a_model_that_runs_code_is_found_also_without_a_telling_name() -> None:
    evil = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R." + bytes(20)
    _, found = whole({"srv/cache": evil, "srv/model.pkl": evil, "usr/lib/python3/site-packages/n/tests/x.pkl": evil})
    assert {scan.path for _, scan, _ in found.models} == {
        "srv/cache",
        "srv/model.pkl",
        "usr/lib/python3/site-packages/n/tests/x.pkl",
    }
    assert found.verdict is not None
    assert found.verdict.value == "malicious"


def test_files_that_hold_secrets_are_named_also_when_a_later_layer_hides_them() -> None:
    _, found = whole(
        {"root/.ssh/id_ed25519": "key", "root/.ssh/id_ed25519.pub": "x"}, {"root/.ssh/.wh.id_ed25519": b""}
    )
    assert found.secrets == [("root/.ssh/id_ed25519", 0, True)]


def test_a_folder_is_read_by_the_same_readers_and_leaves_nothing_out_in_silence(tmp_path: Path) -> None:
    meta = tmp_path / "lib" / "a-1.0.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text(python("a"))
    (tmp_path / "out").symlink_to("/etc")
    found = packages_of_folder(tmp_path)
    assert names(found) == {"a"}
    assert found.complete
    (meta / "METADATA").write_text("no metadata")
    broken = packages_of_folder(tmp_path)
    assert not broken.complete
    assert broken.unread[0][0] == "/lib/a-1.0.dist-info/METADATA"
