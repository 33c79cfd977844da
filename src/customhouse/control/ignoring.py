"""Which fields of which objects an Application lets differ (Argo CD `ignoreDifferences`, Flux `driftDetection.ignore`).

Sources: argo-cd.readthedocs.io (user-guide/diffing): group and kind are globs, a missing group is the core group, and
`RespectIgnoreDifferences` keeps the fields at a sync too. fluxcd.io (helm/helmreleases, "Drift detection"): a selector
of an object is a regular expression over the whole name, a missing one means any.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from customhouse.control.leeway import refused_path
from customhouse.core.application import Application, Engine, IgnoreRule
from customhouse.core.resource import Leeway, ResourceRef

_PLAIN = re.compile(r"[A-Za-z0-9._*-]*")


def leeway_of(application: Application, ref: ResourceRef) -> Leeway | None:
    """What of an object may differ; None for nothing."""
    rules = [rule for rule in application.ignore if _meant(rule, ref, application.engine)]
    if not rules:
        return None
    return Leeway(
        tuple(one for rule in rules for one in rule.pointers),
        tuple(one for rule in rules for one in rule.jq),
        tuple(one for rule in rules for one in rule.managers),
        application.sync.respect_ignored or application.engine is Engine.FLUX,
    )


def not_followed(application: Application) -> str:
    """Why its rules cannot be followed here; empty when they can."""
    for rule in application.ignore:
        bad = refused_path(Leeway(rule.pointers, rule.jq, rule.managers))
        if bad:
            return f"it ignores differences at {bad[:200]!r}, which is not read here: write it as a JSON pointer"
        odd = [name for name in (rule.group, rule.kind, rule.namespace, rule.name) if not _PLAIN.fullmatch(name)]
        if odd:
            return f"it ignores differences of {odd[0][:200]!r}, a pattern that is not read here: write the name"
    return ""


def _meant(rule: IgnoreRule, ref: ResourceRef, engine: Engine) -> bool:
    group, slash, _ = ref.api_version.rpartition("/")
    group = group if slash else ""
    if engine is Engine.ARGOCD:
        fits = fnmatchcase(group, rule.group) and fnmatchcase(ref.kind, rule.kind)
    else:
        fits = _same(rule.group, group) and _same(rule.kind, ref.kind)
    return fits and _same(rule.namespace, ref.namespace) and _same(rule.name, ref.name)


def _same(pattern: str, name: str) -> bool:
    """Whether a name is meant: any where none is said; `*` and `.*` stand for any text."""
    return not pattern or fnmatchcase(name, pattern.replace(".*", "*"))
