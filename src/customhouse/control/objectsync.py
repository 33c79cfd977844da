"""What annotations of one object say of how it is kept: ours, Argo CD's, Flux's and Helm's, as one value.

Sources: argo-cd.readthedocs.io (user-guide/sync-waves, sync-options, resource_hooks, helm), fluxcd.io (kustomizations,
"Controlling the apply behavior of resources"), helm.sh (topics/charts_hooks).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from customhouse.core.application import Hook, ObjectSync
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import PREFIX, Manifest

ARGO = "argocd.argoproj.io/"
FLUX = "kustomize.toolkit.fluxcd.io/"
HELM = "helm.sh/"
WAVES = (PREFIX + "wave", ARGO + "sync-wave", HELM + "hook-weight")
"""The first that is there counts; a hook's weight only where there is no wave, as Argo CD reads it."""
_MAX_WAVE = 2**31 - 1
_DELETE = {
    "HookSucceeded": "HookSucceeded", "HookFailed": "HookFailed", "BeforeHookCreation": "BeforeHookCreation",
    "hook-succeeded": "HookSucceeded", "hook-failed": "HookFailed", "before-hook-creation": "BeforeHookCreation",
}  # fmt: skip
_HELM_HOOKS = {
    "crd-install": Hook.PRE_SYNC,
    "pre-install": Hook.PRE_SYNC,
    "pre-upgrade": Hook.PRE_SYNC,
    "post-install": Hook.POST_SYNC,
    "post-upgrade": Hook.POST_SYNC,
    "pre-delete": Hook.PRE_DELETE,
    "post-delete": Hook.POST_DELETE,
}
"""As Argo CD maps them; `test` and the rollback hooks are no part of a sync."""
_FLAGS: Mapping[str, Mapping[str, Any]] = {
    "Prune=false": {"prune": False},
    "Prune=confirm": {"confirm_prune": True},
    "Delete=false": {"delete": False},
    "Replace=true": {"replace": True},
    "Force=true": {"force": True},
    "ServerSideApply=true": {"server_side": True},
    "ServerSideApply=false": {"server_side": False},
    "Validate=false": {"validate": False},
    "SkipDryRunOnMissingResource=true": {"skip_dry_run": True},
}


_UNSAID = ObjectSync()


def object_sync(manifest: Manifest) -> ObjectSync:
    """How one object is kept. Raises DeclarationError (where = the annotation's pointer) for what cannot be read.

    What would keep an object alive counts in any of the four dialects; a word of Argo CD's that is not known here is
    left out, as Argo CD does.
    """
    metadata = manifest.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    if not metadata.get("annotations") and not any(str(key).startswith(FLUX) for key in metadata.get("labels") or ()):
        return _UNSAID  # most of a fleet
    notes = {str(key): str(value) for key, value in _mapping(metadata.get("annotations")).items()}
    labels = {str(key): str(value) for key, value in _mapping(metadata.get("labels")).items()}
    found = ObjectSync(wave=_wave(notes), hooks=tuple(_hooks(notes)))
    if found.hooks:
        found = replace(found, delete_hook=_delete_policy(notes))
    for word in _words(notes.get(ARGO + "sync-options", "")):
        found = replace(found, **_FLAGS.get(word, {}))
    if notes.get(HELM + "resource-policy") == "keep":
        found = replace(found, prune=False, delete=False)
    if notes.get(PREFIX + "prune", "").lower() == "disabled":
        found = replace(found, prune=False)
    # Flux reads these as annotations, and the older ones as labels too.
    flux = {**labels, **notes}
    if flux.get(FLUX + "prune", "").lower() == "disabled":
        found = replace(found, prune=False, delete=False)
    if flux.get(FLUX + "reconcile", "").lower() == "disabled" or flux.get(FLUX + "ssa", "").lower() == "ignore":
        found = replace(found, ignored=True)
    if flux.get(FLUX + "ssa", "").lower() == "ifnotpresent":
        found = replace(found, only_if_absent=True)
    if flux.get(FLUX + "force", "").lower() == "enabled":
        found = replace(found, force=True)
    return found


def _wave(notes: Mapping[str, str]) -> int:
    for name in WAVES:
        text = notes.get(name)
        if text is None or (name.startswith(HELM) and HELM + "hook" not in notes):
            continue
        try:
            wave = int(text)
        except ValueError:
            wave = _MAX_WAVE + 1
        if abs(wave) > _MAX_WAVE:
            key = name.replace("~", "~0").replace("/", "~1")
            raise DeclarationError(
                f"{name} is {text[:40]!r}",
                where=f"/metadata/annotations/{key}",
                hint='write a whole number in quotes, such as "-1"',
            )
        return wave
    return 0


def _hooks(notes: Mapping[str, str]) -> Iterator[Hook]:
    argo = _words(notes.get(ARGO + "hook", ""))
    if argo:  # Argo CD looks at Helm's only where its own are not there
        yield from (Hook(word) for word in argo if word in {hook.value for hook in Hook})
        return
    helm = _words(notes.get(HELM + "hook", ""))
    known = [_HELM_HOOKS[word] for word in helm if word in _HELM_HOOKS]
    if helm and not known:
        yield Hook.SKIP  # a test, or a hook of a rollback
    yield from dict.fromkeys(known)


def _delete_policy(notes: Mapping[str, str]) -> tuple[str, ...]:
    words = _words(notes.get(ARGO + "hook-delete-policy", "") or notes.get(HELM + "hook-delete-policy", ""))
    return tuple(_DELETE[word] for word in words if word in _DELETE) or ("BeforeHookCreation",)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}
