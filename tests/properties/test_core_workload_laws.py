"""Reading workloads: laws over every manifest, and no crash on a broken one."""

from __future__ import annotations

from hypothesis import given, settings

from customhouse._kit.canonical import canonical_json
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, Manifest, ResourceRef
from customhouse.core.workload import workload
from customhouse.testing.strategies import broken, manifests

REF = ResourceRef("v1", "Thing", "default", "x")


@given(manifests())
def test_every_workload_is_read(manifest: Manifest) -> None:
    found = workload(manifest)
    assert found is not None
    assert found.ref == ResourceRef.of(manifest)
    assert found.replicas_min <= found.replicas_max
    assert found.cpu >= max(container.cpu_request for container in found.containers)
    assert found.memory <= sum(container.memory_request for container in found.containers)
    assert (found.accelerator is None) == (not any(container.accelerators for container in found.containers))


@given(manifests())
def test_every_pointer_leads_to_what_it_names(manifest: Manifest) -> None:
    found = workload(manifest)
    assert found is not None
    for container in found.containers:
        assert container.image == (_at(manifest, container.pointer).get("image") or "")  # type: ignore[attr-defined]
    for artifact in found.artifacts:
        assert _at(manifest, artifact.pointer) == artifact.reference
    assert _at(manifest, found.pod_pointer) == found.pod


@given(manifests())
def test_a_declaration_has_the_digest_of_its_canonical_json(manifest: Manifest) -> None:
    one = Declaration(ResourceRef.of(manifest), manifest, Location("a.yaml", 3))
    moved = Declaration(ResourceRef.of(manifest), dict(reversed(manifest.items())), Location("b.yaml", 9))
    assert canonical_json(one.manifest) == canonical_json(moved.manifest)
    assert one.digest == moved.digest


@settings(max_examples=80)
@given(broken(manifests()))
def test_a_broken_manifest_is_a_declaration_error_or_a_workload_and_never_a_crash(manifest: Manifest) -> None:
    try:
        found = workload(manifest, REF)
    except DeclarationError:
        return
    if found is not None:
        assert found.cpu >= 0
        assert found.memory >= 0
        assert found.accelerators >= 0
        assert found.replicas_max >= found.replicas_min >= 0


@settings(max_examples=60)
@given(broken(manifests()))
def test_a_broken_object_has_a_reference_or_says_what_it_lacks(manifest: Manifest) -> None:
    try:
        ref = ResourceRef.of(manifest)
    except (KeyError, TypeError):
        return
    assert all(isinstance(part, str) for part in (ref.api_version, ref.kind, ref.namespace, ref.name))
    declaration = Declaration(ref, manifest, Location("a.yaml"))
    for read in (declaration.label, declaration.annotation):
        assert isinstance(read("customhouse.dev/team"), str | None)


def _at(value: object, pointer: str) -> object:
    for part in pointer.split("/")[1:]:
        value = value[int(part)] if isinstance(value, list) else value[part]  # type: ignore[index]
    return value
