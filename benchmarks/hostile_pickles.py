"""Corners of the pickle machine, for hostile_models.py: technique and bytes. Nothing is executed."""

from __future__ import annotations

import struct
from collections.abc import Iterator

COMMAND = "touch /tmp/harmless-marker"
CODE = "open('/tmp/harmless-marker','w').close()"


def text(value: str) -> bytes:
    """A short text of protocol 4, or a long one."""
    data = value.encode("utf-8", "surrogatepass")
    return b"\x8c" + bytes([len(data)]) + data if len(data) < 256 else b"X" + struct.pack("<I", len(data)) + data


def glob(dotted: str) -> bytes:
    """GLOBAL; the first dot before a capital or the last one parts module and name."""
    module, name = parts(dotted)
    return f"c{module}\n{name}\n".encode()


def stacked(dotted: str) -> bytes:
    """STACK_GLOBAL."""
    module, name = parts(dotted)
    return text(module) + text(name) + b"\x93"


def parts(dotted: str) -> tuple[str, str]:
    """Module and qualified name."""
    words = dotted.split(".")
    cut = next((i for i, word in enumerate(words) if i and word[:1].isupper()), len(words) - 1)
    return ".".join(words[:cut]), ".".join(words[cut:])


def call(dotted: str, *arguments: bytes) -> bytes:
    """GLOBAL, arguments, REDUCE."""
    return glob(dotted) + b"(" + b"".join(arguments) + b"tR"


RUN = call("os.system", text(COMMAND))
EVAL = call("builtins.eval", text(CODE))


# fmt: off
def tricks() -> Iterator[tuple[str, bytes]]:  # noqa: PLR0915 - a list of cases
    """The pickle machine's corners."""
    os_system = glob("os.system")
    yield "persistent-id", b"\x80\x04" + text("x") + b"Q" + RUN + b"."
    yield (
        "memo-mixed",
        b"\x80\x04"
        + text("os")
        + b"q\x00"
        + text("system")
        + b"q\x01"
        + text("torch._utils")
        + b"\x94"
        + text("_rebuild_tensor_v2")
        + b"\x940000h\x00h\x01\x93"
        + text(COMMAND)
        + b"\x85R.",
    )
    yield (
        "memo-long",
        b"\x80\x04"
        + text("os")
        + b"r\xff\xff\x00\x000"
        + text("system")
        + b"p65536\n0j\xff\xff\x00\x00g65536\n\x93"
        + text(COMMAND)
        + b"\x85R.",
    )
    yield "dup", b"\x80\x04" + text("os") + b"2\x93."
    yield "dup-name", b"\x80\x04" + text("posix") + text("system") + b"\x932" + text(COMMAND) + b"\x85R."
    yield (
        "name-from-str",
        b"\x80\x04" + call("builtins.str", text("os")) + text("system") + b"\x93" + text(COMMAND) + b"\x85R.",
    )
    yield (
        "name-from-encode",
        b"\x80\x04" + call("_codecs.encode", text("os"), text("latin1")) + text("system") + b"\x93.",
    )
    yield "name-from-long-text", b"\x80\x04" + b"X" + struct.pack("<I", 600) + b"o" * 600 + text("system") + b"\x93."
    yield "name-with-nul", b"\x80\x04" + text("os\0x") + text("system") + b"\x93."
    yield "name-latin1", b"c\xffs\nsystem\n."
    yield "name-with-spaces", b"c os\nsystem \n."
    yield "name-crlf", b"cos\r\nsystem\r\n."
    yield "name-surrogate", b"\x80\x04" + b"\x8c\x05os\xed\xb2\x80" + text("system") + b"\x93."
    yield "dotted-os", b"\x80\x04" + text("sklearn.base") + text("warnings.sys.modules") + b"\x93."
    yield "dotted-class", b"\x80\x04" + text("collections") + text("OrderedDict.__init__.__globals__") + b"\x93."
    yield "dotted-subclasses", b"\x80\x04" + text("builtins") + text("object.__subclasses__") + b"\x93)R."
    yield (
        "getattr-chain",
        call("builtins.getattr", call("builtins.__import__", text("os")), text("system")) + text(COMMAND) + b"\x85R.",
    )
    yield (
        "getattr-of-class",
        b"\x80\x04" + call("builtins.getattr", glob("collections.OrderedDict"), text("__subclasses__")) + b")R.",
    )
    yield (
        "getattr-of-made",
        b"\x80\x04" + call("builtins.getattr", call("collections.OrderedDict"), text("__class__")) + b")R.",
    )
    yield (
        "getattr-of-method",
        b"\x80\x04"
        + call("builtins.getattr", glob("sklearn.linear_model._logistic.LogisticRegression"), text("fit"))
        + b")R.",
    )
    yield "getattr-kept", b"\x80\x04" + glob("builtins.getattr") + b"."
    yield "getattr-in-list", b"\x80\x04](" + glob("builtins.getattr") + b"K\x01e."
    yield "getattr-in-dict", b"\x80\x04}" + text("f") + glob("builtins.getattr") + b"s."
    yield "getattr-memo", b"\x80\x04" + glob("builtins.getattr") + b"\x940h\x00\x85."
    yield "getattr-factory", b"\x80\x04" + call("collections.defaultdict", glob("builtins.getattr")) + b"."
    yield (
        "getattr-state",
        b"\x80\x04"
        + glob("sklearn.preprocessing._function_transformer.FunctionTransformer")
        + b")\x81}"
        + text("func")
        + glob("builtins.getattr")
        + b"sb.",
    )
    yield (
        "func-eval-state",
        b"\x80\x04"
        + glob("sklearn.preprocessing._function_transformer.FunctionTransformer")
        + b")\x81}"
        + text("func")
        + glob("builtins.eval")
        + b"sb.",
    )
    yield "partial-eval", call("functools.partial", glob("builtins.eval"), text(CODE)) + b")R."
    yield "partial-safe-called", call("functools.partial", glob("numpy.mean"), text("x")) + b")R."
    yield "partial-of-partial", call("functools.partial", glob("functools.partial"), glob("os.system")) + b"."
    yield (
        "partial-state",
        b"\x80\x04"
        + glob("functools.partial")
        + glob("numpy.mean")
        + b"\x85R("
        + os_system
        + text(COMMAND)
        + b"\x85}NtbK\x00\x85R.",
    )
    yield "reduce-value", b"\x80\x04" + call("numpy.mean", text("x")) + b"."
    yield (
        "ufunc-import",
        b"\x80\x04" + call("numpy.core._ufunc_reconstruct", text("os"), text("system")) + text(COMMAND) + b"\x85R.",
    )
    yield (
        "ufunc-import2",
        b"\x80\x04" + call("numpy._core._ufunc_reconstruct", text("subprocess"), text("getoutput")) + b".",
    )
    yield "generator-ctor", b"\x80\x04" + call("numpy.random._pickle.__generator_ctor", text(COMMAND), os_system) + b"."
    yield (
        "generator-ctor-class",
        b"\x80\x04"
        + call("numpy.random._pickle.__generator_ctor", text("/etc/passwd"), glob("xgboost.core.Booster"))
        + b".",
    )
    yield (
        "bitgen-ctor-class",
        b"\x80\x04"
        + call("numpy.random._pickle.__bit_generator_ctor", glob("sklearn.linear_model._logistic.LogisticRegression"))
        + b".",
    )
    yield (
        "rebuild-from-type",
        b"\x80\x04"
        + call("torch._tensor._rebuild_from_type_v2", os_system, glob("torch.Tensor"), text(COMMAND) + b"\x85", b"}")
        + b".",
    )
    yield (
        "rebuild-from-partial",
        b"\x80\x04"
        + call(
            "torch._tensor._rebuild_from_type_v2",
            call("functools.partial", glob("numpy.mean")),
            glob("torch.Tensor"),
            b")",
            b"}",
        )
        + b".",
    )
    yield (
        "rebuild-from-state",
        b"\x80\x04"
        + call(
            "torch._tensor._rebuild_from_type_v2",
            glob("xgboost.core.Booster"),
            glob("torch.Tensor"),
            b"N)" + text("/tmp/x") + b"\x87",
            b"}",
        )
        + b".",
    )
    yield (
        "load-from-bytes",
        b"\x80\x04" + call("torch.storage._load_from_bytes", b"C" + bytes([len(RUN) + 1]) + RUN + b".") + b".",
    )
    yield (
        "load-from-bytes-encoded",
        b"\x80\x02"
        + call(
            "torch.storage._load_from_bytes",
            call("_codecs.encode", text((RUN + b".").decode("latin-1")), text("latin1")),
        )
        + b".",
    )
    yield (
        "load-from-bytes-computed",
        b"\x80\x04" + call("torch.storage._load_from_bytes", call("builtins.bytes", b"]")) + b".",
    )
    yield (
        "load-from-bytes-p0",
        b"ctorch.storage\n_load_from_bytes\n(c_codecs\nencode\n(V"
        + b"".join(b"\\u%04x" % byte for byte in RUN + b".")
        + b"\nVlatin1\ntRtR.",
    )
    yield "booster-file", b"\x80\x04" + call("xgboost.core.Booster", b"N", b")", text("/tmp/model")) + b"."
    yield "lgbm-file", b"\x80\x04" + call("lightgbm.basic.Booster", b"N", b"N", text("/tmp/model")) + b"."
    yield "estimator-called", b"\x80\x04" + call("sklearn.pipeline.Pipeline", text("x")) + b"."
    yield "module-called", b"\x80\x04" + glob("torch.nn.modules.linear.Linear") + b")\x81}b)R."
    yield "dataframe-called", b"\x80\x04" + call("pandas.core.frame.DataFrame", b"}") + b")R."
    yield (
        "list-of-object",
        b"\x80\x04"
        + call(
            "builtins.list",
            glob("gensim.models.word2vec.PathLineSentences") + b")\x81}" + text("source") + text("/etc") + b"sb",
        )
        + b".",
    )
    yield "str-of-object", b"\x80\x04" + call("builtins.str", glob("sklearn.pipeline.Pipeline") + b")\x81}b") + b"."
    yield "items-on-object", b"\x80\x04" + glob("sklearn.pipeline.Pipeline") + b")\x81" + text("a") + text("b") + b"s."
    yield "append-on-object", b"\x80\x04" + glob("sklearn.pipeline.Pipeline") + b")\x81" + text("b") + b"a."
    yield (
        "reconstructor-base",
        b"\x80\x02"
        + call("copyreg._reconstructor", glob("collections.OrderedDict"), glob("subprocess.Popen"), text(COMMAND))
        + b".",
    )
    yield (
        "reconstructor-state-base",
        b"\x80\x02"
        + call("copyreg._reconstructor", glob("xgboost.core.Booster"), glob("xgboost.core.Booster"), text("/tmp/x"))
        + b".",
    )
    yield (
        "reconstructor-computed",
        b"\x80\x02"
        + call("copyreg._reconstructor", call("builtins.str", text("x")), glob("builtins.object"), b"N")
        + b".",
    )
    yield "newobj-popen", b"\x80\x02" + glob("subprocess.Popen") + text(COMMAND) + b"\x85\x81."
    yield "newobj-ex-popen", b"\x80\x04" + glob("subprocess.Popen") + b")}" + text("args") + text(COMMAND) + b"s\x92."
    yield "newobj-function", b"\x80\x02" + glob("numpy.mean") + text(COMMAND) + b"\x85\x81."
    yield "obj-noargs", b"(" + glob("subprocess.Popen") + b"o."
    yield "inst-noargs", b"(isubprocess\nPopen\n."
    yield "build-class", b"\x80\x02" + glob("collections.OrderedDict") + b"}" + text("__init__") + os_system + b"sb."
    yield (
        "build-class-slots",
        b"\x80\x02" + glob("sklearn.base.BaseEstimator") + b"N}" + text("__setstate__") + os_system + b"s\x86b.",
    )
    yield "build-class-benign", b"\x80\x02" + glob("collections.OrderedDict") + b"}" + text("x") + b"K\x01sb."
    yield "items-on-class", b"\x80\x02" + glob("collections.OrderedDict") + text("a") + text("b") + b"s."
    yield "append-on-class", b"\x80\x02" + glob("builtins.list") + text("a") + b"a."
    yield "ext1", b"\x80\x02\x82\x01" + text(COMMAND) + b"\x85R."
    yield "ext2", b"\x80\x02\x83\x01\x01)R."
    yield "ext4", b"\x80\x02\x84\x01\x01\x00\x00)R."
    yield "import-only", b"\x80\x02" + glob("antigravity.fly") + b"0N."
    yield "popped", b"\x80\x02" + RUN + b"0}."
    yield "in-tuple", b"\x80\x02(" + RUN + b"K\x01t."
    yield "deep", b"\x80\x02" + b"]" * 5000 + RUN + b"a" * 5000 + b"."
    yield "in-key", b"\x80\x02}" + RUN + b"K\x01s."
    yield "after-10k", b"\x80\x04" + b"N0" * 10_000 + RUN + b"."
    yield "after-state-dict", b"\x80\x02" + glob("collections.OrderedDict") + b")R" + text("w") + RUN + b"s."
    yield "broken-after", b"\x80\x02" + RUN + b"\xff\xfe\x00"
    yield "truncated-after", b"\x80\x02" + RUN
    yield "truncated-in-text", b"\x80\x02" + RUN + b"\x8c\xffabc"
    yield "underflow-after", b"\x80\x02" + RUN + b"0000."
    yield "bad-frame", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f" + RUN + b"."
    yield "short-frame", b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00" + RUN + b"."
    yield "many-frames", b"\x80\x04" + b"".join(b"\x95\x00\x00\x00\x00\x00\x00\x00\x00" for _ in range(50)) + RUN + b"."
    yield "proto-late", RUN + b"\x80\x04."
    yield "proto-high", b"\x80\xff" + RUN + b"."
    yield "proto-twice", b"\x80\x02\x80\x04" + RUN + b"."
    yield "second-pickle", b"\x80\x02}.\x80\x02" + RUN + b"."
    yield "third-pickle-p0", b"N.N." + RUN + b"."
    yield "after-stop-garbage", b"\x80\x02}.\x00\x01garbage" + RUN + b"."
    yield "after-zeros", b"\x80\x02}." + b"\x00" * 100 + RUN + b"."
    yield "after-5000-zeros", b"\x80\x02}." + b"\x00" * 5000 + b"\x80\x02" + RUN + b"."
    yield "after-newlines", b"\x80\x02}.\n\n\n\x80\x02" + RUN + b"."
    yield "before-garbage", b"\x00\x00\x00" + RUN + b"."
    yield "utf8-bom", b"\xef\xbb\xbf" + RUN + b"."
    yield "int-hex", b"I0x10\n0" + RUN + b"."
    yield "int-underscore", b"I1_0\n0" + RUN + b"."
    yield "int-huge", b"L" + b"9" * 5000 + b"L\n0" + RUN + b"."
    yield "long4-huge", b"\x8b\xff\xff\xff\x7f" + RUN + b"."
    yield "float-odd", b"Fnan(0x1)\n0" + RUN + b"."
    yield "string-escapes", b"S'\\x6f\\x73'\nS'\\163ystem'\n\x93(S'x'\ntR."
    yield "unicode-escapes", b"V\\u006fs\nVsy\\u0073tem\n\x93(Vx\ntR."
    yield "string-quotes", b"S\"os\"\nS'system'\n\x93(S'x'\ntR."
    yield "string-unquoted", b"Sos\n" + RUN + b"."
    yield "binstring-name", b"U\x02osU\x06system\x93(U\x01xtR."
    yield "bytes-name", b"\x80\x04C\x02osC\x06system\x93."
    yield "bytearray8", b"\x80\x05\x96\x02\x00\x00\x00\x00\x00\x00\x00os0" + RUN + b"."
    yield "next-buffer", b"\x80\x05\x97" + RUN + b"."
    yield "readonly-buffer", b"\x80\x05\x97\x98."
    yield "python2-copy-reg", b"ccopy_reg\n_reconstructor\n(csubprocess\nPopen\nc__builtin__\nobject\nNtR."
    yield "python2-rename", b"\x80\x02ccommands\ngetoutput\n(U\x01xtR."
    yield "compat-StringIO", b"\x80\x02cStringIO\nStringIO\n(U\x01xtR."
    yield (
        "dill-create-array",
        b"\x80\x04" + call("dill._dill._create_array", os_system, text(COMMAND) + b"\x85", b")") + b".",
    )
    yield (
        "dill-create-array-state",
        b"\x80\x04"
        + call("dill._dill._create_array", glob("xgboost.core.Booster"), b"N)" + text("/tmp/x") + b"\x87", b")")
        + b".",
    )
    yield "dill-load-type", b"\x80\x04" + call("dill._dill._load_type", text("CodeType")) + b"(K\x00tR."
    yield "dill-load-ufunc-called", b"\x80\x04" + call("dill._dill._load_type", text("NpUfuncType")) + b"(K\x00tR."
    yield "dill-import", b"\x80\x04" + call("dill._dill._import_module", text("os")) + b"."
    yield (
        "cloudpickle-lambda",
        b"\x80\x05" + call("cloudpickle.cloudpickle._builtin_type", text("CodeType")) + b"(K\x00K\x00tR.",
    )
    yield "marshal", b"\x80\x04" + call("types.FunctionType", call("marshal.loads", b"C\x01x"), b"}") + b")R."
    yield "map-list", b"\x80\x04" + call("builtins.list", call("builtins.map", os_system, b"]")) + b"."
    yield "zoneinfo-path", b"\x80\x04" + call("builtins.getattr", glob("zoneinfo.ZoneInfo"), text("from_file")) + b"."
    yield (
        "enum-dunder",
        b"\x80\x04"
        + call("builtins.getattr", glob("scipy.fft._pocketfft.helper._init_nd_shape_and_axes"), text("__globals__"))
        + b".",
    )
    yield "newobj-unknown", b"\x80\x04" + glob("my_models.Net") + b")\x81."
    yield "name-empty", b"\x80\x04" + text("") + text("system") + b"\x93."
    yield "main-class", b"\x80\x04" + glob("__main__.Net") + b")\x81."
    yield "torchscript-name-python", b"\x80\x02" + glob("__torch__.os.system") + text(COMMAND) + b"\x85R" + RUN + b"."
