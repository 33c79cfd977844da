"""Which names an organisation may add to what the scanner knows."""

from __future__ import annotations

import pytest

from customhouse.trust.scan.additions import digest_of, refusal, rests_on
from customhouse.trust.scan.names import Use


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "posix.system", "subprocess.Popen", "builtins.eval", "builtins.getattr", "__builtin__.eval",
        "commands.getoutput", "cPickle.loads", "string.Formatter", "importlib.import_module", "runpy.run_path",
        "__main__.Ranker", "__torch__.Ranker", "acme.models.__reduce__", "acme.__builtins__.x",
        "acme.os.system", "acme.os.environ.Thing", "acme.load.Thing", "acme.models.eval", "acme.sys", "torch.hub.load",
        "joblib.load", "numpy.testing.x", "numpy.core._ufunc_reconstruct", "requests.Session", "dill.loads",
        "acme", "acme.*", "acme.models.", ".acme.X", "acme..X", "acme.X\n", "acme.Ran ker", "acmé.Ranker", "",
        "a." + "b" * 300,
    ],
)  # fmt: skip
def test_what_can_run_code_or_is_no_exact_name_is_refused(name: str) -> None:
    assert refusal(name)


@pytest.mark.parametrize(
    "name", ["acme.Ranker", "acme.models.Ranker", "acme.models.Outer.Inner", "torchvision.own.Net"]
)
def test_a_class_of_ones_own_may_be_added(name: str) -> None:
    assert refusal(name) == ""


def test_the_digest_of_the_rules_says_which_names_were_added() -> None:
    rules = "sha256:" + "0" * 64
    one, other = {"a.B": Use.STATE, "a.C": Use.CALL}, {"a.C": Use.CALL, "a.B": Use.STATE}
    assert digest_of(rules, {}) == rules
    assert digest_of(rules, one) == digest_of(rules, other) != rules
    assert digest_of(rules, one) != digest_of(rules, {**one, "a.C": Use.VALUE})


@pytest.mark.parametrize("said", ["acme.Ranker", [1], [{"name": "a.B"}], [{"name": 1, "use": "state"}], None, {}])
def test_what_a_scan_rests_on_that_cannot_be_read_is_told_apart_from_nothing(said: object) -> None:
    assert rests_on({"added_names": said}) is None
    assert rests_on({}) == {}
