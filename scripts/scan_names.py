"""Makes the scanner's lists of names from the frameworks themselves (src/customhouse/trust/scan/known/*.txt).

    ENVIRONMENT/bin/python scripts/scan_names.py collect sklearn scipy > sklearn-1.5.json     # in each environment
    python scripts/scan_names.py merge src/customhouse/trust/scan/known *.json

`collect PACKAGE=MODULE,MODULE` keeps to some modules. It imports the framework, so it runs in an environment of the
framework's, never in ours. Python 3.7 or later, no dependency. What it lists:

table  as state, and a dict, list or set that does not override how it is filled: items may be set or appended.
state  a class that a pickle may make bare (`cls.__new__(cls)`) and give attributes, because nothing that the unpickler
       then calls is the file's choice: `__new__` is object's or a builtin container's, `__setstate__`, `__setattr__`
       and `__getattr__` are absent or among REVIEWED, there is no `__del__`. Its constructor is never to be called.
value  a function or ufunc of a numeric module (VALUES), which a model may keep as a value; never to be called.
enum   an enumeration: its members may be looked up by value or by name.
call   `__pyx_unpickle_*`, which Cython writes: checks a checksum of the layout and sets the state of a class that the
       pickle names, which is judged by itself.
"""

import enum
import importlib
import inspect
import json
import pkgutil
import re
import sys

SKIPPED = re.compile(
    r"(^|[.])(tests?|testing|conftest|_testing|externals|setup|distutils|f2py|__main__|cli|_build_utils|datasets|"
    r"_pyinstaller|distributed|contrib|hub|onnx|_inductor|_dynamo|_export|fx|multiprocessing|package|backends|plotting|"
    r"util|_version|ctypeslib|typing|models|io|odr|_dist_ver|download|downloader|server|app|apps|web|corpus[.]reader|"
    r"sandbox|inifile|serve|launch|launcher|interactive|notebook|demo|demos|draw|gui|tk|misc[.]babelfish|babelfish|"
    r"mlflow|wandb|comet|neptune|twitter|parse[.]corenlp|parse[.]malt|tag[.]stanford|tag[.]hunpos|tag[.]senna|"
    r"show_versions|_print_versions|file|hub_utils|utils[.]data|cpp_extension)([.]|$)"
)
KEPT = re.compile(
    r"^(torchvision[.]models|timm[.]models.*|gensim[.]models|statsmodels[.].*|torch[.]ao[.]nn.*|torch[.]nn.*|sktime[.].*)"
)
REVIEWED = {
    # the hook was read: sets attributes, warns about versions, fills defaults; calls nothing that the state holds
    "sklearn.base.BaseEstimator", "torch.nn.modules.module.Module", "torch.optim.optimizer.Optimizer",
    "torch.nn.modules.activation.MultiheadAttention", "torch.nn.modules.transformer.TransformerEncoderLayer",
    "torch.nn.modules.transformer.TransformerDecoderLayer", "torch.nn.modules.rnn.RNNBase",
    "torch.nn.modules.batchnorm._NormBase", "torch.nn.modules.activation.Softplus", "torch.nn.modules.conv._ConvNd",
    "scipy.sparse._base._spbase", "scipy.sparse.base.spmatrix", "sklearn.utils._bunch.Bunch", "sklearn.utils.Bunch",
    "sklearn.tree.tree.BaseDecisionTree", "collections.OrderedDict", "collections.Counter", "abc.ABC", "typing.Generic",
    "scipy.stats._distn_infrastructure.rv_generic", "scipy.stats._distn_infrastructure.rv_continuous",
    "scipy.stats._distn_infrastructure.rv_discrete", "scipy.optimize._optimize.OptimizeResult",
    "scipy._lib._util._RichResult", "scipy.optimize.optimize.OptimizeResult", "scipy.spatial._kdtree.KDTree",
    "sklearn.linear_model._stochastic_gradient.BaseSGD", "sklearn.linear_model.stochastic_gradient.BaseSGD",
    "sklearn.gaussian_process.kernels.Kernel", "torch.nn.modules.activation.GELU", "torch.nn.modules.loss._Loss",
    "torch.nn.modules.activation.SiLU", "torch.nn.modules.activation.GLU", "torch.nn.modules.upsampling.Upsample",
    "statsmodels.base.wrapper.ResultsWrapper", "statsmodels.base.model.Model", "statsmodels.base.model.Results",
    "statsmodels.base.data.ModelData", "statsmodels.tools.data.ModelData", "statsmodels.genmod.families.links.Link",
    "statsmodels.genmod.generalized_linear_model.GLM", "torch.nn.modules.container.Sequential",
    "scipy.interpolate._interpolate.interp1d", "scipy.interpolate.interpolate.interp1d",
    "scipy.interpolate._polyint._Interpolator1D", "scipy.interpolate.polyint._Interpolator1D",
    "torch.nn.modules.linear.LazyLinear", "torch.nn.modules.lazy.LazyModuleMixin", "torch.nn.modules.fold.Fold",
    "sklearn.utils._metadata_requests._MetadataRequester", "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.modules.activation.Softmax", "torch.nn.modules.activation.LogSoftmax",
    "torch.utils.hooks.RemovableHandle",
    "torch.nn.modules.activation.Softmin", "torch.nn.modules.pooling.AvgPool3d", "torch.nn.modules.module._WrappedHook",
    "torch.nn.modules.container.Container", "torch.nn.modules.loss.NLLLoss2d", "sklearn.frozen._frozen.FrozenEstimator",
    "numpy.polynomial._polybase.ABCPolyBase", "sklearn.utils.deprecation._DeprecatedDict",
    "sklearn.datasets.base.Bunch",
    "accelerate.state.PartialState", "accelerate.state.AcceleratorState", "fastcore.basics.GetAttr",
    "transformers.utils.generic.ModelOutput", "transformers.configuration_utils.PretrainedConfig",
    "transformers.configuration_utils.PreTrainedConfig", "ultralytics.utils.SimpleClass",
    "torch.distributed.checkpoint.metadata.MetadataIndex", "torch.distributed.checkpoint.metadata.TensorProperties",
    "scipy.spatial.transform._rotation.Rotation", "scipy.sparse._coo.coo_matrix", "scipy.optimize._root.OptimizeResult",
}  # fmt: skip
REVIEWED_SETATTR = re.compile(r"transformers[.]models[.].*Config$")
"""Checked dataclasses: the type of a value is looked at."""
REVIEWED_SETSTATE = re.compile(r"torch[.]optim[.](\w+[.])?\w+$")
"""Optimisers: fill in the options that a later version added."""
BUILTIN_NEW = {
    "object", "dict", "list", "tuple", "set", "frozenset", "float", "int", "str", "BaseException", "Exception",
    "OrderedDict", "defaultdict", "Generic", "ABC", "SimpleNamespace",
}  # fmt: skip
VALUES = re.compile(
    r"^(sklearn[.](metrics|feature_selection|cluster|decomposition|preprocessing|neural_network|_loss|utils[.]extmath|"
    r"gaussian_process|linear_model|manifold|covariance|kernel_approximation|neighbors)([.]|$)"
    r"|scipy[.](special|stats|spatial[.]distance|linalg)([.]|$)"
    r"|torch[.]nn[.](functional|init)$|torch[.]_C[.]_nn$|statsmodels[.](robust|tools|genmod))"
)
NUMPY_FUNCTIONS = [
    "mean", "median", "std", "var", "sum", "prod", "min", "max", "amin", "amax", "argmin", "argmax", "average",
    "percentile", "quantile", "nanmean", "nanmedian", "nanstd", "nanvar", "nansum", "nanmin", "nanmax",
    "cumsum", "cumprod", "diff", "sort", "argsort", "unique", "clip", "round", "around", "abs", "ptp",
    "count_nonzero", "any", "all", "dot", "vdot", "inner", "outer", "cross", "trace", "transpose", "reshape",
    "ravel", "zeros", "ones", "full", "eye", "identity", "arange", "linspace", "zeros_like", "ones_like",
    "array", "asarray", "asanyarray", "concatenate", "stack", "hstack", "vstack", "histogram", "bincount",
    "corrcoef", "cov", "interp", "nan_to_num", "isclose", "allclose", "where", "searchsorted", "expand_dims",
    "squeeze", "nanpercentile", "nanquantile", "logspace", "meshgrid", "tile", "repeat", "flip", "roll",
    "atleast_1d", "atleast_2d", "column_stack", "real", "imag", "angle", "trapz", "gradient",
]  # fmt: skip
UNWANTED = {"vectorize", "DataSource", "memmap", "nditer", "ExcelWriter", "LowLevelCallable"}
"""Classes that hold a callable or a file and are no part of a model."""
KINDS = ("call", "enum", "state", "table", "value")
RISKY = re.compile(
    r"load|save|open|fetch|dump|read|write|exec|eval|import|path|file|pickle|hub|download|compile|subprocess"
)


def main(arguments):
    """`collect PACKAGE...` prints JSON; `merge FOLDER FILE...` writes the lists."""
    if arguments[:1] == ["collect"] and len(arguments) > 1:
        out, sys.stdout = sys.stdout, sys.stderr  # some modules print when they are imported
        found = {name.partition("=")[0]: collect(*name.partition("=")[::2]) for name in arguments[1:]}
        json.dump(found, out, indent=1, sort_keys=True)
    elif arguments[:1] == ["merge"] and len(arguments) > 2:
        merge(arguments[1], arguments[2:])
    else:
        sys.exit(__doc__)


def collect(package, only=""):
    """What one installed package offers, or some of its modules: version, the lists, and why classes were left out."""
    root = importlib.import_module(package)
    found = {
        "version": getattr(root, "__version__", "?"),
        "state": [],
        "table": [],
        "value": [],
        "enum": [],
        "call": [],
        "left": {},
        "only": only,
    }
    for module in [importlib.import_module(name) for name in only.split(",")] if only else modules(root):
        for name, value in sorted(vars(module).items(), key=lambda item: item[0]):
            sort(package, module.__name__, name, value, found)
    if package == "numpy":
        import numpy as np

        names = [n for n in dir(np) if isinstance(getattr(np, n), np.ufunc)]
        found["value"] += ["numpy " + n for n in names + [f for f in NUMPY_FUNCTIONS if hasattr(np, f)]]
    return found


def modules(root):
    """The package's modules that can be imported, without tests and without what is no part of a model."""
    yield root
    for info in pkgutil.walk_packages(getattr(root, "__path__", []), root.__name__ + ".", onerror=lambda _: None):
        if SKIPPED.search(info.name.partition(".")[2]) and not KEPT.match(info.name):
            continue
        try:
            yield importlib.import_module(info.name)
        except BaseException:  # noqa: BLE001 - a module of an optional dependency, or one that wants a screen
            continue


def sort(package, module, name, value, found):
    """Put one attribute of a module where it belongs."""
    if name.startswith("__pyx_unpickle_") and callable(value):
        if not name.endswith("Enum"):
            found["call"].append(module + " " + name)
        return
    home = getattr(value, "__module__", None) or ""
    if not isinstance(home, str) or home.partition(".")[0] != package:
        return
    if isinstance(value, type):
        if (home != module and not deprecated(module, home)) or name in UNWANTED:
            return
        if issubclass(value, enum.Enum):
            found["enum"].append(module + " " + name)
            return
        reason = refuse(value)
        if reason is None:
            found["table" if table(value) else "state"].append(module + " " + name)
        else:
            found["left"][module + " " + name] = reason
        return
    numeric = VALUES.match(module) and home == module and inspect.isroutine(value) and not RISKY.search(name.lower())
    if numeric or (type(value).__name__ == "ufunc" and package == "scipy"):
        found["value"].append(module + " " + name)


def table(cls):
    """Whether an object of the class is filled by a builtin container's own methods (or by reviewed ones)."""
    kind = next((base for base in cls.__mro__ if base in (dict, list, set)), None)
    if kind is None:
        return False
    for hook in ("__setitem__", "update", "append", "extend", "add"):
        definer = next((base for base in cls.__mro__ if hook in vars(base)), kind)
        if definer.__module__ not in ("builtins", "collections") and name_of(definer) not in REVIEWED:
            return False
    return True


def name_of(cls):
    """Module and name."""
    return cls.__module__ + "." + cls.__name__


def deprecated(module, home):
    """Whether a module is an old place of classes that live under a new, private name now (sklearn.svm.classes)."""
    return module.rpartition(".")[0] == home.rpartition(".")[0] and home.rpartition(".")[2].startswith("_")


def refuse(cls):
    """Why a class may not be made bare by a pickle; None when it may."""
    for hook in ("__new__", "__setstate__", "__setattr__", "__getattr__", "__getattribute__", "__del__"):
        definer = next((base for base in cls.__mro__ if hook in vars(base)), object)
        name = name_of(definer)
        if definer is object or name in REVIEWED or (hook == "__setstate__" and REVIEWED_SETSTATE.match(name)):
            continue
        if hook == "__setattr__" and REVIEWED_SETATTR.match(name):
            continue
        if hook == "__new__" and issubclass(definer, tuple) and hasattr(definer, "_fields"):
            continue  # a named tuple
        if definer.__module__ in ("builtins", "collections", "abc", "typing", "types") and (
            definer.__name__ in BUILTIN_NEW or issubclass(definer, BaseException)
        ):
            continue
        return hook + " of " + name
    if not cls.__flags__ & (1 << 9):
        return "an extension type"
    return None


def merge(folder, files):
    """Write known/<package>.txt: a header that says where it is from, then `kind module: names`."""
    packages = {}
    for file in files:
        with open(file) as handle:
            for package, found in json.load(handle).items():
                packages.setdefault(package, []).append(found)
    for package, founds in packages.items():
        asked = {module for found in founds for module in found.get("only", "").split(",")}
        lines = {}
        left = {entry for found in founds for entry in found["left"]}
        for found in founds:
            for kind in KINDS:
                for entry in found.get(kind, ()):
                    module, name = entry.split(" ")
                    if (
                        entry in left
                        or name in UNWANTED
                        or (module not in asked and SKIPPED.search(module.partition(".")[2]) and not KEPT.match(module))
                    ):
                        continue  # not as the rule wants it in one of the versions
                    lines.setdefault((module, kind), set()).add(name)
        versions = " ".join(sorted({found["version"] for found in founds}))
        with open(folder + "/" + package + ".txt", "w") as handle:
            handle.write("# Made by scripts/scan_names.py from " + package + " " + versions + "\n")
            for (module, kind), names in sorted(lines.items()):
                handle.write(kind + " " + module + ": " + " ".join(sorted(names)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
