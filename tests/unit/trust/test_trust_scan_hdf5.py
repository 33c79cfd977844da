"""HDF5: what a file reads outside of itself and what code its Keras configuration carries."""

from __future__ import annotations

import base64
import json
import struct
import zlib

import pytest

from customhouse.trust.scan import FileScan, Verdict, hdf5_dense, scan_bytes
from customhouse.trust.scan.source import Source, UnreadableError

ROOT = 48


def _file(*messages: tuple[int, bytes], flags: int = 0) -> bytes:
    """A superblock of version 2 and a root group whose header holds the messages."""
    body = b"".join(struct.pack("<BHB", kind, len(data), flags) + data for kind, data in messages)
    header = b"OHDR\x02\x01" + struct.pack("<H", len(body)) + body + bytes(4)
    superblock = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00" + struct.pack("<QQQQ", 0, 2**64 - 1, ROOT + len(header), ROOT)
    return superblock + bytes(4) + header


def _link(kind: int, value: bytes) -> tuple[int, bytes]:
    return 0x06, b"\x01\x08" + bytes([kind]) + b"\x01w" + value


def _attribute(name: str, text: bytes) -> tuple[int, bytes]:
    title = name.encode() + b"\x00"
    kind = b"\x13\x00\x00\x00" + struct.pack("<I", len(text))
    space = b"\x02\x00\x00\x00"
    return 0x0C, b"\x03\x00" + struct.pack(
        "<HHH", len(title), len(kind), len(space)
    ) + b"\x00" + title + kind + space + text


def _config(layer: str) -> bytes:
    layers = [{"class_name": layer, "config": {"name": "x"}}]
    return json.dumps({"class_name": "Sequential", "config": {"layers": layers}}).encode()


def _rules(scan: FileScan) -> set[str]:
    return {finding.rule for finding in scan.findings}


def test_a_group_with_links_inside_the_file_is_clean() -> None:
    scan = scan_bytes(_file(_link(0, struct.pack("<Q", ROOT)), _link(1, b"\x02\x00/w")))
    assert (scan.format, scan.verdict) == ("hdf5", Verdict.CLEAN)


def test_links_to_other_files_are_malicious() -> None:
    target = b"\x00/etc/passwd\x00/x\x00"
    scan = scan_bytes(_file(_link(64, struct.pack("<H", len(target)) + target)))
    assert scan.verdict is Verdict.MALICIOUS
    assert "/etc/passwd" in scan.findings[0].message


def test_data_stored_in_other_files_and_plug_ins_are_found() -> None:
    assert "hdf5-external-storage" in _rules(scan_bytes(_file((0x07, bytes(24)))))
    plug_in = b"\x02\x01" + struct.pack("<HHHH", 32015, 0, 0, 0)
    assert "hdf5-filter" in _rules(scan_bytes(_file((0x0B, plug_in))))
    deflate = b"\x02\x01" + struct.pack("<HHHI", 1, 0, 1, 6)
    assert scan_bytes(_file((0x0B, deflate))).verdict is Verdict.CLEAN


def test_lambda_layers_in_the_model_configuration_are_malicious() -> None:
    assert scan_bytes(_file(_attribute("model_config", _config("Dense")))).verdict is Verdict.CLEAN
    scan = scan_bytes(_file(_attribute("model_config", _config("Lambda"))))
    assert (scan.verdict, _rules(scan)) == (Verdict.MALICIOUS, {"keras-lambda"})
    assert scan_bytes(_file(_attribute("model_config", b"not json"))).verdict is Verdict.UNSCANNABLE


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (_file(_attribute("a", b"x"), flags=2), "hdf5-shared-message"),
        (_file((0x02, b"\x00\x00" + struct.pack("<QQ", 64, 64))), "hdf5-dense"),
        (_file((0x10, struct.pack("<QQ", 0, 64))), "hdf5-object"),
        (b"\x89HDF\r\n\x1a\n\x09" + bytes(64), "hdf5-version"),
        (b"\x89HDF\r\n\x1a\n\x00", "malformed"),
    ],
)
def test_layouts_that_are_not_read_are_never_clean(data: bytes, rule: str) -> None:
    scan = scan_bytes(data)
    assert scan.verdict is Verdict.UNSCANNABLE
    assert rule in _rules(scan)


# Written by h5py (libver="latest"): ten links in a heap, the last an external one; nineteen attributes in a heap with
# their order kept, one of them a Keras configuration with a Lambda layer. Packed by zlib, in base 85.
LINKS = (
    "c-rgqaB<`1lHy|K;9!7(|4{Ib8^Sk$iaSJV&G7ed31VWXU=l)B2m@S942%p6Y&;A=iZOjN%sdYUs)0p9>r9|dfLI1`$P+e*bQwETT?7NofO?Qs"
    "HxZ#gOD7!Nd1B3|69$PB+=7E$8RkF}9-|l|!z&OY-$tkouhv1}ax%4!x_s2-L(1iDK^_4NpbW~yAi#i8%ZV{U_^>PtRE0`I0T+=rvLNY%7_9)L"
    "-*Ljk1RiFtbPDlsVPFNR168pp8t>R)cED_DT$r=VEf}bZ0p>nN22>hhUjRb|&<>c46Ej3yiUF0rl$Q9#Da6N(fz^q(LYg5HC?v{|u5dwzVKSI0"
    ";`vdJVFj3}W1sKJU=L<47T@p6a0$qiV7MyS?+z3JiF##*6f^7vGZU@Z%Natz%()w$S2NUsnaWGkcQR;!nX^9E&t@0}g95mDxH!QZOCa!3K=dRd"
    "16O8AYHqv%2$;cB8$!@<Cl)~?8zxLa<Na6!O)8l&1x<}vFa^!tVi7c7&Wb5$kqGq!BZmV^YFTCu9|MDaYDuzwg<gg!gMQ*@RAU7I9iu>y"
)
ATTRIBUTES = (
    "c-rk)T}TvB6h1Sve{Qa=Kbe}9Og;z|_^(NcZMF@vq`6iPQL?(52&-1BTVWd#y+j}eO9UAez7+Hn779i^RrnIpV`32%5m8b-NIlrSGk139&TXKV"
    "!0LW4XXl*nyXVe5XD)m11*O^VaTmEImkV?(6F{-{Tu%I7zdW96RhrvHk1UF^>XOVFGu$EwIKHMBY?z-5M?_7rNNm17#;gDw{|*)=hd%k+l{UbQ"
    "C4v{2{z{VP?Rp2;OqL+`H#6D{O0Ad5ur1Ji&X;q=z7C}s%?R~gHu8kaMkPImp5@_z@C}uffmt4nWjC|3m91WX5V0UhWlY=jtlHodnu#76b!z@~"
    "K-;WK8+^WwfFI3H!ILTl$U){{!Ok2=ikbt@rfFg+56<DSs?jSU^LcICCO8Y40~5zvmTTZHap0lu^bYNS7UICl%NvvXp@@uu-|g+}QUX3;M<bvY"
    "2Y7G0J_5%`+Dv5Dzqxr;8x1*dF;A9`O+zVh;Kh9Y>h(0_lPnk$4@PF-KFNZ+VCv$trw|~6u0kf~g)$3e#NoziADv%-cVrA)%qNALKf)AYWFfO{"
    "u<;wr6US;~_O+k+4tq%!2Qv4@ZZFR`e#HL5Z$_<u2DOM(-Ka8CC8idQDlN4(RO3*!p{h^SgsK?T6I5SPRiY|HwGGuWRHxgo?V112_e_5<xI48S"
    "3TS7Es=p`4lMR0;<DOlu0kyNdzuvt>)2<dLRx-uoaeC{PQhqI9H*M{45^#`byTOkGWRpzA<0PQ}OL0>ExYo6hjuU^}O`dy*9hSSJp;)Z5KhzhI"
    "8%pG0<oHmef3P<cmA910-2?qcdwY<7SdNBHM^41h&qHQOAk^0t4w>kBFe)b!hZBj^`rXRn{{%QVI5;>sI5;>sI5;>~z>R~_>`PtAt5}#`ydt6V"
    "dmcWkhsvQ)5Y)>7Z|WAnl{)q7$8AA9@#~rjOO0UAh?J(%QX?8P5~ZoK)JO)6jnY(GYHS9Lozm1;YU~D$gVNMmY8(cQlhV{#YMcg*i_+9vYFq|Q"
    "hN|&sn!bT>B-*LnU0AAn3~D#Yn2FV0<=}Pcp(ZePPMTA}a0G@^$#6u5Q^jy3hEvUOYz(J{;n*2YEyHmzoH~Z%WH|K<$F+jL|DU#g<m3"
)


@pytest.mark.parametrize(("packed", "rule"), [(LINKS, "hdf5-external-link"), (ATTRIBUTES, "keras-lambda")])
def test_what_is_kept_in_a_heap_is_read(packed: str, rule: str) -> None:
    data = zlib.decompress(base64.b85decode(packed))
    scan = scan_bytes(data, "model.h5")
    assert rule in {finding.rule for finding in scan.findings}
    assert scan.verdict is Verdict.MALICIOUS
    for mark in (b"FRHP", b"BTHD", b"FHDB", b"BTLF"):
        assert scan_bytes(data.replace(mark, b"XXXX"), "model.h5").verdict is Verdict.UNSCANNABLE, mark


def test_an_object_of_a_heap_without_an_id_is_named() -> None:
    """Found by the fuzzer: ids of no bytes, in a heap whose header says so."""
    with pytest.raises(UnreadableError, match="without an id"):
        hdf5_dense._object(Source.of(b""), None, None, b"")
