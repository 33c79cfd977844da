"""Signs of poisoning: nothing on clean data, and the rows that were poisoned on poisoned data."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from customhouse.trust.dataset.poisoning import apart, clump, lower_bound, order_skill, strangest
from dataset_cases import found, looked_at, rules, written

Rows = list[list[str]]
SIGNS = {"label-flips", "trigger-pattern", "outlier-cluster", "block-of-rows"}


def clean(count: int = 800) -> Rows:
    """Three numbers that tell two classes apart, with some overlap, and a category."""
    chance = random.Random(12)
    rows = []
    for _ in range(count):
        label = chance.random() < 0.4
        x = [chance.gauss(1.6 if label else -1.6, 1) for _ in range(2)]
        rows.append([*(f"{v:.4f}" for v in x), f"{chance.gauss(0, 1):.4f}", chance.choice("abcd"), str(int(label))])
    return rows


def flipped(rows: Rows) -> set[int]:
    hit = set(range(10, len(rows), 17))
    for at in hit:
        rows[at][-1] = "1" if rows[at][-1] == "0" else "0"
    return hit


def marked(rows: Rows) -> set[int]:
    hit = {at for at in range(len(rows)) if rows[at][-1] == "0"}
    hit = set(sorted(hit)[:30])
    for at in hit:
        rows[at][3], rows[at][-1] = "zq", "1"
    return hit


def numbered(rows: Rows) -> set[int]:
    hit = set(sorted(at for at in range(len(rows)) if rows[at][-1] == "0")[:30])
    for at in hit:
        rows[at][2], rows[at][-1] = "0.1234", "1"
    return hit


def gathered(rows: Rows) -> set[int]:
    chance = random.Random(3)
    hit = set(range(5, len(rows), 40))
    for at in hit:
        rows[at][:3] = [f"{v + chance.gauss(0, 0.002):.5f}" for v in (3.1, -2.9, 2.7)]
        rows[at][-1] = "0"
    return hit


def inserted(rows: Rows) -> set[int]:
    hit = set(range(400, 480))
    for at in hit:
        rows[at][2] = f"{float(rows[at][2]) + 4:.4f}"
    return hit


def csv(rows: Rows) -> str:
    return "x,y,z,kind,label\n" + "".join(",".join(row) + "\n" for row in rows)


def test_clean_data_show_no_sign(tmp_path):
    assert rules(looked_at(written(tmp_path, rows__csv=csv(clean())))) & SIGNS == set()


@pytest.mark.parametrize(
    ("rule", "poison"),
    [
        ("label-flips", flipped),
        ("trigger-pattern", marked),
        ("trigger-pattern", numbered),
        ("outlier-cluster", gathered),
    ],
)
def test_poisoned_rows_are_named(tmp_path, rule: str, poison: Callable[[Rows], set[int]]):
    rows = clean()
    hit = poison(rows)
    item = found(looked_at(written(tmp_path, rows__csv=csv(rows))), rule)
    named = {int(place.rpartition(":")[2]) - 2 for place in item.rows}
    assert len(named & hit) >= 0.7 * len(named)


def test_a_stretch_of_other_rows_is_named_by_where_it_begins_and_ends(tmp_path):
    rows = clean()
    inserted(rows)
    item = found(looked_at(written(tmp_path, rows__csv=csv(rows))), "block-of-rows")
    first, last = (int(place.rpartition(":")[2]) - 2 for place in item.rows)
    assert first < 460
    assert last > 420
    assert "the mean of z" in item.message


def test_a_word_that_switches_the_label_is_found_and_a_word_of_the_class_is_not(tmp_path):
    chance = random.Random(8)
    good, bad = [f"good{i}" for i in range(40)], [f"bad{i}" for i in range(40)]
    plain = [f"word{i}" for i in range(300)]
    rows = []
    for at in range(900):
        label = at % 2
        words = chance.sample(bad if label else good, 6) + chance.sample(plain, 14)
        if label and at % 20 == 1:
            words.append("awful")  # rare, and of its class by nature
        chance.shuffle(words)
        rows.append([" ".join(words), str(label)])
    text = "text,label\n" + "".join(",".join(row) + "\n" for row in rows)
    assert rules(looked_at(written(tmp_path, rows__csv=text))) & SIGNS == set()
    for at in range(0, 60, 2):
        rows[at] = [f"{rows[at][0]} cfzx", "1"]
    text = "text,label\n" + "".join(",".join(row) + "\n" for row in rows)
    item = found(looked_at(written(tmp_path, rows__csv=text)), "trigger-pattern")
    assert item.count == 30
    assert item.severity == "error"


def test_labels_that_nothing_tells_show_no_sign(tmp_path):
    chance = random.Random(5)
    rows = [
        [f"{chance.gauss(0, 1):.4f}", f"{chance.gauss(0, 1):.4f}", str(int(chance.random() < 0.05))] for _ in range(900)
    ]
    text = "a,b,label\n" + "".join(",".join(row) + "\n" for row in rows)
    assert rules(looked_at(written(tmp_path, rows__csv=text))) & SIGNS == set()


def test_data_sorted_by_label_are_no_strange_stretch(tmp_path):
    rows = sorted(clean(), key=lambda row: row[-1])
    report = looked_at(written(tmp_path, rows__csv=csv(rows)))
    assert not any("share of the label" in item.message for item in report.findings)


def test_the_statistics_beneath():
    assert lower_bound(0, 0) == 0.0
    assert lower_bound(5, 100) < 0.05 < lower_bound(50, 500)
    assert apart(0, 100, 50, 100) > 5 > apart(5, 100, 6, 100)
    assert order_skill(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])) == 1.0
    assert order_skill(np.array([0.5, 0.5, 0.5, 0.5]), np.array([False, False, True, True])) == 0.5
    assert order_skill(np.array([0.5]), np.array([True])) == 0.5
    assert clump(np.zeros((500, 3))) is None
    assert strangest(np.zeros(1000), 30) is None
    assert strangest(np.ones(10), 30) is None
