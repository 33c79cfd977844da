"""Metrics of an evaluation where the answer is known by hand, and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.calibration import calibrate, heated
from customhouse.trust.evaluation.comparison import differences, trivial
from customhouse.trust.evaluation.fairness import Split, crossed, fairness
from customhouse.trust.evaluation.intervals import Estimate, averaged, quantile, rounded, wilson
from customhouse.trust.evaluation.judgement import judge
from customhouse.trust.evaluation.performance import (
    Settings,
    Truth,
    average_precision,
    confusion,
    influences,
    metrics,
    per_class,
    roc_auc,
)
from customhouse.trust.evaluation.plan import Bound

SETTINGS = Settings(quantile(0.95), 0.95, 1, 300)
Y = np.array([0, 0, 1, 1])
S = np.array([0.1, 0.4, 0.35, 0.8])


def binary(y, p, threshold=0.5):
    p = np.asarray(p, dtype=float)
    return Truth("binary", ("0", "1"), np.asarray(y)), Scores(
        np.stack([1 - p, p], axis=1), (p >= threshold).astype(np.int64)
    )


def test_wilson_is_the_published_interval():
    found = wilson(8, 10, 1.959964)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert (wilson(0, 5, 1.96).low, wilson(5, 5, 1.96).high) == (0.0, 1.0)
    assert wilson(0, 0, 1.96) is None


def test_areas_are_those_of_the_textbook():
    assert roc_auc(Y == 1, S)[0] == 0.75
    assert average_precision(Y == 1, S) == pytest.approx(5 / 6)
    # Ties count half, and the order of equal scores does not matter.
    assert roc_auc(np.array([True, False, True, False]), np.zeros(4))[0] == 0.5
    assert average_precision(np.array([True, False, True, False]), np.zeros(4)) == 0.5
    assert roc_auc(np.array([True, True]), S[:2]) is None


def test_every_metric_of_two_classes_is_as_counted():
    truth, scores = binary([1, 1, 1, 0, 0, 0, 0, 0], [0.9, 0.8, 0.3, 0.7, 0.2, 0.2, 0.1, 0.1])
    found = {name: item.value for name, item in metrics(truth, scores, SETTINGS).items()}
    assert confusion(truth.code, scores.code, 2).tolist() == [[4, 1], [1, 2]]
    assert found["accuracy"] == 0.75
    assert found["precision"] == found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["specificity"] == 0.8
    assert found["balanced_accuracy"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["mcc"] == pytest.approx((2 * 4 - 1 * 1) / math.sqrt(3 * 3 * 5 * 5))
    assert found["selection_rate"] == found["prevalence"] == 3 / 8
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.3, 0.3, 0.8, 0.8, 0.9, 0.9]).mean())
    assert found["brier"] == pytest.approx(np.mean([0.01, 0.04, 0.49, 0.49, 0.04, 0.04, 0.01, 0.01]))


def test_several_classes_have_macro_metrics_and_one_row_each():
    y = np.array([0, 0, 1, 1, 2, 2])
    p = np.eye(3)[[0, 1, 1, 1, 2, 0]] * 0.8 + 0.2 / 3
    truth, scores = Truth("multiclass", ("a", "b", "c"), y), Scores(p, p.argmax(axis=1))
    found = metrics(truth, scores, SETTINGS)
    assert found["accuracy"].value == pytest.approx(4 / 6)
    assert found["macro_f1"].value == pytest.approx((0.5 + 0.8 + 2 / 3) / 3)
    assert found["macro_precision"].value == pytest.approx((0.5 + 2 / 3 + 1) / 3)
    assert per_class(truth, scores, SETTINGS)["b"]["recall"].value == 1.0


def test_a_regressor_is_measured_by_its_errors():
    truth = Truth("regression", (), None, np.array([1.0, 2.0, 3.0, 4.0]))
    found = metrics(truth, Scores(value=np.array([1.0, 2.0, 3.0, 6.0])), SETTINGS)
    assert found["rmse"].value == 1.0
    assert found["mae"].value == found["mean_error"].value == 0.5
    assert found["r2"].value == pytest.approx(1 - 4 / 5)
    assert found["pinball_10"].value == pytest.approx(0.9 * 2 / 4)
    assert found["pinball_90"].value == pytest.approx(0.1 * 2 / 4)


def test_influences_add_up_to_nothing_and_a_perfect_area_still_has_an_interval():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 500)
    truth, scores = binary(y, np.clip(y * 0.3 + rng.random(500) * 0.7, 0.01, 0.99))
    for name, (_, terms) in influences(truth, scores).items():
        assert abs(terms.mean()) < 1e-12, name
    truth, scores = binary([0] * 20 + [1] * 10, [0.1] * 20 + [0.9] * 10)
    found = metrics(truth, scores, SETTINGS)["roc_auc"]
    assert found.value == found.high == 1.0
    assert 0.6 < found.low < 0.8


def test_differences_are_paired_and_positive_is_better():
    rng = np.random.default_rng(4)
    y = rng.integers(0, 2, 2000)
    good, bad = np.clip(y * 0.4 + rng.random(2000) * 0.6, 0.01, 0.99), rng.random(2000) * 0.98 + 0.01
    truth, ours = binary(y, good)
    _, theirs = binary(y, bad)
    found = differences(truth, ours, theirs, SETTINGS.z)
    assert all(found[name].low > 0.0 for name in ("accuracy", "roc_auc", "log_loss", "brier"))
    same = differences(truth, ours, ours, SETTINGS.z)
    assert all((item.value, item.low, item.high) == (0.0, 0.0, 0.0) for item in same.values())
    perfect = binary(y, np.where(y == 1, 0.9, 0.1))[1]
    sure = differences(truth, perfect, trivial(truth, None)[0], SETTINGS.z)["roc_auc"]
    assert (sure.value, sure.low, sure.high) == (0.5, None, None)
    plain, what = trivial(truth, None)
    assert set(plain.code.tolist()) == {int(y.mean() > 0.5)}
    assert "most frequent" in what


def test_the_mean_of_shares_is_no_wider_than_they_are():
    found = averaged([wilson(50, 100, 1.96), wilson(80, 100, 1.96)])
    assert found.value == pytest.approx(0.65)
    assert 0.12 < found.high - found.low < 0.13


def test_groups_that_are_treated_otherwise_are_seen_and_small_ones_are_told():
    code = np.array([1] * 50 + [0] * 50 + [1] * 25 + [0] * 75 + [1] * 5)
    y = np.tile([1, 0], 103)[:205]
    truth, scores = Truth("binary", ("0", "1"), y), Scores(code=code)
    split = Split("team", ("a", "b", "tiny"), np.array([0] * 100 + [1] * 100 + [2] * 5))
    found = fairness(truth, scores, [split], 50, SETTINGS)
    assert found.metrics["team.demographic_parity_ratio"].value == 0.5
    assert found.metrics["team.demographic_parity_difference"].value == 0.25
    table = found.tables["team"]
    assert table["not_judged"] == {"tiny": 5}
    assert "tiny" not in table["groups"]
    assert table["differences"]["demographic_parity_difference"]["above_chance"]
    assert table["groups"]["a"]["selection_rate"]["value"] == 0.5


def test_equal_groups_stay_below_what_chance_makes():
    rng = np.random.default_rng(5)
    y, code = rng.integers(0, 2, 4000), rng.integers(0, 2, 4000)
    splits = [Split(name, ("x", "y"), rng.integers(0, 2, 4000)) for name in ("one", "two")]
    both = crossed(splits)
    assert both.name == "one × two"
    assert both.values == ("x & x", "x & y", "y & x", "y & y")
    truth = Truth("binary", ("0", "1"), y)
    found = fairness(truth, Scores(code=code), [splits[0]], 50, SETTINGS).tables["one"]["differences"]
    assert found["equalised_odds_difference"]["value"] < 0.08
    assert fairness(truth, Scores(code=code), [Split("all", ("x",), np.zeros(4000, int))], 50, SETTINGS).metrics == {}


def test_a_calibrated_model_has_no_error_left_and_a_loud_one_is_told_its_temperature():
    rng = np.random.default_rng(6)
    z = rng.normal(size=(8000, 1)) * 1.5
    p = heated(np.concatenate([np.zeros_like(z), z], axis=1), 1.0)
    y = (rng.random(8000) < p[:, 1]).astype(np.int64)
    calm = calibrate(y, p, 15, SETTINGS)
    assert calm.metrics["rms_debiased"].low == 0.0
    assert calm.metrics["rms_debiased"].value < 0.01
    assert calm.metrics["ece"].value < 1.5 * calm.ece_by_chance
    assert not calm.temperature["improves"]
    loud = calibrate(y, heated(np.concatenate([np.zeros_like(z), z], axis=1), 1.0 / 3.0), 15, SETTINGS)
    assert loud.metrics["rms_debiased"].low > 0.05
    assert loud.metrics["ece"].low > 2.0 * loud.ece_by_chance
    assert loud.temperature["value"] == pytest.approx(3.0, rel=0.15)
    assert loud.temperature["improves"]
    assert sum(row["rows"] for row in loud.table) == 8000


@pytest.mark.parametrize(
    ("bound", "met", "problem"),
    [
        (Bound("auc", 0.9, None, "value"), True, ""),
        (Bound("auc", 0.9, None, "low"), False, "0.88 is below 0.9"),
        (Bound("auc", None, 0.93, "high"), False, "0.95 is above 0.93"),
        (Bound("acu", 0.1, None, "low"), False, "it was not measured; did you mean 'auc'?"),
        (Bound("alone", 0.1, None, "low"), False, "there is no interval: too few rows"),
        (Bound("alone", 0.1, 0.9, "value"), True, ""),
    ],
)
def test_bounds_count_at_their_end_and_what_was_not_measured_has_failed(bound, met, problem):
    measured = {"auc": Estimate(0.92, 0.88, 0.95, 100), "alone": Estimate(0.5, None, None, 1)}
    rows, passed = judge([bound], measured)
    assert (rows[0]["met"], rows[0]["problem"], passed) == (met, problem, met)
    assert judge([], measured) == ([], None)


def test_what_is_no_number_is_never_written():
    assert str(rounded(-0.0)) == "0.0"
    assert rounded(1 / 3) == 0.333333333
    with pytest.raises(ValueError, match="not finite"):
        rounded(float("nan"))
