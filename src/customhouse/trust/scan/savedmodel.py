"""TensorFlow graphs (SavedModel, frozen GraphDef): operators that touch files, processes or Python are malicious."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.member_names import escapes
from customhouse.trust.scan.protobuf import fields
from customhouse.trust.scan.source import Source, UnreadableError
from customhouse.trust.scan.words import words

DANGEROUS = words(
    """ReadFile WriteFile MatchingFiles PyFunc PyFuncStateless EagerPyFunc PyCall WholeFileReader WholeFileReaderV2
    TextLineReader TextLineReaderV2 TextLineDataset FixedLengthRecordReader FixedLengthRecordReaderV2
    FixedLengthRecordDataset FixedLengthRecordDatasetV2 TFRecordReader TFRecordReaderV2 TFRecordDataset
    TFRecordDatasetV2 IdentityReader IdentityReaderV2 LMDBReader LMDBDataset SqlDataset ExperimentalSqlDataset
    CSVDataset CSVDatasetV2 ExperimentalCSVDataset SaveDataset SaveDatasetV2 LoadDataset SnapshotDataset
    SnapshotDatasetV2 DatasetToTFRecord ExperimentalDatasetToTFRecord CacheDataset CacheDatasetV2 DeleteOldDirs
    PrintV2 DebugIdentityV2 DebugIdentityV3 DebugNumericSummaryV2 LoadRemapMatrix LoadAndRemapMatrix RpcCall
    RpcClient RpcServer RpcServerStart DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3
    DataServiceDatasetV4 CloudBigtableClient BigQueryReader IO>ReadFile SummaryWriter CreateSummaryFileWriter
    CreateSummaryDbWriter WriteGraphSummary ImportEvent InitializeTableFromTextFile GeneratorDataset
    MatchingFilesDataset ExperimentalMatchingFilesDataset SnapshotChunkDataset SnapshotDatasetReader
    SnapshotNestedDatasetReader ListSnapshotChunksDataset RegisterDataset RegisterDatasetV2 ExperimentalLMDBDataset
    DistributedSave FileSystemSetConfiguration GenerateVocabRemapping RpcServerRegister RpcGetValue RecordInput
    CalibrationStatisticsSaver DumpTensor DebugIdentity DebugNumericSummary DebugNanCount Skipgram
    InitializeTableFromTextFileV2 ExtractGlimpseFromFile EncodeProto DecodeProtoV2 Send Recv _Send _Recv _HostSend
    _HostRecv CollectiveBcastRecv"""
)
"""`InitializeTableFromTextFile` reads a path of the model's choice; `DecodeProtoV2` reads a descriptor file."""
_SOFT = frozenset({"DecodeProtoV2", "EncodeProto", "CacheDataset", "CacheDatasetV2", "PrintV2"})
_TABLES = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
"""Read a vocabulary: an asset of the model as a rule, named when it is loaded; or any path."""
_PATH = re.compile(rb"(?<=[\x00-\x1f\x80-\xff])(?:/(?:[\w.\-]+/)+[\w.\-]+|(?:[\w\-]+/)*\.\./[\w./\-]+|\w+://[\w./\-]+)")
"""In a constant of text: absolute, out of the folder, or of another file system."""
_MAX_PATH = 4096


def is_saved_model(source: Source, look: Inspection) -> bool:
    """Whether it reads as a SavedModel (version 1, meta graphs) or a GraphDef (nodes with name and operator)."""
    try:
        return _is_saved_model(source, look) or _is_graph(source, look)
    except UnreadableError:
        return False


@dataclass(slots=True)
class _Told:
    """What a model says that must be judged together: tables read from files, its assets, paths in constants."""

    tables: bool = False
    assets: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


def inspect_saved_model(source: Source, look: Inspection) -> None:
    """Judge every node of every graph and function."""
    told = _Told()
    if _is_saved_model(source, look):
        look.format = "tensorflow-saved-model"
        for item in fields(source, look):
            if item.number == 2:
                _meta_graph(item.message(), look, told)
    else:
        look.format = "tensorflow-graph"
        _graph(source, look, told)
    for asset in told.assets:
        if escapes(asset):
            look.malicious("tensorflow-asset", f"names the asset {asset[:120]!r}, outside of its folder")
    if told.tables and (told.paths or not told.assets):
        what = f"the path {told.paths[0][:80]!r}" if told.paths else "a path that is no asset of the model"
        look.suspicious("tensorflow-operator", f"a table is read from a file, and the graph has {what}")


def _meta_graph(source: Source, look: Inspection, told: _Told) -> None:
    for part in fields(source, look):
        if part.number == 2:
            _graph(part.message(), look, told)
        elif part.number == 6:
            told.assets.extend(item.text() for item in fields(part.message(), look) if item.number == 2)


def _is_saved_model(source: Source, look: Inspection) -> bool:
    meta = version = False
    for item in fields(source, look):
        if (item.number == 1) != (item.body is None) or item.number not in (1, 2) or (item.number == 1 and version):
            return False
        version = version or item.number == 1
        if item.number == 2:
            meta = meta or any(part.number in (1, 2) for part in fields(item.message(), look))
    return meta


def _is_graph(source: Source, look: Inspection) -> bool:
    nodes = others = 0
    for item in fields(source, look):
        others += item.number != 1
        if item.number not in (1, 2, 3, 4, 5) or others > 4:
            return False
        if item.number == 1:
            kinds = {part.number for part in fields(item.message(), look)}
            if not {1, 2} <= kinds or not kinds <= {1, 2, 3, 4, 5, 6, 7}:
                return False
            nodes += 1
    return nodes > 0


def _graph(source: Source, look: Inspection, told: _Told) -> None:
    for item in fields(source, look):
        if item.number == 1:
            _node(item.message(), look, told)
        elif item.number == 2:
            for part in fields(item.message(), look):
                if part.number == 1:
                    for inner in fields(part.message(), look):
                        if inner.number == 3:
                            _node(inner.message(), look, told)


def _node(source: Source, look: Inspection, told: _Told) -> None:
    parts = list(fields(source, look))
    operator = next((part.text() for part in parts if part.number == 2), "")
    if operator in _TABLES:
        told.tables = True
    elif operator == "Const":
        for part in parts:
            if part.number == 5 and part.body is not None and part.body.size <= _MAX_PATH:
                told.paths.extend(match.decode("ascii", "replace") for match in _PATH.findall(part.octets()))
    else:
        judge_operator(operator, look)


def judge_operator(operator: str, look: Inspection) -> None:
    """Judge one operator of TensorFlow by name."""
    if operator in _SOFT or operator in _TABLES:
        look.suspicious("tensorflow-operator", f"the operator {operator} reads or writes a path that the model chooses")
    elif operator in DANGEROUS or "PyFunc" in operator:
        look.malicious("tensorflow-operator", f"the operator {operator[:80]} reaches outside of the model")
