"""Building blocks that would be libraries of their own.

May live here: code that knows nothing of models, gates or clusters. May not: anything that imports another package of
Customhouse.
"""
