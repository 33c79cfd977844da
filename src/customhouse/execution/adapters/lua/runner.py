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
    "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall", "_VERSION"}
local libraries = {string = string, table = table, math = math,
    os = {time = os.time, date = os.date, clock = os.clock, difftime = os.difftime}}
local kept, load, enter, hook = {}, loadstring, setfenv, debug.sethook
local call, raw, kind, shown, each, next, fail = pcall, rawget, type, tostring, pairs, next, error
for _, name in ipairs(base) do kept[name] = _G[name] end
string.dump = nil
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
    local run, wrong = load(text, "=health.lua")
    if not run then return "error", wrong end
    return judged(enter(run, fresh(obj)))
end
"""


class _Runner:
    def __init__(self) -> None:
        # Whichever Lua 5.1 is there: Argo CD's own interpreter speaks that version.
        import lupa.lua51 as engine  # type: ignore[import-not-found,import-untyped,unused-ignore]

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
            # Lua 5.1 does not collect when memory runs out: the next allocation would end the process.
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
