"""What `customhouse gate` says of licences and bases in a signed bill, and of volumes that sensitive data lie on."""

from __future__ import annotations

import json
import os
import random

from control_repository import git
from gate_world import DECLARATION, KEY, MODEL, Shell, released, shell

__all__ = ["released", "shell"]

JOB = """apiVersion: batch/v1
kind: Job
metadata:
  name: train
  namespace: models
  labels: {customhouse.dev/tier: experiment}
  annotations: {customhouse.dev/dataset: "%s"}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: train
          image: "registry.example/train@sha256:%s"
          volumeMounts: [{name: data, mountPath: /data}]
      volumes:
        - name: data
          persistentVolumeClaim: {claimName: orders}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: orders, namespace: models}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: fast
  resources: {requests: {storage: 1Gi}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: fast}
provisioner: ebs.csi.aws.com
parameters: {encrypted: "%s"}
"""


def gated(shell: Shell, prefixes: tuple[str, ...]) -> dict[str, str]:
    """Rule → place of what the gate says about the work tree."""
    done = shell.run("gate", "--base", "main", "--worktree", "-o", "json")
    assert done.status in (0, 1), done.err
    found = [item for item in done.json["findings"] if item["rule"].startswith(prefixes)]
    assert all(item["fix"] and item["message"] for item in found)
    return {item["rule"]: f"{item['file']}:{item['line']}" for item in found}


def test_a_signed_bill_is_held_against_what_models_may_be(shell: Shell) -> None:
    text = shell.path("customhouse.yaml").read_text()
    rules = "models:\n  licences: {allowed: [MIT], denied: [CC-BY-NC-*]}\n  bases: {required: true}\n"
    shell.write("customhouse.yaml", f"{text}\n{rules}")
    shell.commit("Models need a licence")
    git(shell.root, "checkout", "-q", "-b", "topic")
    shell.edit("customhouse.yaml", "allowed: [MIT], ", "")  # a branch does not change the rules that it is judged by
    shell.edit(DECLARATION, "customhouse.dev/project: tutorial", "customhouse.dev/project: another")
    lines = shell.path(DECLARATION).read_text().splitlines()
    place = f"{DECLARATION}:{next(n for n, line in enumerate(lines, 1) if 'storageUri: ' in line)}"
    asked = ("model-licence", "base-model")
    assert gated(shell, asked) == {"model-licence-unknown": place, "base-model-undeclared": place}

    def attest(card: dict[str, object]) -> None:
        shell.write("card.json", json.dumps(card))
        done = shell.run("model", "attest", MODEL, "--key", shell.path(KEY), "--name", "first-model",
                         "--version", "v1", "--card", "card.json")  # fmt: skip
        assert done.status == 0, done.err

    attest({"licence": "MIT OR GPL-3.0-only", "base-models": []})
    assert gated(shell, asked) == {}
    attest({"licence": "MIT", "base-models": [{"name": "acme/base", "licence": "cc-by-nc-4.0"}]})
    assert "base-model-licence" in gated(shell, asked)


def test_the_volume_of_sensitive_data_is_looked_up_to_its_class(shell: Shell) -> None:
    text = shell.path("customhouse.yaml").read_text()
    shell.write("customhouse.yaml", text.replace("provenance, evaluation]", "provenance, evaluation, data-validation]"))
    rows = "mail,a\n" + "".join(f"u{random.Random(i).random()}@example.org,{i}\n" for i in range(30))
    shell.write("../data/rows.csv", rows)
    schema = "schema: customhouse.dev/dataset/v1\ncolumns: {mail: {sensitive: pii}, a: {}}\n"
    shell.write(
        "../data/dataset.schema.yaml", f"{schema}storage: {{encrypted: true, accessControlled: true, evidence: KMS}}\n"
    )
    os.chmod(shell.path("../data/rows.csv"), 0o640)
    done = shell.run("data", "validate", "../data", "--attest", "mail", "--key", shell.path(KEY), "-o", "json")
    assert done.status == 0, done.out
    shell.commit("Datasets have evidence")
    said = {}
    for encrypted in ("true", "false"):
        shell.write("models/train.yaml", JOB % (done.json["digest"], "c" * 64, encrypted))
        said[encrypted] = gated(shell, ("dataset-",))
    assert said == {"true": {}, "false": {"dataset-volume-unprotected": "models/train.yaml:17"}}
