"""Optimisation plane: forecasts, right-sizing, Proposals.

May not live here: any path to a target. All that this plane can do is a Proposal, which is a Change, which meets the
gate.
"""
