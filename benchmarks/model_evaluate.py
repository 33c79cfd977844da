"""What `model evaluate` finds of what was planted, how often its intervals hold, what it costs, and how peers see it.

    python benchmarks/model_evaluate.py [--rounds 400] [--peer-python VENV/bin/python]

The peer's environment has scikit-learn, fairlearn and adversarial-robustness-toolbox; without it only our side runs.
Everything is made here from seeds; times are CPU seconds of this process and the model's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.calibration import calibrate
from customhouse.trust.evaluation.comparison import differences
from customhouse.trust.evaluation.evasion import evade
from customhouse.trust.evaluation.fairness import Split, fairness
from customhouse.trust.evaluation.hopskipjump import nearest
from customhouse.trust.evaluation.intervals import quantile
from customhouse.trust.evaluation.performance import Settings, Truth, metrics
from customhouse.trust.evaluation.privacy import Rows, membership
from customhouse.trust.evaluation.surface import Space

LEVEL = 0.95
SETTINGS = Settings(quantile(LEVEL), LEVEL, 1, 500)
FEATURES = 8


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-np.clip(z, -60, 60)))


def binary(p, threshold=0.5):
    return Scores(np.stack([1 - p, p], axis=1), (p >= threshold).astype(np.int64))


# 1. Do intervals hold what they say?


def draw(rng, rows, shift=0.0):
    """A score model with a known law: 10 % positives, scores of two overlapping normals, somewhat overconfident."""
    y = (rng.random(rows) < 0.1).astype(np.int64)
    z = rng.normal(size=rows) + 1.5 * y
    return y, sigmoid(1.3 * z - 2.6 + shift), sigmoid(1.3 * (0.6 * z + 0.8 * rng.normal(size=rows)) - 2.4)


def coverage(rounds: int) -> None:
    rng = np.random.default_rng(11)
    y, p, q = draw(rng, 2_000_000)
    truth = Truth("binary", ("0", "1"), y)
    exact = {name: item.value for name, item in metrics(truth, binary(p), SETTINGS).items()}
    exact |= {f"difference.{n}": i.value for n, i in differences(truth, binary(p), binary(q), SETTINGS.z).items()}
    for rows in (300, 2000):
        held: dict[str, list[bool]] = {}
        for _ in range(rounds):
            y, p, q = draw(rng, rows)
            truth = Truth("binary", ("0", "1"), y)
            found = dict(metrics(truth, binary(p), SETTINGS))
            found |= {f"difference.{n}": i for n, i in differences(truth, binary(p), binary(q), SETTINGS.z).items()}
            for name, item in found.items():
                if item.low is not None and name in exact:
                    held.setdefault(name, []).append(item.low <= exact[name] <= item.high)
        said = {name: f"{np.mean(flags):.3f}" for name, flags in sorted(held.items())}
        print(f"coverage of {LEVEL:.0%} intervals, {rows} rows, {rounds} rounds:", json.dumps(said))
    group_coverage(rounds, rng)


def group_coverage(rounds: int, rng) -> None:
    """Selection rates 0.30 and 0.20: the difference is 0.10, the ratio two thirds."""
    held = {"demographic_parity_difference": [], "demographic_parity_ratio": []}
    alarms = []
    for _ in range(rounds):
        group = (rng.random(2000) < 0.4).astype(np.int64)
        truth = Truth("binary", ("0", "1"), rng.integers(0, 2, 2000))
        code = (rng.random(2000) < np.where(group == 1, 0.2, 0.3)).astype(np.int64)
        found = fairness(truth, Scores(code=code), [Split("g", ("a", "b"), group)], 50, SETTINGS)
        for name, exact in (("demographic_parity_difference", 0.1), ("demographic_parity_ratio", 2 / 3)):
            item = found.metrics[f"g.{name}"]
            held[name].append(item.low <= exact <= item.high)
        alike = fairness(truth, Scores(code=rng.integers(0, 2, 2000)), [Split("g", ("a", "b"), group)], 50, SETTINGS)
        alarms.append(alike.tables["g"]["differences"]["equalised_odds_difference"]["above_chance"])
    said = {name: f"{np.mean(flags):.3f}" for name, flags in held.items()}
    print(
        f"coverage of differences between groups: {json.dumps(said)}; alike groups called unlike: {np.mean(alarms):.3f}"
    )


# 2. Is what was planted found?


def fit_forest_like(x, y, rng, depth: int):
    """Trees of random cuts, as deep as asked: deep ones know every row of training, shallow ones only the rule."""
    trees = []
    for _ in range(40):
        take = rng.integers(len(x), size=len(x))
        trees.append(grow(x[take], y[take], rng, depth))
    return lambda rows: np.mean([ask(tree, rows) for tree in trees], axis=0)


def grow(x, y, rng, depth):
    if depth == 0 or len(y) < 2 or y.min() == y.max():
        return float((y.sum() + 0.02) / (len(y) + 0.04))
    best = None
    for column in rng.integers(x.shape[1], size=6):
        cut = float(x[rng.integers(len(x)), column])
        left = x[:, column] <= cut
        if not left.any() or left.all():
            continue
        gain = left.mean() * y[left].var() + (~left).mean() * y[~left].var()
        if best is None or gain < best[0]:
            best = (gain, int(column), cut, left)
    if best is None:
        return float((y.sum() + 0.02) / (len(y) + 0.04))
    _, column, cut, left = best
    return (column, cut, grow(x[left], y[left], rng, depth - 1), grow(x[~left], y[~left], rng, depth - 1))


def ask(tree, rows):
    if isinstance(tree, float):
        return np.full(len(rows), tree)
    column, cut, low, high = tree
    left = rows[:, column] <= cut
    found = np.empty(len(rows))
    found[left], found[~left] = ask(low, rows[left]), ask(high, rows[~left])
    return found


def planted() -> None:
    rng = np.random.default_rng(5)
    weights = rng.normal(size=FEATURES)

    def rows(count):
        x = rng.normal(size=(count, FEATURES))
        return x, (rng.random(count) < sigmoid(x @ weights)).astype(np.int64)

    (x, y), (hx, hy) = rows(1500), rows(1500)
    for name, depth in (("over-fitted (depth 30)", 30), ("regularised (depth 3)", 3)):
        model = fit_forest_like(x, y, rng, depth)
        sides = [
            Rows(part, Truth("binary", ("0", "1"), label), binary(np.clip(model(part), 1e-3, 1 - 1e-3)))
            for part, label in ((x, y), (hx, hy))
        ]
        found, _ = membership(*sides, SETTINGS)
        area, caught = found["membership_auc"], found["membership_tpr_at_1_percent"]
        print(
            f"membership, {name}: AUC {area.value:.3f} ({area.low:.3f} to {area.high:.3f}), "
            f"true positives at 1 % {caught.value:.3f}; calibrated AUC {found['membership_calibrated_auc'].value:.3f}"
        )
    biased(rng)
    fragile(rng)


def biased(rng) -> None:
    y, group = rng.integers(0, 2, 4000), rng.integers(0, 2, 4000)
    for name, penalty in (("biased", 0.8), ("fair", 0.0)):
        code = (sigmoid(2.5 * (y - 0.5) - penalty * group + rng.normal(size=4000)) >= 0.5).astype(np.int64)
        truth = Truth("binary", ("0", "1"), y)
        table = fairness(truth, Scores(code=code), [Split("g", ("a", "b"), group)], 50, SETTINGS).tables["g"]
        item = table["differences"]["equalised_odds_difference"]
        print(
            f"fairness, {name}: odds differ by {item['value']:.3f} ({item['low']:.3f} to {item['high']:.3f}), "
            f"chance {item['chance']:.3f}, above chance: {item['above_chance']}"
        )


def unit_space():
    ones = np.ones(FEATURES)
    return Space(tuple(f"f{k}" for k in range(FEATURES)), -ones, ones, ones < 0, ones > 0)


def fragile(rng) -> None:
    x = rng.uniform(-1, 1, size=(1500, FEATURES))
    weights = np.ones(FEATURES)
    for name, model in (
        ("smooth", lambda z: sigmoid(4 * (z @ weights))),
        ("fragile (it turns over every 0.06 of one feature)", lambda z: sigmoid(30 * np.sin(z[:, 0] * 52))),
    ):
        scores = binary(model(x))
        truth = Truth("binary", ("0", "1"), scores.code)
        found, _ = evade(
            lambda z, m=model: binary(m(z)), x, truth, scores, unit_space(), budgets=(0.05,), attacked=100, queries=100,
            threshold=0.5, settings=SETTINGS,
        )  # fmt: skip
        item = found["success_rate@0.05"]
        print(f"evasion, {name}: {item.value:.2f} of rows fall at a budget of 0.05 ({item.low:.2f} to {item.high:.2f})")
    calibrated(rng)


def calibrated(rng) -> None:
    z = rng.normal(size=20_000) * 2
    y = (rng.random(20_000) < sigmoid(z)).astype(np.int64)
    for name, factor in (("calibrated", 1.0), ("twice too sure", 2.0)):
        p = sigmoid(z * factor)
        found = calibrate(y, np.stack([1 - p, p], axis=1), 15, SETTINGS)
        print(
            f"calibration, {name}: ECE {found.metrics['ece'].value:.4f} (chance {found.ece_by_chance:.4f}), debiased "
            f"{found.metrics['rms_debiased'].value:.4f}, temperature {found.temperature['value']}"
        )


# 3. What does it cost?


def cost() -> None:
    from execution_onnx import logistic  # of the tests: a model as bytes

    rng = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "model.onnx").write_bytes(logistic([0.7] * 20, 0.0))
        for rows in (10_000, 100_000):
            x = rng.normal(size=(rows, 20))
            y = rng.random(rows) < sigmoid(x.sum(axis=1) * 0.7)
            for name in ("data", "train"):
                with (root / f"{name}.csv").open("w") as handle:
                    handle.write(",".join([*(f"f{k}" for k in range(20)), "team", "y"]) + "\n")
                    np.savetxt(handle, np.column_stack([x, rng.integers(0, 2, rows), y]), fmt="%.6g", delimiter=",")
            words = ["model", "evaluate", "model.onnx", "--data", "data.csv", "--train", "train.csv", "--label", "y"]
            before = os.times()
            done = subprocess.run(
                [sys.executable, "-c", "import sys; from customhouse.cli import main; sys.exit(main())", *words,
                 "--group", "team", "-q", "-o", "json"],
                cwd=root, capture_output=True, text=True, check=False,
            )  # fmt: skip
            after = os.times()
            assert done.returncode == 0, done.stderr
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            print(f"cost: {rows} rows of 20 features, all kinds, training read too: {spent:.2f} CPU s")


# 4. What do peers say of the same rows?

PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np
import sklearn.metrics as m
data = np.load(sys.argv[1])
y, p, group = data["y"], data["p"], data["group"]
code = (p >= 0.5).astype(int)
out = {"accuracy": m.accuracy_score(y, code), "balanced_accuracy": m.balanced_accuracy_score(y, code),
  "precision": m.precision_score(y, code), "recall": m.recall_score(y, code), "f1": m.f1_score(y, code),
  "mcc": m.matthews_corrcoef(y, code), "roc_auc": m.roc_auc_score(y, p), "pr_auc": m.average_precision_score(y, p),
  "log_loss": m.log_loss(y, p), "brier": m.brier_score_loss(y, p)}
y3, p3 = data["y3"], data["p3"]
code3 = p3.argmax(axis=1)
out["macro.roc_auc"] = m.roc_auc_score(y3, p3, multi_class="ovr", average="macro")
out["macro.macro_f1"] = m.f1_score(y3, code3, average="macro")
out["macro.macro_precision"] = m.precision_score(y3, code3, average="macro")
out["macro.log_loss"] = m.log_loss(y3, p3)
out["macro.mcc"] = m.matthews_corrcoef(y3, code3)
yr, vr = data["yr"], data["vr"]
out["value.rmse"] = m.root_mean_squared_error(yr, vr)
out["value.mae"] = m.mean_absolute_error(yr, vr)
out["value.r2"] = m.r2_score(yr, vr)
out["value.pinball_90"] = m.mean_pinball_loss(yr, vr, alpha=0.9)
import fairlearn.metrics as f
out["fair.demographic_parity_difference"] = f.demographic_parity_difference(y, code, sensitive_features=group)
out["fair.demographic_parity_ratio"] = f.demographic_parity_ratio(y, code, sensitive_features=group)
out["fair.equalised_odds_difference"] = f.equalized_odds_difference(y, code, sensitive_features=group)
from art.attacks.evasion import HopSkipJump
from art.estimators.classification import BlackBoxClassifier
w = data["w"]
asked = [0]
def predict(x):
    asked[0] += len(x)
    one = 1 / (1 + np.exp(-(x @ w)))
    return np.stack([1 - one, one], axis=1).astype(np.float32)
box = BlackBoxClassifier(predict, (len(w),), 2, clip_values=(-1, 1))
begun = time.process_time()
attack = HopSkipJump(box, targeted=False, norm=2, max_iter=6, max_eval=100, init_eval=40, init_size=100, verbose=False)
rows = data["attacked"].astype(np.float32)
moved = attack.generate(rows)
fell = predict(moved).argmax(1) != predict(rows).argmax(1)
gap = np.linalg.norm(moved - rows, axis=1)
exact = np.abs(rows @ w) / np.linalg.norm(w)
out["art"] = {"median_ratio_to_exact": float(np.median((gap / exact)[fell])), "fell": float(fell.mean()),
  "queries_per_row": asked[0] / len(rows), "cpu_s": time.process_time() - begun}
print(json.dumps(out))
"""


def beside_peers(peer: str) -> None:
    import time

    rng = np.random.default_rng(8)
    y, p, _ = draw(rng, 20_000, shift=1.5)
    p = np.round(p, 3)  # ties
    group = rng.integers(0, 3, len(y))
    y3 = rng.integers(0, 3, 5000)
    raw = rng.random((5000, 3)) + 0.7 * np.eye(3)[y3]
    p3 = raw / raw.sum(axis=1, keepdims=True)
    yr = rng.normal(size=5000)
    vr = yr + rng.normal(size=5000)
    w = rng.normal(size=FEATURES) * 3
    rows = rng.uniform(-0.8, 0.8, size=(50, FEATURES))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "rows.npz"
        np.savez(place, y=y, p=p, group=group, y3=y3, p3=p3, yr=yr, vr=vr, w=w, attacked=rows)
        done = subprocess.run([peer, "-c", PEER, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peer failed: {done.stderr[-2000:]}")
    theirs = json.loads(done.stdout.splitlines()[-1])
    art = theirs.pop("art")
    truth = Truth("binary", ("0", "1"), y)
    ours = {name: item.value for name, item in metrics(truth, binary(p), SETTINGS).items()}
    three = Truth("multiclass", ("a", "b", "c"), y3)
    ours |= {f"macro.{n}": i.value for n, i in metrics(three, Scores(p3, p3.argmax(axis=1)), SETTINGS).items()}
    values = Truth("regression", (), None, yr)
    ours |= {f"value.{n}": i.value for n, i in metrics(values, Scores(value=vr), SETTINGS).items()}
    split = Split("g", ("0", "1", "2"), group)
    found = fairness(truth, binary(p), [split], 50, SETTINGS).metrics
    ours |= {f"fair.{name[2:]}": item.value for name, item in found.items()}
    worst = max(theirs, key=lambda name: abs(ours[name] - theirs[name]))
    print(
        f"scikit-learn and fairlearn: {len(theirs)} metrics, largest difference "
        f"{abs(ours[worst] - theirs[worst]):.1e} ({worst})"
    )

    def predict(x):
        return binary(sigmoid(x @ w))

    begun = time.process_time()
    pool = rng.uniform(-1, 1, size=(500, FEATURES))
    gap, queries = nearest(predict, rows, predict(rows).code, pool, predict(pool).code, unit_space(), 1)
    spent = time.process_time() - begun
    exact = np.abs(rows @ w) / np.linalg.norm(w) / 2 / np.sqrt(FEATURES)
    fell = np.isfinite(gap)
    print(
        "HopSkipJump on 50 rows of a linear model, distance over the exact one in the median: ours "
        f"{np.median((gap / exact)[fell]):.3f} ({fell.mean():.0%} fell, {queries / 50:.0f} queries a row, "
        f"{spent:.2f} CPU s), "
        f"ART {art['median_ratio_to_exact']:.3f} ({art['fell']:.0%} fell, {art['queries_per_row']:.0f} queries a row, "
        f"{art['cpu_s']:.2f} CPU s)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--peer-python", help="an interpreter with scikit-learn, fairlearn and ART")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "integration"))
    planted()
    coverage(arguments.rounds)
    cost()
    if arguments.peer_python:
        beside_peers(arguments.peer_python)


if __name__ == "__main__":
    main()
