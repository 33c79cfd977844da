"""Control plane: Git is the truth.

May live here: source, render, diff, plan, reconcile, inventory, rollout, rollback, edit. May not: another plane, HTTP,
SQL; the `git` program only in `adapters.git*`, kustomize, helm and jsonnet only in `adapters.renderers`.
"""
