"""What a Lua health customisation may do, and what becomes of one that loops, fails or lies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from customhouse.app.healthrules import customizations_at
from customhouse.core.errors import ConfigError, UsageError
from customhouse.core.plan import Health, HealthStatus
from customhouse.execution.adapters.lua import LuaHealth
from customhouse.execution.health.customizations import Customizations, Script, of_config_map, of_folder

OBJECT = {
    "apiVersion": "example.io/v1",
    "kind": "Thing",
    "metadata": {"name": "x"},
    "status": {"list": ["a", "b", {"none": None}], "count": 3, "large": 10**30, "yes": True},
}
UNKNOWN = HealthStatus.UNKNOWN


@contextmanager
def _lua(text: str, timeout_s: float = 60.0, *, open_libs: bool = False) -> Iterator[LuaHealth]:
    script = Script(text, "cm: example.io/Thing", open_libs)
    judge = LuaHealth(Customizations({"example.io/Thing": script}), timeout_s=timeout_s)
    try:
        yield judge
    finally:
        judge.close()


def _judged(text: str) -> Health | None:
    with _lua(text) as judge:
        return judge(OBJECT)


def test_an_object_arrives_as_plain_tables() -> None:
    found = _judged(
        'return {status = "Healthy", message = tostring(obj.status.count) .. " " .. #obj.status.list .. " " .. '
        'obj.status.list[2] .. " " .. type(obj.status.list[3].none) .. " " .. type(obj.status.large) .. " " .. '
        "tostring(obj.status.yes) .. tostring(obj.status.no)}"
    )
    assert found == Health(HealthStatus.HEALTHY, "3 3 b nil number truenil")


def test_the_dialect_is_that_of_argo_cd_with_goto_and_the_older_names() -> None:
    found = _judged(
        """
        local kept = {}
        for i, name in ipairs(obj.status.list) do
          if name == "a" then goto continue end
          table.insert(kept, tostring(name))
          ::continue::
        end
        table.foreachi({"x"}, function(i, name) table.insert(kept, i, name) end)
        return {status = "Healthy", message = table.getn(kept) .. kept[1] .. unpack({"y"}) .. table.maxn({1})}
        """
    )
    assert found == Health(HealthStatus.HEALTHY, "3xy1")


REFUSED = {
    'return io.open("/etc/passwd")': "'io'",
    'os.execute("id")': "'execute'",
    'return {status = os.getenv("PATH")}': "'getenv'",
    'return require("os")': "'require'",
    'loadstring("return 1")()': "'loadstring'",
    "debug.sethook()": "'debug'",
    'return getmetatable("").__index': "index",
    "return coroutine.create(print)": "'coroutine'",
    "x = = 1": "unexpected symbol",
    'error("boom")': "boom",
    "error({})": "table:",
    "return string.dump(print)": "'dump'",
    'return "Healthy"': "returned a string",
    'return {message = "x"}': "without `status`",
    'return {status = "Fine"}': "the status 'Fine'",
    "return setmetatable({}, {__index = function() return 'Healthy' end})": "without `status`",
    "\x1bLuaQ\x00": "compiled",
    'setmetatable({}, {__gc = function() while true do end end}) return {status = "Healthy"}': "__gc",
    "while true do end": "steps",
    'string.gsub("x", "x", function() while true do end end)': "steps",
    "local function f() return 1 + f() end f()": "memory",
    "local t = {} for i = 1, 1e9 do t[i] = {} end": "memory",
    'return {status = ("x"):rep(2 ^ 29)}': "memory",
    'return {status = "Healthy", message = "\\255"}': "utf-8",
}


def test_what_reaches_out_loops_or_lies_is_unknown_with_the_reason() -> None:
    scripts = {f"example.io/K{index}": Script(text, f"cm: {index}") for index, text in enumerate(REFUSED)}
    judge = LuaHealth(Customizations(scripts), timeout_s=60.0)
    try:
        for index, (text, part) in enumerate(REFUSED.items()):
            found = judge({"apiVersion": "example.io/v1", "kind": f"K{index}"})
            assert found is not None, text
            assert found.status is UNKNOWN, text
            assert found.message.startswith(f"cm: {index}: "), text
            assert part in found.message, (text, found.message)
    finally:
        judge.close()


def test_nothing_is_left_of_one_run_for_the_next() -> None:
    text = """
    if string.rep == nil or seen or _G.seen then return {status = "Degraded"} end
    seen = true
    _G.seen = true
    string.rep = nil
    table.insert = nil
    obj.metadata.name = "other"
    return {status = "Healthy"}
    """
    with _lua(text) as judge:
        assert [judge(OBJECT), judge(OBJECT)] == [Health(HealthStatus.HEALTHY), Health(HealthStatus.HEALTHY)]
    assert OBJECT["metadata"] == {"name": "x"}


def test_a_script_that_cannot_be_stopped_from_inside_is_ended_and_at_last_not_run_again() -> None:
    """`pcall` swallows the error of too many steps; the process is killed, the next object gets a new one."""
    endless = Script("while true do pcall(function() while true do end end) end", "cm: endless")
    judge = LuaHealth(Customizations({"e/Endless": endless}), timeout_s=0.5)
    try:
        for _ in range(3):
            found = judge({"apiVersion": "e/v1", "kind": "Endless"})
            assert found is not None
            assert found.status is UNKNOWN
        last = judge({"apiVersion": "e/v1", "kind": "Endless"})
    finally:
        judge.close()
    assert last is not None
    assert "not run again" in last.message


def test_open_libraries_are_not_given_and_it_is_said() -> None:
    with _lua('return io.open("/etc/passwd")', open_libs=True) as judge:
        found = judge(OBJECT)
    assert found is not None
    assert "asks for open libraries" in found.message


def test_null_in_a_list_and_keys_like_numbers_do_no_harm() -> None:
    odd = {**OBJECT, "status": {"1": "one", "list": [None, 1], "deep": {"a": {"b": {}}}}}
    with _lua('return {status = "Healthy", message = obj.status["1"] .. type(obj.status.deep.a.b)}') as judge:
        assert judge(odd) == Health(HealthStatus.HEALTHY, "onetable")


def test_an_exact_name_counts_before_a_pattern_and_its_own_key_before_the_block() -> None:
    block = json.dumps(
        {
            "*.example.io/*": {"health.lua": "return 1", "health.lua.useOpenLibs": True},
            "a.example.io/K": {"health.lua": "return 2"},
            "b.example.io/K": {"actions": "x"},
        }
    )
    data = {"resource.customizations": block, "resource.customizations.health.a.example.io_K": "return 3"}
    found = of_config_map(data, "cm", json.loads)
    texts = {
        name: script and (script.text, script.open_libs)
        for name in ("a.example.io/K", "b.example.io/K", "example.io/K", "/Pod")
        for script in [found.script_of(*name.split("/"))]
    }
    assert texts == {
        "a.example.io/K": ("return 3", False),
        "b.example.io/K": ("return 1", True),
        "example.io/K": None,
        "/Pod": None,
    }


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ({}, "no health customisation"),
        ({"resource.customizations.actions.a_B": "x"}, "no health customisation"),
        ({"resource.customizations": 3}, "not text"),
        ({"resource.customizations": "[]"}, "not a mapping"),
        ({"resource.customizations.health.": "x"}, "names no kind"),
        ({"resource.customizations.health.a_b_C": "x"}, "names no kind"),
        ({"resource.customizations.health.a_B": "  "}, "empty"),
        ({"resource.customizations.health.a_B": "x" * 300_000}, "longer than"),
    ],
)
def test_a_config_map_that_cannot_be_read_is_an_error_that_names_the_key(data: dict[str, object], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        of_config_map(data, "argocd-cm.yaml", json.loads)


def test_a_folder_names_its_kinds_and_underscores_are_wildcards() -> None:
    found = of_folder([("_.crossplane.io/_/health.lua", "return 1"), ("Pod/health.lua", "return 2")], "rules")
    assert found.script_of("s3.aws.crossplane.io", "Bucket") == Script("return 1", "rules/_.crossplane.io/_/health.lua")
    assert found.script_of("", "Pod") == Script("return 2", "rules/Pod/health.lua")
    with pytest.raises(ConfigError, match="no kind is named"):
        of_folder([("health.lua", "return 1")], "rules")


def test_a_place_without_customisations_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file or folder"):
        customizations_at(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no health customisation"):
        customizations_at(str(tmp_path))
    other = tmp_path / "cm.yaml"
    other.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n")
    with pytest.raises(ConfigError, match="holds no ConfigMap with"):
        customizations_at(str(other))
