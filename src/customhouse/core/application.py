"""Applications: what an Argo CD or Flux object says of a set of objects: whence, where to, and how they are kept.

One value for the four kinds (argoproj.io Application; kustomize.toolkit.fluxcd.io Kustomization;
helm.toolkit.fluxcd.io HelmRelease; and what an ApplicationSet makes), so that whoever reconciles asks one thing.
What an object leaves out has here the default that its own controller documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from customhouse.core.resource import Declaration, Location, ResourceRef


class Engine(StrEnum):
    """Who reconciles, or whose object it is."""

    CUSTOMHOUSE = "customhouse"
    ARGOCD = "argocd"
    FLUX = "flux"


@dataclass(frozen=True, slots=True)
class ApplicationSource:
    """One place that objects come from. `path` is a folder of the tree where `here`, else as it was written."""

    url: str = ""
    path: str = ""
    revision: str = ""
    chart: str = ""
    here: bool = False
    """Whether what it names lies in the tree that was read; what does not is not judged, and is said (`Sight`)."""
    fetched: str = ""
    """Below which folder what it names in a registry is seen once it was fetched; empty for a Git repository."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to. `cluster` is empty for the one that holds the object itself (`https://kubernetes.default.svc`)."""

    cluster: str = ""
    namespace: str = ""
    """Of objects that name none; with `override` of all of them."""
    override: bool = False


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """How the objects are kept. `automated` False: only when somebody asks (`sync`)."""

    automated: bool = True
    prune: bool = False
    self_heal: bool = False
    allow_empty: bool = False
    """Whether a render that comes out empty may prune everything."""
    create_namespace: bool = False
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    namespace_annotations: Mapping[str, str] = field(default_factory=dict)
    server_side: bool = False
    only_out_of_sync: bool = False
    prune_last: bool = False
    respect_ignored: bool = False
    fail_on_shared: bool = False
    replace: bool = False
    force: bool = False
    """Whether an object that cannot be patched is deleted and made anew."""
    wait: bool = False
    """Whether it is ready only when all of its objects are (Flux `wait`)."""
    interval_s: int = 0
    """How often a full pass is asked for; 0: not said."""
    timeout_s: int = 0


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """Fields that may differ (Argo CD `ignoreDifferences`, Flux `driftDetection.ignore`). Empty names mean any."""

    group: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    pointers: tuple[str, ...] = ()
    jq: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Application:
    """One Argo CD or Flux object that has other objects applied.

    `depends_on` must be ready first; `health_checks` count for its health beside its own objects; `finalizes` says
    whether its objects go when it goes; `decryption` is `sops` where its files are encrypted; `problem` says why what
    it asks for is not followed here (then it must not be reconciled, and prunes nothing).
    """

    ref: ResourceRef
    location: Location
    engine: Engine
    sources: tuple[ApplicationSource, ...]
    destination: Destination = Destination()
    sync: SyncPolicy = SyncPolicy()
    ignore: tuple[IgnoreRule, ...] = ()
    depends_on: tuple[ResourceRef, ...] = ()
    health_checks: tuple[ResourceRef, ...] = ()
    suspended: bool = False
    finalizes: bool = False
    decryption: str = ""
    decryption_secret: str = ""
    release: str = ""
    """Helm's name of the release; empty where Helm does not render."""
    problem: str = ""

    @property
    def name(self) -> str:
        """`argocd/argocd/fraud-detection-model`: the name of the source in inventories; stable while the object is."""
        return f"{self.engine}/{self.ref.namespace}/{self.ref.name}" + (
            "" if self.ref.kind != "HelmRelease" else "/helm"
        )


@dataclass(frozen=True, slots=True)
class SourceSet:
    """What one source declares: an Application's objects, or (`application` None) those that no Application has."""

    application: Application | None
    declarations: tuple[Declaration, ...]

    @property
    def name(self) -> str:
        """The name of the source in inventories; empty for the repository itself."""
        return "" if self.application is None else self.application.name


class Hook(StrEnum):
    """When an object is applied (Argo CD's and Helm's hooks); an object without one is part of the sync."""

    PRE_SYNC = "PreSync"
    SYNC = "Sync"
    POST_SYNC = "PostSync"
    SYNC_FAIL = "SyncFail"
    PRE_DELETE = "PreDelete"
    POST_DELETE = "PostDelete"
    SKIP = "Skip"
    """It is not applied at all."""


@dataclass(frozen=True, slots=True)
class ObjectSync:
    """What annotations of one object say of its own keeping (Customhouse's, Argo CD's, Flux's and Helm's)."""

    wave: int = 0
    hooks: tuple[Hook, ...] = ()
    delete_hook: tuple[str, ...] = ()
    """`HookSucceeded`, `HookFailed`, `BeforeHookCreation` (the default of a hook)."""
    prune: bool = True
    confirm_prune: bool = False
    delete: bool = True
    """Whether it goes when its Application goes."""
    ignored: bool = False
    """Whether it is left alone (Flux `reconcile: disabled`, `ssa: Ignore`)."""
    only_if_absent: bool = False
    replace: bool = False
    force: bool = False
    server_side: bool | None = None
    validate: bool = True
    skip_dry_run: bool = False
    """Whether its kind may be missing when the plan is made (`SkipDryRunOnMissingResource`)."""


class SyncStatus(StrEnum):
    """Whether the cluster is as declared, as the reconciler says."""

    SYNCED = "Synced"
    OUT_OF_SYNC = "OutOfSync"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class ReconcilerStatus:
    """What Argo CD or Flux itself says of one of its objects: read for the record, never written."""

    ref: ResourceRef
    engine: Engine
    sync: SyncStatus
    health: str
    """`Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing` or `Unknown` (core.plan.HealthStatus)."""
    revision: str = ""
    """The commit or chart version that is applied (of Flux: `main@sha1:…` without the branch)."""
    attempted: str = ""
    """The revision tried last, where that is another."""
    message: str = ""
    at: str = ""
    """When that was reached, RFC 3339; empty where it is not said."""
    current: bool = True
    """Whether it speaks of the object as it is now (`observedGeneration`)."""
    elsewhere: bool = False
    """Whether what it applies comes from another repository or a registry: its revision is no commit of this one."""
