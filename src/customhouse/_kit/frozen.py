"""Frozen values that are made by the thousand: the same dataclasses, filled in less than half of the time.

A frozen dataclass fills each field by a call of `object.__setattr__`. Here an instance has, while `__init__` runs and
before anybody else sees it, the class of a twin that can be altered, whose fields are stored without a call.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, NoReturn, TypeVar

_Class = TypeVar("_Class", bound=type)


def quickly_made(cls: _Class) -> _Class:
    """A decorator above `@dataclass(frozen=True, slots=True)`: same arguments, same values, still frozen.

    For classes without `__post_init__`, base class or subclasses. Raises TypeError for any other.
    """
    made: Any = cls
    if cls.__bases__ != (object,) or hasattr(cls, "__post_init__") or not made.__dataclass_params__.frozen:
        raise TypeError(f"{cls.__name__} is no frozen dataclass that stands by itself")
    names = tuple(item.name for item in fields(made))
    if tuple(vars(cls).get("__slots__", ())) != names:
        raise TypeError(f"{cls.__name__} has no slots, or others than its fields")
    twin = type(f"_{cls.__name__}", (), {"__slots__": names, "__module__": cls.__module__})
    known: dict[str, Any] = {"_twin": twin, "_class": cls, "_set": object.__setattr__, "_unset": MISSING}
    ordered: list[str] = []
    named: list[str] = []
    body = ["_set(self, '__class__', _twin)"]
    for number, item in enumerate(fields(made)):
        default, value = "", item.name
        if item.default is not MISSING:
            known[f"_{number}"] = item.default
            default = f"=_{number}"
        elif item.default_factory is not MISSING:
            known[f"_{number}"] = item.default_factory
            default = "=_unset"
            value = f"_{number}() if {item.name} is _unset else {item.name}"
        if item.init:
            (named if item.kw_only else ordered).append(item.name + default)
        elif not default:
            continue  # as the dataclass leaves it: without a value
        else:
            value = f"_{number}()" if default == "=_unset" else f"_{number}"
        body.append(f"self.{item.name} = {value}")
    arguments = ", ".join(["self", *ordered, *(["*", *named] if named else [])])
    source = f"def __init__({arguments}):\n " + "\n ".join([*body, "self.__class__ = _class"])
    exec(source, known)  # noqa: S102 - names of fields only; `dataclass` makes its own `__init__` in this way
    init = known["__init__"]
    init.__annotations__ = made.__init__.__annotations__
    init.__qualname__ = made.__init__.__qualname__
    init.__module__ = cls.__module__
    made.__init__ = init
    made.__init_subclass__ = classmethod(_refused)
    return cls


def _refused(cls: type, /, **_: Any) -> NoReturn:
    raise TypeError(f"{cls.__name__} cannot be derived from a class that is quickly made")
