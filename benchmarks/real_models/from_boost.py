"""Models of boosting, statistics, streaming, language and deep learning libraries: whatever is installed.

    ENVIRONMENT/bin/python benchmarks/real_models/from_boost.py FOLDER

Runs in an environment of the frameworks', Python 3.7 or later; nothing of the project is imported. No network.
"""

# ruff: noqa - a long list of tries, each of which may fail in one version or another

import os, sys, io, pickle, warnings, joblib

warnings.filterwarnings("ignore")
import numpy as np, pandas as pd

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
rng = np.random.RandomState(0)
X = rng.rand(80, 4)
y = (X[:, 0] > 0.5).astype(int)
yr = X.sum(1)
made = 0


def dump(n, o):
    global made
    for p in (0, 2, 3, 4, 5):
        try:
            open(os.path.join(out, "%s.p%d.pkl" % (n, p)), "wb").write(pickle.dumps(o, p))
            made += 1
        except Exception as x:
            print("cannot", n, p, repr(x)[:80])
    try:
        joblib.dump(o, os.path.join(out, n + ".joblib"))
        joblib.dump(o, os.path.join(out, n + ".joblib.z"), compress=3)
        made += 2
    except Exception:
        pass


def tryit(n, f):
    try:
        dump(n, f())
    except Exception as x:
        print("no", n, repr(x)[:120])


try:
    import xgboost as xgb

    for n in ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor"):
        tryit(
            "xgb_" + n,
            lambda: getattr(xgb, n)(n_estimators=3, n_jobs=1).fit(
                X, y, **({"group": [40, 40]} if "Ranker" in n else {})
            ),
        )
    tryit("xgb_booster", lambda: xgb.train({"nthread": 1}, xgb.DMatrix(X, y), 3))
    tryit("xgb_df", lambda: xgb.XGBClassifier(n_estimators=2).fit(pd.DataFrame(X, columns=list("abcd")), y))
    tryit(
        "xgb_early",
        lambda: xgb.XGBClassifier(n_estimators=3, early_stopping_rounds=2).fit(X, y, eval_set=[(X, y)], verbose=False),
    )
except ImportError:
    pass
try:
    import lightgbm as lgb

    for n in ("LGBMClassifier", "LGBMRegressor", "LGBMRanker"):
        tryit(
            "lgb_" + n,
            lambda: getattr(lgb, n)(n_estimators=3, n_jobs=1, verbose=-1).fit(
                X, y, **({"group": [40, 40]} if "Ranker" in n else {})
            ),
        )
    tryit("lgb_booster", lambda: lgb.train({"verbose": -1, "num_threads": 1}, lgb.Dataset(X, y), 3))
    tryit(
        "lgb_eval",
        lambda: lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(
            pd.DataFrame(X, columns=list("abcd")), y, eval_set=[(X, y)]
        ),
    )
except ImportError:
    pass
try:
    import catboost as cb

    for n in ("CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker"):
        tryit(
            "cb_" + n,
            lambda: getattr(cb, n)(iterations=3, verbose=0, allow_writing_files=False).fit(
                X, y, **({"group_id": [0] * 40 + [1] * 40} if "Ranker" in n else {})
            ),
        )
except ImportError:
    pass
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

try:
    tryit("pipe_xgb", lambda: make_pipeline(StandardScaler(), xgb.XGBClassifier(n_estimators=2)).fit(X, y))
    tryit("pipe_lgb", lambda: make_pipeline(StandardScaler(), lgb.LGBMRegressor(n_estimators=2, verbose=-1)).fit(X, yr))
except Exception:
    pass
try:
    import imblearn.over_sampling as io_, imblearn.under_sampling as iu, imblearn.ensemble as ie, imblearn.combine as ic

    for mod in (io_, iu, ie, ic):
        for n in mod.__all__:

            def make():
                e = getattr(mod, n)()
                try:
                    e.fit_resample(X, y)
                except Exception:
                    try:
                        e.fit(X, y)
                    except Exception:
                        pass
                return e

            tryit("imb_" + n, make)
except ImportError:
    pass
try:
    import category_encoders as ce

    D = pd.DataFrame({"a": list("xyzx") * 20, "b": X[:, 0]})
    for n in ce.__all__:
        tryit("ce_" + n, lambda: getattr(ce, n)().fit(D, y))
except ImportError:
    pass
try:
    import statsmodels.api as sm, statsmodels.formula.api as smf

    tryit("sm_ols", lambda: sm.OLS(yr, sm.add_constant(X)).fit())
    tryit("sm_logit", lambda: sm.Logit(y, sm.add_constant(rng.rand(80, 2))).fit(disp=0))
    tryit("sm_glm", lambda: sm.GLM(yr, X, family=sm.families.Gamma(sm.families.links.Log())).fit())
    tryit("sm_formula", lambda: smf.ols("y ~ a + b", pd.DataFrame({"y": yr, "a": X[:, 0], "b": X[:, 1]})).fit())
    from statsmodels.tsa.arima.model import ARIMA
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    tryit("sm_arima", lambda: ARIMA(yr, order=(1, 0, 0)).fit())
    tryit("sm_hw", lambda: ExponentialSmoothing(yr, trend="add").fit())
    tryit("sm_rlm", lambda: sm.RLM(yr, X).fit())
except ImportError:
    pass
try:
    import skorch, torch

    tryit(
        "skorch",
        lambda: skorch.NeuralNetClassifier(
            torch.nn.Linear, module__in_features=4, module__out_features=2, max_epochs=1, verbose=0
        ).fit(X.astype("f"), y),
    )
except ImportError:
    pass
try:
    import river, river.linear_model, river.preprocessing, river.tree, river.ensemble, river.compose, river.metrics, river.drift, river.forest, river.naive_bayes

    m = river.compose.Pipeline(river.preprocessing.StandardScaler(), river.linear_model.LogisticRegression())
    for k in range(30):
        m.learn_one({"a": X[k, 0], "b": X[k, 1]}, bool(y[k]))
    dump("river_pipe", m)
    for n, c in (
        ("ht", river.tree.HoeffdingTreeClassifier),
        ("arf", river.forest.ARFClassifier),
        ("nb", river.naive_bayes.GaussianNB),
    ):
        e = c()
        for k in range(60):
            e.learn_one({"a": X[k, 0], "b": X[k, 1]}, bool(y[k]))
        dump("river_" + n, e)
    dump("river_metric", river.metrics.ROCAUC())
except ImportError:
    pass
try:
    from prophet import Prophet

    tryit("prophet", lambda: Prophet().fit(pd.DataFrame({"ds": pd.date_range("2020", periods=80), "y": yr})))
except ImportError:
    pass
try:
    import sktime
    from sktime.forecasting.naive import NaiveForecaster
    from sktime.forecasting.trend import PolynomialTrendForecaster

    tryit("skt_naive", lambda: NaiveForecaster().fit(pd.Series(yr)))
    tryit("skt_poly", lambda: PolynomialTrendForecaster().fit(pd.Series(yr)))
    from sktime.classification.interval_based import TimeSeriesForestClassifier

    tryit("skt_tsf", lambda: TimeSeriesForestClassifier(3).fit(rng.rand(20, 1, 30), np.arange(20) % 2))
except Exception as x:
    print(repr(x)[:100])
try:
    import pmdarima

    tryit("pmdarima", lambda: pmdarima.auto_arima(yr, max_p=1, max_q=1, seasonal=False))
except Exception as x:
    print(repr(x)[:100])
try:
    import gensim

    S = [["a", "b", "c"], ["b", "c", "d"]] * 20
    from gensim.models import Word2Vec, FastText, Doc2Vec, LdaModel, TfidfModel, Phrases, LsiModel
    from gensim.corpora import Dictionary

    d = Dictionary(S)
    bow = [d.doc2bow(s) for s in S]
    for n, f in (
        ("w2v", lambda: Word2Vec(S, vector_size=5, min_count=1, workers=1)),
        ("ft", lambda: FastText(S, vector_size=5, min_count=1, workers=1, bucket=50)),
        (
            "d2v",
            lambda: Doc2Vec(
                [gensim.models.doc2vec.TaggedDocument(s, [i]) for i, s in enumerate(S)], vector_size=4, min_count=1
            ),
        ),
        ("lda", lambda: LdaModel(bow, 2, id2word=d)),
        ("tfidf", lambda: TfidfModel(bow)),
        ("phrases", lambda: Phrases(S)),
        ("dict", lambda: d),
        ("kv", lambda: Word2Vec(S, vector_size=5, min_count=1).wv),
        ("lsi", lambda: LsiModel(bow, id2word=d, num_topics=2)),
    ):
        tryit("gs_" + n, f)
        try:
            f().save(os.path.join(out, "gssave_" + n + ".model"))
            made += 1
        except Exception as x:
            print(n, x)
except ImportError:
    pass
try:
    import nltk
    from nltk.classify import NaiveBayesClassifier
    from nltk.tag import UnigramTagger, DefaultTagger
    from nltk.tokenize.punkt import PunktTrainer, PunktSentenceTokenizer

    tryit("nltk_nb", lambda: NaiveBayesClassifier.train([({"a": 1}, "x"), ({"a": 2}, "y")] * 5))
    tryit("nltk_uni", lambda: UnigramTagger([[("a", "N"), ("b", "V")]], backoff=DefaultTagger("N")))

    def punkt():
        t = PunktTrainer()
        t.train("Hello there. This is Dr. Who. Yes? No.")
        return PunktSentenceTokenizer(t.get_params())

    tryit("nltk_punkt", punkt)
    from nltk.tag.perceptron import PerceptronTagger

    def perc():
        t = PerceptronTagger(load=False)
        t.train([[("a", "N"), ("b", "V")]] * 3)
        return t

    tryit("nltk_perc", perc)
    tryit("nltk_fd", lambda: nltk.FreqDist("abcab"))
    tryit("nltk_cfd", lambda: nltk.ConditionalFreqDist([(1, 2)]))
    from nltk.lm import MLE
    from nltk.lm.preprocessing import padded_everygram_pipeline

    def lm():
        tr, v = padded_everygram_pipeline(2, [["a", "b"]])
        m = MLE(2)
        m.fit(tr, v)
        return m

    tryit("nltk_lm", lm)
except ImportError:
    pass
try:
    import spacy

    nlp = spacy.blank("en")
    tryit("spacy_vocab", lambda: nlp.vocab.strings)
    tryit("spacy_blank", lambda: nlp)
    tryit("spacy_doc", lambda: nlp("hello world"))
    nlp.to_disk(os.path.join(out, "spacy_model"))
except ImportError:
    pass
try:
    import tensorflow as tf, keras

    m = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)])
    m.compile("adam", "mse")
    m.fit(X, yr, verbose=0)
    tryit("keras_model", lambda: m)
    tryit("keras_weights", lambda: m.get_weights())
    tryit("keras_history", lambda: m.fit(X, yr, verbose=0).history)
    m.save(os.path.join(out, "m.keras"))
    m.save(os.path.join(out, "m.h5"))
    m.save_weights(os.path.join(out, "m.weights.h5"))
    m.export(os.path.join(out, "saved"))
    from tensorflow.keras.preprocessing.text import Tokenizer
except ImportError as x:
    print(x)
try:
    import paddle

    net = paddle.nn.Sequential(paddle.nn.Linear(4, 3), paddle.nn.ReLU(), paddle.nn.BatchNorm1D(3))
    paddle.save(net.state_dict(), os.path.join(out, "net.pdparams"))
    o = paddle.optimizer.Adam(parameters=net.parameters())
    net(paddle.ones([2, 4])).sum().backward()
    o.step()
    paddle.save(o.state_dict(), os.path.join(out, "net.pdopt"))
    paddle.save({"a": paddle.ones([2])}, os.path.join(out, "d.pdparams"), protocol=2)
    paddle.save(net.state_dict(), os.path.join(out, "net4.pdparams"), protocol=4)
    made += 4
    paddle.jit.save(net, os.path.join(out, "inf"), input_spec=[paddle.static.InputSpec([None, 4])])
except Exception as x:
    print("paddle", repr(x)[:100])
print(made)
