"""Registries that artifacts, bundles and evidence are pulled from: what they give is believed by digest alone."""
