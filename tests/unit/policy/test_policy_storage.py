"""Where the volumes of a workload that names data sets lie, as declared objects and configuration tell it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

import policy_cases as cases
from customhouse.app.governance import read_configuration
from customhouse.core.decision import Point, Verdict
from customhouse.core.errors import ConfigError
from customhouse.core.evidence import ArtifactRef, Evidence, EvidenceKind
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.facts import ArtifactEvidence, PolicySettings, build_facts
from customhouse.policy.gate import Gate
from customhouse.policy.storage import ClassStatement, StorageStatements, settled
from customhouse.policy.surroundings import Surroundings
from customhouse.policy.tiers import BUILTIN_TIERS, TierJudgement

DATA = "sha256:" + "d" * 64
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: train, namespace: models,
  labels: {customhouse.dev/team: risk}, annotations: {customhouse.dev/dataset: "%s"}}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: train, image: x, volumeMounts: [{name: data, mountPath: /data}, {name: tmp, mountPath: /tmp}]}
      volumes: [{name: tmp, emptyDir: {}}, {name: idle, persistentVolumeClaim: {claimName: idle}}, {name: data, VOLUME}]
"""
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: orders, namespace: models}
spec: {accessModes: [ReadWriteOnce], CLASS resources: {requests: {storage: 1Gi}}}
"""
CLASS = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\n"
MOUNTED = "persistentVolumeClaim: {claimName: orders}"


def job(volume=MOUNTED, name="train", team="risk"):
    text = (JOB % DATA).replace("VOLUME", volume).replace("name: train, namespace", f"name: {name}, namespace")
    return cases.declared(yaml.safe_load(text.replace("team: risk", f"team: {team}")))


def claim(said="storageClassName: fast,", modes="ReadWriteOnce"):
    return cases.declared(yaml.safe_load(CLAIM.replace("CLASS", said).replace("ReadWriteOnce", modes)))


def storage_class(driver="ebs.csi.aws.com", **parameters):
    return cases.declared({**yaml.safe_load(CLASS), "provisioner": driver, "parameters": parameters})


def rows(*items, volume=MOUNTED, statements=None):
    one = job(volume)
    found = settled(Surroundings([one, *items]).about(one), statements or StorageStatements())
    return found["storage"]


def row(*items, **given):
    (only,) = rows(*items, **given)
    return only


@pytest.mark.parametrize(
    ("driver", "parameters", "encrypted"),
    [
        ("ebs.csi.aws.com", {"encrypted": "true"}, True),
        ("ebs.csi.aws.com", {"Encrypted": "TRUE"}, True),
        ("kubernetes.io/aws-ebs", {"encrypted": "false"}, False),
        ("ebs.csi.aws.com", {"kmsKeyId": "arn:aws:kms:…"}, None),
        ("ebs.csi.aws.com", {}, None),
        ("efs.csi.aws.com", {"encrypted": "true"}, None),
        ("fsx.csi.aws.com", {"kmsKeyId": "arn:aws:kms:…"}, True),
        ("pd.csi.storage.gke.io", {"disk-encryption-kms-key": "projects/p/…"}, True),
        ("pd.csi.storage.gke.io", {"type": "pd-ssd"}, None),
        ("disk.csi.azure.com", {"diskEncryptionSetID": "/subscriptions/…"}, True),
        ("disk.csi.azure.com", {"diskEncryptionSetID": ""}, None),
        ("rook-ceph.rbd.csi.ceph.com", {"encrypted": "true"}, True),
        ("driver.longhorn.io", {"encrypted": "true"}, True),
        ("linstor.csi.linbit.com", {"encryption": "true", "linstor.csi.linbit.com/encryption": "false"}, False),
        # A driver that does not know the parameter drops it: nothing is encrypted, whatever the class says.
        ("k8s.io/minikube-hostpath", {"encrypted": "true"}, None),
        ("evil.example/ebs.csi.aws.com", {"encrypted": "true"}, None),
        ("", {"encrypted": "true"}, None),
    ],
)
def test_a_class_says_by_its_driver_whether_it_encrypts(driver, parameters, encrypted):
    found = row(claim(), storage_class(driver, **parameters))
    assert (found["encrypted"], found["claim"], found["class"]) == (encrypted, "orders", "fast")
    assert "fast" in found["reason"]


def test_only_what_is_mounted_and_may_hold_data_is_told():
    found = row(claim(), storage_class(encrypted="true"))
    assert (found["volume"], found["pointer"]) == ("data", "/spec/template/spec/volumes/2")
    assert rows(volume="emptyDir: {}") == []
    assert rows(volume="csi: {driver: secrets-store.csi.k8s.io}") == []
    assert row(volume="nfs: {server: x, path: /}")["encrypted"] is None
    assert (row(volume="hostPath: {path: /data}")["access_controlled"]) is False
    made = "ephemeral: {volumeClaimTemplate: {spec: {storageClassName: fast, accessModes: [ReadWriteOnce]}}}"
    assert row(storage_class(encrypted="true"), volume=made)["encrypted"] is True


def test_what_names_no_data_set_is_told_nothing():
    plain = cases.declared(cases.deployment())
    assert "storage" not in Surroundings([plain]).about(plain)


def test_a_stateful_set_is_asked_for_its_templates():
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "s", "namespace": "models", "annotations": {"customhouse.dev/dataset": DATA}},
        "spec": {
            "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {"storageClassName": "fast"}}],
        },
    }
    item = cases.declared(manifest)
    (found,) = Surroundings([item, storage_class(encrypted="true")]).about(item)["storage"]
    assert (found["volume"], found["encrypted"], found["pointer"]) == ("d", True, "/spec/volumeClaimTemplates/0")


def test_what_is_not_declared_is_unknown_and_says_why():
    assert "the claim orders is not declared" in row()["reason"]
    assert "the StorageClass fast is not declared" in row(claim())["reason"]
    assert "no default one is declared" in row(claim(""))["reason"]
    assert "any volume may be bound" in row(claim('storageClassName: "",'))["reason"]
    default = storage_class(encrypted="true")
    default.manifest["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    assert row(claim(""), default)["encrypted"] is True
    # Another namespace's claim is another claim.
    other = claim()
    other = replace(other, ref=replace(other.ref, namespace="elsewhere"))
    assert row(other, storage_class(encrypted="true"))["encrypted"] is None


def test_a_class_says_nothing_of_a_volume_that_was_made_by_hand():
    bound = claim("storageClassName: fast, volumeName: v1,")
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "v1"},
        "spec": {"storageClassName": "fast"},
    }
    good = storage_class(encrypted="true")
    assert row(bound, good)["encrypted"] is None
    assert row(bound, good, cases.declared(volume))["encrypted"] is None
    made = {**volume, "metadata": {"name": "v1", "annotations": {"pv.kubernetes.io/provisioned-by": "ebs.csi.aws.com"}}}
    assert row(bound, good, cases.declared(made))["encrypted"] is True
    stated = StorageStatements({"fast": ClassStatement(True, None)})
    assert row(bound, cases.declared(volume), statements=stated)["encrypted"] is True


def test_configuration_says_what_no_object_tells_and_never_the_contrary_of_one():
    stated = StorageStatements({"fast": ClassStatement(True, True)})
    found = row(claim(modes="ReadWriteMany"), statements=stated)
    assert (found["encrypted"], found["access_controlled"], found["open"]) == (True, True, None)
    assert row(claim(), storage_class(encrypted="false"), statements=stated)["encrypted"] is False
    denied = StorageStatements({"fast": ClassStatement(False, False)})
    assert row(claim(), statements=denied)["encrypted"] is False
    # Keys of the provider alone count where they are accepted, and by no other driver.
    accepted = StorageStatements(provider_keys=True)
    google = storage_class("pd.csi.storage.gke.io")
    assert (row(claim(), google)["encrypted"], row(claim(), google, statements=accepted)["encrypted"]) == (None, True)
    assert row(claim(), storage_class(), statements=accepted)["encrypted"] is None


def test_a_claim_that_many_mount_and_one_that_another_team_mounts_are_told():
    assert row(claim(modes="ReadWriteMany"))["open"] == "ReadWriteMany"
    assert row(claim(modes="ReadWriteOncePod"))["open"] is None
    assert row(claim(), job(name="copy", team="ads"))["others"] == ["Job copy (team ads)"]
    assert row(claim(), job(name="copy"), job("emptyDir: {}", name="else", team="ads"))["others"] == []
    server = cases.declared({**cases.service(storageUri="pvc://orders/model"), "metadata": {
        "name": "server", "namespace": "models", "labels": {"customhouse.dev/team": "ads"}}})  # fmt: skip
    assert row(claim(), server)["others"] == ["InferenceService server (team ads)"]


@pytest.mark.parametrize(
    "odd", [None, 3, [], {}, "x", [3], {"accessModes": 3, "storageClassName": [], "volumeName": {}}]
)
def test_objects_of_odd_shape_are_unknown(odd):
    broken = cases.declared(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "orders", "namespace": "models"},
            "spec": odd,
        }
    )
    assert row(broken)["encrypted"] is None
    wild = storage_class()
    wild.manifest["parameters"] = odd
    assert row(claim(), wild)["encrypted"] is None


def decided(tier, *items, statements=None):
    """What the gate says of a Job that mounts data with a sensitive column, in a tier."""
    one = job()
    data = ArtifactRef("dataset", DATA, DATA, True, "/metadata/annotations/customhouse.dev~1dataset")
    said = {"passed": True, "schema": DATA, "sensitive": [{"column": "mail", "kind": "pii"}],
            "storage": {"encrypted": True, "access_controlled": True}}  # fmt: skip
    report = Evidence(DATA, EvidenceKind.DATA_VALIDATION, "t", said, cases.NOW, "data", True, DATA)
    context = cases.context(
        one.manifest,
        artifacts=(ArtifactEvidence(data, (report,)),),
        tier=TierJudgement(tier, spec=BUILTIN_TIERS[tier]),
        surroundings=Surroundings([one, *items]).about(one),
        settings=PolicySettings(storage=statements or StorageStatements()),
    )
    facts = build_facts(cases.created(one.manifest), context)
    decision = Gate(RegorusEngine(), builtin_bundle()).judge(
        cases.created(one.manifest), facts, point=Point.GATE, decided_at=cases.NOW
    )
    assert decision.verdict in (Verdict.DENY, Verdict.WARN)
    return {(item.rule, item.severity.value, item.pointer) for item in decision.findings if "-volume-" in item.rule}


def test_the_gate_names_the_volume_and_denies_in_strict_tiers():
    at = "/spec/template/spec/volumes/2"
    assert decided("critical-inference") == {("dataset-volume-unknown", "error", at)}
    assert decided("batch", claim()) == {("dataset-volume-unknown", "error", at)}
    assert decided("standard") == {("dataset-volume-unknown", "warning", at)}
    assert decided("experiment", claim(), storage_class(encrypted="false")) == {
        ("dataset-volume-unprotected", "error", at)
    }
    assert decided("batch", claim(), storage_class(encrypted="true")) == set()
    shared = (claim(modes="ReadWriteMany"), storage_class(encrypted="true"), job(name="copy", team="ads"))
    assert decided("batch", *shared) == {("dataset-volume-open", "error", at), ("dataset-volume-shared", "error", at)}


def test_configuration_of_storage_is_read_and_refused_at_its_place():
    head = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\ndata:\n  storage:\n"
    text = head + "    providerKeys: true\n    classes: {efs: {encrypted: true, accessControlled: true}, slow: {}}\n"
    found = read_configuration(text.encode()).storage
    assert found.provider_keys
    assert found.classes == {"efs": ClassStatement(True, True), "slow": ClassStatement(None, None)}
    with pytest.raises(ConfigError, match="encrypt") as caught:
        read_configuration((head + "    classes: {efs: {encrypt: true}}\n").encode())
    assert "customhouse.yaml:5" in caught.value.where
