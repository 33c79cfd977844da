"""The port to an engine for templates in CEL (`K8sNativeValidation`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from customhouse.policy.gatekeeper_template import Template


class CelEngine(Protocol):
    """Evaluates a template's validations for one document `{"review", "parameters"}`."""

    def violations(self, template: Template, document: Mapping[str, Any]) -> list[str]:
        """The messages of the validations that are not true. Raises PolicyError where it cannot be told."""
