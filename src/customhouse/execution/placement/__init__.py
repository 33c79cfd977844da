"""Where a pod goes, so that nothing is left in pieces: a placement engine, judged on a public trace.

May live here: what a node and a pod are to an engine (`workload`), the published experiment (`stream`, `arrivals`,
`simulation`), fragments (`fragments`), what is free (`room`), who goes first (`queue`), the choice of a node
(`policies`, `ours`) and moves (`repacking`).
May not: files, clocks, a cluster. Amounts are whole numbers: thousandths of a CPU, MiB, thousandths of a GPU.
"""
