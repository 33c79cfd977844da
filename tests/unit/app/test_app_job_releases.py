"""What names the release of a Job: also of one that only a cluster can run."""

from __future__ import annotations

import pytest

from customhouse.app.succession import release_name
from customhouse.core.resource import Declaration, Location, ResourceRef

PIN = "@sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("spec", "containers"),
    [
        ({"suspend": True}, 1),
        ({"parallelism": 4, "completions": 4}, 1),
        ({}, 2),
    ],
)
def test_a_job_that_the_local_target_cannot_run_has_a_release_all_the_same(
    spec: dict[str, object], containers: int
) -> None:
    each = [{"name": f"c{number}", "image": f"r.example/x{PIN}", "command": ["x"]} for number in range(containers)]
    template = {"spec": {"restartPolicy": "Never", "containers": each}}
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train", "namespace": "ml"},
        "spec": {"template": template, **spec},
    }
    found = Declaration(ResourceRef("batch/v1", "Job", "ml", "train"), manifest, Location("job.yaml"))
    assert release_name(found) == found.digest
