"""Adapters of the control plane: the only modules of it that touch the outside. Named by `app.wiring` alone."""
