"""What a pickle may name. Allowlist first: a known-safe name is fine, a dangerous one malicious, any other suspicious.

Safe means: using it so runs no code that the file chose, opens nothing and imports nothing else. `known` says which use
is meant (`names.Use`). Names that may be called were chosen by reading what the libraries' own `__reduce__` methods
write; classes that are only given state, and functions that are only kept, are in lists made from the frameworks
(`names`). The verdict never looks at what is installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from customhouse.trust.scan.names import Use, listed
from customhouse.trust.scan.verdict import ScanSeverity
from customhouse.trust.scan.words import words

_PYTHON2: Mapping[str, str] = {
    # pickle._compat_pickle: Python 3 applies these to protocols 0-2, so a scanner that does not would be fooled.
    "__builtin__": "builtins",
    "exceptions": "builtins",
    "copy_reg": "copyreg",
    "cPickle": "pickle",
    "_pickle": "pickle",
    "cStringIO": "io",
    "StringIO": "io",
    "Queue": "queue",
    "commands": "subprocess",
    "urllib2": "urllib.request",
    "UserDict": "collections",
    "UserList": "collections",
    "UserString": "collections",
    "__main__": "__main__",
}


_EXACT: Mapping[str, frozenset[str]] = {
    "builtins": words(
        """object list dict set frozenset tuple int float complex str bytes bytearray bool slice range long unicode
        Ellipsis NotImplemented None xrange
        BaseException Exception ArithmeticError AssertionError AttributeError EOFError ImportError IndexError KeyError
        KeyboardInterrupt LookupError MemoryError NameError NotImplementedError OSError OverflowError RuntimeError
        StopIteration SyntaxError SystemError TypeError UnicodeError ValueError ZeroDivisionError Warning UserWarning"""
    ),
    "collections": words("OrderedDict defaultdict Counter deque ChainMap UserDict UserList UserString"),
    "copyreg": words("_reconstructor __newobj__ __newobj_ex__"),
    "_codecs": words("encode"),
    "datetime": words("datetime date time timedelta timezone"),
    "decimal": words("Decimal"),
    "fractions": words("Fraction"),
    "uuid": words("UUID"),
    "types": words("SimpleNamespace"),
    "argparse": words("Namespace"),
    "pathlib": words("Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"),
    "pathlib._local": words("PosixPath WindowsPath PurePosixPath PureWindowsPath"),
    "random": words("Random"),
    "zoneinfo": words("ZoneInfo ZoneInfo._unpickle"),
    "pytz": words("_p _UTC"),
    "dateutil.tz.tz": words("tzutc tzoffset tzlocal"),
    "ipaddress": words("IPv4Address IPv6Address IPv4Network IPv6Network IPv4Interface IPv6Interface"),
    "re": words("_compile RegexFlag"),
    "sre_compile": words("compile"),
    "numpy": words(
        """ndarray dtype matrix recarray record generic number bool_ bool int_ intc intp int8 int16 int32 int64 uint
        uint8 uint16 uint32 uint64 float16 float32 float64 float128 longdouble half single double complex64 complex128
        clongdouble str_ bytes_ void object_ datetime64 timedelta64 longlong ulonglong frombuffer"""
    ),
    "numpy.dtypes": words(
        """Float16DType Float32DType Float64DType Int8DType Int16DType Int32DType Int64DType UInt8DType UInt16DType
        UInt32DType UInt64DType BoolDType StrDType BytesDType ObjectDType VoidDType Complex64DType Complex128DType
        DateTime64DType TimeDelta64DType StringDType"""
    ),
    "numpy.core.multiarray": words("_reconstruct scalar"),
    "numpy._core.multiarray": words("_reconstruct scalar"),
    "numpy.core.numeric": words("_frombuffer"),
    "numpy._core.numeric": words("_frombuffer"),
    "numpy._core._internal": words("_convert_to_stringdtype_kwargs"),
    "numpy.core.records": words("recarray record"),
    "numpy.rec": words("recarray record"),
    "numpy.ma": words("MaskedArray"),
    "numpy.ma.core": words("_mareconstruct MaskedArray MaskedConstant"),
    "numpy.random._pickle": words("__randomstate_ctor __generator_ctor __bit_generator_ctor"),
    "numpy.random._mt19937": words("MT19937 __pyx_unpickle_MT19937"),
    "numpy.random._pcg64": words("PCG64 PCG64DXSM"),
    "numpy.random._philox": words("Philox"),
    "numpy.random._sfc64": words("SFC64"),
    "numpy.random": words("__RandomState_ctor"),
    "numpy.random.bit_generator": words("SeedSequence __pyx_unpickle_SeedSequence"),
    "scipy.spatial._ckdtree": words("cKDTree cKDTreeNode"),
    "scipy.spatial.ckdtree": words("cKDTree cKDTreeNode"),
    "scipy.spatial.transform._rotation": words("Rotation"),
    "scipy.spatial.transform.rotation": words("Rotation"),
    "scipy.spatial.kdtree": words("KDTree KDTree.innernode KDTree.leafnode KDTree.node"),
    "scipy.optimize._lbfgsb_py": words("LbfgsInvHessProduct"),
    "spacy.strings": words("StringStore"),
    "river._river_rust.vectordict": words("VectorDict"),
    "river._river_rust.drift": words("AdaptiveWindowing"),
    "nltk.probability": words("FreqDist ConditionalFreqDist"),
    "pandas._libs.tslibs.period": words("__pyx_unpickle_PeriodMixin"),
    "pyarrow.lib": words(
        """_restore_array py_buffer type_for_alias timestamp duration time32 time64 decimal128 list_ large_list struct
        field schema _reconstruct_table _reconstruct_record_batch chunked_array dictionary
        binary map_ KeyValueMetadata"""
    ),
    "joblib.numpy_pickle": words("NumpyArrayWrapper"),
    "torch": words(
        """FloatStorage DoubleStorage HalfStorage LongStorage IntStorage ShortStorage CharStorage ByteStorage
        BoolStorage BFloat16Storage ComplexFloatStorage ComplexDoubleStorage QInt8Storage QUInt8Storage QInt32Storage
        UntypedStorage Size Tensor device dtype float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 bool
        half float double long int short complex64 complex128 qint8 quint8 qint32 float8_e4m3fn float8_e5m2
        per_tensor_affine per_channel_affine strided sparse_coo sparse_csr contiguous_format preserve_format
        channels_last channels_last_3d
        float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2 uint16 uint32 uint64 complex32 quint4x2 quint2x4
        bits8 bits16 bits1x8 bits2x4 bits4x2 QUInt4x2Storage QUInt2x4Storage sparse_csc sparse_bsr sparse_bsc jagged
        per_channel_affine_float_qparams _mkldnn Generator"""
    ),
    "torch.storage": words("TypedStorage UntypedStorage _load_from_bytes"),
    "torch._tensor": words("_rebuild_from_type_v2 Tensor"),
    "torch.jit._pickle": words(
        "build_intlist build_doublelist build_boollist build_tensorlist build_tensor_from_id restore_type_tag"
    ),
    "torch.nn.parameter": words("Parameter Buffer UninitializedParameter UninitializedBuffer"),
    "torch._C._nn": words("gelu"),
    "torch.serialization": words("_get_layout"),
    "torch._utils": words(
        """_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state
        _rebuild_qtensor _rebuild_sparse_tensor _rebuild_sparse_csr_tensor _rebuild_device_tensor_from_numpy
        _rebuild_meta_tensor_no_storage _rebuild_nested_tensor _rebuild_device_tensor_from_cpu_tensor
        _rebuild_xla_tensor torch.channels_last torch.channels_last_3d torch.contiguous_format torch.preserve_format"""
    ),
    "torch.nested._internal.nested_tensor": words("_rebuild_njt NestedTensor"),
    "tensorflow.python.framework.dtypes": words("as_dtype"),
}

_SKLEARN_MODULES = re.compile(
    r"sklearn\.(linear_model|ensemble|tree|svm|naive_bayes|neighbors|neural_network|cluster|decomposition|manifold|"
    r"preprocessing|impute|pipeline|compose|feature_selection|feature_extraction|discriminant_analysis|calibration|"
    r"gaussian_process|mixture|model_selection|multiclass|multioutput|isotonic|kernel_ridge|kernel_approximation|"
    r"random_projection|semi_supervised|covariance|cross_decomposition|dummy|_loss|utils|metrics|frozen)(\.[a-z_0-9]+)*"
)
_SKLEARN = words(
    """LinearRegression Ridge RidgeCV RidgeClassifier RidgeClassifierCV Lasso LassoCV ElasticNet ElasticNetCV Lars
    LassoLars LassoLarsCV LassoLarsIC LarsCV OrthogonalMatchingPursuit BayesianRidge ARDRegression LogisticRegression
    LogisticRegressionCV SGDClassifier SGDRegressor SGDOneClassSVM Perceptron PassiveAggressiveClassifier
    PassiveAggressiveRegressor RANSACRegressor TheilSenRegressor HuberRegressor QuantileRegressor PoissonRegressor
    GammaRegressor TweedieRegressor MultiTaskLasso MultiTaskElasticNet
    RandomForestClassifier RandomForestRegressor ExtraTreesClassifier ExtraTreesRegressor RandomTreesEmbedding
    GradientBoostingClassifier GradientBoostingRegressor HistGradientBoostingClassifier HistGradientBoostingRegressor
    AdaBoostClassifier AdaBoostRegressor BaggingClassifier BaggingRegressor VotingClassifier VotingRegressor
    StackingClassifier StackingRegressor IsolationForest TreePredictor _BinMapper
    DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor Tree
    SVC SVR NuSVC NuSVR LinearSVC LinearSVR OneClassSVM
    GaussianNB MultinomialNB ComplementNB BernoulliNB CategoricalNB
    KNeighborsClassifier KNeighborsRegressor RadiusNeighborsClassifier RadiusNeighborsRegressor NearestNeighbors
    NearestCentroid LocalOutlierFactor KernelDensity KNeighborsTransformer NeighborhoodComponentsAnalysis KDTree
    BallTree KDTree64 BallTree64 newObj EuclideanDistance EuclideanDistance64 ManhattanDistance ManhattanDistance64
    MinkowskiDistance MinkowskiDistance64
    MLPClassifier MLPRegressor BernoulliRBM AdamOptimizer SGDOptimizer
    KMeans MiniBatchKMeans BisectingKMeans DBSCAN HDBSCAN OPTICS MeanShift SpectralClustering AgglomerativeClustering
    FeatureAgglomeration Birch AffinityPropagation SpectralBiclustering SpectralCoclustering
    PCA IncrementalPCA KernelPCA SparsePCA MiniBatchSparsePCA TruncatedSVD NMF MiniBatchNMF FastICA FactorAnalysis
    LatentDirichletAllocation DictionaryLearning MiniBatchDictionaryLearning SparseCoder TSNE Isomap MDS
    LocallyLinearEmbedding SpectralEmbedding
    StandardScaler MinMaxScaler MaxAbsScaler RobustScaler Normalizer Binarizer KernelCenterer QuantileTransformer
    PowerTransformer PolynomialFeatures SplineTransformer OneHotEncoder OrdinalEncoder TargetEncoder LabelEncoder
    LabelBinarizer MultiLabelBinarizer KBinsDiscretizer
    SimpleImputer KNNImputer IterativeImputer MissingIndicator Pipeline FeatureUnion ColumnTransformer
    TransformedTargetRegressor _RemainderColsList
    SelectKBest SelectPercentile SelectFromModel SelectFpr SelectFdr SelectFwe GenericUnivariateSelect RFE RFECV
    SequentialFeatureSelector VarianceThreshold f_classif f_regression chi2 mutual_info_classif
    CountVectorizer TfidfVectorizer TfidfTransformer HashingVectorizer DictVectorizer FeatureHasher
    LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis CalibratedClassifierCV _CalibratedClassifier
    _SigmoidCalibration IsotonicRegression
    GaussianProcessClassifier GaussianProcessRegressor RBF Matern ConstantKernel WhiteKernel RationalQuadratic
    DotProduct ExpSineSquared Sum Product
    GaussianMixture BayesianGaussianMixture GridSearchCV RandomizedSearchCV KFold StratifiedKFold ShuffleSplit
    StratifiedShuffleSplit TimeSeriesSplit GroupKFold
    OneVsRestClassifier OneVsOneClassifier OutputCodeClassifier MultiOutputClassifier MultiOutputRegressor
    ClassifierChain RegressorChain KernelRidge RBFSampler Nystroem AdditiveChi2Sampler GaussianRandomProjection
    SparseRandomProjection LabelPropagation LabelSpreading SelfTrainingClassifier EmpiricalCovariance
    MinCovDet LedoitWolf OAS GraphicalLasso EllipticEnvelope ShrunkCovariance PLSRegression PLSCanonical PLSSVD CCA
    DummyClassifier DummyRegressor Bunch CyHalfBinomialLoss CyHalfMultinomialLoss CyHalfSquaredError
    HalfBinomialLoss HalfMultinomialLoss HalfSquaredError BinomialDeviance MultinomialDeviance LeastSquaresError
    __pyx_unpickle_CyHalfBinomialLoss __pyx_unpickle_CyHalfSquaredError Log Hinge ModifiedHuber SquaredLoss
    _ConstantPredictor LogitLink IdentityLink Interval"""
)
_SKLEARN_CALLED = words(
    """Tree KDTree BallTree KDTree64 BallTree64 KDTree32 BallTree32 newObj TreePredictor _BinMapper
    Log Hinge ModifiedHuber
    SquaredLoss EpsilonInsensitive Huber SquaredHinge CyHalfBinomialLoss CyHalfMultinomialLoss CyHalfSquaredError
    CyHalfPoissonLoss CyHalfGammaLoss CyHalfTweedieLoss CyHalfTweedieLossIdentity CyAbsoluteError CyPinballLoss
    CyHuberLoss CyExponentialLoss Multinomial SquaredEpsilonInsensitive
    Splitter BestSplitter RandomSplitter Gini Entropy
    MSE MAE FriedmanMSE BinaryTree MetadataRequest SeqDataset WeightVector WeightVector64"""
)
"""What scikit-learn's own `__reduce__` methods write: extension types that check what they are given."""
_BOOSTERS: Mapping[str, frozenset[str]] = {
    "lightgbm": words("LGBMClassifier LGBMRegressor LGBMRanker LGBMModel Booster _LGBMLabelEncoder"),
    "xgboost": words("XGBClassifier XGBRegressor XGBRanker XGBModel XGBRFClassifier XGBRFRegressor Booster"),
    "catboost": words("CatBoostClassifier CatBoostRegressor CatBoost"),
}
_SCIPY_SPARSE = re.compile(r"scipy\.sparse\._?(csr|csc|coo|bsr|dia|lil|dok|arrays)")
_SPARSE_NAME = re.compile(r"(csr|csc|coo|bsr|dia|lil|dok)_(matrix|array)")
_NN_MODULE = re.compile(
    r"torch\.nn\.modules\.(linear|conv|activation|batchnorm|normalization|pooling|container|dropout|sparse|rnn|"
    r"transformer|loss|padding|flatten|upsampling|instancenorm|pixelshuffle|module|distance|adaptive|fold)"
)
_NN_NAME = words(
    """Linear Bilinear Identity LazyLinear NonDynamicallyQuantizableLinear Conv1d Conv2d Conv3d ConvTranspose1d
    ConvTranspose2d ConvTranspose3d ReLU ReLU6 GELU SiLU ELU SELU CELU Sigmoid Tanh Softmax LogSoftmax LeakyReLU PReLU
    Hardtanh Hardswish Hardsigmoid Mish Softplus GLU MultiheadAttention BatchNorm1d BatchNorm2d BatchNorm3d
    SyncBatchNorm LayerNorm GroupNorm RMSNorm LocalResponseNorm MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d
    AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool2d Sequential ModuleList ModuleDict ParameterList
    ParameterDict Dropout Dropout1d Dropout2d Dropout3d AlphaDropout Embedding EmbeddingBag RNN LSTM GRU RNNCell
    LSTMCell GRUCell Transformer TransformerEncoder TransformerDecoder TransformerEncoderLayer
    TransformerDecoderLayer CrossEntropyLoss MSELoss L1Loss NLLLoss BCELoss BCEWithLogitsLoss SmoothL1Loss HuberLoss
    KLDivLoss ZeroPad2d ReflectionPad2d ConstantPad2d Flatten Unflatten Upsample UpsamplingNearest2d
    UpsamplingBilinear2d InstanceNorm1d InstanceNorm2d InstanceNorm3d PixelShuffle PixelUnshuffle Module
    CosineSimilarity PairwiseDistance Fold Unfold"""
)

_UFUNC_PLACES = words(
    "numpy.core._multiarray_umath numpy._core._multiarray_umath numpy.core.umath numpy.core.fromnumeric"
)
_VALUES = frozenset(
    {
        ("scipy._lib.array_api_compat.numpy._aliases", "asarray"),
        ("sklearn.externals.array_api_compat.numpy._aliases", "asarray"),
        ("torchvision.ops.boxes", "box_iou"),
        ("sklearn.model_selection._search_successive_halving", "_refit_callable"),
        ("gensim.models.phrases", "original_scorer"),
        ("gensim.models.phrases", "npmi_scorer"),
        ("gensim.models.tfidfmodel", "df2idf"),
        ("gensim.utils", "identity"),
        ("gensim.utils", "call_on_class_only"),
        *(
            ("builtins", name)
            for name in ("hash", "len", "abs", "sum", "min", "max", "round", "sorted", "all", "any", "print")
        ),
    }
)
"""Functions that models keep, of modules that the lists leave out."""
_STATES = frozenset(
    {
        ("torch.utils.data.dataset", "TensorDataset"),
        ("torch.utils.data.dataset", "Subset"),
        ("torch.utils.data.dataset", "ConcatDataset"),
        ("scipy.spatial._kdtree", "KDTree"),
        ("scipy.interpolate._interpolate", "RegularGridInterpolator"),
        ("scipy.interpolate.interpolate", "RegularGridInterpolator"),
        ("scipy.stats._stats_py", "TtestResult"),
        ("scipy.stats.stats", "Ttest_indResult"),
        ("nltk.tokenize.punkt", "PunktLanguageVars"),
        *(("river.preprocessing.scale", name) for name in ("StandardScaler", "MinMaxScaler", "MaxAbsScaler")),
        ("catboost.core", "CatBoostRanker"),
        ("catboost.core", "CatBoost"),
        ("catboost.core", "CatBoostClassifier"),
        ("catboost.core", "CatBoostRegressor"),
    }
)
"""Classes that the lists leave out for a hook that was read: it keeps fields, or reads a model from given bytes."""
_STATESPACE = re.compile(r"statsmodels\.tsa\.statespace\._\w+")
_STATESPACE_NAME = re.compile(r"[sdcz](Statespace|Initialization|KalmanFilter|KalmanSmoother|SimulationSmoother)")
_LOSS_NAME = re.compile(r"(__pyx_unpickle_)?Cy\w+(Loss|Error|Identity)")

_DANGEROUS_ROOTS = words(
    """os posix nt posixpath ntpath subprocess _posixsubprocess _winapi sys pty runpy code codeop bdb pdb cProfile
    profile _lsprof trace timeit doctest pydoc venv ensurepip idlelib multiprocessing _multiprocessing asyncio importlib
    imp _imp pkgutil zipimport _frozen_importlib _frozen_importlib_external ctypes _ctypes cffi _cffi_backend socket
    _socket ssl socketserver http httplib urllib urllib3 ftplib smtplib telnetlib poplib imaplib nntplib xmlrpc
    webbrowser shutil tempfile io _io _pyio codecs operator _operator functools _functools marshal pickle shelve dbm
    sqlite3 _sqlite3 signal threading _thread dummy_threading gc inspect linecache faulthandler resource fcntl mmap
    site sysconfig distutils setuptools pkg_resources pip test unittest tkinter _tkinter turtle logging concurrent
    selectors glob fileinput compileall py_compile zipfile tarfile gzip bz2 lzma zlib configparser cgi wsgiref
    antigravity this lib2to3 nturl2path getpass crypt readline rlcompleter cmd sched atexit
    types dis ast symtable tokenize tabnanny pickletools copyreg builtins commands
    requests httpx aiohttp paramiko fabric boto3 botocore pexpect sh plumbum IPython ipykernel jupyter_client dill
    cloudpickle jsonpickle psutil win32api win32com pythoncom execnet invoke docker git nose
    pytest _pytest py pwn scapy twisted gevent eventlet tornado flask jinja2 mako chameleon"""
)
_DANGEROUS_PREFIXES = (
    "numpy.testing", "numpy.f2py", "numpy.distutils", "numpy.lib.npyio", "numpy.lib._npyio_impl", "numpy.ctypeslib",
    "numpy.compat", "torch.hub", "torch.utils", "torch.jit", "torch.package", "torch.distributed", "torch._dynamo",
    "torch._inductor", "torch.multiprocessing", "torch.fx", "torch.ops", "torch.testing", "torch._ops", "torch.classes",
    "torch._classes", "torch.library", "torch.onnx", "torch.cuda", "torch.backends", "pandas.io", "pandas.eval",
    "pandas.core.computation", "pandas._testing", "joblib", "scipy.io", "scipy.weave", "sklearn.datasets",
    "sklearn.externals", "sklearn.utils._testing", "keras.utils", "keras.models", "keras.saving", "keras.src.saving",
    "tensorflow.python.ops", "tensorflow.io", "tensorflow.python.lib.io", "tensorflow.python.keras.utils",
    "transformers.utils", "transformers.dynamic_module_utils", "huggingface_hub", "datasets",
)  # fmt: skip
_DANGEROUS_NAMES = words(
    """eval exec execfile compile open __import__ getattr setattr delattr globals locals vars breakpoint input apply
    system popen spawn spawnl spawnv fork exec_command check_output check_call run call Popen load loads load_module
    loadtxt genfromtxt fromfile memmap savetxt save read_csv read_pickle read_sql read_table to_pickle attrgetter
    methodcaller itemgetter partial reduce FunctionType CodeType LambdaType MethodType import_module run_module
    run_path runstring execv execve execWrapper urlopen urlretrieve load_library hub_load get_file Lambda"""
)

_MODULES_IN_NAMES = words("os sys subprocess builtins importlib shutil socket pickle runpy ctypes marshal posix")
"""Modules reached as attributes of others: `sklearn.utils.os` is `os`."""


def canonical(module: str, name: str) -> tuple[str, str]:
    """The name under which Python 3 would look it up."""
    if module in ("__builtin__", "builtins") and name in ("unicode", "basestring"):
        return "builtins", "str"
    return _PYTHON2.get(module, module), name


def judge(module: str, name: str) -> ScanSeverity | None:
    """None when `module.name` is known to be safe in some use whatever its arguments, else MALICIOUS or SUSPICIOUS."""
    module, name = canonical(module, name)
    return suspect(module, name) if known(module, name) in (None, Use.CHECKED) else None


def suspect(module: str, name: str) -> ScanSeverity:
    """How bad naming something is that is not known safe; names as `canonical` gives them."""
    root = module.partition(".")[0]
    if root in _DANGEROUS_ROOTS or any(module == p or module.startswith(p + ".") for p in _DANGEROUS_PREFIXES):
        return ScanSeverity.MALICIOUS
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return ScanSeverity.SUSPICIOUS  # no attribute of anything: importing fails
    if not _DANGEROUS_NAMES.isdisjoint(parts) or not _MODULES_IN_NAMES.isdisjoint(parts):
        return ScanSeverity.MALICIOUS
    if "__" in name.rpartition(".")[0]:
        return ScanSeverity.MALICIOUS
    return ScanSeverity.SUSPICIOUS


def dangerous_module(module: str) -> bool:
    """Whether naming anything of the module is malicious (used where only a module path is given)."""
    return judge(module, "?") is ScanSeverity.MALICIOUS


def known(module: str, name: str) -> Use | None:
    """What `module.name` may be used for; None when it is not known safe. Names as `canonical` gives them."""
    if (module, name) in CHECKED:
        return Use.CHECKED
    if name in _EXACT.get(module, ()):
        return Use.CALL
    if module == "__torch__" or module.startswith("__torch__."):
        return Use.CALL  # TorchScript's own types: no Python module has that name, only torch's C++ reader resolves it
    if name in _SKLEARN_CALLED and _SKLEARN_MODULES.fullmatch(module):
        return Use.CALL
    root, _, rest = module.partition(".")
    names = listed(root)
    use = names.get((module, name)) or _by_place(module, name, root, rest)
    if use is None and "." in name:
        return _member(module, *name.split(".", 1))
    return use


def _member(module: str, owner: str, member: str) -> Use | None:
    """An attribute of a known class: a member of an enumeration, a method, a class inside. A value, never called."""
    use = listed(module.partition(".")[0]).get((module, owner))
    if use not in (Use.ENUM, Use.STATE, Use.TABLE) or not plain_attribute(member):
        return None
    return Use.VALUE


def plain_attribute(name: str) -> bool:
    """Whether an attribute's name says nothing of Python's own machinery and nothing dangerous."""
    return (
        name.isidentifier()
        and not name.startswith("__")
        and name not in _DANGEROUS_NAMES
        and name not in _MODULES_IN_NAMES
    )


def _by_place(module: str, name: str, root: str, rest: str) -> Use | None:
    """Classes of versions that the lists do not cover, whose private modules moved: known by name and kind of place."""
    if name in _SKLEARN and _SKLEARN_MODULES.fullmatch(module):
        return Use.STATE
    if name in _BOOSTERS.get(root, ()) and rest in ("", "sklearn", "basic", "core"):
        return Use.STATE
    if _SPARSE_NAME.fullmatch(name) and _SCIPY_SPARSE.fullmatch(module):
        return Use.STATE
    if module in _UFUNC_PLACES and listed("numpy").get(("numpy", name)) is Use.VALUE:
        return Use.VALUE
    if (module, name) in _VALUES:
        return Use.VALUE
    if (module, name) in _STATES:
        return Use.STATE
    if module == "_loss" and _LOSS_NAME.fullmatch(name):
        return Use.CALL  # scikit-learn 1.4 and 1.5 built sklearn._loss._loss under this name
    if _STATESPACE_NAME.fullmatch(name) and _STATESPACE.fullmatch(module):
        return Use.CALL
    return Use.STATE if name in _NN_NAME and _NN_MODULE.fullmatch(module) is not None else None


CHECKED = frozenset(
    {
        ("builtins", "getattr"),
        ("functools", "partial"),
        ("_codecs", "encode"),
        ("numpy.core", "_ufunc_reconstruct"),
        ("numpy._core", "_ufunc_reconstruct"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._tensor", "_rebuild_from_type_v2"),
        ("torch._tensor", "_rebuild_from_type"),
        ("torch.tensor", "_rebuild_from_type"),
        ("torch._utils", "_rebuild_wrapper_subclass"),
        ("dill._dill", "_create_array"),
        ("dill._dill", "_load_type"),
        ("dill.dill", "_load_type"),
    }
)
"""Safe only with arguments that `calls` looks at, so never as an argument of something else."""

MARKER = re.compile(
    rb"c(?:os|posix|nt|subprocess|builtins|__builtin__|runpy|sys|socket|shutil|pty|importlib|commands|webbrowser|"
    rb"pickle|marshal|ctypes|code|timeit)\n[A-Za-z_][A-Za-z_0-9.]{1,40}\n"
    rb"|\x8c[\x02-\x0a](?:os|posix|nt|subprocess|builtins|runpy|pty)\x94?\x8c[\x02-\x0c](?:system|popen|Popen|eval|exec|"
    rb"run|call|check_output|_run_code|spawn)"
)
"""Bytes of a pickle that names something dangerous; looked for in what cannot be read otherwise."""
