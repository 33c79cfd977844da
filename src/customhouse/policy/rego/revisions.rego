package customhouse.rules.revisions

import data.customhouse.lib

# METADATA
# title: Commits are signed by somebody who may sign
# description: >-
#   The commit's signature verifies under the allowed signers of the base revision. Unsigned, signed by somebody else,
#   and a signature that does not verify are told apart. Deletions are judged too.
# custom:
#   id: commit-signature
#   category: security
#   severity: error
#   fix: Sign the commit with a key of the allowed-signers file (git commit -S), and push again.
findings contains lib.error("security", "commit-signature", "", message, fix) if {
	input.settings.require_signed_commits
	input.revision != null
	problem := problems[input.revision.signature]
	message := sprintf("Commit %s by %s %s.", [short(input.revision.id), input.revision.author, problem])
	fix := "Sign the commit with a key of the allowed-signers file (git commit -S), and push again."
}

# METADATA
# title: History is not rewritten
# description: The commit does not descend from the revision that was deployed last, so what was deployed is no longer in its history.
# custom:
#   id: history-rewritten
#   category: compliance
#   severity: error
#   fix: Restore the branch, and undo by a revert commit.
findings contains lib.error("compliance", "history-rewritten", "", message, fix) if {
	input.revision != null
	not input.revision.descends
	message := sprintf("Commit %s does not descend from the revision that was deployed last.", [short(input.revision.id)])
	fix := "Restore the branch, and undo by a revert commit."
}

# METADATA
# title: A change that no commit declares
# description: >-
#   The object comes from a work tree, or was changed by hand in the cluster: there is no author and no signature to
#   judge. It is an error where the configuration requires a revision, a note elsewhere.
# custom:
#   id: revision-absent
#   category: compliance
#   severity: note
#   fix: Commit the change and let it pass the gate.
findings contains lib.note("compliance", "revision-absent", "", message, fix) if {
	input.revision == null
	not input.settings.require_revision
	message := "No commit declares this change yet, so its signature was not judged."
	fix := "Commit the change and let it pass the gate."
}

# METADATA
# title: A revision is required
# description: The configuration refuses objects that no commit declares, such as those that are made by hand in a cluster.
# custom:
#   id: revision-required
#   category: compliance
#   severity: error
#   fix: Commit the change and let it pass the gate.
findings contains lib.error("compliance", "revision-required", "", message, fix) if {
	input.revision == null
	input.settings.require_revision
	message := "No commit declares this change."
	fix := "Commit the change and let it pass the gate."
}

# METADATA
# title: The rules themselves stay
# description: >-
#   The change takes customhouse.yaml away. Without it nobody is trusted, no budget holds and no signature is asked for.
# custom:
#   id: governance-removed
#   category: compliance
#   severity: error
#   fix: Keep customhouse.yaml; change it by a commit that its owner reviews.
findings contains lib.error("compliance", "governance-removed", "", message, fix) if {
	is_governance
	input.change.operation == "delete"
	message := "customhouse.yaml is removed: nobody would be trusted and no budget would hold."
	fix := "Keep customhouse.yaml; change it by a commit that its owner reviews."
}

# METADATA
# title: A change of the rules is seen
# description: >-
#   The change edits customhouse.yaml or a file that it names: who is trusted, what is allowed, what may be spent. It is
#   judged under the rules before it and takes effect after it is merged.
# custom:
#   id: governance-changed
#   category: compliance
#   severity: warning
#   fix: Have the owner of the rules review the change.
findings contains lib.warning("compliance", "governance-changed", "", message, fix) if {
	is_governance
	input.change.operation != "delete"
	message := "The rules themselves change; they hold from the next change on."
	fix := "Have the owner of the rules review the change."
}

is_governance if {
	input.change.resource.apiVersion == "customhouse.dev/v1"
	input.change.resource.kind == "Governance"
}

# A state that is not known denies as well, though the gate refuses to judge it before it comes here.
problems := {
	"unsigned": "is not signed",
	"untrusted": "is signed by somebody who is not among the allowed signers",
	"invalid": "has a signature that does not verify",
	"unknown": "has a signature that could not be checked",
}

short(id) := substring(id, 0, 12)
