"""The local target: the same declarations as a cluster's, run as processes of this machine.

May live here: the worker that serves a model (`serve`), the proxy before the workers (`gateway`), the shim that runs a
Job (`jobrun`), and the target that starts, watches and ends them (`target`). Nothing is imported on purpose: a worker
starts in a few megabytes because it loads only what it serves with.
"""
