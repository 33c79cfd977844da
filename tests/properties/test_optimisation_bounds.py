"""What holds for every series, every traffic and every manifest."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse._kit.money import Money
from customhouse.control.rollout import ArmStats, Move, RolloutPlan, RolloutState, advance, begin
from customhouse.control.rollout_analysis import compare_errors, compare_quality
from customhouse.core.resource import ResourceRef
from customhouse.optimisation.forecast import forecast
from customhouse.optimisation.monthforecast import month_forecast
from customhouse.optimisation.rightsize import upper_bound

START = datetime(2026, 11, 1, tzinfo=UTC)
REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "n", "m")
values = st.lists(st.integers(0, 10**12), min_size=1, max_size=500)
shares = st.floats(0.001, 0.5)


@given(values, shares, st.floats(0.5, 0.999))
def test_a_bound_is_a_seen_value_and_its_limit_is_never_below_it(series, risk, confidence):
    bound = upper_bound(series, risk=risk, confidence=confidence)
    assert bound.statistic in series
    assert bound.statistic <= bound.limit <= 2 * bound.statistic + 1
    assert 1 <= bound.effective <= bound.windows == len(series)
    assert bound.reached or bound.statistic == max(series)


@given(values, shares)
def test_more_confidence_never_gives_a_smaller_statistic(series, risk):
    low, high = (upper_bound(series, risk=risk, confidence=level) for level in (0.6, 0.95))
    assert low.statistic <= high.statistic


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=80), st.integers(1, 40), st.floats(0.5, 0.99))
def test_a_forecast_is_finite_and_inside_its_interval(series, horizon, level):
    times = [START + timedelta(minutes=5 * index) for index in range(len(series))]
    found = forecast(times, series, horizon, level)
    assert len(found.mean) == horizon
    for mean, low, high in zip(found.mean, found.lo, found.hi, strict=True):
        assert math.isfinite(mean)
        assert low <= mean <= high
    assert math.isclose(sum(found.weights.values()), 1.0, abs_tol=1e-4)


@given(
    st.lists(st.integers(0, 10**15), max_size=60),
    st.integers(0, 10**18),
    st.integers(0, 30 * 24 * 3600 - 1),
)
def test_a_months_forecast_brackets_itself_and_keeps_what_was_spent(amounts, declared, second):
    now = START + timedelta(seconds=second)
    hourly = {START + timedelta(hours=index): Money(amount) for index, amount in enumerate(amounts)}
    found = month_forecast(hourly, Money(declared), now)
    assert found.spent == Money(sum(amount.pico for at, amount in hourly.items() if at <= now))
    assert found.rest_low <= found.rest <= found.rest_high
    assert Money.zero() <= found.rest_low


counts = st.integers(0, 10**6)


@st.composite
def arms(draw):
    requests = draw(counts)
    labelled = draw(st.integers(0, requests))
    mean = draw(st.floats(0, 5))
    return ArmStats(
        requests=requests,
        errors=draw(st.integers(0, requests)),
        latency={0.01: draw(st.integers(0, requests)), math.inf: requests},
        labelled=labelled,
        log_loss=mean * labelled,
        log_loss_squares=(mean**2 + draw(st.floats(0, 9))) * labelled,
    )


@given(arms(), arms())
def test_evidence_is_a_number_and_never_speaks_against_the_better_arm(one, other):
    forward = compare_errors(one, other, increase=0.0)
    assert math.isfinite(forward.log_evidence)
    if one.error_rate <= other.error_rate:
        assert not forward.breaches(0.5)
    quality = compare_quality(one, other, increase=0.02)
    if quality is not None:
        assert math.isfinite(quality.log_evidence)
        assert quality.candidate > quality.stable or not quality.breaches(0.5)


@settings(deadline=None)
@given(st.lists(st.tuples(arms(), arms(), st.integers(0, 400)), max_size=12))
def test_any_counters_in_any_order_give_a_legal_walk_that_survives_the_store(looks):
    state = begin(RolloutPlan(steps=(10, 50), max_duration_s=1500), REF, stable="a", candidate="b", now=START)
    now, last = START, 10
    for ours, theirs, seconds in looks:
        now += timedelta(seconds=seconds)
        again = RolloutState.from_json(state.to_json())
        state, verdict = advance(state, ours, theirs, now)
        assert advance(again, ours, theirs, now) == (state, verdict)
        assert verdict.weight == state.weight
        allowed = {Move.WAIT: {last}, Move.STEP: {50}, Move.PROMOTE: {100}, Move.ABORT: {0}}[verdict.move]
        assert verdict.weight in allowed
        last = verdict.weight
