"""`input.review` as Gatekeeper builds it: an AdmissionRequest (admission.k8s.io/v1), and the inventory beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from customhouse.core.errors import PolicyError
from customhouse.policy.gatekeeper_match import ORIGINAL, Subject

_FIELDS = """
uid kind resource subResource requestKind requestResource requestSubResource name namespace operation userInfo
object oldObject dryRun options
"""
_REQUEST_FIELDS = frozenset(_FIELDS.split())


class Review(NamedTuple):
    """What is judged: the document, and the objects that a match may be about (new, then old)."""

    document: Mapping[str, Any]
    subjects: tuple[Subject, ...]

    @property
    def operation(self) -> str:
        """CREATE, UPDATE, DELETE, CONNECT, or empty for an object that is merely looked at."""
        return str(self.document.get("operation", ""))


def review_of_object(
    value: Mapping[str, Any], *, namespace: Mapping[str, Any] | None = None, source: str = ORIGINAL
) -> Review:
    """An object that is looked at: no operation, no user. `namespace` is the Namespace that it is in, if known.

    Raises PolicyError for something that has no apiVersion or kind.
    """
    api, kind = value.get("apiVersion"), value.get("kind")
    if not isinstance(api, str) or not isinstance(kind, str) or not api or not kind:
        raise PolicyError("the object has no apiVersion, or no kind")
    group, _, version = api.rpartition("/")
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    document: dict[str, Any] = {
        "uid": "",
        "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": "", "version": "", "resource": ""},
        "operation": "",
        "userInfo": {},
        "object": value,
        "oldObject": None,
        "options": None,
    }
    for key in ("name", "namespace"):
        if isinstance(metadata.get(key), str) and metadata[key]:
            document[key] = metadata[key]
    if namespace is not None:
        document["namespaceObject"] = namespace
        document["_unstable"] = {"namespace": namespace}
    return Review(document, (Subject(value, namespace, source),))


def review_of_request(
    request: Mapping[str, Any], *, namespace: Mapping[str, Any] | None = None, source: str = ORIGINAL
) -> Review:
    """The `request` of an AdmissionReview. On DELETE the old object stands for the object too.

    Raises PolicyError for one without an object, or with fields that an AdmissionRequest does not have.
    """
    if extra := sorted(set(request) - _REQUEST_FIELDS):
        raise PolicyError(f"an AdmissionRequest has no field {extra[0]!r}")
    old = request.get("oldObject")
    new = request.get("object")
    if request.get("operation") == "DELETE":
        if old is None:
            raise PolicyError("the request is a DELETE without an oldObject")
        new = old
    if new is None and old is None:
        raise PolicyError('the AdmissionRequest has neither "object" nor "oldObject"')
    for item in (new, old):
        if item is not None and not (isinstance(item, Mapping) and item.get("kind")):
            raise PolicyError("the object of the AdmissionRequest has no kind")
    document = {
        "uid": "",
        "kind": {"group": "", "version": "", "kind": ""},
        "resource": {"group": "", "version": "", "resource": ""},
        "operation": "",
        "userInfo": {},
        "options": None,
        **request,
        "object": new,
        "oldObject": old,
    }
    if namespace is not None:
        document["namespaceObject"] = namespace
        document["_unstable"] = {"namespace": namespace}
    subjects = tuple(Subject(item, namespace, source) for item in (new, old) if item is not None)
    return Review(document, subjects)


def known_fields(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request without what an API server newer than this adds to it."""
    return {key: value for key, value in request.items() if key in _REQUEST_FIELDS}


def inventory_of(objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`data.inventory`: `cluster[apiVersion][kind][name]` and `namespace[ns][apiVersion][kind][name]`.

    Raises PolicyError for an object without apiVersion or kind.
    """
    inventory: dict[str, Any] = {}
    for value in objects:
        api, kind = value.get("apiVersion"), value.get("kind")
        if not isinstance(api, str) or not isinstance(kind, str) or not api or not kind:
            raise PolicyError("an object of the inventory has no apiVersion, or no kind")
        metadata = value.get("metadata")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        namespace = metadata.get("namespace")
        path = ["namespace", str(namespace)] if namespace else ["cluster"]
        place = inventory
        for key in (*path, api, kind):
            place = place.setdefault(key, {})
        place[str(metadata.get("name") or "")] = value
    return inventory
