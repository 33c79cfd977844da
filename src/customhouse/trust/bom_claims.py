"""What a registry claims of a model, taken into its bill: licence, base models, and where it came from.

A claim fills what people did not say, never what they did, and a bill tells it as one: the base models carry who claims
them, and the place is a reference of the kind `distribution`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from customhouse.trust.bom_given import Given
from customhouse.trust.bom_parts import Base

_MAX_BASES = 50
_MAX_TEXT = 200


def with_claims(given: Given, reference: str, claims: Mapping[str, Any]) -> Given:
    """What people say, completed by what the place of `reference` claims. Claims of odd shape are left out."""
    licence, bases = claims.get("licence"), claims.get("baseModels")
    words = f"claimed by {reference}"
    named = [item for item in bases if isinstance(item, str) and _told(item)] if isinstance(bases, list) else []
    known = {base.name for base in given.base_models}
    added = tuple(Base(name, note=words) for name in dict.fromkeys(named[:_MAX_BASES]) if name not in known)
    source = ("distribution", reference)
    return replace(
        given,
        licence=given.licence or (licence if isinstance(licence, str) and _told(licence) else ""),
        base_models=(*given.base_models, *added),
        references=given.references if source in given.references else (*given.references, source),
    )


def _told(text: str) -> bool:
    return 0 < len(text) <= _MAX_TEXT and text.isprintable()
