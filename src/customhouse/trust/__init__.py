"""Trust plane: scan, bill of materials, signatures, attestations, Merkle ledger, custody graph.

May not live here: another plane, anything that loads or executes a model.
"""
