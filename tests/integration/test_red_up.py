"""What must not bring the control loop to a stand."""

from __future__ import annotations

from up_world import RULES, UpWorld, notes, world

__all__ = ["world"]

JOB = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: pair
  namespace: shop
  labels:
    customhouse.dev/owner: x
    customhouse.dev/team: x
    customhouse.dev/project: x
    customhouse.dev/cost-centre: x
spec:
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: work
          image: example.com/work@sha256:%s
          command: [python, -c, pass]
          resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 100m, memory: 64Mi}}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
""" % ("7" * 64)


def test_a_commit_that_is_allowed_and_cannot_be_run_here_is_named_and_holds_up_no_later_commit(world: UpWorld) -> None:
    rules = RULES.replace("policy:\n", "policy:\n  trustedRegistries: [example.com]\n")
    world.push({"customhouse.yaml": rules})
    world.start()
    first = world.serve("v1")
    world.deployed(first)
    bad = world.push({"job.yaml": JOB})
    world.problem(bad[:12], "one pod a Job")
    good = world.push({"job.yaml": None, "notes.yaml": notes("hello")})
    world.deployed(good)
    assert any(bad in entry.key for entry in world.entries("refused"))
