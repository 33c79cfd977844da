"""What a pickle may do with a known name: made bare, kept, called, or called with some arguments only."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

from customhouse.trust.scan import FileScan, Limits, ScanSeverity, Verdict, scan_bytes
from customhouse.trust.scan.importables import judge, known
from customhouse.trust.scan.names import Use


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _glob(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _rules(scan: FileScan) -> set[str]:
    return {finding.rule for finding in scan.findings if finding.severity is not ScanSeverity.NOTE}


FOREST = _glob("sklearn.ensemble._forest", "RandomForestClassifier")
GETATTR = _glob("builtins", "getattr")
ZONE = _glob("zoneinfo", "ZoneInfo")
MODE = _glob("torchvision.transforms.functional", "InterpolationMode")
BLOCK = _glob("pandas.core.internals.blocks", "new_block")
INDEX = _glob("pandas.core.indexes.base", "_new_Index")
LINES = _glob("gensim.models.word2vec", "LineSentence") + b")\x81}" + _text("source") + _text("/etc/passwd") + b"sb"
"""An object that opens a file when it is iterated."""
MANY = b"".join(_text(f"k{number}") + b"Ns" for number in range(100))
PATCH = "pickle-patches-object"
UFUNC = _glob("numpy.core", "_ufunc_reconstruct")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02" + FOREST + b")\x81}b.",
        b"ccopy_reg\n_reconstructor\n(" + FOREST + b"c__builtin__\nobject\nNtR}b.",
        b"\x80\x02}" + _text("metric") + _glob("sklearn.metrics._classification", "f1_score") + b"s.",
        b"\x80\x04" + GETATTR + ZONE + _text("_unpickle") + b"\x86R" + _text("UTC") + b"K\x01\x86R.",
        b"\x80\x04" + GETATTR + MODE + _text("BILINEAR") + b"\x86R.",
        b"\x80\x04cfunctools\npartial\ncnumpy\nmean\n\x85R(cnumpy\nmean\n)}NtbK\x010.",
        b"\x80\x04cfunctools\npartial\n" + BLOCK + b"\x85R(" + BLOCK + b")}Ntb(NNtR.",
        b"\x80\x04cnumpy._core\n_ufunc_reconstruct\n" + _text("numpy") + _text("log1p") + b"\x86R.",
        b"\x80\x04csklearn.utils._bunch\nBunch\n)\x81(" + _text("a") + b"K\x01u.",
    ],
)  # fmt: skip
def test_what_real_libraries_write_is_clean(data: bytes) -> None:
    scan = scan_bytes(data)
    assert scan.verdict is Verdict.CLEAN, scan.findings


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"\x80\x02" + FOREST + b")R.", "pickle-constructor"),
        (b"\x80\x02(K\x01isklearn.ensemble._forest\nRandomForestClassifier\n.", "pickle-constructor"),
        (b"\x80\x02cnumpy\nmean\n" + _text("x") + b"\x85R.", "pickle-constructor"),
        (b"\x80\x02" + FOREST + b")\x81" + _text("a") + b"K\x01s.", "pickle-odd-items"),
        (b"\x80\x02" + FOREST + b")\x81K\x01a.", "pickle-odd-items"),
        (b"\x80\x02cbuiltins\nlist\n" + FOREST + b")\x81\x85R.", "pickle-odd-argument"),
        (b"\x80\x02cbuiltins\nlist\ncnumpy\nmean\n\x85R.", "pickle-odd-argument"),
        (b"\x80\x02cnumpy.random._pickle\n__generator_ctor\n" + _text("x") + FOREST + b"\x86R.", "pickle-odd-argument"),
        (b"\x80\x02" + GETATTR + b".", "pickle-dangerous-global"),
        (b"\x80\x02]" + GETATTR + b"a.", "pickle-dangerous-global"),
        (b"\x80\x02}" + _text("f") + GETATTR + b"s.", "pickle-dangerous-global"),
        (b"\x80\x02" + GETATTR + b"q\x00" + FOREST + b")\x81h\x00b.", "pickle-dangerous-global"),
        (b"\x80\x04" + GETATTR + FOREST + _text("__init__") + b"\x86R.", "pickle-unknown-global"),
        (b"\x80\x04" + GETATTR + FOREST + _text("fit") + b"\x86R)R.", "pickle-constructor"),
        (b"\x80\x04" + GETATTR + FOREST + b")\x81" + _text("fit") + b"\x86R)R.", "pickle-computed-call"),
        (b"\x80\x04cfunctools\npartial\ncnumpy\nmean\n\x85R)R.", "pickle-computed-call"),
        (b"\x80\x04cfunctools\npartial\ncnumpy\ndtype\n\x85R(cbuiltins\nlist\n)}Ntb)R.", "pickle-computed-call"),
        (b"\x80\x04" + UFUNC + _text("os") + _text("system") + b"\x86R.", "pickle-dangerous-global"),
        (b"\x80\x02" + INDEX + b"cpandas\nIndex\n}" + _text("data") + LINES + b"s\x86R.", "pickle-odd-argument"),
        (b"\x80\x02cnumpy.ma.core\nMaskedArray\n" + LINES + b"\x85R.", "pickle-odd-argument"),
        (b"\x80\x02cbuiltins\nfrozenset\n" + LINES + b"\x85\x81.", "pickle-odd-argument"),
        (b"ccopy_reg\n_reconstructor\n(cbuiltins\nlist\nc__builtin__\nlist\n" + LINES + b"tR.", "pickle-odd-argument"),
        (b"\x80\x04cfunctools\npartial\ncbuiltins\nlist\n" + LINES + b"\x86R)R.", "pickle-odd-argument"),
        (b"\x80\x04" + FOREST + b")\x81" + LINES + b"b.", "pickle-odd-state"),
        (b"\x80\x04" + FOREST + b")\x81}" + _text("__setstate__") + FOREST + b"sb}b.", PATCH),
        (b"\x80\x04" + FOREST + b")\x81N}" + _text("__setstate__") + FOREST + b"s\x86b}b.", PATCH),
        (b"\x80\x02ccollections\nOrderedDict\n)R}" + MANY + _text("append") + FOREST + b"sbNa.", PATCH),
        (b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.", "pickle-bomb"),
        (b"\x80\x02cbuiltins\nlist\ncbuiltins\nrange\nJ\xff\xff\xff\x7f\x85R\x85R.", "pickle-odd-argument"),
        (b"\x80\x02c__torch__.mine\nNet\n)\x81.", "pickle-unknown-global"),
        (b"\x80\x02cxgboost.core\nBooster\nN)" + _text("/etc/passwd") + b"\x87R.", "pickle-constructor"),
    ],
)  # fmt: skip
def test_a_known_name_in_another_use_is_found(data: bytes, rule: str) -> None:
    scan = scan_bytes(data)
    assert scan.verdict in (Verdict.SUSPICIOUS, Verdict.MALICIOUS)
    assert rule in _rules(scan), scan.findings


def test_the_lists_name_nothing_that_runs_code() -> None:
    for module, name in (
        ("sklearn.datasets._base", "load_files"), ("torch.hub", "load"), ("numpy", "load"), ("numpy", "fromfile"),
        ("pandas.io.pickle", "read_pickle"), ("scipy.io", "loadmat"), ("nltk.data", "load"),
        ("torch.serialization", "load"),
        ("gensim.utils", "unpickle"), ("torchvision.io", "read_file"), ("joblib.numpy_pickle", "load"),
        ("torch.utils.cpp_extension", "load"), ("sklearn.utils._testing", "run_script"), ("numpy", "vectorize"),
    ):  # fmt: skip
        assert known(module, name) is None, f"{module}.{name}"
        assert judge(module, name) is not None
    assert known("builtins", "getattr") is Use.CHECKED
    assert judge("builtins", "getattr") is ScanSeverity.MALICIOUS  # in formats other than pickle too


def test_a_name_that_the_organisation_vouches_for_is_clean_unless_it_is_dangerous() -> None:
    data = b"\x80\x02cmy_models\nNet\n)\x81}b."
    assert scan_bytes(data).verdict is Verdict.SUSPICIOUS
    known_here = Limits(names={"my_models.Net": Use.STATE})
    found = scan_bytes(data, limits=known_here)
    assert found.verdict is Verdict.CLEAN
    assert found.added == {"my_models.Net"}
    assert [finding.rule for finding in found.findings] == ["declared-name"]
    assert "my_models.Net (state)" in found.findings[0].message
    called = b"\x80\x02cmy_models\nNet\n)R."
    assert scan_bytes(called, limits=known_here).verdict is Verdict.SUSPICIOUS  # for its state only
    assert scan_bytes(called, limits=Limits(names={"my_models.Net": Use.CALL})).verdict is Verdict.CLEAN
    evil = b"cos\nsystem\n(X\x01\x00\x00\x00xtR."
    vouched = Limits(names={"posix.system": Use.CALL, "os.system": Use.CALL})
    assert scan_bytes(evil, limits=vouched).verdict is Verdict.MALICIOUS


def test_what_a_verdict_rests_on_is_whole_whatever_else_is_found() -> None:
    names = {f"my_models.Net{number}": Use.STATE for number in range(300)}
    data = b"\x80\x02(" + b"".join(b"c" + name.replace(".", "\n").encode() + b"\n)\x81" for name in names) + b"t."
    found = scan_bytes(data, limits=Limits(names=names, findings=5))
    assert found.verdict is Verdict.CLEAN
    assert found.added == set(names)


def test_a_large_vocabulary_needs_few_steps_and_little_time() -> None:
    words = {f"word{number}": number for number in range(50_000)}
    for protocol in (0, 2, 4):
        assert scan_bytes(pickle.dumps(words, protocol)).verdict is Verdict.CLEAN


def test_raw_array_bytes_that_are_opcodes_for_another_loader_are_found() -> None:
    wrapper = (
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(" + _text("subclass") + _glob("numpy", "ndarray")
    )
    dtype = _text("dtype") + _glob("numpy", "dtype") + _text("u1") + b"\x89\x88\x87R"
    tail = _text("order") + _text("C") + _text("allow_mmap") + b"\x89ub"
    numbers = b"cos\nsystem\n(X\x01\x00\x00\x00xtR."
    hidden = wrapper + _text("shape") + b"K" + bytes([len(numbers)]) + b"\x85" + dtype + tail + numbers + b"."
    assert "hidden-pickle" in _rules(scan_bytes(hidden))
    harmless = bytes(range(len(numbers)))
    assert scan_bytes(hidden.replace(numbers, harmless)).verdict is Verdict.CLEAN


@pytest.mark.parametrize("state", [b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?", b"NNNK\x40K\x01K\x00"])
def test_a_type_that_says_two_things_about_its_elements_is_refused(state: bytes) -> None:
    wrapper = (
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(" + _text("subclass") + _glob("numpy", "ndarray")
    )
    dtype = _text("dtype") + _glob("numpy", "dtype") + _text("V8") + b"\x89\x88\x87R(K\x03" + _text("|") + state + b"tb"
    data = wrapper + _text("shape") + b"K\x01\x85" + dtype + _text("order") + _text("C") + b"ub" + b"\x00" * 8 + b"."
    scan = scan_bytes(data)
    assert scan.verdict is Verdict.UNSCANNABLE
    assert _rules(scan) == {"joblib-array"}


def test_arrays_of_every_kind_are_clean_in_every_protocol() -> None:
    values = [np.zeros(3, "f4"), np.array([(1, "x")], dtype=[("a", "i4"), ("b", "O")]), np.ma.array([1], mask=[0])]
    values += [np.float32(1), np.random.default_rng(0), np.polynomial.Polynomial([1, 2]), [np.log, np.add]]
    for value in values:
        for protocol in range(6):
            scan = scan_bytes(pickle.dumps(value, protocol))
            assert scan.verdict is Verdict.CLEAN, (value, protocol, scan.findings)


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ("torch.ops.aten.linear.default", Verdict.CLEAN),
        ("_operator.add", Verdict.CLEAN),
        ("torch.hub.load", Verdict.MALICIOUS),
        ("torch.ops.aten.from_file.default", Verdict.MALICIOUS),
        ("os.system", Verdict.MALICIOUS),
    ],
)
def test_an_exported_program_may_name_operators_only(target: str, verdict: Verdict) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/models/model.json", json.dumps({"graph": {"nodes": [{"target": target, "inputs": []}]}}))
        archive.writestr("m/data/weights/weight_0", struct.pack("<4f", 1, 2, 3, 4))
    scan = scan_bytes(out.getvalue(), "m.pt2")
    assert (scan.format, scan.verdict) == ("torch-export", verdict), scan.findings


def test_source_in_a_torch_package_is_told() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("p/.data/extern_modules", "torch\n")
        archive.writestr("p/.data/0.storage", struct.pack("<4f", 1, 2, 3, 4))
        archive.writestr("p/mine.py", "def forward(x):\n    return x\n")
    scan = scan_bytes(out.getvalue(), "p.pt")
    assert "torch-package-code" in _rules(scan)
