"""Execution plane: what runs Declarations. May live here: health, placement, scheduling and, in `adapters`, targets.

May not: another plane; a decision about whether something may run.
"""
