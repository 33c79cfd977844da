"""Bundles: what is accepted from a repository, what is refused and where, and their digests."""

from __future__ import annotations

import pytest

from customhouse.core.errors import PolicyError
from customhouse.policy.bundle import builtin_bundle, load_bundle
from customhouse.policy.lint import check_modules
from customhouse.policy.strictyaml import StrictYamlError, parse_yaml

RULE = b"""package customhouse.rules.mine

findings contains finding if {
	finding := {"rule": "r"}
}
"""


def test_the_digest_follows_modules_data_and_version_and_not_tests():
    plain = load_bundle({"a.rego": RULE})
    assert plain.digest == load_bundle({"a.rego": RULE, "a_test.rego": b"package t\n\ntest_a if true\n"}).digest
    others = [
        load_bundle({"a.rego": RULE + b"\n"}),
        load_bundle({"b.rego": RULE}),
        load_bundle({"a.rego": RULE, "data.json": b'{"x":1}'}),
        load_bundle({"a.rego": RULE}, version="2"),
    ]
    assert len({plain.digest, *(bundle.digest for bundle in others)}) == 5


def test_data_may_be_json_or_plain_yaml():
    bundle = load_bundle({"a.rego": RULE, "p/data.json": b'{"x":{"y":1}}', "q/data.yaml": b"z: [1, 2]\n"})
    assert dict(bundle.data) == {"x": {"y": 1}, "z": [1, 2]}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no Rego module"),
        ({"a.rego": b"\xff"}, "not UTF-8"),
        ({"a.rego": b"x := 1"}, "does not start with its package"),
        ({"a.rego": RULE, "data.json": b"{"}, "data.json: the data cannot be read"),
        ({"a.rego": RULE, "data.json": b"[1]"}, "has to be a mapping"),
        ({"a.rego": RULE, "data.json": b'{"x":1}', "p/data.json": b'{"x":2}'}, "key x is taken"),
        ({"a.rego": RULE, "data.json": b'{"x":1, "x":2}'}, "the key 'x' is there twice"),
        ({"a.rego": RULE, "data.json": b'{"customhouse":{"rules":{}}}'}, "key customhouse is taken"),
        ({"a.rego": RULE, "data.json": b'{"x":1e999}'}, "no JSON form"),
        ({"a.rego": RULE, "data.json": b"[" * 100_000}, "cannot be read"),
        ({"a.rego": RULE, "data.yaml": b"a: &x [1]\nb: *x\n"}, "aliases are refused"),
        ({"a.rego": RULE, "data.yaml": b"a: 1\na: 2\n"}, "there twice"),
        (
            {"a.rego": RULE, "data.yaml": b"a: !!python/object/apply:os.system [id]\n"},
            "could not determine a constructor",
        ),
        ({"a.rego": RULE, "data.yaml": b"a: " + b"[" * 40 + b"]" * 40}, "levels deep"),
        ({"a.rego": b"package a\n" + b"#" * 600_000}, "at most"),
        ({f"{n}.rego": RULE for n in range(501)}, "at most 500 files"),
        ({"a.rego": b"package a\n\n# METADATA\n# title: [\nx := 1\n"}, "a.rego:3: the METADATA block cannot be read"),
        ({"a.rego": b"package a\n\n# METADATA\n# title: t\n# custom:\n#   id: r\nx := 1\n"}, "a.rego:3: .*not whole"),
    ],
)
def test_a_broken_bundle_is_refused_with_the_reason(files, said):
    with pytest.raises(PolicyError, match=said):
        load_bundle(files)


def test_a_rule_that_is_documented_twice_is_refused():
    custom = "#   id: r\n#   category: cost\n#   severity: note\n#   fix: f\n"
    block = f"# METADATA\n# title: t\n# description: d\n# custom:\n{custom}"
    source = f"package a\n\n{block}x := 1\n\n{block}y := 1\n"
    with pytest.raises(PolicyError, match="documented twice"):
        load_bundle({"a.rego": source.encode()})
    assert load_bundle({"a.rego": f"package a\n\n{block}x := 1\n".encode()}).rules[0].title == "t"


@pytest.mark.parametrize("package", ["customhouse", "customhouse.lib", "customhouse.rules.images"])
def test_a_projects_bundle_cannot_add_to_a_built_in_package(package):
    source = f"package {package}\n\nfindings := set()\n".encode()
    with pytest.raises(PolicyError, match="is built in"):
        load_bundle({"x.rego": source}, base=builtin_bundle())


def test_a_projects_bundle_cannot_take_a_built_in_packages_name_in_another_spelling():
    with pytest.raises(PolicyError, match="is built in"):
        load_bundle({"x.rego": b'package customhouse["lib"]\n\nx := 1\n'}, base=builtin_bundle())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x := http.send({})", r"m\.rego:3:6: the built-in http\.send is refused: it opens a network connection"),
        ('x := http["send"]({})', r"http\.send is refused"),
        ("x := http[`send`]({})", r"http\.send is refused"),
        ("x := http . send({})", r"http\.send is refused"),
        ('x := http[\n\t"send"]({})', r"http\.send is refused"),
        ('x := http["\\u0073end"]({})', r"http\.send is refused"),
        ("x := opa.runtime()", "secrets included"),
        ("x := time.now_ns()", "rules call no clock"),
        ('x := 1 if { trace("x") }', "trace is refused"),
        ('x := 1 if { print("x") }', "print is refused"),
        ('x := units.parse_bytes("1")', "hostile text"),
        ("x := y with input as 1", r"m\.rego:3:8: with is for tests"),
        ("x if not {false}", r"not \{ … \} is refused"),
        ("import future.keywords.not\nx := 1", "cannot import future.keywords.not"),
        ("x := [y | walk(input, [_, y])]", "walk is refused: the embedded engine visits arrays in another order"),
        ('x := io.jwt.decode("a")', "no built-in that both engines"),
        ('x := net.cidr_expand("10.0.0.0/8")', "no built-in that both engines"),
        ('x := strange("a")', "strange is no built-in"),
        ('x := input.f("a")', r"input\.f is no built-in"),
        ("import http.send as s\nx := s({})", "cannot import http.send"),
        ('x := $"a {http.send({})}"', r"m\.rego:3:6: the character '\$' is refused"),
        ('x := "open', "a text that does not end"),
    ],
)
def test_a_call_that_is_not_allowed_is_refused_at_its_place(body, said):
    with pytest.raises(PolicyError, match=said):
        check_modules({"m.rego": f"package m\n\n{body}\n"})


@pytest.mark.parametrize(
    "body",
    [
        "import rego.v1\nimport future.keywords.in\nx := 1",
        "# http.send is only spoken of\nx := 1",
        'x := "http.send(1)"',
        "x := `http.send(1)`",
        "f(x) := count(x)\n\ny := f([1])",
        'x := sprintf("%s", [concat(",", ["a"])])',
        "x := set()",
        "x := {y | some y in [1]; not y in (input.a)}",
        'x := contains("a", "a")',
        "x := data.m.f(1)\n\nf(_) := 1",
    ],
)
def test_what_is_allowed_passes_the_lint(body):
    check_modules({"m.rego": f"package m\n\n{body}\n"})


def test_functions_of_other_packages_of_the_bundle_may_be_imported():
    other = "package lib\n\nf(x) := x\n"
    check_modules(
        {"lib.rego": other, "m.rego": "package m\n\nimport data.lib\nimport data.lib as l\n\nx := lib.f(l.f(1))\n"}
    )
    with pytest.raises(PolicyError, match=r"ghost\.f is no built-in"):
        check_modules({"m.rego": "package m\n\nimport data.ghost\n\nx := ghost.f(1)\n"})


def test_the_built_in_bundle_passes_its_own_lint():
    bundle = builtin_bundle()
    check_modules({**bundle.modules, **bundle.tests})


@pytest.mark.parametrize("text", ["1: a\n", "? [a]\n: b\n", "a: b: c", "--- a\n--- b\n", "x" * 600_000])
def test_yaml_that_is_no_plain_data_is_refused(text):
    with pytest.raises(StrictYamlError):
        parse_yaml(text)
