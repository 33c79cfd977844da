"""Customhouse: the control plane for AI models in an enterprise.

Nothing enters production undeclared, uninspected or unpaid. This module stays empty of imports: every process of the
product, the smallest worker included, imports it first.
"""

__version__ = "0.1.0"
