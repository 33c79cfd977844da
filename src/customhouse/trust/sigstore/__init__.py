"""Sigstore bundles verified without a network: certificates of minutes, transparency logs and timestamps.

May live here: readers of the formats (bundle, trusted root, log entry, RFC 3161 token) and the steps of verification.
May not: anything that fetches. What is trusted is given: a trusted root as a file, or a key.
"""
