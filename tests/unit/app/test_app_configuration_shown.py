"""What `config show` tells is what is in force, with no part of it left out."""

from __future__ import annotations

import json

from customhouse.app.configuration import parse, schema
from customhouse.app.configuring import as_document
from customhouse.app.governance import read_configuration
from customhouse.trust.cosignature import CosignerKey
from customhouse.trust.keys import generate

WHOLE = b"""\
apiVersion: customhouse.dev/v1
branch: main
paths: [models]
render: [{path: charts/fraud, release: fraud}]
sources: {reconciledBy: {argocd: customhouse}}
target: {kind: kubernetes, mode: manage}
metrics: {prometheus: "https://prometheus.example", queries: {errors: "sum(errors)"}}
health: {argocd: argocd/argocd-cm.yaml}
alerts: {alertmanager: "https://alertmanager.example"}
tiers: {default: standard}
environments: {production: {namespaces: [risk], production: true}}
policy: {requireSignedCommits: false, trustedRegistries: [registry.example]}
trust: {keys: [{name: scanner, publicKey: keys/scanner.pub, kinds: [scan]}]}
models:
  licences: {allowed: [Apache-2.0, LicenseRef-llama3.1, LicenseRef-MIT, "LicenseRef-gemma*"], denied: ["CC-BY-NC-*"]}
  sources: {allowed: ["hf://Org/*", "oci://registry.example/**"]}
  bases: {required: true}
data: {storage: {providerKeys: true, classes: {fast: {encrypted: true}, slow: {accessControlled: false}}}}
scan: {}
evaluation: {plans: [{name: fraud, file: plans/fraud.yaml, models: ["s3://models/**"]}]}
prices: {provider: aws}
budgets: [{name: risk, monthly: "100.00", namespaces: [risk]}]
optimiser: {autonomy: observe}
forge: {kind: gitea, url: "https://git.example", repository: risk/models}
ledger: {witnesses: [{name: w, url: "https://witness.example/", key: "WITNESS"}]}
scheduling: {pools: {path: models/pools}}
admission: {requireRevision: true}
audit: {everyMinutes: 60}
"""


def test_every_part_is_shown_and_reads_back_as_what_is_in_force() -> None:
    key = CosignerKey("w.example", generate().public).vkey
    found = read_configuration(WHOLE.replace(b"WITNESS", key.encode()))
    shown = json.loads(json.dumps(as_document(found)))
    # The other way to say `target`, and what is expected of nobody here.
    assert set(schema()["properties"]) - set(shown) == {"targets", "provenance"}
    assert parse(shown, {}) == found
    assert shown["metrics"]["queries"]["errors"] == "sum(errors)"
    assert shown["health"] == {"argocd": "argocd/argocd-cm.yaml"}
    assert found.models is not None
    assert parse(shown, {}).models == found.models
