"""Laws of model signatures: what a stranger writes into one is read or refused; no more is taken than was signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse._kit.digest import FileEntry, Tree
from customhouse.core.errors import EvidenceError
from customhouse.trust.bundle import seal
from customhouse.trust.keys import Algorithm, TrustRoot, generate
from customhouse.trust.model_files import Serialization, measure
from customhouse.trust.signing import model_statement, serialization_of, verify_model

KEY = generate(Algorithm.ECDSA_P256)
ROOTS = [TrustRoot("signer", KEY.public.pem())]
names = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda text: text not in (".", "..")
)
digests = st.binary(min_size=32, max_size=32).map(lambda data: f"sha256:{data.hex()}")
trees = st.dictionaries(names, digests, min_size=1, max_size=5).map(
    lambda files: Tree(tuple(FileEntry(name, files[name], 1) for name in sorted(files, key=str.encode)))
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40)
@given(signed=trees, there=trees)
def test_only_the_files_that_were_signed_verify(signed: Tree, there: Tree) -> None:
    data = seal(model_statement(signed, "model"), KEY)
    assert verify_model(data, signed, ROOTS).verified
    same = [(item.path, item.digest) for item in signed.files] == [(item.path, item.digest) for item in there.files]
    assert verify_model(data, there, ROOTS).verified is same


@settings(max_examples=100)
@given(where=st.sampled_from(["serialization", "resources", "subject", "predicate", "resource"]), value=values)
def test_nothing_in_a_signed_statement_makes_it_crash(where: str, value: Any) -> None:
    tree = Tree((FileEntry("a", "sha256:" + "0" * 64, 1),))
    statement = json.loads(model_statement(tree, "model"))
    if where in ("serialization", "resources"):
        statement["predicate"][where] = value
    elif where == "resource":
        statement["predicate"]["resources"][0] = value
    else:
        statement[where] = value
    data = seal(json.dumps(statement).encode(), KEY)
    try:
        serialization_of(data)
        assert not verify_model(data, tree, ROOTS).verified or where == "serialization"
    except EvidenceError:
        pass


@settings(max_examples=100)
@given(
    method=st.sampled_from(["files", "shards"]),
    hash_type=st.sampled_from(["sha256", "blake2b", "blake3", "md5"]) | values,
    size=st.sampled_from([0, 1, 4096, 1e6, 1e999, -1e999, 1 << 60, True]) | values,
    ignored=values,
)
def test_a_way_of_hashing_is_read_or_refused(method: str, hash_type: Any, size: Any, ignored: Any) -> None:
    said = {"method": method, "hash_type": hash_type, "shard_size": size, "ignore_paths": ignored}
    try:
        how = Serialization.read(said, "signature")
    except EvidenceError:
        return
    assert (how.shard_size >= 4096) is (method == "shards")


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8192, 10_000])
def test_shards_cover_every_byte_once(size: int, tmp_path: Path) -> None:
    import hashlib

    data = bytes(number % 251 for number in range(size))
    (tmp_path / "file").write_bytes(data)
    found = measure(tmp_path, Serialization(shard_size=4096), follow_links=False)
    spans = sorted(tuple(map(int, name.split(":")[1:])) for name in found)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert (spans[0][0], spans[-1][1]) == (0, size) if size else not spans
    for name, digest in found.items():
        start, end = map(int, name.split(":")[1:])
        assert digest == "sha256:" + hashlib.sha256(data[start:end]).hexdigest()
