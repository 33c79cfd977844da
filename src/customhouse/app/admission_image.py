"""`/validate-image`: every image of every pod template comes from one registry prefix and is pinned by its digest.

This is the example webhook's rule with its gaps closed: init and ephemeral containers are judged, pod templates are
found in every kind, and the prefix matches whole path components (`apexlogic.com/` is not `apexlogic.com.evil/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse.app.admission_review import Answer, Review, undecided
from customhouse.policy.pods import image_parts

VARIABLE = "TRUSTED_REGISTRY_PREFIX"
DEFAULT_PREFIX = "apexlogic.com/"
_LISTS = ("initContainers", "containers", "ephemeralContainers")
_MAX_DEPTH = 100
_MAX_SHOWN = 20


def validate_images(review: Review, prefix: str) -> Answer:
    """Allow, or refuse with a sentence for every image and reason. An object that cannot be read is refused."""
    if review.operation in ("DELETE", "CONNECT") or review.subresource == "scale":
        return Answer(True)
    wanted = prefix.strip().rstrip("/")
    if not wanted:
        return undecided(f"{VARIABLE} is empty: every registry would be trusted", code=500)
    if not review.object:
        return undecided("the request carries no object", code=400)
    problems: list[str] = []
    try:
        for pointer, name, image in _images(review.object):
            problems.extend(_problems(pointer, name, image, wanted))
    except RecursionError:
        return undecided(f"the object is nested more than {_MAX_DEPTH} levels deep", code=400)
    if not problems:
        return Answer(True)
    shown = problems[:_MAX_SHOWN]
    more = f" (and {len(problems) - len(shown)} more)" if len(problems) > len(shown) else ""
    return Answer(False, f"{review.ref}: {' '.join(shown)}{more}")


def _problems(pointer: str, name: str, image: Any, wanted: str) -> Iterator[str]:
    if not isinstance(image, str) or not image:
        yield f"The container {name} at {pointer} names no image."
        return
    shown = image if len(image) <= 300 else f"{image[:300]}…"
    if not image_parts(image)["valid"]:
        yield f"The image {shown} of container {name} at {pointer} is no valid reference."
    repository, at, digest = image.partition("@")
    if repository != wanted and not repository.startswith(f"{wanted}/"):
        yield f"The image {shown} of container {name} at {pointer} is not from the trusted registry {wanted}/."
    if not at or not is_digest(digest):
        yield f"The image {shown} of container {name} at {pointer} is not pinned by a digest (@sha256:…)."


def _images(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(pointer, container name, image) of every container list, wherever it stands in the object.

    A kind of its own is no way around: what has the shape of a container list is judged as one. `status` and
    `metadata` are the server's. A single custom container (KServe's `custom.container`) is a mapping with an image.
    """
    stack: list[tuple[Any, str, int]] = [
        (value, f"/{key}", 1) for key, value in manifest.items() if key not in ("metadata", "status")
    ]
    while stack:
        value, pointer, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise RecursionError
        if isinstance(value, list):
            stack.extend((item, f"{pointer}/{index}", depth + 1) for index, item in enumerate(value))
            continue
        if not isinstance(value, dict):
            continue
        for key, item in value.items():
            place = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
            if key in _LISTS and isinstance(item, list):
                for index, container in enumerate(item):
                    if isinstance(container, dict):
                        yield f"{place}/{index}", str(container.get("name", index))[:80], container.get("image")
            elif key == "container" and isinstance(item, dict) and "image" in item:
                yield place, str(item.get("name", "container"))[:80], item.get("image")
            elif key == "reference" and isinstance(item, str) and pointer.endswith("/image"):
                yield pointer, "a volume", item  # an image that is mounted as files
            elif key == "image" and isinstance(item, str) and _is_other_image(pointer):
                # A model server's image (KServe's `model.image`) or an operator's own field.
                yield pointer, pointer.rpartition("/")[2], item
            stack.append((item, place, depth + 1))


def _is_other_image(pointer: str) -> bool:
    """Whether an `image` here is not that of a container, which is judged with its list."""
    parts = pointer.split("/")
    inside = len(parts) > 2 and parts[-2] in _LISTS
    return not inside and parts[-1] != "container"
