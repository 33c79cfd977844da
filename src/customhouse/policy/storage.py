"""Where a workload's volumes lie: whether their StorageClass encrypts, and who else gets at them.

Read from the objects that are declared beside it and from what reviewed configuration says of classes (`data.storage`).
What neither says is unknown, never assumed; a parameter counts only for a driver that is known to heed it: there are
classes of `k8s.io/minikube-hostpath` with `encrypted: "true"`, and nothing encrypts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from customhouse.core.datasets import DATASET
from customhouse.core.evidence import ArtifactRef
from customhouse.core.kinds import kind_of
from customhouse.core.podsets import PodSet, pod_sets
from customhouse.core.resource import PREFIX, Declaration, Manifest, ResourceRef
from customhouse.policy.pods import artifacts

TEAM = PREFIX + "team"
_MAX_ROWS = 64
_MAX_OTHERS = 10
_NO_PLACE = frozenset({"configMap", "downwardAPI", "emptyDir", "gitRepo", "image", "projected", "secret", "name"})
"""Volumes that hold no data set: what the cluster writes into them, or nothing at the start."""
_SECRETS_DRIVER = "secrets-store.csi.k8s.io"
_SHARED = ("ReadWriteMany", "ReadOnlyMany")
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_PROVISIONED = "pv.kubernetes.io/provisioned-by"

_SWITCHES: Mapping[str, tuple[str, ...]] = {
    "ebs.csi.aws.com": ("encrypted",),
    "kubernetes.io/aws-ebs": ("encrypted",),
    "rbd.csi.ceph.com": ("encrypted",),
    "cephfs.csi.ceph.com": ("encrypted",),
    "driver.longhorn.io": ("encrypted",),
    "pxd.portworx.com": ("secure",),
    "kubernetes.io/portworx-volume": ("secure",),
    "linstor.csi.linbit.com": ("linstor.csi.linbit.com/encryption", "encryption"),
    "linodebs.csi.linode.com": ("linodebs.csi.linode.com/encrypted", "linodebs.csi.linode.com/luks-encrypted"),
    "diskplugin.csi.alibabacloud.com": ("encrypted",),
    "csi.scaleway.com": ("encrypted",),
    "vpc.block.csi.ibm.io": ("encrypted",),
}
"""Driver → parameters that say true or false, of the drivers' own documentation."""
_KEYS: Mapping[str, tuple[str, ...]] = {
    "pd.csi.storage.gke.io": ("disk-encryption-kms-key",),
    "kubernetes.io/gce-pd": ("disk-encryption-kms-key",),
    "filestore.csi.storage.gke.io": ("instance-encryption-kms-key",),
    "disk.csi.azure.com": ("diskencryptionsetid",),
    "kubernetes.io/azure-disk": ("diskencryptionsetid",),
    "blockvolume.csi.oraclecloud.com": ("kms-key-id",),
    "fsx.csi.aws.com": ("kmskeyid",),
    "file.csi.azure.com": (),
    "blob.csi.azure.com": (),
}
"""Drivers of clouds that encrypt all that they store, with keys of their own unless a parameter names another."""


@dataclass(frozen=True, slots=True)
class ClassStatement:
    """What reviewed configuration says of a StorageClass; None: nothing."""

    encrypted: bool | None = None
    access_controlled: bool | None = None


@dataclass(frozen=True, slots=True)
class StorageStatements:
    """`data.storage` of customhouse.yaml."""

    classes: Mapping[str, ClassStatement] = field(default_factory=dict)
    provider_keys: bool = False
    """Whether encryption with keys that the provider alone holds is enough."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What is declared of one volume. `provider`: it is encrypted, with keys that the provider alone holds."""

    encrypted: bool | None
    reason: str
    class_name: str | None = None
    provider: bool = False
    access_controlled: bool | None = None
    modes: tuple[str, ...] = ()


class StorageIndex:
    """Claims, volumes, classes and workloads of a state. `about` answers for one workload."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._volumes: dict[str, Manifest] = {}
        self._classes: dict[str, Manifest] = {}
        self._workloads: dict[str, list[Declaration]] = {}

    def add(self, item: Declaration) -> None:
        """Take one object in; what is of no matter here is passed over."""
        ref = item.ref
        if ref.api_version == "v1" and ref.kind == "PersistentVolumeClaim":
            self._claims[_namespace(ref), ref.name] = _mapping(item.manifest.get("spec"))
        elif ref.api_version == "v1" and ref.kind == "PersistentVolume":
            self._volumes[ref.name] = item.manifest
        elif ref.api_version.startswith("storage.k8s.io/") and ref.kind == "StorageClass":
            self._classes[ref.name] = item.manifest
        else:
            row = kind_of(ref.api_version, ref.kind)
            if row is not None and row.pods:
                self._workloads.setdefault(_namespace(ref), []).append(item)

    def about(self, item: Declaration) -> dict[str, Any]:
        """`{"storage": [...]}` of a workload that names data sets: a row a volume that may hold them; else nothing.

        `settled` turns the rows into what rules see.
        """
        row = kind_of(item.ref.api_version, item.ref.kind)
        if item.annotation(DATASET) is None and not (row and any(name.role == "dataset" for name in row.names)):
            return {}
        named = [one for one in artifacts(item.manifest, item.ref) if one.role == "dataset"]
        if not named:
            return {}
        return {"storage": [self._row(item, *volume) for volume in _volumes_of(item, named)][:_MAX_ROWS]}

    def _row(self, item: Declaration, name: str, pointer: str, kind: str, volume: Mapping[str, Any]) -> dict[str, Any]:
        claim = None
        if kind == "persistentVolumeClaim":
            claim = str(volume.get("claimName") or "")
            spec = self._claims.get((_namespace(item.ref), claim))
            said = _Said(None, f"the claim {claim} is not declared here") if spec is None else self._of_claim(spec)
        elif kind in ("ephemeral", "volumeClaimTemplate"):
            said = self._of_claim(volume)
        elif kind == "hostPath":
            said = _Said(None, "it is a folder of the node", access_controlled=False)
        else:
            said = _Said(None, f"a volume of the kind {kind} does not say")
        return {
            "volume": name[:253],
            "pointer": pointer,
            "kind": kind[:64],
            "claim": claim if claim is None else claim[:253],
            "class": said.class_name,
            "encrypted": said.encrypted,
            "reason": said.reason[:500],
            "provider_keys": said.provider,
            "access_controlled": said.access_controlled,
            "open": None if claim is None else next((mode for mode in _SHARED if mode in said.modes), None),
            "others": [] if claim is None else list(self._others(item, claim))[:_MAX_OTHERS],
        }

    def _of_claim(self, spec: Mapping[str, Any]) -> _Said:
        modes = tuple(str(mode) for mode in _items(spec.get("accessModes")))
        named, volume = spec.get("storageClassName"), spec.get("volumeName")
        return replace(self._of_volume(str(volume), named) if volume else self._of_class(named), modes=modes)

    def _of_volume(self, name: str, class_name: Any) -> _Said:
        """A claim that names its volume: a class says nothing of the parameters of one that somebody made by hand."""
        manifest = self._volumes.get(name)
        if manifest is not None:
            made = _mapping(_mapping(manifest.get("metadata")).get("annotations")).get(_PROVISIONED)
            class_name = _mapping(manifest.get("spec")).get("storageClassName")
            found = self._classes.get(str(class_name))
            if made and found is not None and found.get("provisioner") == made:
                return self._of_class(class_name)
        reason = f"it is bound to the volume {name[:253]}, of which nothing says how it was made"
        return _Said(None, reason, str(class_name)[:253] if class_name else None)

    def _of_class(self, named: Any) -> _Said:
        if named == "":
            return _Said(None, "its claim asks for no StorageClass, so that any volume may be bound to it")
        name = None if named is None else str(named)[:253]
        if name is None:
            defaults = sorted(name for name, manifest in self._classes.items() if _is_default(manifest))
            if len(defaults) != 1:
                how = "no default one is declared" if not defaults else f"{len(defaults)} are the default"
                return _Said(None, f"its claim names no StorageClass, and {how}")
            name = defaults[0]
        manifest = self._classes.get(name)
        if manifest is None:
            return _Said(None, f"the StorageClass {name} is not declared here", name)
        return _of_parameters(name, manifest)

    def _others(self, item: Declaration, claim: str) -> Iterator[str]:
        """Workloads of other teams that mount the same claim; of one without a team it cannot be told."""
        team = item.label(TEAM)
        for other in self._workloads.get(_namespace(item.ref), ()) if team else ():
            theirs = other.label(TEAM)
            if theirs and theirs != team and claim in _claims_of(other):
                yield f"{other.ref.kind} {other.ref.name} (team {theirs})"[:300]


def settled(surroundings: Mapping[str, Any] | None, statements: StorageStatements) -> Mapping[str, Any] | None:
    """Surroundings whose rows of storage are completed by what reviewed configuration says of their classes."""
    if surroundings is None or "storage" not in surroundings:
        return surroundings
    return {**surroundings, "storage": [_settled(row, statements) for row in surroundings["storage"]]}


def _settled(row: Mapping[str, Any], statements: StorageStatements) -> dict[str, Any]:
    result = dict(row)
    stated = statements.classes.get(str(row["class"])) if row["class"] is not None else None
    if stated is not None and stated.access_controlled is not None and result["access_controlled"] is None:
        result["access_controlled"] = stated.access_controlled
    # What parameters say is what will be done, whatever is written of it elsewhere.
    if row["encrypted"] is None and stated is not None and stated.encrypted is not None:
        words = "encrypted" if stated.encrypted else "not encrypted"
        result["encrypted"] = stated.encrypted
        result["reason"] = f"data.storage.classes says that the StorageClass {row['class']} is {words}"
    elif row["encrypted"] is None and row["provider_keys"] and statements.provider_keys:
        result["encrypted"] = True
    if result["access_controlled"] is True:
        result["open"] = None
    return result


def _of_parameters(name: str, manifest: Manifest) -> _Said:
    """What a class says of encryption, by its driver."""
    driver = str(manifest.get("provisioner") or "")[:253]
    given = {str(key).lower(): value for key, value in _mapping(manifest.get("parameters")).items()}
    # Rook puts its namespace before the name: `rook-ceph.rbd.csi.ceph.com`.
    known = driver.partition(".")[2] if driver.endswith((".rbd.csi.ceph.com", ".cephfs.csi.ceph.com")) else driver
    if known in _SWITCHES:
        values = [str(given[key]).lower() for key in _SWITCHES[known] if key in given]
        if "true" in values or "false" in values:
            # Two names of one switch that disagree protect nothing.
            on = "false" not in values
            return _Said(on, f"the StorageClass {name} ({driver}) says encrypted: {str(on).lower()}", name)
        return _Said(None, f'the StorageClass {name} ({driver}) does not say {_SWITCHES[known][0]}: "true"', name)
    if known in _KEYS:
        key = next((key for key in _KEYS[known] if given.get(key)), None)
        if key is not None:
            return _Said(True, f"the StorageClass {name} ({driver}) names a key ({key})", name)
        reason = f"the StorageClass {name} ({driver}) names no key of yours, so that the provider's own keys encrypt it"
        return _Said(None, reason, name, provider=True)
    reason = f"what the driver {driver or '(none)'} of the StorageClass {name} encrypts is not known here"
    return _Said(None, reason, name)


def _is_default(manifest: Manifest) -> bool:
    return _mapping(_mapping(manifest.get("metadata")).get("annotations")).get(_DEFAULT_CLASS) == "true"


def _volumes_of(item: Declaration, named: Iterable[ArtifactRef]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """(name, pointer, kind, content) of each volume that a container mounts, and of claims that a data set names."""
    for one in named:
        if one.reference.startswith("pvc://"):
            claim = one.reference.removeprefix("pvc://").partition("/")[0]
            yield claim, one.pointer, "persistentVolumeClaim", {"claimName": claim}
    sets = pod_sets(item.manifest, item.ref.api_version, item.ref.kind)
    for one_set in sets:
        mounted = _mounted(one_set)
        for index, volume in enumerate(_items(one_set.pod.get("volumes"))):
            if not isinstance(volume, Mapping) or (mounted is not None and volume.get("name") not in mounted):
                continue
            pointer = f"{one_set.pointer}/volumes/{index}"
            for kind in sorted(str(key) for key in volume if volume[key] is not None and key not in _NO_PLACE):
                content = _mapping(volume[kind])
                if kind == "ephemeral":
                    content = _mapping(_mapping(content.get("volumeClaimTemplate")).get("spec"))
                if kind != "csi" or content.get("driver") != _SECRETS_DRIVER:
                    yield str(volume.get("name", "")), pointer, kind, content
    templates = _items(_mapping(item.manifest.get("spec")).get("volumeClaimTemplates"))
    for index, template in enumerate(templates):
        if item.ref.kind == "StatefulSet" and isinstance(template, Mapping):
            name = str(_mapping(template.get("metadata")).get("name", ""))
            place = f"/spec/volumeClaimTemplates/{index}"
            yield name, place, "volumeClaimTemplate", _mapping(template.get("spec"))


def _mounted(one: PodSet) -> set[str] | None:
    """The volumes that containers mount; None where that is not told (a model server's container is made later)."""
    if not isinstance(one.pod.get("containers"), (list, tuple)):
        return None
    found = set()
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for container in _items(one.pod.get(key)):
            for field_name in ("volumeMounts", "volumeDevices"):
                mounts = _items(container.get(field_name)) if isinstance(container, Mapping) else ()
                found |= {str(mount.get("name")) for mount in mounts if isinstance(mount, Mapping)}
    return found


def _claims_of(item: Declaration) -> set[str]:
    """The claims that a workload mounts, or names as the place of an artifact."""
    named = artifacts(item.manifest, item.ref)
    volumes = _volumes_of(item, named)
    found = {str(content.get("claimName")) for _, _, kind, content in volumes if kind == "persistentVolumeClaim"}
    places = (one.reference.removeprefix("pvc://").partition("/")[0] for one in named if one.reference[:6] == "pvc://")
    return found.union(places)


def _namespace(ref: ResourceRef) -> str:
    return ref.namespace or "default"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else ()
