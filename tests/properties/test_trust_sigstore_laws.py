"""Laws of Sigstore verification: no changed byte of what a bundle vouches with is taken, and nothing makes it crash."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.core.errors import TamperError
from customhouse.trust.sigstore import der
from customhouse.trust.sigstore.identity import Expected
from customhouse.trust.sigstore.roots import SigstoreRoot, read_root
from customhouse.trust.sigstore.verification import Artifact, Policy, verify_bundle
from sigstore_world import ARTIFACT, IDENTITY, ISSUER, NOW, V01, V02, World

WORLD = World()
LATER = NOW + timedelta(days=30)
WHO = Policy(expected=Expected(IDENTITY, ISSUER))
THING = Artifact.of_bytes(ARTIFACT)
BUNDLES = tuple(
    WORLD.bundle(**options)
    for options in (
        {"version": V01},
        {"version": V02, "stamps": [NOW + timedelta(seconds=1)]},
        {"kind": "hashedrekord 0.0.2"},
        {"kind": "dsse 0.0.1", "dsse": True},
        {"kind": "dsse 0.0.2", "dsse": True},
        {"kind": "intoto 0.0.2", "dsse": True},
    )
)


@pytest.fixture(scope="module")
def root() -> SigstoreRoot:
    return read_root(json.dumps(WORLD.root()).encode())


def verified(bundle: Any, root: SigstoreRoot) -> bool:
    """Whether a bundle verifies; whatever else than a refusal is raised fails the test."""
    try:
        verify_bundle(json.dumps(bundle).encode(), THING, WHO, root, LATER)
    except TamperError:
        return False
    return True


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, name))
    else:
        yield path, value


def put(bundle: Any, path: tuple[Any, ...], value: Any) -> Any:
    made = copy.deepcopy(bundle)
    place = made
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return made


# What nobody signs: a name for people, and the version (a good bundle may be good by the rules of the next one too).
_FREE = {"keyid", "mediaType"}
_BYTES = {"rawBytes", "keyId", "canonicalizedBody", "rootHash", "signedEntryTimestamp", "signedTimestamp", "payload"}
_BYTES |= {"sig", "signature", "digest"}


@settings(max_examples=300)
@given(data=st.data())
def test_no_changed_byte_is_taken(data: st.DataObject, root: SigstoreRoot) -> None:
    bundle = data.draw(st.sampled_from(BUNDLES))
    path, value = data.draw(st.sampled_from([item for item in leaves(bundle) if item[0][-1] not in _FREE]))
    if path[-1] in _BYTES or "hashes" in path:
        raw = bytearray(base64.b64decode(value))
        position = data.draw(st.integers(0, len(raw) - 1))
        raw[position] ^= 1 << data.draw(st.integers(0, 7))
        changed = base64.b64encode(bytes(raw)).decode()
    else:
        position = data.draw(st.integers(0, len(value) - 1))
        other = data.draw(st.sampled_from("0123456789azAZ+/=-. \n").filter(lambda letter: letter != value[position]))
        changed = value[:position] + other + value[position + 1 :]
    # A response may be "granted, with modifications" (RFC 3161, 2.4.2): that byte alone is nobody's word.
    if path[-1] == "signedTimestamp" and raw[:12] != base64.b64decode(value)[:12]:
        return
    assert not verified(put(bundle, path, changed), root), (path, position)


@settings(max_examples=150)
@given(
    bundle=st.sampled_from(BUNDLES),
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=20)
        | st.just("\ud800"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
    data=st.data(),
)
def test_nothing_in_the_place_of_a_field_makes_it_crash(
    bundle: Any, value: Any, data: st.DataObject, root: SigstoreRoot
) -> None:
    path, _ = data.draw(st.sampled_from(list(leaves(bundle))))
    cut = data.draw(st.integers(1, len(path)))
    verified(put(bundle, path[:cut], value), root)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_der_is_read_or_refused(data: bytes) -> None:
    try:
        items = der.whole(data)
        for value in items:
            assert value.encoded in data
            if value.tag == der.INTEGER:
                value.number()
            elif value.tag == der.OID:
                value.oid()
    except TamperError:
        pass
