"""Observability plane: prices, usage, Charges, telemetry. May not live here: another plane, a float for money."""
