"""Who renders what: Argo CD Applications and Flux objects that name a folder of the same tree.

They say which overlay or chart runs, with which values and what is put on top of it. What they say and is not followed
here is refused: a picture that leaves out a patch is a wrong picture. Fields: argoproj.io/v1alpha1 Application,
kustomize.toolkit.fluxcd.io/v1 Kustomization, helm.toolkit.fluxcd.io/v2 HelmRelease.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from customhouse.control.argocd import GROUP
from customhouse.control.argocd_rendering import application_roots
from customhouse.control.argocd_sets import Made, NotHereError, applications_of
from customhouse.control.flux import HELM, KUSTOMIZE
from customhouse.control.flux_rendering import kustomization_roots, release_roots
from customhouse.control.outside import Outside
from customhouse.control.outside_names import SOURCES
from customhouse.control.rendering import Sight
from customhouse.control.rendering_owned import Owned
from customhouse.core.resource import Declaration

OWNERS = frozenset({"Application", "ApplicationSet", "HelmRelease", "Kustomization"})
HELPERS = frozenset({"ArtifactGenerator", "ConfigMap", "Secret"}) | SOURCES
"""What owners may refer to."""


def owned(
    declarations: Iterable[Declaration],
    files: Mapping[str, bytes],
    sight: Sight | None = None,
    kinds: Collection[str] = OWNERS,
    outside: Outside | None = None,
) -> Iterator[Owned]:
    """What the Applications, Kustomizations and HelmReleases among `declarations` have rendered out of `files`.

    What they name and neither `files` nor `outside` hold is noted in `sight`: it is of another repository, and is not
    judged.

    Raises DeclarationError, at the field, for one that names a local folder and says something that is not followed.
    """
    everything = tuple(declarations)
    sight, outside = sight or Sight(), outside or Outside()
    for item in everything:
        spec = item.manifest.get("spec")
        if not isinstance(spec, Mapping) or item.ref.kind not in kinds:
            continue
        match item.ref.api_version.rpartition("/")[0], item.ref.kind:
            case (group, "Application") if group == GROUP:
                yield from application_roots(item, spec, files, sight, outside)
            case (group, "Kustomization") if group == KUSTOMIZE:
                yield from kustomization_roots(item, spec, files, everything, sight, outside)
            case (group, "HelmRelease") if group == HELM:
                yield from release_roots(item, spec, files, everything, sight, outside)


def made(
    declarations: Iterable[Declaration], files: Mapping[str, bytes], sight: Sight
) -> Iterator[tuple[Declaration, Made]]:
    """The Applications that ApplicationSets among `declarations` make of `files`; a set that asks others is noted.

    Raises DeclarationError, at the field, for a set that is wrong or says what is not known here.
    """
    for item in declarations:
        if (item.ref.api_version.rpartition("/")[0], item.ref.kind) != (GROUP, "ApplicationSet"):
            continue
        try:
            found = applications_of(item, files)
        except NotHereError as error:
            said = f"the Applications of an ApplicationSet whose generator {error} only a cluster or a forge answers"
            sight.elsewhere[item.locate("/spec/generators"), said] = None
            continue
        for one in found:
            yield item, one
