"""The process in which strangers' Lua runs: it may loop or eat memory, and takes nobody with it.

Frames (`_kit.companion`): `S` gives a script a name, `R` asks for its opinion of an object; only `R` is answered. Run
as `python -m customhouse.execution.adapters.lua.runner`, by `LuaHealth` alone.
"""

from __future__ import annotations

import json
import resource
from typing import Any, NoReturn

from customhouse._kit.companion import serve

MEMORY = 64 * 1024 * 1024
"""Bytes that all of Lua may have; of the whole process see `_PROCESS`."""
_PROCESS = 2 * 1024**3
_STEPS = 20_000_000
"""Instructions of Lua: about a quarter of a second."""
_MAX_TEXT = 4096
_NO_MEMORY = "not enough memory"
"""Lua's own words."""

# Names that Argo CD gives a script (base, table, a safe os), and string and math, which read and write nothing. What
# loads code or reaches out (load, loadstring, dofile, require, io, os.execute, debug, getfenv) is not among them, nor
# what makes a second thread, whose steps nobody counts. Each run gets tables of its own, so that nothing is left for
# the next: the globals themselves, and the table behind the methods of strings, are out of its reach.
_PRELUDE = """
local limit = ...
local base = {"assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawset",
    "select", "tonumber", "tostring", "type", "xpcall", "_VERSION"}
local libraries = {string = string, table = table, math = math,
    os = {time = os.time, date = os.date, clock = os.clock, difftime = os.difftime}}
local kept, load, hook = {unpack = table.unpack}, load, debug.sethook
local call, shown, next = pcall, tostring, next
for _, name in ipairs(base) do kept[name] = _G[name] end
-- What is called when garbage is collected would run in the time of another script.
local mark, raw, kind, fail = setmetatable, rawget, type, error
function kept.setmetatable(one, behaviour)
    if kind(behaviour) == "table" and raw(behaviour, "__gc") ~= nil then fail("__gc is not given") end
    return mark(one, behaviour)
end
string.dump, string.gfind = nil, string.gmatch
-- What 5.1 had besides.
function table.getn(list) return #list end
function table.maxn(list)
    local most = 0
    for key in next, list do if type(key) == "number" and key > most then most = key end end
    return most
end
function table.foreach(list, visit)
    for key, value in next, list do
        local found = visit(key, value)
        if found ~= nil then return found end
    end
end
function table.foreachi(list, visit)
    for index = 1, #list do
        local found = visit(index, list[index])
        if found ~= nil then return found end
    end
end
getmetatable("").__metatable = false
local function fresh(obj)
    local given = {print = function() end, obj = obj}
    for name, value in next, kept do given[name] = value end
    for name, library in next, libraries do
        local copy = {}
        for key, value in next, library do copy[key] = value end
        given[name] = copy
    end
    given._G = given
    return given
end
local function judged(run)
    hook(function() fail("more than " .. limit .. " steps", 0) end, "", limit)
    local fine, found = call(run)
    if not fine then
        local told, words = call(shown, found)
        hook()
        return "error", told and words or "an error that cannot be shown"
    end
    hook()
    if kind(found) ~= "table" then return kind(found) end
    return "table", raw(found, "status"), raw(found, "message")
end
return function(text, obj)
    local run, wrong = load(text, "=health.lua", "t", fresh(obj))
    if not run then return "error", wrong end
    return judged(run)
end
"""


class _Runner:
    def __init__(self) -> None:
        # Argo CD's own interpreter speaks Lua 5.1 with the `goto` of 5.2, which its scripts use; and from 5.2 on Lua
        # collects its garbage before it says that memory is out.
        import lupa.lua52 as engine  # type: ignore[import-not-found,import-untyped,unused-ignore]

        self._engine = engine
        self._lua: Any = None
        self._run: Any = None
        self._scripts: dict[str, str] = {}

    def answer(self, frame: bytes) -> bytes | None:
        asked = json.loads(frame[1:], parse_int=float)  # as Argo CD's numbers are
        if frame[:1] == b"S":
            self._scripts[asked["name"]] = asked["text"]
            return None
        try:
            answer = self._judged(self._scripts[asked["name"]], asked["obj"])
        except (MemoryError, self._engine.LuaMemoryError):
            answer = {"error": _NO_MEMORY}
        except (self._engine.LuaError, ValueError, OverflowError, RecursionError, TypeError) as error:
            answer = {"error": str(error)[:_MAX_TEXT] or type(error).__name__}
        if _NO_MEMORY in answer.get("error", ""):
            # What is left of that run may be all there is.
            self._lua = self._run = None
            answer = {"error": f"{_NO_MEMORY}: all of Lua has {MEMORY >> 20} MiB"}
        return json.dumps(answer).encode()

    def _judged(self, text: str, obj: Any) -> dict[str, Any]:
        if "\x1b" in text[:1] or "\0" in text:
            return {"error": "the script is compiled; only source text is run"}
        if self._run is None:
            self._lua = self._engine.LuaRuntime(
                register_eval=False, register_builtins=False, attribute_filter=_no, max_memory=MEMORY
            )
            self._run = self._lua.execute(_PRELUDE, _STEPS)
        found = self._run(text, self._lua.table_from(obj, recursive=True))
        kind, *values = found if isinstance(found, tuple) else (found,)
        if kind == "error":
            return {"error": str(values[0])[:_MAX_TEXT]}
        if kind == "nil":
            return {"nothing": True}
        if kind != "table":
            return {"error": f"it returned a {kind}; a table with `status` and `message` is asked for"}
        status, message = [*values, None, None][:2]
        if not isinstance(status, str):
            return {"error": "it returned a table without `status`"}
        return {"status": status[:_MAX_TEXT], "message": message[:_MAX_TEXT] if isinstance(message, str) else ""}


def _no(_object: Any, name: Any, _setting: bool) -> NoReturn:
    raise AttributeError(f"{name} is not given")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_PROCESS, _PROCESS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    serve(_Runner().answer)
