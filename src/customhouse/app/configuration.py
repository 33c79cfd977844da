"""customhouse.yaml as values: parsed against the published JSON Schema, every error with its line and the fix."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from customhouse._kit.money import Money
from customhouse.app.admission_rules import AdmissionSpec, Scheduling, bad_expiry, schedulings
from customhouse.app.audit_spec import AuditSpec
from customhouse.app.evaluation_plans import PlanEntry, entries_of
from customhouse.app.extender_spec import Interruption, interruptions_of
from customhouse.app.forge_settings import ForgeSpec
from customhouse.app.ledger_spec import LedgerSpec, ledger_of
from customhouse.app.metrics_spec import MetricsSpec
from customhouse.app.model_rules import ModelPolicy, model_policy_of
from customhouse.app.policyspecs import BundleSource, CanarySpec, bundles_of, canary_of
from customhouse.app.provenance_rules import expected_of
from customhouse.app.scan_names import ScanSpec, scan_of
from customhouse.app.schedule_spec import ScheduleSpec, schedule_of
from customhouse.app.source_spec import SourceSpec
from customhouse.app.storage_rules import storage_of
from customhouse.app.target_spec import ClusterSpec, environment_targets, targets_of
from customhouse.app.tiering import check_known, environments_of, tiers_of
from customhouse.app.trusting import TrustSpec
from customhouse.control.placing import Placing
from customhouse.control.rendering import RenderEntry
from customhouse.core.errors import ConfigError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import Location
from customhouse.policy.facts import DEFAULT_LABELS
from customhouse.policy.storage import StorageStatements
from customhouse.policy.tiers import BUILTIN_TIERS, MAX_EXCEPTION_DAYS, Environment, TierSpec
from customhouse.trust.provenance_expectations import Expected

FILE = "customhouse.yaml"
CURRENCY = "USD"
"""The packaged price book is in USD; other billing currencies come with dated exchange rates."""


@dataclass(frozen=True, slots=True)
class TrustKey:
    """A public key (a file of the repository) and the kinds of evidence that it may sign."""

    name: str
    public_key: str
    kinds: tuple[EvidenceKind, ...]


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """A monthly limit and what it covers."""

    name: str
    monthly: Money
    namespaces: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One revision's customhouse.yaml. Without a file: these defaults, which trust no registry and no key."""

    branch: str = "main"
    paths: tuple[str, ...] = ()
    render: tuple[RenderEntry, ...] = ()
    sources: SourceSpec = field(default_factory=SourceSpec)
    """What is said of Argo CD's and Flux's objects, and which folders are for which cluster."""
    cluster: ClusterSpec | None = None
    """The Kubernetes API that is the target; None: this machine is, or there are several."""
    targets: Mapping[str, ClusterSpec] = field(default_factory=dict)
    """Several Kubernetes APIs, by name."""
    environment_targets: Mapping[str, str] = field(default_factory=dict)
    """Environment → the target that its namespaces are in."""
    health: str | None = None
    """Where Argo CD's Lua health customisations lie: a file or a folder of the repository."""
    metrics: MetricsSpec = field(default_factory=MetricsSpec)
    alertmanager: str = ""
    """Where drift is told; empty: nowhere but in status, board, ledger and metrics."""
    target_port: int = 0
    volumes: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    default_tier: str = "standard"
    tier_namespaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tiers: Mapping[str, TierSpec] = field(default_factory=lambda: dict(BUILTIN_TIERS))
    environments: tuple[Environment, ...] = ()
    trusted_registries: tuple[str, ...] = ()
    required_labels: tuple[str, ...] = DEFAULT_LABELS
    require_signed_commits: bool = False
    """A file that does not say means True (`parse`); without a file there is nobody who could be allowed to sign."""
    max_exception_days: int = MAX_EXCEPTION_DAYS
    """How long a waiver or a relaxation may last."""
    frameworks: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    bundle: str | None = None
    bundles: tuple[BundleSource, ...] = ()
    """Pulled from elsewhere, judged beside `bundle`."""
    canary: CanarySpec | None = None
    gatekeeper: str | None = None
    """A folder of Gatekeeper's templates and constraints."""
    conftest: str | None = None
    """A folder of conftest's packages."""
    waivers: str | None = None
    allowed_signers: str | None = None
    gpg_keys: tuple[str, ...] = ()
    keys: tuple[TrustKey, ...] = ()
    trust: TrustSpec = field(default_factory=TrustSpec)
    """Whose evidence counts besides that of keys, and where it is asked for."""
    provenance: Expected = field(default_factory=Expected)
    """Who may build what from what."""
    evaluation: tuple[PlanEntry, ...] = ()
    """By which plans models are evaluated."""
    models: ModelPolicy | None = None
    """Which licences models may have, and where they may come from."""
    storage: StorageStatements = field(default_factory=StorageStatements)
    """What is known of StorageClasses, for the sensitive data that lie there."""
    scan: ScanSpec = field(default_factory=ScanSpec)
    """Names of the organisation's own that the model scanner knows."""
    provider: str = "aws"
    region: str = "us-east-1"
    price_book: str | None = None
    price_max_age_days: int = 180
    interruptions: tuple[Interruption, ...] = ()
    """How often spot machines are expected to be taken away."""
    budgets: tuple[BudgetSpec, ...] = ()
    autonomy: str = "propose"
    minimum_windows: int = 60
    window_seconds: int = 60
    admission: AdmissionSpec = field(default_factory=AdmissionSpec)
    audit: AuditSpec = field(default_factory=AuditSpec)
    forge: ForgeSpec | None = None
    ledger: LedgerSpec = field(default_factory=LedgerSpec)
    """Who watches the ledger."""
    scheduling: Mapping[str, Scheduling] = field(default_factory=dict)
    """What the mutating webhook puts on pods, by tier."""
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    """What `up` does about scheduling."""

    @property
    def clusters(self) -> Mapping[str, ClusterSpec]:
        """The Kubernetes APIs that are targets, by name, a single one as ""; empty where this machine is the target."""
        return self.targets or ({} if self.cluster is None else {"": self.cluster})

    @property
    def placing(self) -> Placing:
        """Which target an object is for."""
        if not self.targets:
            return Placing()
        named = self.environment_targets
        patterns = ((item, named.get(one.name, "")) for one in self.environments for item in one.namespaces)
        return Placing(tuple(self.targets), tuple(patterns))

    @property
    def scenes(self) -> Mapping[str, str]:
        """Folder → the cluster that it is for."""
        own = {path.strip("/"): name for name, spec in self.targets.items() for path in spec.paths}
        return {**self.sources.scenes, **own}


@cache
def schema() -> Mapping[str, Any]:
    """The published JSON Schema of customhouse.yaml."""
    text = Path(__file__).with_name("customhouse.schema.json").read_text(encoding="utf-8")
    result: Mapping[str, Any] = json.loads(text)
    return result


def parse(document: Any, marks: Mapping[str, Location], file: str = FILE) -> Configuration:
    """Turn a read document into a Configuration; `marks` are the places of its JSON pointers.

    Raises ConfigError at the first thing that the schema does not allow: an unknown key is named with the nearest
    known one.
    """
    checker = _Checker(marks, file)
    checker.check(document, schema(), "")
    admission = document.get("admission") or {}
    if wrong := bad_expiry(admission):
        checker.fail(f"/admission/breakGlass/{wrong[0]}/expires", f"expires: {wrong[1]}")
    target, tiers = document.get("target") or {}, document.get("tiers") or {}
    policy, trust = document.get("policy") or {}, document.get("trust") or {}
    prices, optimiser = document.get("prices") or {}, document.get("optimiser") or {}
    targets = targets_of(document, checker.fail)
    key_names = [key["name"] for key in trust.get("keys") or ()]
    signers = {*key_names, *TrustSpec.parse(trust).signers()}
    check_known(document, checker.fail)
    default = Configuration()
    configuration = Configuration(
        branch=document.get("branch", default.branch),
        paths=tuple(document.get("paths") or ()),
        render=tuple(map(_render_entry, document.get("render") or ())),
        cluster=ClusterSpec.parse(target),
        targets=targets,
        environment_targets=environment_targets(document, targets, checker.fail),
        sources=SourceSpec.parse(document.get("sources") or {}, checker.fail),
        health=(document.get("health") or {}).get("argocd"),
        metrics=MetricsSpec.parse(document.get("metrics") or {}),
        alertmanager=(document.get("alerts") or {}).get("alertmanager", ""),
        target_port=target.get("port", 0),
        volumes=dict(target.get("volumes") or {}),
        images=dict(target.get("images") or {}),
        default_tier=tiers.get("default", default.default_tier),
        tier_namespaces={name: tuple(allowed) for name, allowed in (tiers.get("namespaces") or {}).items()},
        tiers=tiers_of(tiers.get("definitions") or {}, CURRENCY, checker.fail),
        environments=environments_of(document.get("environments") or {}, checker.fail),
        trusted_registries=tuple(policy.get("trustedRegistries") or ()),
        required_labels=tuple(policy.get("requiredLabels", default.required_labels)),
        require_signed_commits=policy.get("requireSignedCommits", True),
        max_exception_days=policy.get("maxExceptionDays", default.max_exception_days),
        frameworks=_frameworks(policy),
        bundle=policy.get("bundle"),
        bundles=bundles_of(policy.get("bundles") or (), key_names, checker.fail),
        canary=canary_of(policy.get("canary"), key_names, checker.fail),
        gatekeeper=policy.get("gatekeeper"),
        conftest=policy.get("conftest"),
        waivers=policy.get("waivers"),
        allowed_signers=trust.get("allowedSigners"),
        gpg_keys=tuple(trust.get("gpgKeys") or ()),
        keys=_keys(trust),
        trust=TrustSpec.parse(trust),
        provenance=expected_of(document.get("provenance") or {}, marks, file, signers, checker.fail),
        evaluation=entries_of(document, checker.fail),
        models=model_policy_of(document, checker.fail),
        storage=storage_of(document),
        scan=scan_of(document, checker.fail),
        provider=prices.get("provider", default.provider),
        region=prices.get("region", default.region),
        price_book=prices.get("book"),
        price_max_age_days=prices.get("maxAgeDays", default.price_max_age_days),
        interruptions=interruptions_of(prices.get("interruptions") or (), checker.fail),
        budgets=_budgets(document),
        autonomy=optimiser.get("autonomy", default.autonomy),
        minimum_windows=optimiser.get("minimumWindows", default.minimum_windows),
        window_seconds=optimiser.get("windowSeconds", default.window_seconds),
        admission=AdmissionSpec.parse(admission),
        forge=ForgeSpec.parse(document.get("forge")),
        ledger=ledger_of(document, checker.fail),
        audit=AuditSpec.parse(document.get("audit") or {}),
        scheduling=schedulings(tiers.get("definitions") or {}),
        schedule=schedule_of(document.get("scheduling") or {}, document.get("paths") or (), checker.fail),
    )
    _check_names(configuration, marks, file)
    return configuration


def _render_entry(entry: Mapping[str, Any]) -> RenderEntry:
    return RenderEntry(
        path=entry["path"],
        values=tuple(entry.get("values") or ()),
        release=entry.get("release", ""),
        namespace=entry.get("namespace", ""),
        libraries=tuple(entry.get("libraries") or ()),
    )


def _frameworks(policy: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    named = policy.get("frameworks") or {}
    return {name.lower(): (given.get("min"), given.get("below")) for name, given in named.items()}


def _keys(trust: Mapping[str, Any]) -> tuple[TrustKey, ...]:
    return tuple(
        TrustKey(key["name"], key["publicKey"], tuple(EvidenceKind(kind) for kind in key["kinds"]))
        for key in trust.get("keys") or ()
    )


def _budgets(document: Mapping[str, Any]) -> tuple[BudgetSpec, ...]:
    return tuple(
        BudgetSpec(
            budget["name"],
            Money.parse(budget["monthly"], CURRENCY),
            tuple(budget.get("namespaces") or ()),
            dict(budget.get("labels") or {}),
        )
        for budget in document.get("budgets") or ()
    )


def _check_names(configuration: Configuration, marks: Mapping[str, Location], file: str) -> None:
    checker = _Checker(marks, file)
    if configuration.require_signed_commits and not configuration.allowed_signers and not configuration.gpg_keys:
        # Once merged, no commit would be allowed any more, also not the one that mends it.
        checker.fail(
            "/policy/requireSignedCommits",
            "commits must be signed (the default), and nobody is named who may sign them",
            hint="name trust.allowedSigners (or trust.gpgKeys), or write policy.requireSignedCommits: false",
        )
    if configuration.default_tier not in configuration.tiers:
        checker.fail("/tiers/default", f"no tier is called {configuration.default_tier!r}", list(configuration.tiers))
    for namespace, allowed in configuration.tier_namespaces.items():
        for index, name in enumerate(allowed):
            if name not in configuration.tiers:
                place = f"/tiers/namespaces/{namespace}/{index}"
                checker.fail(place, f"no tier is called {name!r}", list(configuration.tiers), near=name)
    names = [budget.name for budget in configuration.budgets]
    for index, name in enumerate(names):
        if name in names[:index]:
            checker.fail(f"/budgets/{index}/name", f"two budgets are called {name!r}")


_AMOUNT = "^[0-9]+([.][0-9]+)?$"
"""How the schema writes an amount of money."""


def check_document(value: Any, rule: Mapping[str, Any], marks: Mapping[str, Location], file: str) -> None:
    """Hold a document against a JSON Schema of ours. Raises ConfigError with the place of what is wrong."""
    _Checker(marks, file).check(value, rule, "")


class _Checker:
    """The part of JSON Schema 2020-12 that our schema uses, with places in the file."""

    def __init__(self, marks: Mapping[str, Location], file: str) -> None:
        self._marks = marks
        self._file = file

    def fail(
        self, pointer: str, message: str, known: Sequence[str] = (), near: str = "", *, hint: str = ""
    ) -> NoReturn:
        place = pointer
        while place and place not in self._marks:
            place = place.rpartition("/")[0]
        where = str(self._marks.get(place, Location(self._file)))
        import difflib  # only errors need it

        close = difflib.get_close_matches(near, known, n=1)
        if not hint and known:
            hint = f"did you mean {close[0]!r}?" if close else f"one of: {', '.join(known)}"
        raise ConfigError(message, where=where, hint=hint)

    def check(self, value: Any, rule: Mapping[str, Any], pointer: str) -> None:
        name = pointer.rpartition("/")[2] or "the file"
        if "const" in rule and value != rule["const"]:
            self.fail(pointer, f"{name} must be {rule['const']!r}, not {value!r}")
        if "enum" in rule and value not in rule["enum"]:
            self.fail(pointer, f"{name} is {value!r}", rule["enum"], near=str(value))
        kind = rule.get("type")
        if kind is not None:
            self._check_type(value, kind, name, pointer)
        if kind == "object":
            self._check_object(value, rule, pointer)
        elif kind == "array":
            if len(value) < rule.get("minItems", 0):
                self.fail(pointer, f"{name} is empty")
            for index, item in enumerate(value):
                self.check(item, rule["items"], f"{pointer}/{index}")
        elif kind == "string":
            self._check_text(value, rule, name, pointer)
        elif kind == "integer" and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
            self.fail(pointer, f"{name} is {value}, outside {rule.get('minimum')} to {rule.get('maximum', 'any')}")

    def _check_type(self, value: Any, kind: str, name: str, pointer: str) -> None:
        types: Mapping[str, Any] = {"object": Mapping, "array": list, "string": str, "integer": int, "boolean": bool}
        if not isinstance(value, types[kind]) or (kind == "integer" and isinstance(value, bool)):
            shown = "money is decimal text in quotes" if name == "monthly" else f"it must be of type {kind}"
            self.fail(pointer, f"{name} is {value!r}; {shown}"[:300])

    def _check_object(self, value: Mapping[str, Any], rule: Mapping[str, Any], pointer: str) -> None:
        known = rule.get("properties", {})
        extra = rule.get("additionalProperties", True)
        for key in rule.get("required", ()):
            if key not in value:
                self.fail(pointer, f"{key} is missing")
        for key, item in value.items():
            place = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            if key in known:
                if item is not None:
                    self.check(item, known[key], place)
            elif isinstance(extra, Mapping):
                self.check(item, extra, place)
            elif extra is False:
                self.fail(place, f"unknown key {key!r}", list(known), near=key)

    def _check_text(self, value: str, rule: Mapping[str, Any], name: str, pointer: str) -> None:
        about = rule.get("description", "")
        if len(value) < rule.get("minLength", 0):
            self.fail(pointer, f"{name} is {value!r}, which is too short" if value else f"{name} is empty", hint=about)
        if "pattern" in rule and not re.search(rule["pattern"], value):
            amount = rule["pattern"] == _AMOUNT
            like, hint = ("; write it like 500 or 12.50", "") if amount else ("", about)
            self.fail(pointer, f"{name} is {value[:200]!r}{like}", hint=hint)
