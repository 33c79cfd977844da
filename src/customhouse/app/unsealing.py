"""A cluster that is written to unsealed: what SOPS encrypted is opened when it is sent, and at no other time.

What the API says of such an object may quote its values, so it is not passed on; its refusal is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from customhouse.app.passing import PassingCluster
from customhouse.control.sealed import Opener, is_sealed
from customhouse.core.cluster import Apply, Cluster, ClusterChange, Refusal, Written
from customhouse.core.errors import CannotDecideError
from customhouse.core.resource import Manifest


class UnsealingCluster(PassingCluster):
    """A Cluster that opens sealed manifests on their way; everything else is the cluster's own."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.opener: Opener | None = None

    def write(self, changes: Sequence[ClusterChange]) -> Sequence[Written]:
        """See `Cluster`. An object that cannot be opened is not sent, and is INVALID."""
        refused: dict[int, Written] = {}
        sent: list[ClusterChange] = []
        sealed: set[int] = set()
        for index, change in enumerate(changes):
            if not isinstance(change, Apply) or not is_sealed(change.manifest):
                sent.append(change)
                continue
            sealed.add(index)
            try:
                sent.append(replace(change, manifest=self._opened(change.manifest)))
            except CannotDecideError as error:
                refused[index] = Written(False, problem=str(error), refusal=Refusal.INVALID)
        answers = iter(super().write(sent) if sent else ())
        return [
            refused[index] if index in refused else _silenced(next(answers), quiet=index in sealed)
            for index in range(len(changes))
        ]

    def _opened(self, manifest: Manifest) -> Manifest:
        if self.opener is None:
            raise CannotDecideError(
                "this object is encrypted by SOPS, and nothing here opens it",
                where=str(manifest.get("kind")),
                hint="name the file of the key in SOPS_AGE_KEY_FILE",
            )
        return self.opener.opened(manifest)


def _silenced(answer: Written, *, quiet: bool) -> Written:
    if not quiet:
        return answer
    problem = answer.problem
    if not answer.ok and answer.refusal not in (Refusal.BUSY, Refusal.UNREACHABLE):
        problem = f"refused ({answer.reason or 'no reason'}); the API's words are not shown: the object holds secrets"
    return replace(answer, problem=problem, warnings=())
