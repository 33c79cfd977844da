"""The port to an engine for templates in CEL (`K8sNativeValidation`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from customhouse.policy.gatekeeper_template import Template


class CelEngine(Protocol):
    """Evaluates a template's validations."""

    def violations(self, template: Template, review: Mapping[str, Any], constraint: Mapping[str, Any]) -> list[str]:
        """The messages of the validations that are not true of a review (`input.review`); `constraint` as an object.

        Raises PolicyError for a template that does not compile.
        """
