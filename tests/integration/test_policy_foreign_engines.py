"""Policies of others on both engines: what the embedded one answers is what OPA answers; what it declines, OPA has."""

from __future__ import annotations

import copy
import json
import random

import pytest

from customhouse.app.foreign_files import documents_of
from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa_foreign import OpaForeign
from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign
from customhouse.policy.constraints import parse_constraint
from customhouse.policy.foreign import UNDEFINED, Program
from customhouse.policy.foreign_engine import RightEngine
from customhouse.policy.gatekeeper_review import inventory_of, review_of_object, review_of_request
from customhouse.policy.gatekeeper_template import parse_template
from foreign_programs import PROGRAMS, UNDECIDED

pytestmark = pytest.mark.part("opa")
ODD = [None, True, 0, -3, 1.5, "", "a", "100m", "1Gi", "nginx:latest", [], ["a"], {}, {"a": 1}, [{}], "0.5", "a/b:c"]
REVIEWS = 25
"""Of each constraint of the library; 17,000 were asked when this was written, with no other verdict."""


@pytest.fixture(scope="module")
def opa(find_part) -> OpaForeign:
    return OpaForeign(str(find_part("opa")))


@pytest.mark.parametrize("v0", [True, False])
def test_opa_says_what_the_programs_say_it_does(opa, v0):
    chosen = [program for program in PROGRAMS if program.v0 is v0]
    modules = {
        f"m{index}": program.source.replace("package t", f"package t{index}", 1) for index, program in enumerate(chosen)
    }
    # One process for all programs with the same input.
    for text, document in {json.dumps(program.document): program.document for program in chosen}.items():
        queries = [f"data.t{i}.r" for i, program in enumerate(chosen) if json.dumps(program.document) == text]
        rows = opa.ask(Program(modules, v0), {}, [document], queries)
        wanted = [program.answer for program in chosen if json.dumps(program.document) == text]
        assert [None if value is UNDEFINED else value for value in rows[0]] == wanted


def test_opa_answers_what_the_embedded_engine_declines(opa):
    both = RightEngine(EmbeddedForeign(), opa)
    [[found]] = both.ask(Program({"m": UNDECIDED[0]}, False), {}, [{"a": 1}], ["data.t.r"])
    assert found is UNDEFINED
    [[found]] = both.ask(Program({"m": UNDECIDED[3]}, False), {}, [{}], ["data.t.r"])
    assert found == 1


def test_opa_is_not_given_what_reaches_out(opa):
    with pytest.raises(PolicyError, match=r"http\.send"):
        opa.ask(Program({"m": "package t\nr := http.send({})"}, False), {}, [{}], ["data.t.r"])


def test_broken_reviews_get_the_same_verdict_from_both(opa, shared_data):
    library, draw = shared_data / "policies" / "gatekeeper-library" / "general", random.Random(4)
    embedded, asked, told = EmbeddedForeign(), 0, 0
    for suite in sorted(library.glob("*/suite.yaml"))[::3]:
        for program, query, data, documents in _questions(suite, draw):
            try:
                exact = opa.ask(program, data, documents, [query])
            except PolicyError:
                continue  # a rule that contradicts itself on one of them; Gatekeeper rejects then, and so does the gate
            for document, wanted in zip(documents, exact, strict=True):
                try:
                    found = embedded.ask(program, data, [document], [query])[0]
                except PolicyError:
                    continue
                asked += 1
                told += bool(wanted[0])
                assert _texts(found[0]) == _texts(wanted[0]), document
    assert asked > 200
    assert told > 100


def _questions(suite, draw):
    for test in _read(suite)[0]["tests"]:
        template = parse_template(documents_of((suite.parent / test["template"]).read_bytes(), "t")[0])
        constraint = parse_constraint(documents_of((suite.parent / test["constraint"]).read_bytes(), "c")[0], template)
        objects, known = [], []
        for case in test["cases"]:
            objects += _read(suite.parent / case["object"])
            for path in case.get("inventory") or ():
                known += _read(suite.parent / path)
        documents = []
        while len(documents) < REVIEWS:
            broken = _broken(draw.choice(objects), draw)
            try:
                request = broken.get("request")
                review = review_of_request(request) if broken["kind"] == "AdmissionReview" else review_of_object(broken)
            except (PolicyError, TypeError, AttributeError):
                continue
            documents.append({"review": review.document, "parameters": constraint.parameters})
        yield template.program, template.query, {"inventory": inventory_of(known)} if known else {}, documents


def _read(path):
    return [document.value for document in documents_of(path.read_bytes(), path.name)]


def _broken(value, draw):
    value = copy.deepcopy(value)
    for _ in range(draw.choice([0, 1, 1, 2, 3])):
        places = [place for place in _places(value) if place and place[0] not in ("apiVersion", "kind")]
        *above, last = draw.choice(places)
        holder = value
        for key in above:
            holder = holder[key]
        if draw.random() < 0.4:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(draw.choice(ODD))
    return value


def _places(value, path=()):
    found = [path]
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += _places(item, (*path, key))
    return found


def _texts(answer):
    return sorted(json.dumps(item, sort_keys=True) for item in answer) if isinstance(answer, list) else answer
