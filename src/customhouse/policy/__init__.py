"""Policy plane: one gate for security and cost. May live here: projection, facts, bundle, gate, waivers, explanations, Rego.

May not: another plane; an engine outside `adapters`.
"""
