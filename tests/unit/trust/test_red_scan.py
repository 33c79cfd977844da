"""Attacks on the scanner: what is hostile and was once called clean, or could be, by a trick of its form."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import warnings
from typing import Any

import pytest

from customhouse.trust.scan import Limits, Verdict, scan_bytes

EVIL = b"cos\nsystem\n(S'id'\ntR."


def _runs(data: bytes, kind: Any) -> bool:
    """Whether an unpickler gets as far as to call what the pickle names; the name stands for nothing."""
    called: list[object] = []

    class Watched(kind):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> object:
            return lambda *_: called.append((module, name))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            Watched(io.BytesIO(data)).load()
        except Exception:  # noqa: BLE001 - only whether the call was made counts
            return bool(called)
    return bool(called)


LINES = {
    "hexadecimal": b"I0x10",
    "binary": b"I0b1",
    "underscore": b"I1_0",
    "signed": b"I+1",
    "long-hexadecimal": b"L0x10L",
    "long-space": b"L1 L",
    "no-escape": b"S'\\N{x}'",
    "short-escape": b"S'\\u1'",
    "wide-escape": b"S'\\u1234'",
    "escape-past-unicode": b"S'\\U00110000'",
    "memo-underscore": b"Np1_0",
    "memo-sign": b"Np+1",
    "a-long-text": b"V" + b"prose " * 20_000,
    "a-long-string": b"S'" + b"prose " * 20_000 + b"'",
    "a-long-float": b"F0." + b"1" * 70_000,
    "zeros": b"I" + b"0" * 70_000,
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_a_printable_pickle_is_no_text_however_its_first_line_is_written(line: bytes) -> None:
    data = line + b"\n0" + EVIL
    assert any(_runs(data, kind) for kind in (pickle.Unpickler, pickle._Unpickler))
    assert scan_bytes(data, "notes.txt").verdict in (Verdict.MALICIOUS, Verdict.SUSPICIOUS)


@pytest.mark.parametrize("count", [2, 20])
def test_nor_are_several_long_lines_before_what_it_does(count: int) -> None:
    data = (b"V" + b"prose " * 12_000 + b"\n0") * count + EVIL
    assert scan_bytes(data, "notes.txt").verdict is Verdict.MALICIOUS


def test_memo_indexes_are_one_however_they_are_written() -> None:
    data = b"Vos\np1_0\n0Vsystem\np 2\n0g10\ng+2\n\x93(S'id'\ntR."
    assert _runs(data, pickle.Unpickler)
    assert scan_bytes(data, "model.pkl").verdict is Verdict.MALICIOUS


@pytest.mark.parametrize(
    "text",
    [
        b"Very long lines of prose are " * 5000,
        b"Very long lines of prose are " * 5000 + b"\nthen come others.\nAnd so on.\n",
        b"Voltage," * 20_000 + b"\n1.0,2.0\n",
        b"Input\nIn\nSet\nPart\nFoo\n" * 100,
    ],
    ids=["one-line", "then-short-ones", "table", "words"],
)
def test_long_lines_of_prose_are_prose(text: bytes) -> None:
    assert scan_bytes(text, "notes.txt").verdict is Verdict.CLEAN


YAML = {
    "an-alias-as-value": "x: &a os.system\nmodel:\n  _target_: *a\n  int: 3\n",
    "an-alias-as-key": "k: &k _target_\nmodel:\n  *k : os.system\n",
    "a-value-that-is-a-key-elsewhere": "a: template\n_target_: os.system\n",
    "a-list-as-key": "? [a]\n: x\n_target_: os.system\n",
    "a-mapping-as-key": "? {a: b}\n: x\n_target_: os.system\n",
    "an-alias-of-a-list-as-key": "a: &a [b]\n*a : x\n_target_: os.system\n",
    "nothing-as-key": "? \n: x\n_target_: os.system\n",
    "after-a-list-of-templates": "chat_template: [a, b]\n_target_: os.system\n",
    "in-a-second-document": "a: template\n---\n- _target_: os.system\n",
    "a-template-in-a-list": "chat_template:\n  - '{{ x.__class__ }}'\n",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML.keys())
def test_yaml_is_read_as_its_loaders_read_it(text: str) -> None:
    assert scan_bytes(text.encode(), "config.yaml").verdict is Verdict.MALICIOUS


TEMPLATES = {
    "two-literals": "{{ ''['__cla''ss__'] }}",
    "joined": "{{ x['__cl' ~ name] }}",
    "formatted": "{{ x['__cl%sss__' % 'a'] }}",
    "by-numbers": "{% set n = '%c%cclass%c%c' % (95, 95, 95, 95) %}{{ x[n] }}",
    "a-list-joined": "{% set n = ['a', 'b'] | join %}{{ x[n] }}",
    "underscores": "{% set n = '_' * 2 ~ 'class' %}{{ x[n] }}",
    "replaced": "{{ x['QQclassQQ' | replace('Q', '_')] }}",
    "reversed": "{{ x['ssalc'[::-1]] }}",
    "through-another-name": "{% set n = 'a' ~ 'b' %}{% set m = n %}{{ x[m] }}",
    "below-in-a-loop": "{% for i in y %}{{ x[ns.n] }}{% set ns.n = 'a' ~ 'b' %}{% endfor %}",
    "named-by-a-loop": "{% for n in ['a' ~ 'b'] %}{{ x[n] }}{% endfor %}",
    "a-block-of-text": "{% set n %}__cl{{ u }}{% endset %}{{ x[n] }}",
    "a-filter": "{{ [x] | map(attribute=n) | list }}",
    "a-test": "{{ [x] | selectattr(n) | list }}",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_a_template_that_reads_by_a_name_it_puts_together_is_not_clean(template: str) -> None:
    data = json.dumps({"chat_template": template}).encode()
    assert scan_bytes(data, "tokenizer_config.json").verdict is Verdict.SUSPICIOUS


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages[::-1] %}{{ m['role'] + ': ' }}{{ messages[loop.index0 - 1]['role'] }}{% endfor %}",
        "{% set i = messages | length - 1 %}{{ messages[i] }}{{ messages[loop.index0 % 2] }}",
        "{% set content = 'a' + m.content.split('</think>')[-1] %}{{ content[:10] }}{{ names[role] }}",
        "{% for key in properties | dictsort %}{{ properties[key] }}{% endfor %}{{ name | replace('_', '-') }}",
    ],
    ids=["messages", "numbers", "contents", "keys"],
)
def test_what_chat_templates_do_is_clean(template: str) -> None:
    data = json.dumps({"chat_template": template}).encode()
    assert scan_bytes(data, "tokenizer_config.json").verdict is Verdict.CLEAN


def test_names_without_end_are_not_looked_up_without_end() -> None:
    data = b"\x80\x02" + b"".join(b"cos%d\nsystem\n0" % number for number in range(150)) + b"N."
    assert scan_bytes(data, "model.pkl").findings[-1].rule == "pickle-dangerous-global"
    found = scan_bytes(data, "model.pkl", limits=Limits(steps=50_000))  # as 20,000 names are for the steps there are
    assert found.verdict is Verdict.MALICIOUS
    assert "limit-steps" in {finding.rule for finding in found.findings}


def _safetensors() -> bytes:
    """A whole safetensors file: its header's length is an opcode too (BINUNICODE), the tensor's name another (V)."""
    data = (b"\n0" + EVIL).ljust(64, b"\0")
    tensor = {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}
    header = json.dumps({"V": tensor}, separators=(",", ":")).encode().ljust(0x0558)
    return struct.pack("<Q", len(header)) + header + data


def _gif() -> bytes:
    """A whole picture with its colours in a table."""
    head = b"GIF89a" + b"\1\0" + b"\1N" + b"\x850N"
    return head + (b"0" + EVIL).ljust(192, b"\0") + b"\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0\x3b"


def _tar() -> bytes:
    """A whole archive whose first member has an odd name."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(EVIL.decode())
        member.size = 2
        archive.addfile(member, io.BytesIO(b"hi"))
    return made.getvalue()


@pytest.mark.parametrize("data", [_safetensors(), _gif(), _tar()], ids=["safetensors", "gif", "tar"])
def test_what_is_a_pickle_besides_what_it_reads_as_is_found(data: bytes) -> None:
    assert _runs(data, pickle.Unpickler)
    found = scan_bytes(data, "pytorch_model.bin")
    assert found.verdict is Verdict.MALICIOUS
    assert "polyglot" in {finding.rule for finding in found.findings}


def test_a_parquet_file_that_a_loader_with_persistent_names_runs_is_found() -> None:
    """P is the opcode of persistent names, and what Parquet begins with: torch's loader follows such a file."""
    data = b"PAR1\x15\x04 any line\n\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R" + b"\x1a\0\0\0PAR1"
    found = scan_bytes(data, "t.parquet")
    assert found.verdict is Verdict.MALICIOUS
    assert "polyglot" in {finding.rule for finding in found.findings}
