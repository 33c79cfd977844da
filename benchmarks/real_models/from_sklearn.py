"""Fits every estimator that scikit-learn lists and dumps it as users do; NumPy, SciPy, pandas and Python objects too.

    ENVIRONMENT/bin/python benchmarks/real_models/from_sklearn.py FOLDER

Runs in an environment of the frameworks', Python 3.7 or later; nothing of the project is imported. No network.
"""

# ruff: noqa - a long list of tries, each of which may fail in one version or another

import os, sys, pickle, warnings, gzip, bz2, lzma, io

warnings.filterwarnings("ignore")
os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import joblib
import sklearn

try:
    from sklearn.utils import all_estimators
except ImportError:
    from sklearn.utils.testing import all_estimators
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
rng = np.random.RandomState(0)
X = np.abs(rng.rand(60, 4))
y = (X[:, 0] > 0.5).astype(int)
yr = X @ np.array([1.0, 2, 3, 4])
Y2 = np.c_[y, 1 - y]
YR2 = np.c_[yr, yr]
text = ["the cat sat", "a dog ran", "the end of it", "cats and dogs"] * 5
docs = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}] * 5
made = 0


def put(name, data):
    global made
    made += 1
    with open(os.path.join(out, name), "wb") as f:
        f.write(data)


def construct(cls):
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.tree import DecisionTreeClassifier

    n = cls.__name__
    est = {"estimator": LogisticRegression()}
    if n in ("GridSearchCV", "HalvingGridSearchCV"):
        return cls(LogisticRegression(), {"C": [0.1, 1]}, cv=3)
    if n in ("RandomizedSearchCV", "HalvingRandomSearchCV"):
        from scipy.stats import uniform, randint, loguniform

        return cls(
            LogisticRegression(), {"C": loguniform(0.1, 10)}, cv=3, **({"n_iter": 2} if n.startswith("Random") else {})
        )
    if n in ("VotingClassifier", "StackingClassifier"):
        return cls([("a", LogisticRegression()), ("b", DecisionTreeClassifier(max_depth=2))])
    if n in ("VotingRegressor", "StackingRegressor"):
        return cls([("a", Ridge()), ("b", Ridge(2))])
    if n == "ColumnTransformer":
        from sklearn.preprocessing import StandardScaler, OneHotEncoder, FunctionTransformer

        return cls(
            [("a", StandardScaler(), [0, 1]), ("b", FunctionTransformer(np.log1p), [2])], remainder="passthrough"
        )
    if n == "FeatureUnion":
        from sklearn.decomposition import PCA

        return cls([("a", PCA(2))])
    if n == "Pipeline":
        from sklearn.preprocessing import StandardScaler

        return cls([("s", StandardScaler()), ("m", LogisticRegression())])
    if n == "SparseCoder":
        return cls(np.eye(4))
    if n == "FunctionTransformer":
        return cls(np.log1p)
    if n in ("FeatureHasher",):
        return cls(input_type="dict")
    for kw in (
        {},
        {"estimator": LogisticRegression()},
        {"base_estimator": LogisticRegression()},
        {"estimators": [("a", LogisticRegression())]},
    ):
        try:
            e = cls(**kw)
            if (
                "estimator" in e.get_params(deep=False)
                and e.get_params(deep=False)["estimator"] is None
                and not kw
                and n
                not in (
                    "AdaBoostClassifier",
                    "AdaBoostRegressor",
                    "BaggingClassifier",
                    "BaggingRegressor",
                    "IterativeImputer",
                )
            ):
                continue
            return e
        except TypeError:
            continue
    return None


def fit(e):
    n = type(e).__name__
    tries = [
        (X, y),
        (X, yr),
        (X, Y2),
        (X, YR2),
        (X,),
        (text,),
        (docs,),
        (X[:, 0], yr),
        (y,),
        ([[1, 2], [3]],),
        (X @ X.T, y),
    ]
    if "Regress" in n or n in ("Ridge", "Lasso", "LinearRegression"):
        tries = [(X, yr), (X, YR2), (X[:, 0], yr)] + tries
    if "Vectorizer" in n:
        tries = [(text,), (docs,)] + tries
    for t in tries:
        try:
            return e.fit(*t)
        except Exception:
            continue
    return e


try:
    from sklearn.experimental import enable_iterative_imputer, enable_hist_gradient_boosting, enable_halving_search_cv
except Exception:
    pass
try:
    from sklearn.experimental import enable_iterative_imputer
except Exception:
    pass
try:
    from sklearn.experimental import enable_hist_gradient_boosting
except Exception:
    pass
try:
    from sklearn.experimental import enable_halving_search_cv
except Exception:
    pass
import cloudpickle

try:
    import dill
except ImportError:
    dill = None
for i, (name, cls) in enumerate(all_estimators()):
    e = construct(cls)
    if e is None:
        print("skip", name)
        continue
    e = fit(e)
    for p in (0, 2, 4) if i % 3 else range(0, pickle.HIGHEST_PROTOCOL + 1):
        try:
            put("%s.p%d.pkl" % (name, p), pickle.dumps(e, p))
        except Exception as x:
            print("cannot", name, p, repr(x)[:80])
    try:
        b = io.BytesIO()
        joblib.dump(e, b)
        put(name + ".joblib", b.getvalue())
        comp = ["zlib", "gzip", "bz2", "xz", "lzma"][i % 5]
        joblib.dump(e, os.path.join(out, name + "." + comp + ".joblib"), compress=(comp, 3))
        made += 1
        if i % 4 == 0:
            put(name + ".cloudpickle", cloudpickle.dumps(e))
            if dill:
                put(name + ".dill", dill.dumps(e))
    except Exception as x:
        print("cannot joblib", name, repr(x)[:80])
# things users keep beside models
from sklearn.pipeline import make_pipeline, Pipeline
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import StandardScaler, OneHotEncoder, FunctionTransformer
from sklearn.impute import SimpleImputer
from sklearn.ensemble import RandomForestClassifier, GradientBoostingClassifier
from sklearn.metrics import make_scorer, f1_score, accuracy_score
from sklearn import datasets, model_selection
import scipy.sparse, scipy.stats, scipy.interpolate, scipy.spatial

things = {
    "scorer": make_scorer(f1_score, average="macro"),
    "bunch": datasets.load_iris(),
    "pipeline_cols": Pipeline(
        [
            (
                "c",
                ColumnTransformer(
                    [
                        ("n", make_pipeline(SimpleImputer(), StandardScaler()), [0, 1]),
                        ("k", OneHotEncoder(handle_unknown="ignore"), [2]),
                    ]
                ),
            ),
            ("m", GradientBoostingClassifier(n_estimators=3)),
        ]
    ).fit(np.round(X), y),
    "fn_sqrt": FunctionTransformer(np.sqrt),
    "fn_identity": FunctionTransformer(),
    "dict": {
        "model": RandomForestClassifier(5).fit(X, y),
        "features": ["a", "b"],
        "threshold": 0.5,
        "when": __import__("datetime").datetime(2024, 1, 1),
        "tz": __import__("datetime").timezone.utc,
    },
    "tuple": (StandardScaler().fit(X), OneHotEncoder().fit(np.round(X))),
    "kfold": model_selection.StratifiedKFold(3),
    "groupk": model_selection.GroupKFold(3),
    "tscv": model_selection.TimeSeriesSplit(3),
    "rkf": model_selection.RepeatedKFold(n_splits=2),
    "multitask": RandomForestClassifier(3).fit(X, Y2),
    "scipyinterp": scipy.interpolate.interp1d([1, 2, 3], [1, 2, 3.0]),
    "ppoly": scipy.interpolate.CubicSpline([1, 2, 3], [1, 2, 3.0]),
    "bspline": scipy.interpolate.make_interp_spline([1, 2, 3, 4], [1, 2, 3.0, 4]),
    "univ": scipy.interpolate.UnivariateSpline(range(9), range(9)),
    "rgi": scipy.interpolate.RegularGridInterpolator(([1, 2, 3],), [1, 2, 3.0]),
    "ckdtree": scipy.spatial.cKDTree(X),
    "kdtree": scipy.spatial.KDTree(X),
    "frozen": scipy.stats.norm(0, 1),
    "kde": scipy.stats.gaussian_kde(X.T),
    "lu": scipy.sparse.random(5, 5, 0.5),
    "optres": __import__("scipy.optimize").optimize.minimize(lambda v: (v**2).sum(), [1.0, 2.0]),
    "sos": __import__("scipy.signal").signal.butter(3, 0.2, output="sos"),
    "ttest": scipy.stats.ttest_ind(X[:, 0], X[:, 1]),
    "hull": X,
    "rot": __import__("scipy.spatial.transform").spatial.transform.Rotation.from_quat([0, 0, 0, 1]),
}
for f in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok"):
    things["sp_" + f] = scipy.sparse.random(6, 6, 0.4, format=f)
    if hasattr(scipy.sparse, f + "_array"):
        things["sa_" + f] = getattr(scipy.sparse, f + "_array")(np.eye(3))
for n in (
    "int8",
    "float16",
    "float32",
    "complex64",
    "bool",
    "S5",
    "U5",
    "datetime64[ns]",
    "timedelta64[s]",
    ">f8",
    "O",
    "longdouble",
):
    things["np_" + n.replace("[", "_").replace("]", "").replace(">", "be")] = np.zeros((3, 2), dtype=n)
things.update(
    np_rec=np.array([(1, 2.0, "x")], dtype=[("a", "i4"), ("b", "f8"), ("c", "O")]),
    np_recarr=np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    np_masked=np.ma.array([1, 2], mask=[0, 1]),
    np_matrix=np.matrix([[1]]),
    np_scalar=[
        np.float32(1),
        np.int64(2),
        np.bool_(1),
        np.str_("a"),
        np.datetime64("2020-01-01"),
        np.bytes_(b"q"),
        np.complex64(1j),
        np.void(b"abc"),
    ],
    np_fortran=np.asfortranarray(X),
    np_state=np.random.RandomState(1),
    np_poly=np.poly1d([1, 2]),
    np_polynomial=np.polynomial.Polynomial([1, 2]),
    np_cheb=np.polynomial.Chebyshev([1, 2]),
    np_dtypes=[np.dtype("f4"), np.float32, np.int64, np.dtype([("a", "f4")])],
    np_ufuncs=[np.log, np.add, np.maximum],
    np_funcs=[np.mean, np.median, np.std],
    np_empty=np.empty((0, 3)),
    np_0d=np.array(3.0),
    np_objects=np.array([{"a": 1}, None, "x", [1, 2]], dtype=object),
)
for bg in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
    if hasattr(np.random, bg):
        things["np_gen_" + bg] = np.random.Generator(getattr(np.random, bg)(1))
        things["np_bg_" + bg] = getattr(np.random, bg)(1)
if hasattr(np.random, "SeedSequence"):
    things["np_seedseq"] = np.random.SeedSequence(3)
if np.__version__ >= "2":
    things["np_stringdtype"] = np.array(["a", "bb"], dtype=np.dtypes.StringDType())
import pandas as pd

df = pd.DataFrame(
    {
        "a": [1, 2],
        "b": ["x", "y"],
        "c": pd.Categorical(["u", "v"]),
        "d": pd.to_datetime(["2020-01-01", "2021-01-01"]),
        "e": [1.0, None],
        "f": [True, False],
    }
)
things.update(
    pd_df=df,
    pd_series=df["a"],
    pd_cat=df["c"],
    pd_dt=df["d"],
    pd_idx=df.set_index("d"),
    pd_mi=df.set_index(["a", "b"]),
    pd_ts=pd.Timestamp("2020-01-01"),
    pd_tstz=pd.Timestamp("2020-01-01", tz="UTC"),
    pd_tsparis=pd.Timestamp("2020-01-01", tz="Europe/Paris"),
    pd_td=pd.Timedelta("1d"),
    pd_nat=pd.NaT,
    pd_period=pd.Period("2020-01"),
    pd_interval=pd.Interval(0, 1),
    pd_cut=pd.cut(df["a"], 2),
    pd_range=pd.date_range("2020", periods=3),
    pd_tzrange=pd.date_range("2020", periods=3, tz="Europe/Berlin"),
    pd_prange=pd.period_range("2020-01", periods=3),
    pd_tdr=pd.timedelta_range("1d", periods=2),
    pd_iidx=pd.interval_range(0, 3),
    pd_empty=pd.DataFrame(),
    pd_sparse=pd.arrays.SparseArray([0, 0, 1]),
    pd_offs=[pd.offsets.Day(2), pd.offsets.MonthEnd(), pd.offsets.BDay()],
    pd_dict={"x": df, "y": [df["b"]]},
    pd_mixed=pd.DataFrame({"o": [[1], {"k": 1}]}),
    pd_attrs=df.T,
)
for k, conv in (("Int64", [1, None]), ("boolean", [True, None]), ("string", ["a", None]), ("Float64", [1.0, None])):
    try:
        things["pd_" + k] = pd.array(conv, dtype=k)
    except Exception:
        pass
try:
    things["pd_arrow"] = df.convert_dtypes(dtype_backend="pyarrow")
except Exception:
    pass
import datetime, decimal, fractions, uuid, pathlib, collections, enum, random, ipaddress, string, re, functools, itertools, operator, types

things.update(
    py_dt=[
        datetime.datetime.now(),
        datetime.date.today(),
        datetime.timedelta(1),
        datetime.time(1),
        datetime.datetime.now(datetime.timezone.utc),
    ],
    py_coll=[
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        collections.defaultdict(list, {"a": [1]}),
        collections.deque([1, 2]),
        collections.defaultdict(int),
        collections.ChainMap({1: 2}),
    ],
    py_num=[decimal.Decimal("1.5"), fractions.Fraction(1, 3), 10**80, 1j, float("inf"), -5, 2**40],
    py_misc=[
        uuid.uuid4(),
        pathlib.PurePosixPath("/a/b"),
        b"x",
        bytearray(b"y"),
        range(3),
        slice(1, 2),
        Ellipsis,
        frozenset([1]),
        {1, 2},
        NotImplemented,
        types.SimpleNamespace(a=1),
    ],
    py_text="é" * 400,
    py_big=["w%d" % i for i in range(5000)],
    py_floats=[i / 7 for i in range(5000)],
    py_vocab={"token%d" % i: i for i in range(20000)},
    py_nested=[[[[1]]]],
    py_types=[int, str, list, dict, float],
    py_err=[ValueError("x"), KeyError("k")],
    py_re=re.compile("a+"),
    py_random=random.Random(1),
    py_cyclic=(lambda l: (l.append(l), l)[1])([]),
    py_ip=ipaddress.ip_address("1.2.3.4"),
)
try:
    import zoneinfo

    things["py_zone"] = zoneinfo.ZoneInfo("Europe/Berlin")
except Exception:
    pass
for name, value in things.items():
    for p in range(0, pickle.HIGHEST_PROTOCOL + 1):
        try:
            put("%s.p%d.pkl" % (name, p), pickle.dumps(value, p))
        except Exception as x:
            print("cannot", name, p, repr(x)[:60])
            break
    try:
        joblib.dump(value, os.path.join(out, name + ".joblib"))
        joblib.dump(value, os.path.join(out, name + ".joblib.gz"), compress=3)
        made += 2
    except Exception:
        pass
np.savez(os.path.join(out, "s.npz"), a=X, b=y)
np.savez_compressed(os.path.join(out, "c.npz"), a=X, b=y)
np.save(os.path.join(out, "a.npy"), X)
np.save(os.path.join(out, "o.npy"), things["np_objects"], allow_pickle=True)
np.save(os.path.join(out, "r.npy"), things["np_rec"], allow_pickle=True)
np.save(os.path.join(out, "v2.npy"), np.zeros(1, dtype=[("x" * 70000, "f4")])) if 0 else None
scipy.sparse.save_npz(os.path.join(out, "sparse.npz"), scipy.sparse.eye(3).tocsr())
for p in (2, 4):
    df.to_pickle(os.path.join(out, "to_pickle%d.pkl" % p), protocol=p)
for c in ("gzip", "bz2", "xz", "zip"):
    df.to_pickle(os.path.join(out, "to_pickle.pkl." + c), compression=c)
print(sklearn.__version__, np.__version__, pd.__version__, made)
