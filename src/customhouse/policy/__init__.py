"""Policy plane: one gate for security and cost.

May live here: projection, Facts, bundles and their lint, the gate, waivers, explanations, Rego. May not: another plane;
an engine outside `adapters`.
"""
