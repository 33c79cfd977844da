"""Attacks, noise, leaks and attributions on models whose behaviour is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.attribution import importance, shapley
from customhouse.trust.evaluation.evasion import evade
from customhouse.trust.evaluation.hopskipjump import nearest
from customhouse.trust.evaluation.intervals import quantile
from customhouse.trust.evaluation.performance import Settings, Truth
from customhouse.trust.evaluation.plan import Feature
from customhouse.trust.evaluation.privacy import Rows, extraction, membership
from customhouse.trust.evaluation.stability import stability
from customhouse.trust.evaluation.surface import Space, space_of

SETTINGS = Settings(quantile(0.95), 0.95, 1, 300)
NAMES = ("a", "b", "c")
WEIGHTS = np.array([3.0, -2.0, 0.0])


def logistic(x, weights=WEIGHTS):
    p = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -700, 700)))
    return Scores(np.stack([1 - p, p], axis=1), (p >= 0.5).astype(np.int64))


def unit_space(*, mutable=(True, True, True), whole=(False, False, False)):
    return Space(NAMES, np.full(3, -1.0), np.full(3, 1.0), np.array(whole), np.array(mutable))


def cube(rows=400, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, size=(rows, 3))


def attack(space, budgets=(0.05, 0.4), predict=logistic, rows=None):
    x = cube() if rows is None else rows
    scores = predict(x)
    truth = Truth("binary", ("0", "1"), scores.code)
    return evade(
        predict, x, truth, scores, space, budgets=budgets, attacked=100, queries=60, threshold=0.5, settings=SETTINGS
    )


def test_a_linear_model_falls_exactly_where_the_budget_reaches_its_border():
    """In a box of half-width b around x the logit falls by at most b·2·(3 + 2): every row within falls, no other."""
    asked = []

    def predict(x):
        asked.append(x)
        return logistic(x)

    found, details = attack(unit_space(), budgets=(0.1,), predict=predict)
    picked = asked[1]  # the first question about attacked rows: corners around them
    assert details["rows"] == len(picked) == 100
    x = cube()
    margin = np.abs(x @ WEIGHTS)
    reachable = float((margin < 0.2 * 5.0).mean())
    assert found["success_rate@0.1"].value == pytest.approx(reachable, abs=0.12)
    assert found["success_rate@0.1"].value <= 1.0


def test_a_larger_budget_never_makes_fewer_rows_fall_much_and_a_constant_model_withstands():
    found, _ = attack(unit_space(), budgets=(0.02, 0.2))
    assert found["success_rate@0.02"].value < found["success_rate@0.2"].value

    def constant(x):
        return Scores(np.tile([0.2, 0.8], (len(x), 1)), np.ones(len(x), dtype=np.int64))

    calm, details = attack(unit_space(), predict=constant)
    assert {item.value for item in calm.values()} == {0.0}
    assert all(row["queries_per_row"] == 60.0 for row in details["attacks"])


def test_what_an_attacker_cannot_choose_stays_as_it_is():
    seen = []

    def predict(x):
        seen.append(x.copy())
        return logistic(x)

    x = np.round(cube() * 5) / 5
    space = Space(NAMES, np.full(3, -1.0), np.full(3, 1.0), np.array([False] * 3), np.array([False, True, True]))
    attack(space, predict=predict, rows=x)
    moved = np.concatenate(seen)
    assert set(np.unique(moved[:, 0])) <= set(np.unique(x[:, 0]))
    assert moved.min() >= -1.0
    assert moved.max() <= 1.0
    found, _ = attack(unit_space(mutable=(False, False, False)))
    assert {item.value for item in found.values()} == {0.0}


def test_hopskipjump_finds_the_distance_to_a_plane():
    x = cube(60, seed=2) * 0.4
    space = unit_space()
    pool = cube(400, seed=3)
    code = logistic(x).code
    gap, queries = nearest(logistic, x, code, pool, logistic(pool).code, space, 1)
    # Ranges are 2 wide; the distance is told over the root of three features.
    exact = np.abs(x @ WEIGHTS) / np.linalg.norm(WEIGHTS) / 2.0 / np.sqrt(3.0)
    assert np.all(gap >= exact - 1e-9)
    assert np.median(gap / exact) < 1.1
    assert queries > 0


def test_hopskipjump_says_that_it_found_nothing():
    def constant(x):
        return Scores(code=np.ones(len(x), dtype=np.int64))

    x = cube(20)
    gap, _ = nearest(constant, x, np.ones(20, int), x, np.ones(20, int), unit_space(), 1)
    assert np.all(np.isinf(gap))


def test_a_regressor_is_attacked_by_how_far_its_value_moves():
    x = cube()
    truth = Truth("regression", (), None, x @ WEIGHTS)

    def predict(rows):
        return Scores(value=rows @ WEIGHTS)

    found, details = evade(
        predict, x, truth, predict(x), unit_space(), budgets=(0.01, 0.5), attacked=50, queries=40, threshold=0.0,
        settings=SETTINGS,
    )  # fmt: skip
    assert found["success_rate@0.01"].value == 0.0
    assert found["success_rate@0.5"].value > 0.9
    assert details["tolerance"] == pytest.approx(float((x @ WEIGHTS).std()))


def test_whole_numbers_stay_whole_however_they_are_disturbed():
    x = np.column_stack([cube()[:, 0], np.arange(400.0) % 7, np.arange(400.0) % 2])

    def predict(rows):
        assert np.array_equal(rows[:, 1:], np.rint(rows[:, 1:]))
        return logistic(rows)

    y = (np.random.default_rng(9).random(400) < 0.5).astype(np.int64)
    space = space_of(NAMES, (), x)
    truth = Truth("binary", ("0", "1"), y)
    found, _ = stability(predict, x, truth, predict(x), space, noise=(0.1,), dropout=0.2, settings=SETTINGS)
    assert "unit.drop" in found
    attack(space, predict=predict, rows=x)
    extraction(predict, Rows(x, truth, predict(x)), space, 100, SETTINGS)


def test_noise_and_wrong_units_cost_what_they_must():
    x = cube(1500)
    y = (np.random.default_rng(9).random(1500) < logistic(x).p[:, 1]).astype(np.int64)
    truth = Truth("binary", ("0", "1"), y)
    found, details = stability(
        logistic, x, truth, logistic(x), unit_space(), noise=(0.01, 3.0), dropout=0.2, settings=SETTINGS
    )
    assert abs(found["gaussian@0.01.drop"].value) < 0.01
    assert found["gaussian@3.drop"].low > 0.05
    assert found["dropout@0.2.drop"].value > 0.0
    worst = next(row for row in details["table"] if row["disturbance"] == "unit")
    assert worst["feature"] in ("a", "b")


def memoriser(known):
    marks = {row.tobytes() for row in known}

    def predict(x):
        inside = np.array([row.tobytes() in marks for row in np.ascontiguousarray(x)])
        base = logistic(x, WEIGHTS / 3).p[:, 1]
        p = np.where(inside, (base > 0.5) * 0.98 + 0.01, base)
        return Scores(np.stack([1 - p, p], axis=1), (p >= 0.5).astype(np.int64))

    return predict


def test_a_model_that_knows_its_training_rows_is_found_out_and_one_that_does_not_is_left_alone():
    inside, outside = cube(600, seed=4), cube(600, seed=5)
    truths = [Truth("binary", ("0", "1"), (x @ WEIGHTS > 0).astype(np.int64)) for x in (inside, outside)]
    knows = memoriser(inside)
    found, _ = membership(Rows(inside, truths[0], knows(inside)), Rows(outside, truths[1], knows(outside)), SETTINGS)
    assert found["membership_auc"].low > 0.7
    assert found["membership_tpr_at_1_percent"].value > 0.3
    calm, _ = membership(
        Rows(inside, truths[0], logistic(inside)), Rows(outside, truths[1], logistic(outside)), SETTINGS
    )
    assert calm["membership_auc"].low < 0.5 < calm["membership_auc"].high
    assert calm["membership_calibrated_auc"].low < 0.5 < calm["membership_calibrated_auc"].high
    few = Rows(inside[:50], truths[0].taken(slice(50)), logistic(inside[:50]))
    assert membership(few, few, SETTINGS)[0] == {}


def test_a_simple_model_can_be_copied_and_agreement_by_majority_is_told_apart():
    x = cube(800)
    rows = Rows(x, Truth("binary", ("0", "1"), logistic(x).code), logistic(x))
    found, details = extraction(logistic, rows, unit_space(), 500, SETTINGS)
    assert found["extraction_fidelity"].low > 0.9
    assert details["agreement_beyond_chance"] > 0.8
    assert details["agreement_of_the_majority"] < 0.6


def test_attributions_add_up_and_name_what_matters():
    x = cube(500)

    def value(rows):
        return Scores(value=rows @ WEIGHTS)

    truth = Truth("regression", (), None, x @ WEIGHTS)
    found, details = importance(value, x, truth, value(x), NAMES, SETTINGS)
    assert next(iter(details["importance"])) == "a"
    assert details["importance"]["c"]["value"] == 0.0
    assert found["top_feature_share"].value == pytest.approx(9 / 13, abs=0.05)
    row = shapley(value, x[:1], x, [0], NAMES, 1)[0]
    adds = {item["name"]: item["adds"] for item in row["features"]}
    assert sum(adds.values()) == pytest.approx(row["answer"] - row["background"])
    assert adds["c"] == 0.0
    assert row["answer"] == pytest.approx(float(x[0] @ WEIGHTS))


def test_a_feature_that_is_the_label_is_pointed_at():
    x = cube(500)
    y = (x[:, 1] > 0).astype(np.int64)

    def predict(rows):
        return logistic(rows, np.array([0.0, 20.0, 0.0]))

    _, details = importance(predict, x, Truth("binary", ("0", "1"), y), predict(x), NAMES, SETTINGS)
    assert "b alone tells the label" in details["leak_hint"]


def test_the_space_is_as_declared_and_else_as_the_rows_are():
    x = np.column_stack([np.arange(100.0), np.tile([0.0, 1.0], 50), np.linspace(0, 1, 100)])
    space = space_of(NAMES, [Feature("a", "integer", -5.0, 500.0), Feature("b", "category", mutable=False)], x)
    assert (space.low[0], space.high[0]) == (-5.0, 500.0)
    assert (space.low[1], space.high[1]) == (0.0, 1.0)
    assert space.whole.tolist() == [True, True, False]
    assert space.mutable.tolist() == [True, False, True]
    assert space.assumed == ("b", "c")
    assert space.admitted(np.array([[1.4, 0.0, 7.0]]), x[1:2]).tolist() == [[1.0, 1.0, pytest.approx(0.99)]]
