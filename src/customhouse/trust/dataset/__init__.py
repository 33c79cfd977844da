"""Datasets: read with limits, profiled in bounded memory, held against a schema, and searched for what poisons a model.

What may live here: readers of tables, arrays and pictures that give rows and never run a byte; checks that are pure
functions of what was read. What may not: storage, Git, reports for people (the command line makes those).
"""
