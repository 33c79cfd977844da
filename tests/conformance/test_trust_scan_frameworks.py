"""Small files that real frameworks wrote (framework_files.zip) are clean, and what is converted is what they hold.

The files were written by benchmarks/real_models/*.py in environments of scikit-learn 0.20 to 1.9, NumPy 1.16 to
2.4, pandas 0.25 to 3.1, torch 1.4, 1.12 and 2.15, XGBoost, LightGBM, CatBoost, statsmodels, river, gensim, NLTK, sktime
and others: a random choice of those under 3 kB. `converted.json` has the tensors as torch, NumPy and the safetensors
library read them there: type, shape and sha256.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from customhouse.trust.convert import convert
from customhouse.trust.convert.safetensors_file import digests
from customhouse.trust.scan import Verdict, scan_bytes

FILES = Path(__file__).with_name("framework_files.zip")
TYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64", "float8_e4m3fn": "F8_E4M3",
}  # fmt: skip


@pytest.fixture(scope="module")
def archive() -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(FILES) as files:
        yield files


def test_files_of_real_frameworks_are_clean(archive: zipfile.ZipFile) -> None:
    names = [name for name in archive.namelist() if name != "converted.json"]
    assert len(names) > 300
    scans = {name: scan_bytes(archive.read(name), name) for name in names}
    assert {name: scan.findings for name, scan in scans.items() if scan.verdict is not Verdict.CLEAN} == {}


def test_what_is_converted_is_what_the_frameworks_read(archive: zipfile.ZipFile, tmp_path: Path) -> None:
    expected = json.loads(archive.read("converted.json"))
    for name, tensors in expected.items():
        source, out = tmp_path / "source", tmp_path / "out.safetensors"
        source.write_bytes(archive.read(name))
        done = convert(source, out, leave_out=True, replace=True)
        assert done.source_digest == f"sha256:{sha256(source.read_bytes()).hexdigest()}"
        found = {key: [kind, list(shape), digest] for key, (kind, shape, digest) in digests(out).items()}
        assert found == {key: [TYPES[kind], shape, digest] for key, (kind, shape, digest) in tensors.items()}, name
        assert scan_bytes(out.read_bytes(), "out.safetensors").verdict is Verdict.CLEAN
