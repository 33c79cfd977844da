"""Plans and tables: what is declared, what is read, and what is refused with its place."""

from __future__ import annotations

import gzip
import hashlib

import numpy as np
import pytest

from customhouse.core.errors import ArtifactError
from customhouse.trust.evaluation import table as tables
from customhouse.trust.evaluation.answers import Reading, Wanted, feature_names, interpret
from customhouse.trust.evaluation.plan import API, read_plan
from customhouse.trust.evaluation.table import Reservoir, Table, fingerprints


class RefusedError(Exception):
    pass


def fail(pointer, message):
    raise RefusedError(f"{pointer}: {message}")


def plan(**said):
    return read_plan({"apiVersion": API, "label": "y", **said}, fail)


def test_a_plan_needs_its_label_alone():
    found = plan()
    assert (found.label, found.threshold, found.confidence, found.measure[0]) == ("y", 0.5, 0.95, "performance")


def test_a_whole_plan_is_read():
    found = plan(
        features=["a", {"name": "b", "type": "category", "min": 0, "max": 3}],
        groups=["team", {"column": "age", "cuts": [60, 25]}],
        bounds=[{"metric": "roc_auc", "atLeast": 0.8}, {"metric": "rmse", "atMost": 2, "counts": "value"}],
        evasion={"budgets": [0.1], "rows": 20, "queries": 50},
        limits={"seconds": 5, "memoryMb": 512},
        considerations={"users": ["risk team"], "limitations": ["cards alone"]},
    )
    assert [item.mutable for item in found.features] == [True, False]
    assert found.groups[1].cuts == (25.0, 60.0)
    assert found.bounds[0].text == "at least 0.8 (low end of the interval)"
    assert found.bounds[1].text == "at most 2 (the estimate)"
    assert (found.memory_mb, found.users) == (512, ("risk team",))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"lable": 1}, "/lable: unknown key 'lable'; did you mean 'label'?"),  # typos: ignore
        ({"apiVersion": "v1"}, "/apiVersion: apiVersion must be"),
        ({"label": 3}, "/label: label is missing"),
        ({"task": "binray"}, "/task: 'binray'; did you mean 'binary'?"),  # typos: ignore
        ({"threshold": 2}, "/threshold: 2 is outside 0 to 1"),
        ({"threshold": True}, "/threshold: True is no number"),
        ({"seed": 1.5}, "/seed: 1.5 is no whole number"),
        ({"features": ["a", "a"]}, "/features/1/name: the feature 'a' is declared twice"),
        ({"features": ["y"]}, "/features/0/name: 'y' is the label"),
        ({"features": [{"name": "a", "min": 2, "max": 1}]}, "/features/0/max: 1 is not above min, which is 2"),
        ({"features": [{}]}, "/features/0: a feature has a name"),
        ({"groups": ["g", "g"]}, "/groups/1: 'g' stands twice"),
        ({"groups": [{"cuts": [1]}]}, "/groups/0: column is missing"),
        ({"bounds": [{"metric": "auc"}]}, "/bounds/0: the bound on 'auc' has neither"),
        ({"bounds": [{"metric": "auc", "atLeast": 0, "atMost": 1}]}, "/bounds/0: a bound with both ends"),
        ({"bounds": [{"metric": "auc", "atLeast": 0, "counts": "mean"}]}, "/bounds/0/counts: 'mean'"),
        ({"bounds": {"metric": "auc"}}, "/bounds: bounds is no list"),
        ({"positive": "9", "classes": ["0", "1"]}, "/positive: '9' is none of classes"),
        ({"task": "binary", "classes": [0, 1, 2]}, "/classes: 3 classes, and the task is binary"),
        ({"evasion": {"budgets": ["x"]}}, "/evasion/budgets/0: 'x' is no number"),
        ({"limits": []}, None),
        ({"intersections": "yes"}, "/intersections: 'yes' is neither true nor false"),
    ],
)
def test_what_is_wrong_in_a_plan_is_named_with_its_place(said, told):
    if told is None:  # an empty section is no section
        assert plan(**said).seconds == 600.0
        return
    with pytest.raises(RefusedError) as caught:
        plan(**said)
    assert str(caught.value).startswith(told)


def written(tmp_path, text, name="d.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(path, features=("a", "b"), others=("y",), **how):
    with Table(path) as table:
        table.require([*features, *others], "a column")
        chunks = table.chunks(features, others, text=how.get("text", False), missing=how.get("missing", False))
        return table, list(chunks)


def test_columns_are_taken_by_name_whatever_their_order_and_delimiter(tmp_path):
    table, (chunk,) = rows_of(written(tmp_path, "\ufeffy;b;a\n1;2.5;3\n0;-1e3;4\n"))
    assert chunk.x.tolist() == [[3.0, 2.5], [4.0, -1000.0]]
    assert chunk.columns == {"y": ["1", "0"]}
    assert (table.rows, table.delimiter) == (2, ";")


def test_the_digest_is_of_the_bytes_that_were_read_packed_or_not(tmp_path):
    text = b"a,b,y\n1,2,0\n"
    plain, _ = rows_of(written(tmp_path, text))
    packed_bytes = gzip.compress(text, mtime=0)
    packed, (chunk,) = rows_of(written(tmp_path, packed_bytes, "d.csv.gz"))
    assert plain.digest == "sha256:" + hashlib.sha256(text).hexdigest()
    assert packed.digest == "sha256:" + hashlib.sha256(packed_bytes).hexdigest()
    assert chunk.x.tolist() == [[1.0, 2.0]]


def test_many_rows_come_in_pieces_and_number_on(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK", 3)
    body = "".join(f"{n},{n * 2},{n % 2}\n" for n in range(8))
    table, chunks = rows_of(written(tmp_path, "a,b,y\n" + body))
    assert [chunk.first for chunk in chunks] == [0, 3, 6]
    assert np.concatenate([chunk.x for chunk in chunks])[:, 0].tolist() == list(map(float, range(8)))
    assert table.rows == 8


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ":0: the file is empty"),
        ("a,b,y\n", "there are no rows below the header"),
        ("a,b,a\n1,2,3\n", ":1: the column 'a' stands twice"),
        ("a,,y\n1,2,3\n", ":1: a column has no name"),
        ("a,x,y\n1,2,3\n", "there is no column 'b' (a column)"),
        ("a,b,y\n1,2,3\n1,two,3\n", ":3: b is 'two', and a number is expected"),
        ("a,b,y\n1,,3\n", ":2: b is missing"),
        ("a,b,y\n1,NaN,3\n", ":2: b is missing"),
        ("a,b,y\n1,inf,3\n", ":2: b is 'inf'"),
        ("a,b,y\n1,1_0,3\n", ":2: b is '1_0'"),
        ("a,b,y\n1,2,3\n1,2\n", ":3: the row has 2 cells and the header 3"),
        (b"a,b,y\n1,2,\xff\n", "the file is not UTF-8"),
        ('a,b,y\n1,2,"x\n', "it cannot be read: unexpected end of data"),
    ],
)
def test_a_broken_table_is_named_by_file_and_line(tmp_path, text, told):
    with pytest.raises(ArtifactError) as caught:
        rows_of(written(tmp_path, text))
    assert told in str(caught.value)


def test_broken_packing_and_endless_lines_are_refused(tmp_path, monkeypatch):
    whole = gzip.compress(b"a,b,y\n" + b"1,2,0\n" * 5000)
    for broken in (whole[:-20], whole[:60] + b"\0" * 20 + whole[80:]):
        with pytest.raises(ArtifactError, match=r"cannot be read|is not UTF-8|cells|number"):
            rows_of(written(tmp_path, broken, "d.csv.gz"))
    with pytest.raises(ArtifactError, match="cannot be read"):
        rows_of(written(tmp_path, b"no gzip", "d.csv.gz"))
    monkeypatch.setattr(tables, "MAX_LINE", 50)
    with pytest.raises(ArtifactError, match="longer than 50 characters"):
        rows_of(written(tmp_path, "a,b,y\n" + "1" * 200 + ",2,3\n"))
    monkeypatch.setattr(tables, "MAX_ROWS", 3)
    monkeypatch.setattr(tables, "CHUNK", 2)
    with pytest.raises(ArtifactError, match="more than 3 rows"):
        rows_of(written(tmp_path, "a,b,y\n" + "1,2,0\n" * 9))


def test_missing_values_are_taken_where_that_is_declared(tmp_path):
    _, (chunk,) = rows_of(written(tmp_path, "a,b,y\n1,,3\n2,5,1\n"), missing=True)
    assert np.isnan(chunk.x[0, 1])
    assert chunk.x[1].tolist() == [2.0, 5.0]


def test_fingerprints_find_a_row_again_and_no_other():
    x = np.random.default_rng(1).integers(0, 50, size=(5000, 3)).astype(float)
    prints = fingerprints(x)
    assert len(np.unique(prints)) == len(np.unique(x, axis=0))
    assert fingerprints(np.array([[0.0, 1.0]])) == fingerprints(np.array([[-0.0, 1.0]]))
    assert fingerprints(np.array([[0.0, 1.0]])) != fingerprints(np.array([[1.0, 0.0]]))
    assert fingerprints(["a", "b"]).tolist() == fingerprints(["a", "b"]).tolist()


def test_a_sample_is_the_same_however_the_rows_come():
    x = np.arange(200.0).reshape(100, 2)
    whole, pieces = (Reservoir(10, np.random.Generator(np.random.PCG64(1))) for _ in range(2))
    whole.add(0, x)
    for first in range(0, 100, 7):
        pieces.add(first, x[first : first + 7])
    assert whole.rows.tolist() == pieces.rows.tolist() == x[whole.index].tolist()
    texts = Reservoir(2, np.random.Generator(np.random.PCG64(1)))
    texts.add(0, ["a", "b", "c"])
    assert len(texts.rows) == 2


class Spec:
    def __init__(self, name, datatype="FP32", shape=(-1, 1)):
        self.name, self.datatype, self.shape = name, datatype, shape


class Fake:
    def __init__(self, outputs, inputs=None, answer=None):
        self.answer = answer
        self.inputs = (Spec("x", shape=(-1, 2)),) if inputs is None else tuple(inputs)
        self.outputs = tuple(outputs)

    def run(self, rows, outputs):
        return [np.array(self.answer, dtype=float)]


def read(outputs, labels, **wanted):
    said = {"task": "", "output": "", "scores": "", "classes": (), "positive": "", "threshold": 0.5, **wanted}
    return interpret(Fake(outputs), Wanted(**said), labels, "m")[0]


def test_what_outputs_mean_is_found_out_or_asked_for():
    one, two = Spec("p"), Spec("p", shape=(-1, 2))
    label = Spec("label", "INT64", (-1,))
    assert read([one], ["0", "1"]).classes == ("0", "1")
    assert read([one], ["no", "yes"]).classes == ("no", "yes")
    assert read([one], ["a", "b"], positive="a").classes == ("b", "a")
    assert read([Spec("p", shape=(-1, 2))], ["a", "b"]).classes == ("a", "b")
    assert read([label, two], ["0", "1"]).output == "p"
    assert read([label], ["0", "1", "2"]).scores == "labels"
    assert read([one], ["1.5", "2", "3"]).task == "regression"
    with pytest.raises(ArtifactError, match="one number a row, and the label has 3 values: 0, 1, 7"):
        read([one], ["0", "1", "7"])
    with pytest.raises(ArtifactError, match="the first rows all have the label '0'"):
        read([one], ["0"])
    assert read([Spec("p", shape=(-1, 3))], ["2", "0"]).classes == ("0", "1", "2")
    for outputs, wanted, told in (
        ([one], {}, "which of a, b is the positive class"),
        ([one, Spec("q")], {}, "several outputs: p, q"),
        ([one], {"output": "z"}, "no output 'z'"),
    ):
        with pytest.raises(ArtifactError, match=told):
            read(outputs, ["a", "b"], **wanted)


@pytest.mark.parametrize("labels", [["a", "b"], ["b", "a", "a"]])
def test_the_positive_class_is_read_from_its_own_column(labels):
    two = [Spec("p", shape=(-1, 2))]
    answer = [np.array([[0.9, 0.1], [0.3, 0.7]])]
    second, first = read(two, labels, positive="b"), read(two, labels, positive="a")
    assert second.read(answer).p[:, 1].tolist() == [0.1, 0.7]
    assert first.read(answer).p[:, 1].tolist() == [0.9, 0.3]
    assert first.encode(labels, 0, "d").tolist() == [int(name == "a") for name in labels]
    declared = read(two, labels, classes=("b", "a"))
    assert declared.classes == ("b", "a")
    assert declared.read(answer).p[:, 1].tolist() == [0.1, 0.7]
    assert read(two, labels, classes=("b", "a"), positive="b").read(answer).p[:, 1].tolist() == [0.9, 0.3]


def test_a_model_that_does_not_say_how_wide_it_answers_is_asked():
    wanted = Wanted("", "", "", (), "", 0.5)
    reading, _ = interpret(
        Fake([Spec("p", shape=(-1, -1))], answer=[[0.2, 0.3, 0.5]]), wanted, ["0", "1"], "m", [[1.0]]
    )
    assert reading.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("array", "told"),
    [
        ([[0.5], [1.5]], "no probabilities"),
        ([[0.5], [float("nan")]], "that is no number"),
        ([[0.5, 0.6], [0.1, 0.2]], "sum to"),
        ([[0.1, 0.2, 0.7]] * 2, "3 columns, and there are 2 classes"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(array, told):
    reading = Reading("binary", "p", "probabilities", ("0", "1"), 0.5, "m")
    with pytest.raises(ArtifactError, match=told):
        reading.read([np.array(array)])


def test_labels_are_known_or_named_with_their_line():
    reading = Reading("multiclass", "p", "probabilities", ("0", "1", "2"), 0.5, "m")
    assert reading.encode(["2", "0.0", " 1 "], 0, "d.csv").tolist() == [2, 0, 1]
    with pytest.raises(ArtifactError, match=r"d.csv:12: the label is 'cat'"):
        reading.encode(["0", "1", "cat"], 8, "d.csv")


def test_logits_and_labels_are_read_as_declared():
    logits = Reading("binary", "z", "logits", ("0", "1"), 0.5, "m").read([np.array([[0.0], [2.0]])])
    assert logits.p[:, 1].tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-2))])
    many = Reading("multiclass", "z", "logits", ("a", "b"), 0.5, "m").read([np.array([[1.0, 1.0]])])
    assert many.p.tolist() == [[0.5, 0.5]]
    labels = Reading("multiclass", "l", "labels", ("a", "b"), 0.5, "m").read([np.array(["b", "a"], dtype=object)])
    assert labels.code.tolist() == [1, 0]
    with pytest.raises(ArtifactError, match="none of the classes"):
        Reading("multiclass", "l", "labels", ("a", "b"), 0.5, "m").read([np.array(["c"], dtype=object)])


def test_features_are_the_models_and_in_its_order():
    header, apart = ("id", "b", "a", "y"), {"y": "the label", "id": "ignored"}
    assert feature_names(Fake([]), (), header, apart, "m")[0] == ("b", "a")
    assert feature_names(Fake([]), ("a", "b"), header, apart, "m") == (("a", "b"), "")
    several = Fake([], [Spec("a"), Spec("b")])
    assert feature_names(several, (), header, apart, "m")[0] == ("a", "b")
    for model, declared, told in (
        (Fake([]), ("a",), "takes 2 features, and there are 1"),
        (several, ("a", "c"), "features differ in 'b'"),
        (Fake([], [Spec("image", shape=(-1, 3, 8, 8))]), (), "only tables and one column of text"),
        (Fake([], []), (), "takes nothing"),
    ):
        with pytest.raises(ArtifactError, match=told):
            feature_names(model, declared, header, apart, "m")
