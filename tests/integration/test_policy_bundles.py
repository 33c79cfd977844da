"""Bundles from elsewhere: what verifies comes into force, what does not keeps the last good one or shuts the gate."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from control_repository import clone, remote, write
from policy_world import OPEN, Terminal, config_map, rule, terminal

from customhouse._kit.digest import bytes_digest
from customhouse.app.policyshelf import Fetched, Shelf
from customhouse.app.policyspecs import BundleSource
from customhouse.core.errors import PolicyError, TamperError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.keys import TrustRoot, generate_pair
from oci_registry import Registry

__all__ = ["clone", "remote", "terminal"]

SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@pytest.fixture
def built(terminal: Terminal) -> Path:
    """An archive with its signature, and `rules.pub`; beside it a folder `own`."""
    generate_pair(terminal.root, "rules")
    terminal.write("own/names.rego", rule())
    done = terminal("policy", "build", "own", "--out", "bundle.tar.gz", "--version", "7", "--sign", "rules.key")
    assert done.status == 0, done.err
    return terminal.root / "bundle.tar.gz"


def digest(place: Path) -> str:
    return bytes_digest(place.read_bytes())


def test_a_file_and_a_folder_are_pulled_by_digest_or_by_signature(built: Path, terminal: Terminal) -> None:
    by_digest = terminal("policy", "pull", built, "--digest", digest(built), "-o", "json")
    assert (by_digest.status, by_digest.json["version"], by_digest.json["signed"]) == (0, "7", False)
    folder = terminal("policy", "pull", terminal.root, "--key", "rules.pub", "-o", "json")
    assert (folder.json["digest"], folder.json["signed"]) == (digest(built), True)
    kept = terminal.root / ".customhouse" / "bundles"
    assert (kept / f"{digest(built)[7:]}.tar.gz").read_bytes() == built.read_bytes()


def test_what_does_not_verify_is_not_kept(built: Path, terminal: Terminal) -> None:
    generate_pair(terminal.root, "stranger")
    other = terminal("policy", "build", "own", "--out", "other.tar.gz", "--version", "8")
    wrong = terminal("policy", "pull", built, "--digest", other.out.strip())
    assert (wrong.status, "its digest is" in wrong.err) == (5, True)
    foreign = terminal("policy", "pull", built, "--key", "stranger.pub")
    assert (foreign.status, "does not verify" in foreign.err) == (5, True)
    # The signature is about the archive's bytes: beside another archive it says nothing.
    signature = terminal.root / "bundle.tar.gz.sigstore.json"
    (terminal.root / "other.tar.gz.sigstore.json").write_bytes(signature.read_bytes())
    moved = terminal("policy", "pull", "other.tar.gz", "--key", "rules.pub")
    assert (moved.status, "about something else" in moved.err) == (5, True)
    signature.unlink()
    unsigned = terminal("policy", "pull", built, "--key", "rules.pub")
    assert (unsigned.status, "not signed" in unsigned.err) == (5, True)
    assert not (terminal.root / ".customhouse" / "bundles").exists()
    assert terminal("policy", "pull", built).status == 2
    assert terminal("policy", "pull", "ftp://example.com/b", "--digest", digest(built)).status == 2
    assert terminal("policy", "pull", "http://example.com/b", "--digest", digest(built)).status == 3


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(terminal: Terminal) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=terminal.root))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_web_server_gives_the_archive_and_its_signature(built: Path, web: str, terminal: Terminal) -> None:
    done = terminal("policy", "pull", f"{web}/bundle.tar.gz", "--key", "rules.pub", "-o", "json")
    assert (done.status, done.json["digest"]) == (0, digest(built))
    missing = terminal("policy", "pull", f"{web}/nothing.tar.gz", "--key", "rules.pub")
    assert (missing.status, "there is nothing" in missing.err) == (3, True)


@pytest.mark.part("docker-registry")
def test_a_real_registry_gives_them_by_tag_and_by_digest(
    built: Path, terminal: Terminal, find_part: Callable[[str], Path], tmp_path: Path
) -> None:
    registry = Registry(find_part("docker-registry"), tmp_path)
    try:
        layer = registry.blob("rules", built.read_bytes())
        signature = registry.blob("rules", (terminal.root / "bundle.tar.gz.sigstore.json").read_bytes())
        manifest = registry.manifest("rules", "v7", [layer, {**signature, "mediaType": SIGSTORE}])
        by_tag = terminal("policy", "pull", f"oci://{registry.host}/rules:v7", "--key", "rules.pub", "-o", "json")
        assert (by_tag.status, by_tag.json["digest"], by_tag.json["signed"]) == (0, digest(built), True)
        pinned = f"oci://{registry.host}/rules@{manifest}"
        assert terminal("policy", "pull", pinned, "--digest", digest(built)).status == 0
        assert terminal("policy", "pull", pinned, "--digest", "sha256:" + "0" * 64).status == 3
        two = registry.manifest("rules", "two", [layer, registry.blob("rules", b"another")])
        unclear = terminal("policy", "pull", f"oci://{registry.host}/rules@{two}", "--key", "rules.pub")
        assert (unclear.status, "2 of its layers" in unclear.err) == (3, True)
    finally:
        registry.stop()


def settings_of(built: Path, *, pin: str = "", key: bool = True) -> str:
    entry = f"source: {built}" + (f", digest: '{pin}'" if pin else "") + (", key: rules" if key else "")
    trust = "trust:\n  keys: [{name: rules, publicKey: rules.pub, kinds: [policy-bundle]}]\n"
    return f"{OPEN}  bundles: [{{{entry}}}]\n{trust}"


def test_the_gate_judges_with_a_pinned_bundle_and_its_decision_names_it(
    built: Path, clone: Path, terminal: Terminal
) -> None:
    public = (terminal.root / "rules.pub").read_text()
    write(clone, {"customhouse.yaml": settings_of(built, pin=digest(built)), "rules.pub": public})
    write(clone, {"a.json": config_map("rather-long-name")})
    done = terminal("gate", "--repo", clone, "--base", "HEAD^", "-o", "json")
    assert done.status == 1
    assert "names-long" in {item["rule"] for item in done.json["findings"]}
    # What is pinned lies on the shelf: its source may go away, and somebody's change of the shelf is not believed.
    source = built.read_bytes()
    built.unlink()
    again = terminal("gate", "--repo", clone, "--base", "HEAD^", "-o", "json")
    assert (again.status, again.json["bundle_digest"]) == (1, done.json["bundle_digest"])
    shelved = terminal.root / ".customhouse" / "bundles" / f"{bytes_digest(source)[7:]}.tar.gz"
    shelved.write_bytes(b"weaker rules")
    shut = terminal("gate", "--repo", clone, "--base", "HEAD^")
    assert (shut.status, "policy bundle cannot be used" in shut.err) == (3, True)
    built.write_bytes(source)
    assert terminal("gate", "--repo", clone, "--base", "HEAD^").status == 1


def test_a_pin_that_names_something_else_is_not_merged(built: Path, clone: Path, terminal: Terminal) -> None:
    public = (terminal.root / "rules.pub").read_text()
    pull = f"{OPEN}  bundles: [{{source: {built.parent}/other.tar.gz, digest: '{digest(built)}'}}]\n"
    (terminal.root / "other.tar.gz").write_bytes(built.read_bytes())
    base = write(clone, {"customhouse.yaml": pull, "rules.pub": public})
    write(clone, {"customhouse.yaml": settings_of(built, pin="sha256:" + "1" * 64)})
    done = terminal("gate", "--repo", clone, "--base", "HEAD^")
    assert (done.status, "its digest is" in done.err) == (3, True)
    for wrong, said in (("key: rules", "key: rulez"), ("digest: '", "digest: 'x")):
        write(clone, {"customhouse.yaml": settings_of(built, pin="sha256:" + "1" * 64).replace(wrong, said)})
        refused = terminal("gate", "--repo", clone, "--base", base)
        assert refused.status == 3
        assert "customhouse.yaml:" in refused.err


def test_a_change_makes_the_gate_fetch_from_no_new_place(
    built: Path, web: str, clone: Path, terminal: Terminal
) -> None:
    """Else whoever opens a pull request could have it ask any address, and read any file."""
    write(clone, {"customhouse.yaml": OPEN, "rules.pub": (terminal.root / "rules.pub").read_text()})
    base = "HEAD^"
    for source in (f"{web}/bundle.tar.gz", str(built), f"oci://{web.removeprefix('http://')}/rules:v1"):
        write(clone, {"customhouse.yaml": settings_of(Path("place")).replace("source: place", f"source: '{source}'")})
        done = terminal("gate", "--repo", clone, "--base", base)
        assert (done.status, "nothing is fetched because a change says so" in done.err) == (3, True), done.err
        base += "^"
    # Somebody who may pulls it once; then it is judged, and comes into force with the merge.
    assert terminal("policy", "pull", built, "--key", "rules.pub").status == 0
    write(clone, {"customhouse.yaml": settings_of(built, pin=digest(built))})
    done = terminal("gate", "--repo", clone, "--base", base)
    assert done.status == 0, done.err


class _Source:
    """A source whose answer a test sets."""

    def __init__(self) -> None:
        self.answer: Fetched | Exception = PolicyError("unset")

    def fetch(self, _source: str, _digest: str | None) -> Fetched:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_source_that_goes_bad_leaves_the_last_good_bundle_and_an_alert(terminal: Terminal, tmp_path: Path) -> None:
    generate_pair(terminal.root, "rules")
    generate_pair(terminal.root, "stranger")
    fetched = {}
    for name, limit, key in (("old", 9, "rules"), ("new", 8, "rules"), ("foreign", 7, "stranger")):
        terminal.write("own/names.rego", rule(limit=limit))
        out = f"{name}.tar.gz"
        assert terminal("policy", "build", "own", "--out", out, "--sign", f"{key}.key").status == 0
        read = (terminal.root / out).read_bytes()
        fetched[name] = Fetched(read, (terminal.root / f"{out}.sigstore.json").read_bytes())
    pem = (terminal.root / "rules.pub").read_bytes()
    roots = (TrustRoot("rules", pem, frozenset({EvidenceKind.POLICY_BUNDLE})),)
    wanted, source = BundleSource("https://example.com/rules", None, "rules"), _Source()
    shelf = Shelf(tmp_path / "shelf", source.fetch)
    # 1. Nothing was ever good: shut.
    source.answer = fetched["foreign"]
    with pytest.raises(PolicyError, match="cannot be used") as caught:
        shelf.take(wanted, roots)
    assert isinstance(caught.value.__cause__, TamperError)
    # 2. Good ones come into force as they come.
    for name in ("old", "new"):
        source.answer = fetched[name]
        taken = shelf.take(wanted, roots)
        assert (taken.archive.digest, taken.alert) == (bytes_digest(fetched[name].archive), "")
    # 3. Bad signature, bomb, cut off, out of reach, yesterday's: the last good one, and it is said.
    bad: list[Fetched | Exception] = [
        fetched["foreign"],
        fetched["old"],
        Fetched(fetched["new"].archive[:-1], fetched["new"].signature),
        Fetched(fetched["new"].archive, None),
        Fetched(b"\x1f\x8b" + bytes(100), fetched["new"].signature),
        PolicyError("out of reach"),
    ]
    for answer in bad:
        source.answer = answer
        taken = shelf.take(wanted, roots)
        assert taken.archive.digest == bytes_digest(fetched["new"].archive)
        assert "judged with the last good one" in taken.alert
    # 4. Another process finds it too; a key that may not sign bundles gives nothing.
    assert Shelf(tmp_path / "shelf", source.fetch).take(wanted, roots).alert
    with pytest.raises(PolicyError, match="cannot be used"):
        shelf.take(wanted, (TrustRoot("rules", pem, frozenset({EvidenceKind.SCAN})),))
