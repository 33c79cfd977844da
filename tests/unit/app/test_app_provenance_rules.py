"""`provenance:` of customhouse.yaml: what cannot be meant is refused at its place; a commit is asked of the history."""

from __future__ import annotations

import pytest

from customhouse.app.governance import read_configuration
from customhouse.app.provenance_rules import ReviewedHistory, provenance_document
from customhouse.core.errors import ConfigError, SourceError

DATA = f"sha256:{'d' * 64}"
TEXT = f"""apiVersion: customhouse.dev/v1
policy: {{requireSignedCommits: false}}
trust:
  keys: [{{name: release, publicKey: release.pub, kinds: [provenance]}}]
provenance:
  datasets: {{transactions: ["{DATA}"]}}
  builders:
    - {{id: "https://customhouse.dev/builders/local-target", level: 1, signers: [release]}}
    - {{id: "https://github.com/acme/*/.github/workflows/*@refs/tags/*", level: 3, signers: [release]}}
  expectations:
    - name: first
      artifacts: ["pvc://**"]
      role: model
      builders: ["https://github.com/acme/**"]
      minLevel: 2
      buildTypes: ["https://actions.github.io/buildtypes/workflow/v1"]
      source: {{repositories: ["https://github.com/acme/*"], refs: [refs/heads/main], reviewedCommit: true}}
      parameters: {{allowed: [job], values: {{command: "*"}}}}
      materials:
        - {{name: dataset, registered: true}}
        - {{uri: "oci://**", digests: ["{DATA}"]}}
      otherMaterials: denied
      maxAgeDays: 30
"""


def test_what_is_written_is_what_is_shown() -> None:
    configuration = read_configuration(TEXT.encode())
    shown = provenance_document(configuration.provenance)
    assert shown is not None
    (expectation,) = shown["expectations"]
    assert expectation["source"]["reviewedCommit"] is True
    assert expectation["materials"] == [{"name": "dataset", "registered": True}, {"uri": "oci://**", "digests": [DATA]}]
    assert [item["level"] for item in shown["builders"]] == [1, 3]
    assert provenance_document(read_configuration(TEXT.partition("provenance:\n")[0].encode()).provenance) is None


@pytest.mark.parametrize(
    ("old", "new", "said", "line"),
    [
        ("level: 1,", "level: 3,", "reaches Build level 1 at most", 8),
        ("level: 3, signers: [release]", "level: 4, signers: [release]", "level is 4", 9),
        ("signers: [release]", "signers: [nobody]", "nobody under trust: is called 'nobody'", 8),
        ('builders: ["https://github.com/acme/**"]', 'builders: ["https://**"]', "believe everybody", 14),
        ('["https://github.com/acme/*"]', '["https://*"]', "believe everybody", 17),
        ("pvc://**", "*" * 3, "write * or **", 12),
        (DATA, "sha256:abc", "not sha256: and 64 hex digits", 6),
        ("{name: dataset, registered: true}", "{registered: true}", "known by its name or its uri", 20),
        ("minLevel: 2", "minimumLevel: 2", "unknown key 'minimumLevel'", 15),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_place(old: str, new: str, said: str, line: int) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError) as caught:
        read_configuration(TEXT.replace(old, new, 1).encode())
    assert said in str(caught.value)
    assert caught.value.where.startswith(f"customhouse.yaml:{line}:")


def test_a_commit_is_reviewed_when_it_is_behind_the_base_and_can_be_asked_about() -> None:
    def is_ancestor(commit: str, revision: str) -> bool:
        if commit == "f" * 40:
            raise SourceError("the history is gone")
        return commit == "a" * 40 and revision == "main"

    reviewed = ReviewedHistory(is_ancestor, "main")
    assert reviewed("a" * 40)
    for other in ("b" * 40, "f" * 40, "main", "--all", "a" * 39, ""):
        assert not reviewed(other)
    assert ReviewedHistory.of(object(), "main") is None
