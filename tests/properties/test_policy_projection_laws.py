"""Laws of projections over generated objects."""

from __future__ import annotations

import copy
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse._kit.canonical import canonical_json
from customhouse.core.errors import CannotDecideError
from customhouse.policy.projection import project
from policy_cases import manifests, served


@settings(max_examples=80, deadline=None)
@given(manifests())
def test_what_an_api_server_adds_changes_no_projection(manifest):
    before = copy.deepcopy(manifest)
    file = project(manifest)
    assert manifest == before
    assert canonical_json(project(served(manifest))) == canonical_json(file)
    assert canonical_json(project(served(served(manifest)))) == canonical_json(file)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=120, deadline=None)
@given(manifests(), st.data())
def test_any_damage_to_an_object_is_a_projection_or_a_clear_error(manifest, data):
    places = list(_places(manifest))
    container, key = data.draw(st.sampled_from(places))
    container[key] = data.draw(_JSON)
    # Anything but a projection or this error is a crash, and hypothesis shows the object.
    with suppress(CannotDecideError):
        assert canonical_json(project(manifest))


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)
