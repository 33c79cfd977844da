"""What an estimate does not hold: steps that repeat, pods that another object describes, requests that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from customhouse.core.fields import look
from customhouse.core.kinds import kind_of
from customhouse.core.podsets import PodSet, pod_sets
from customhouse.core.resource import Manifest
from customhouse.core.workload import Workload

_NAMING = {
    "workloadRef": "/spec/workloadRef/name",
    "workflowTemplateRef": "/spec/workflowTemplateRef/name",
    "clusterSelector": "/spec/clusterSelector",
}
"""Keys of a spec by which another object is named that describes what runs, and where its name is."""


def steps(manifest: Manifest) -> Iterable[Any]:
    """The steps and tasks of an Argo Workflow."""
    for root in ("/spec/templates", "/spec/workflowSpec/templates"):
        templates = look(manifest, root)
        for template in templates if isinstance(templates, (list, tuple)) else ():
            yield from (task for task in (look(template, "/dag/tasks") or ()) if isinstance(task, Mapping))
            for group in look(template, "/steps") or ():
                yield from (step for step in (group if isinstance(group, (list, tuple)) else ()))


def elsewhere(manifest: Manifest, work: Workload) -> list[str]:
    """What runs besides the sets of the table: what another object describes, and what only its look gives away."""
    row = kind_of(work.ref.api_version, work.ref.kind)
    found: list[str] = []
    if row is not None and not row.closed:
        sets = pod_sets(manifest, work.ref.api_version, work.ref.kind)
        found = [f"what stands at {one.pointer}" for one in sets if one.found]
    spec = manifest.get("spec")
    named_in = spec if type(spec) is dict or isinstance(spec, Mapping) else {}
    for key, pointer in _NAMING.items():
        if key in named_in:
            named = look(manifest, pointer)
            if isinstance(named, str) and named:
                found.append(f"what {named} describes ({pointer})")
    return found


def unrequested(one: PodSet) -> list[str]:
    """The containers that ask for no processor or no memory; there are none in pods that ask as a whole."""
    running = [container for container in one.containers if not container.init]
    cpu, memory = one.whole
    found = [f"container {c.name or c.pointer}: no cpu request" for c in running if not (c.cpu_request or cpu)]
    found += [
        f"container {c.name or c.pointer}: no memory request" for c in running if not (c.memory_request or memory)
    ]
    return found if running else ["no container declares what it needs"]
