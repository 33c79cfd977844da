"""Pulling by digest from a real OCI registry: what is right comes, what was changed on the way does not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.adapters.registries.oci import Credentials, OciRegistry, Reference
from oci_registry import Registry

pytestmark = pytest.mark.part("docker-registry")
REPOSITORY = "models/sentiment"
# "pull:letmein" by bcrypt, cost 4: a test's password.
HTPASSWD = "pull:$2y$04$/tjuJTPjqBpnXVQ//WGtB.gNZyI1DTW83pPdN2nShOZIV7ngtwHsS\n"


@pytest.fixture(scope="module")
def registry(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


def test_a_layer_is_pulled_by_digest(registry: Registry) -> None:
    layer = registry.blob(REPOSITORY, b"weights")
    digest = registry.manifest(REPOSITORY, "v1", [layer])
    client = OciRegistry(registry.host)
    assert client.resolve(REPOSITORY, "v1") == digest
    (found,) = client.layers(REPOSITORY, digest)
    assert (found.digest, found.size) == (layer["digest"], 7)
    assert client.blob(REPOSITORY, found.digest) == b"weights"


def test_referrers_are_found_by_the_tag_where_the_api_is_missing(registry: Registry) -> None:
    digest = registry.manifest(REPOSITORY, "v2", [registry.blob(REPOSITORY, b"other weights")])
    client = OciRegistry(registry.host)
    assert client.referrers(REPOSITORY, digest) == ()
    signature = registry.manifest(REPOSITORY, "sig", [registry.blob(REPOSITORY, b"signature")])
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": signature, "size": 9}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**entry, "artifactType": kind}],
    }
    registry.document(REPOSITORY, digest.replace(":", "-"), index, index["mediaType"])
    (found,) = client.referrers(REPOSITORY, digest)
    assert (found.digest, found.artifact_type) == (signature, kind)


def test_a_blob_that_was_changed_in_the_registry_is_refused(registry: Registry) -> None:
    layer = registry.blob(REPOSITORY, b"good weights")
    folder = registry.data / "docker/registry/v2/blobs/sha256"
    name = layer["digest"].removeprefix("sha256:")
    (folder / name[:2] / name / "data").write_bytes(b"evil weights")
    with pytest.raises(ArtifactError, match=hashlib.sha256(b"evil weights").hexdigest()):
        OciRegistry(registry.host).blob(REPOSITORY, layer["digest"])


def test_what_is_not_there_or_too_large_is_told(registry: Registry) -> None:
    client = OciRegistry(registry.host)
    with pytest.raises(ArtifactError, match="has no blobs/"):
        client.blob(REPOSITORY, "sha256:" + "0" * 64)
    layer = registry.blob(REPOSITORY, b"x" * 2000)
    with pytest.raises(ArtifactError, match="larger than 1000"):
        client.blob(REPOSITORY, layer["digest"], max_bytes=1000)
    with pytest.raises(UsageError, match="no digest"):
        client.blob(REPOSITORY, "latest")


def test_a_password_is_given_when_it_is_asked_for(find_part: Callable[[str], Path], tmp_path: Path) -> None:
    import base64

    running = Registry(find_part("docker-registry"), tmp_path, HTPASSWD)
    try:
        absent = "sha256:" + "0" * 64
        with pytest.raises(ArtifactError, match="401"):
            OciRegistry(running.host).blob(REPOSITORY, absent)
        with pytest.raises(ArtifactError, match="401") as caught:
            OciRegistry(running.host, Credentials("pull", "wrong")).blob(REPOSITORY, absent)
        assert base64.b64encode(b"pull:wrong").decode() not in str(caught.value)
        with pytest.raises(ArtifactError, match="has no blobs/"):
            OciRegistry(running.host, Credentials("pull", "letmein")).blob(REPOSITORY, absent)
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("oci://ghcr.io/org/policies", "ghcr.io", "org/policies", None),
        ("oci://localhost:5000/p:v1", "localhost:5000", "p", "v1"),
        ("oci://[::1]:5000/p/q", "[::1]:5000", "p/q", None),
    ],
)
def test_references(text: str, host: str, repository: str, tag: str | None) -> None:
    reference = Reference.parse(f"{text}@sha256:{'a' * 64}")
    assert (reference.host, reference.repository, reference.tag) == (host, repository, tag)
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text", ["policies", "oci://host/UPPER", "oci://host/a@sha256:12", "oci://h/../x", "a/b\n", ""]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Reference.parse(text)
