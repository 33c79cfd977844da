"""Adapters of the policy plane: the only modules of it that touch the outside. Named by `app.wiring` alone."""
