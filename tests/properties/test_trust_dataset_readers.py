"""Whatever bytes a file has: it is read or refused by a finding, soon, and never by a crash."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.trust.dataset.pictures import picture
from customhouse.trust.dataset.table import _mixed
from dataset_cases import looked_at, table


def _array() -> bytes:
    made = io.BytesIO()
    np.save(made, np.arange(60, dtype="<f4").reshape(20, 3))
    return made.getvalue()


WHOLE = {
    "rows.csv": table(40).encode(),
    "wide.csv": table(12).encode("utf-16"),
    "rows.csv.gz": gzip.compress(table(40).encode(), mtime=0),
    "rows.jsonl": "\n".join(json.dumps({"a": i, "b": None, "c": "x" * (i % 4)}) for i in range(20)).encode(),
    "x.npy": _array(),
    "one.txt": b"some\ntext\n",
}


INSERTED = [b"\0", b'"', b"\xff\xfe", b"\n\n", b",,,,", b"\r", b"1e999", b"{", b"\xc3"]
HEADS = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"GIF89a", b"RIFF....WEBPVP8L", b"BM"]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(WHOLE)))
    data = bytearray(WHOLE[name])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[at:at] = draw(
                st.sampled_from([b"\0", b'"', b"\xff\xfe", b"\n\n", b",,,,", b"\r", b"1e999", b"{", b"\xc3"])
            )
        else:
            data[at:at] = data[at : at + 200]
    return name, bytes(data)


@settings(deadline=None, max_examples=80)
@given(damaged())
def test_damaged_files_are_read_or_named(case: tuple[str, bytes]) -> None:
    name, data = case
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / name
        place.write_bytes(data)
        report = looked_at(place)
        assert report.rows > 0 or not report.passed
        assert report.tree.rows == report.rows
        json.dumps(report.to_json(), allow_nan=False)


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"GIF89a", b"RIFF....WEBPVP8L", b"BM"]),
)
def test_any_bytes_are_a_picture_or_have_a_problem(data: bytes, head: bytes) -> None:
    seen = picture(head + data)
    assert seen.problem or (seen.width > 0 and seen.height > 0)


def test_the_drawing_of_rows_is_even_and_always_the_same() -> None:
    drawn = _mixed(np.arange(100_000, dtype=np.uint64))
    assert int(drawn[0]) == 0xE220A8397B1DCDAF, "splitmix64 of 0, as its authors print it"
    share = float((drawn < np.uint64(1 << 63)).mean())
    assert abs(share - 0.5) < 0.01
