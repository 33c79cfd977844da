"""TensorFlow graphs (SavedModel, frozen GraphDef): operators that touch files, processes or Python are malicious."""

from __future__ import annotations

from customhouse.trust.scan.inspection import Inspection
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
    PrintV2 DebugIdentityV2 DebugIdentityV3 DebugNumericSummaryV2 LoadRemapMatrix LoadAndRemapMatrix RpcCall RpcClient
    RpcServer RpcServerStart DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3 DataServiceDatasetV4
    TFRecordDataset CloudBigtableClient BigQueryReader IO>ReadFile SummaryWriter CreateSummaryFileWriter
    CreateSummaryDbWriter WriteGraphSummary ImportEvent InitializeTableFromTextFile GeneratorDataset
    ExtractGlimpseFromFile EncodeProto DecodeProtoV2 Send Recv _Send _Recv _HostSend _HostRecv CollectiveBcastRecv"""
)
"""`InitializeTableFromTextFile` reads a path of the model's choice; `DecodeProtoV2` reads a descriptor file."""
_SOFT = frozenset(
    {"InitializeTableFromTextFile", "DecodeProtoV2", "EncodeProto", "CacheDataset", "CacheDatasetV2", "PrintV2"}
)
_GRAPH_NODE_LIMIT = 1_000_000


def is_saved_model(source: Source, look: Inspection) -> bool:
    """Whether it reads as a SavedModel (version 1, meta graphs) or a GraphDef (nodes with name and operator)."""
    try:
        return _is_saved_model(source, look) or _is_graph(source, look)
    except UnreadableError:
        return False


def inspect_saved_model(source: Source, look: Inspection) -> None:
    """Judge every node of every graph and function."""
    if _is_saved_model(source, look):
        look.format = "tensorflow-saved-model"
        for item in fields(source, look):
            if item.number == 2:
                for part in fields(item.message(), look):
                    if part.number == 2:
                        _graph(part.message(), look)
        return
    look.format = "tensorflow-graph"
    _graph(source, look)


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


def _graph(source: Source, look: Inspection) -> None:
    for item in fields(source, look):
        if item.number == 1:
            _node(item.message(), look)
        elif item.number == 2:
            for part in fields(item.message(), look):
                if part.number == 1:
                    for inner in fields(part.message(), look):
                        if inner.number == 3:
                            _node(inner.message(), look)


def _node(source: Source, look: Inspection) -> None:
    judge_operator(next((part.text() for part in fields(source, look) if part.number == 2), ""), look)


def judge_operator(operator: str, look: Inspection) -> None:
    """Judge one operator of TensorFlow by name."""
    if operator in _SOFT:
        look.suspicious("tensorflow-operator", f"the operator {operator} reads or writes a path that the model chooses")
    elif operator in DANGEROUS or "PyFunc" in operator:
        look.malicious("tensorflow-operator", f"the operator {operator[:80]} reaches outside of the model")
