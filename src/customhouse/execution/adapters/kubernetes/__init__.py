"""The Kubernetes API over HTTP: the one home of aiohttp. Manifests are plain JSON values, without generated models.

May live here: reading kubeconfig, credentials, discovery, list, watch, server-side apply, delete. May not: what an
object means, whether it may be applied, when.
"""
