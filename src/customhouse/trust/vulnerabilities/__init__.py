"""What is known of vulnerable packages, offline: OSV records read, versions ordered, packages matched, VEX applied.

Pure: bytes and values in, values out. May not live here: the store of the advisories (`store.advisories`), files that
are opened, an opinion on which finding denies what (`policy`).
"""
