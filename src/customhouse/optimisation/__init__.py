"""Optimisation plane: forecasts, right-sizing, Proposals. May not live here: any path to a target: all that it can do is a
Proposal.
"""
