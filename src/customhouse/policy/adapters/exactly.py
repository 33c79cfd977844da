"""Rules of a project's own, set right for the embedded engine: the text that it reads, and the built-ins that it calls.

The packaged rules need none of it (tests hold that), so that they run as they are, and compiled. Lines stay what they
are; the digest of a bundle is that of what was written. What cannot be set right is refused by `policy.lint`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from customhouse.policy.adapters.foreign_calls import OWN
from customhouse.policy.foreign import Program, called_builtins, normalised, renamed

HELPER = "customhouse_exact.rego"
_LENGTH = "data.customhouse_exact.length"
# The engine counts units of UTF-16; sets of objects cannot be handed to a function of ours, so this one is in Rego.
_HELPER = """package customhouse_exact

length(value) := count(value) if not is_string(value)

length(value) := count(split(value, "")) if is_string(value)
"""


def prepared(
    modules: Mapping[str, str], packaged: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, tuple[int, Callable[..., Any]]]]:
    """The modules as the engine has to be given them, and name → number of arguments and function that replaces it.

    `packaged` are modules that are taken as they are. Raises PolicyError for a module that cannot be read.
    """
    own = {name: source for name, source in modules.items() if packaged.get(name) != source}
    if not own:
        return dict(modules), {}
    called = called_builtins(Program(own, v0=False))
    changed = {name: normalised(source, name, v0=False) for name, source in own.items()}
    if "count" in called:
        changed = {name: renamed(source, name, "count", _LENGTH) for name, source in changed.items()}
        changed[HELPER] = _HELPER
    return {**modules, **changed}, {name: OWN[name] for name in OWN if name in called}
