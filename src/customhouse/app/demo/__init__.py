"""The demo: a workspace of its own, a story with real parts, every step checked and timed.

`files/` is the workspace's user code and templates; it is copied into the workspace and never imported from here.
"""
