"""skops schemas: a tree of nodes that names types; what a loader would call must be known safe.

The loader is chosen by `__loader__`; several of its nodes call what the file names (CVE-2025-54412, 54413, 54886).
"""

from __future__ import annotations

from collections.abc import Mapping

from customhouse.trust.scan.importables import dangerous_module, judge
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.verdict import ScanSeverity
from customhouse.trust.scan.words import words

_LOADERS = words(
    """BytearrayNode BytesNode CachedNode ConstructorFromReduceNode DTypeNode DefaultDictNode DictNode FunctionNode
    JsonNode ListNode LossNode MaskedArrayNode MethodNode NdArrayNode ObjectNode OperatorFuncNode PartialNode
    QuantileForestNode RandomGeneratorNode RandomStateNode SetNode SliceNode SparseMatrixNode TreeNode TupleNode
    TypeNode"""
)
_OWN = {
    "RandomStateNode": ("numpy.random.mtrand", "RandomState"),
    "RandomGeneratorNode": ("numpy.random._generator", "Generator"),
}
"""Types that skops makes itself; they hold numbers."""
_ROOTS = ("sklearn.", "scipy._lib.array_api_compat.", "sklearn.externals.array_api_compat.")
"""Estimators and their parts: skops trusts scikit-learn whole; names of loaders and fetchers are judged before."""
_OPERATORS = frozenset({"attrgetter", "itemgetter"})


def inspect_skops(value: Mapping[str, object], look: Inspection) -> None:
    """Judge one node; anything without module and class is none."""
    module, name, loader = value.get("__module__"), value.get("__class__"), value.get("__loader__")
    if not isinstance(module, str) or not isinstance(name, str):
        return
    shown = f"{module[:60]}.{name[:60]}"
    if loader is not None and loader not in _LOADERS:
        look.suspicious("skops-node", f"is read by {str(loader)[:60]!r}, which is no part of skops")
    if loader == "OperatorFuncNode" and name not in _OPERATORS:
        look.malicious("skops-type", f"calls {shown}, which can run code")
    if loader == "MethodNode":
        _method(value.get("content"), look)
    severity = None if _OWN.get(str(loader)) == (module, name) else judge(module, name)
    if severity is ScanSeverity.MALICIOUS or (dangerous_module(module) and severity is not None):
        look.malicious("skops-type", f"names {shown}, which can run code")
    elif severity is not None and not module.startswith(_ROOTS):
        look.suspicious("skops-type", f"names {shown}, which is not known safe")


def _method(content: object, look: Inspection) -> None:
    """A method of an object of the file: a plain name, or it reaches into objects."""
    name = content.get("func") if isinstance(content, Mapping) else None
    if isinstance(name, str) and not (name.isidentifier() and "__" not in name):
        look.malicious("skops-method", f"takes the method {name[:60]!r}, which reaches into objects")
