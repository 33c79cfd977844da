"""`image scan` as a person uses it: from a real registry, from layouts and archives, and what keeps it from "clean"."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema import Draft4Validator

from customhouse.app.image_scan import packages_to_match
from customhouse.cli.program import run as main
from customhouse.trust.images.listing import Listed, Listing
from customhouse.trust.packages.found import Found
from image_builder import INDEX, MANIFEST, ImageBuilder, Item, gzipped, tar_of
from oci_registry import Registry

STATUS = "Package: {0}\nStatus: install ok installed\nVersion: {1}\nArchitecture: amd64\nSource: {2}\n\n"
BASE: dict[str, Item] = {
    "usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "etc/os-release": ("link", "../usr/lib/os-release"),
    "var/lib/dpkg/status": STATUS.format("libssl3", "3.0.9-1", "openssl"),
}
APP: dict[str, Item] = {
    "app/jinja2-2.10.dist-info/METADATA": "Name: Jinja2\nVersion: 2.10\nRequires-Dist: MarkupSafe\n\n",
    "app/markupsafe-2.0.dist-info/METADATA": "Name: MarkupSafe\nVersion: 2.0\n\n",
}
EVIL = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R." + bytes(20)
JINJA = {
    "schema_version": "1.6.0",
    "id": "GHSA-462w-v97r-4m45",
    "modified": "2026-11-20T00:00:00Z",
    "published": "2019-04-10T14:30:24Z",
    "aliases": ["CVE-2019-10906"],
    "summary": "Jinja2 sandbox escape",
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:N/A:N"}],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "jinja2"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.10.1"}]}],
        }
    ],
}


@dataclass
class Done:
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command line in this process, in the test's folder."""
    monkeypatch.chdir(tmp_path)

    def called(*words: str, status: int = 0) -> Done:
        found = main(list(words))
        said = capsys.readouterr()
        assert found == status, said.out[-2000:] + said.err
        return Done(said.out, said.err)

    return called


def scanned(run: Run, what: str, *words: str, status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("image", "scan", what, "-o", "json", *words, status=status).stdout)
    return found


def image(**config: Any) -> ImageBuilder:
    return ImageBuilder(**config).layer(BASE, "debootstrap").layer(APP, "RUN pip install jinja2==2.10")


@pytest.fixture(scope="module")
def registry(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


@pytest.mark.part("docker-registry")
def test_from_a_registry_to_a_bill_of_what_is_in_an_image(registry: Registry, tmp_path: Path, run: Run) -> None:
    digest = image(User="app").push(registry, "shop/app", "v1")
    name = f"{registry.host}/shop/app"
    found = scanned(run, f"{name}:v1", "--state", "state", "--sbom", "app.cdx.json")
    assert (found["digest"], found["tag"], found["complete"]) == (digest, "v1", True)
    assert found["reference"] == f"{name}@{digest}"
    assert found["distribution"]["ecosystem"] == "Debian:12"
    assert {(item["name"], item["layer"]) for item in found["packages"]} == {
        ("libssl3", 1),
        ("jinja2", 2),
        ("markupsafe", 2),
    }
    assert found["layers"][1]["command"] == "RUN pip install jinja2==2.10"
    assert found["vulnerabilities"] is None
    bill = (tmp_path / "app.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    needs = {row["ref"]: row["dependsOn"] for row in json.loads(bill)["dependencies"]}
    assert needs["pkg:pypi/jinja2@2.10"] == ["pkg:pypi/markupsafe@2.0"]
    run("bom", "diff", "app.cdx.json", "app.cdx.json")


def imported(run: Run) -> None:
    """One advisory in the state."""
    Path("osv").mkdir()
    Path("osv", "a.json").write_text(json.dumps(JINJA))
    run("vuln", "import", "osv", "--state", "state")


def test_what_is_known_against_an_image_and_what_nobody_knows(tmp_path: Path, run: Run) -> None:
    imported(run)
    layout = str(image().layout(tmp_path / "layout"))
    known = ("--accept", "unknown", "--accept", "stale")
    found = scanned(run, layout, "--state", "state", *known, status=1)
    (one,) = found["vulnerabilities"]["findings"]
    assert (one["id"], one["fixed"], one["package"]["file"]) == (
        JINJA["id"],
        "2.10.1",
        "/app/jinja2-2.10.dist-info/METADATA",
    )
    scanned(run, layout, "--state", "state", *known, "--fail-on", "critical")
    # Of Debian no advisories are here: nothing is said of openssl, so it is not clean.
    unknown = scanned(run, layout, "--state", "state", "--fail-on", "critical", status=3)
    assert [item["ecosystem"] for item in unknown["vulnerabilities"]["unknown"]] == ["Debian:12"]
    sarif = json.loads(run("image", "scan", layout, "--state", "state", "-o", "sarif", status=1).stdout)
    assert [result["ruleId"] for result in sarif["runs"][0]["results"]] == [JINJA["id"]]
    schema = json.loads((Path(__file__).parents[1] / "conformance" / "sarif" / "sarif-schema-2.1.0.json").read_text())
    assert [error.message for error in Draft4Validator(schema).iter_errors(sarif)] == []


def test_an_image_in_which_no_package_was_found_is_not_called_clean(tmp_path: Path, run: Run) -> None:
    imported(run)
    layout = str(
        ImageBuilder().layer({"bin/server": "a program that says nothing of its libraries"}).layout(tmp_path / "l")
    )
    found = scanned(run, layout, "--state", "state", status=3)
    assert (found["vulnerabilities"]["packages"], found["vulnerabilities"]["clean"]) == (0, False)
    sarif = json.loads(run("image", "scan", layout, "--state", "state", "-o", "sarif", status=3).stdout)
    assert sarif["runs"][0]["properties"]["clean"] is False
    said = run("image", "scan", layout, "--state", "state", "--accept", "unread").stdout
    assert "no package was looked up: that is not clean" in said


@pytest.mark.part("docker-registry")
def test_the_bill_and_what_is_known_are_signed_and_attached(registry: Registry, tmp_path: Path, run: Run) -> None:
    imported(run)
    name = f"{registry.host}/shop/signed@{image().push(registry, 'shop/signed', 'v1')}"
    key = ec.generate_private_key(ec.SECP256R1())
    Path("k.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    Path("k.pem").chmod(0o600)
    Path("k.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    run("image", "scan", name, "--state", "state", "--attest", "--key", "k.pem", status=1)
    run("image", "verify", name, "--key", "k.pub", "--require", "vulnerabilities", "--require", "bom")


@pytest.mark.part("docker-registry")
def test_a_second_image_on_the_same_base_reads_only_what_is_new(registry: Registry, tmp_path: Path, run: Run) -> None:
    (tmp_path / "state").mkdir()
    first, second = image(), image().layer({"app/x-1.dist-info/METADATA": "Name: x\nVersion: 1\n\n"}, "RUN more")
    name = f"{registry.host}/shop/base"
    first.push(registry, "shop/base", "1")
    second.push(registry, "shop/base", "2")
    scanned(run, f"{name}:1", "--state", "state")
    found = scanned(run, f"{name}:2", "--state", "state")
    assert [row["state"] for row in found["layers"]] == ["remembered", "remembered", "read"]
    again = scanned(run, f"{name}:2", "--state", "state", "--no-cache")
    assert again["packages"] == found["packages"]
    for record in (tmp_path / "state" / "cache" / "layers").glob("*.json"):
        record.write_text(record.read_text().replace("records", "recorbs"))
    forged = scanned(run, f"{name}:2", "--state", "state")
    assert {row["state"] for row in forged["layers"]} == {"read"}
    assert forged["packages"] == found["packages"]


@pytest.mark.part("docker-registry")
def test_of_several_platforms_one_is_read_and_told(registry: Registry, tmp_path: Path, run: Run) -> None:
    entries = []
    for architecture in ("amd64", "arm64"):
        built = image()
        built.config["architecture"] = architecture
        digest = built.push(registry, "shop/many", architecture)
        size = len(registry.get(f"/v2/shop/many/manifests/{digest}"))
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform})
    registry.document("shop/many", "v1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
    name = f"{registry.host}/shop/many:v1"
    found = scanned(run, name, "--platform", "linux/arm64")
    assert found["digest"] == entries[1]["digest"]
    assert found["image"]["platform"] == "linux/arm64"
    assert found["other_platforms"] == ["linux/amd64"]
    refused = run("image", "scan", name, "--platform", "linux/s390x", status=3)
    assert "linux/amd64" in refused.stderr


def test_layouts_and_archives_give_the_same_as_a_folder_of_blobs(tmp_path: Path, run: Run) -> None:
    built = image(Env=["PATH=/bin", "DB_PASSWORD=hunter2"])
    built.history[1]["created_by"] = "|1 TOKEN=hunter2 /bin/sh -c pip install"
    layout = built.layout(tmp_path / "layout")
    saved = built.saved(tmp_path / "saved.tar")
    files: dict[str, Item] = {
        str(item.relative_to(layout)): item.read_bytes() for item in sorted(layout.rglob("*")) if item.is_file()
    }
    (tmp_path / "oci.tar").write_bytes(tar_of(files))
    (tmp_path / "saved.tar.gz").write_bytes(gzip.compress(saved.read_bytes()))
    found = [scanned(run, what) for what in ("layout", "layout:v1", "oci.tar", "saved.tar", "saved.tar.gz:v1")]
    for one in found:
        assert one["complete"]
        assert [item["purl"] for item in one["packages"]] == [item["purl"] for item in found[0]["packages"]]
        assert one["image"]["secrets"] == ["DB_PASSWORD (environment)", "TOKEN (history)"]
        assert one["image_id"] == found[0]["image_id"]
    assert "hunter2" not in json.dumps(found)
    (tmp_path / "both.tar").write_bytes(tar_of({**files, "manifest.json": "[{}]"}))
    run("image", "scan", "both.tar", status=3)
    other = json.dumps([{"Config": "c.json", "RepoTags": [], "Layers": []}])
    (tmp_path / "both.tar").write_bytes(tar_of({**files, "c.json": "{}", "manifest.json": other}))
    assert "different images" in run("image", "scan", "both.tar", status=3).stderr


def test_several_images_in_one_layout_are_told_apart_by_tag(tmp_path: Path, run: Run) -> None:
    image().layout(tmp_path / "l", "one")
    image().layer({"app/x-1.dist-info/METADATA": "Name: x\nVersion: 1\n\n"}).layout(tmp_path / "l", "two")
    assert "l:TAG" in run("image", "scan", "l", status=3).stderr
    assert len(scanned(run, "l:two")["packages"]) == 4


def test_a_layer_that_is_damaged_encrypted_or_elsewhere_leaves_the_scan_incomplete(tmp_path: Path, run: Run) -> None:
    good = gzipped(tar_of(APP))
    for number, (kind, packed, why) in enumerate(
        [
            ("+gzip", good[:-10], "cannot be unpacked"),
            ("+gzip+encrypted", good, "encrypted"),
            (".squashfs", good, "is not read"),
        ]
    ):
        media_type = f"application/vnd.oci.image.layer.v1.tar{kind}" if kind.startswith("+") else f"application/x{kind}"
        built = ImageBuilder().layer(BASE).layer(tar_of(APP), packed=packed, media_type=media_type)
        found = scanned(run, str(built.layout(tmp_path / f"{number}")), status=3)
        assert why in found["layers"][1]["why"]
        assert not found["complete"]
        assert [item["name"] for item in found["packages"]] == ["libssl3"]
    foreign = (
        ImageBuilder().layer(BASE).layer(APP, media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    )
    layout = foreign.layout(tmp_path / "foreign")
    blob = foreign.manifest()["layers"][1]["digest"].removeprefix("sha256:")
    (layout / "blobs" / "sha256" / blob).unlink()
    assert "not distributed" in scanned(run, str(layout), status=3)["layers"][1]["why"]
    other = image()
    other.config["os"] = "windows"
    found = scanned(run, str(other.layout(tmp_path / "windows")), status=3)
    assert "only Linux" in found["unread"][0]["why"]
    changed = image().layout(tmp_path / "changed")
    blob = image().manifest()["layers"][1]["digest"].removeprefix("sha256:")
    place = changed / "blobs" / "sha256" / blob
    place.write_bytes(bytes(len(place.read_bytes())))
    assert "digest" in scanned(run, str(changed), status=3)["layers"][1]["why"]


def test_a_model_that_runs_code_is_found_in_the_image(tmp_path: Path, run: Run) -> None:
    built = image().layer({"models/model.pkl": EVIL}, "COPY model.pkl")
    found = scanned(run, str(built.layout(tmp_path / "bad")), status=1)
    assert [(row["path"], row["verdict"]) for row in found["models"]] == [("models/model.pkl", "malicious")]
    hidden = built.layer({"models/.wh.model.pkl": b""}, "RUN rm")
    found = scanned(run, str(hidden.layout(tmp_path / "hidden")))
    assert [(row["hidden"], row["verdict"]) for row in found["models"]] == [(True, "malicious")]
    text = run("image", "scan", str(tmp_path / "hidden")).stdout
    assert "Model in a lower layer" in text


@pytest.mark.parametrize(
    ("what", "why"),
    [("nothing/here.tar", "no such file"), ("folder", "no image"), ("text.tar", "no archive of an image")],
)
def test_what_is_no_image_is_refused_with_what_to_do(tmp_path: Path, what: str, why: str, run: Run) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.tar").write_text("x" * 2000)
    done = run("image", "scan", what, status=3 if what == "text.tar" else 2)
    assert why in done.stderr
    assert "fix:" in done.stderr or "no such file" in done.stderr


def test_what_the_distribution_brought_is_its_own_to_warn_of_but_for_what_programs_were_linked_from() -> None:
    def row(kind: str, version: str, owner: str) -> Listed:
        found = Found(kind, f"{kind}-{owner or 'own'}", version)
        return Listed(found, "p", 0, "E", found.purl(), owner)

    rows = [row("pypi", "1", "deb"), row("pypi", "1", ""), row("golang", "1", "deb"), row("golang", "(devel)", "")]
    assert [item.name for item in packages_to_match(Listing(packages=rows), ())] == ["pypi-own", "golang-deb"]
