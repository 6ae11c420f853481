"""Allowlists of the classes in a Keras model file, by the module under which Keras stores them.

The constructor, `from_config`, `build_from_config` and `call` of each class were reviewed: they
compute only from arrays and from their own configuration. Classes that call code named in the file,
or read other files, are refused. A test reports all layer classes of the installed Keras that are
neither allowed nor refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """The allowlist for the files of one major version of Keras.

    Attributes:
        allowed: Names of classes by the module that the file gives for them; None if it gives no
            module.
        refused: Classes that were reviewed and are refused, with the reason.
    """

    allowed: Mapping[str | None, frozenset[str]]
    refused: Mapping[str, str]


_LAYERS = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average
    AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
    BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate Conv1D
    Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D
    Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D
    Convolution3DTranspose Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D
    Discretization Dot Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D
    GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    Identity InputLayer LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxPool1D MaxPool2D
    MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply
    Normalization PReLU Permute RNN RandomBrightness RandomContrast RandomCrop RandomFlip
    RandomRotation RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D SimpleRNN
    SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization
    StackedRNNCells Subtract TimeDistributed UnitNormalization UpSampling1D UpSampling2D
    UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
_KERAS_2_LAYERS = frozenset(
    f"""
    {_LAYERS} BatchNormalizationV1 BatchNormalizationV2 GRUV1 GRUV2 LSTMV1 LSTMV2
    LocallyConnected1D LocallyConnected2D RandomHeight RandomWidth SyncBatchNormalization
    ThresholdedReLU
    """.split()
)
_KERAS_3_LAYERS = frozenset(
    f"""
    {_LAYERS} AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D AugMix AutoContrast
    ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization GroupQueryAttention
    MaxNumBoundingBoxes MelSpectrogram MixUp Pipeline RMSNormalization RandAugment
    RandomColorDegeneration RandomColorJitter RandomElasticTransform RandomErasing
    RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization
    RandomSaturation RandomSharpness RandomShear ReversibleEmbedding STFTSpectrogram Solarization
    """.split()
)
_MODELS = frozenset({"Functional", "Model", "Sequential"})

_CODE = "is code that loading would run"
_METHOD = "calls a method by name"
_KERAS_2_REFUSED = {
    "ClassMethod": _METHOD,
    "InstanceMethod": _METHOD,
    "InstanceProperty": _METHOD,
    "__lambda__": _CODE,
    "AbstractRNNCell": "is a base class without a computation",
    "DenseFeatures": "its feature columns read vocabulary files",
    "HashedCrossing": "works on text",
    "Hashing": "works on text",
    "IntegerLookup": "its vocabulary may be any file of this machine",
    "Lambda": _CODE,
    "Layer": "is a base class without a computation",
    "StringLookup": "its vocabulary may be any file of this machine",
    "TextVectorization": "its vocabulary may be any file of this machine",
    "Wrapper": "is a base class without a computation",
}
_KERAS_3_REFUSED = {
    "__lambda__": _CODE,
    "FlaxLayer": _CODE,
    "HashedCrossing": "works on text",
    "Hashing": "works on text",
    "IntegerLookup": "its vocabulary may be any file of this machine",
    "JaxLayer": _CODE,
    "Lambda": _CODE,
    "Layer": "is a base class without a computation",
    "StringLookup": "its vocabulary may be any file of this machine",
    "TFSMLayer": "loads a SavedModel from any folder of this machine",
    "TextVectorization": "its vocabulary may be any file of this machine",
    "TorchModuleWrapper": "is a pickle, which is code that loading would run",
    "Wrapper": "is a base class without a computation",
}

# Keras stores the names of classes, and older files the names of their function aliases.
_INITIALIZERS = frozenset(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal
    LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform STFT
    STFTInitializer TruncatedNormal VarianceScaling Zeros constant glorot_normal glorot_uniform
    he_normal he_uniform identity lecun_normal lecun_uniform normal one ones orthogonal
    random_normal random_uniform stft truncated_normal uniform variance_scaling zero zeros
    """.split()  # noqa: SIM905
)
_REGULARIZERS = frozenset(
    "L1 L1L2 L2 OrthogonalRegularizer l1 l1_l2 l2 orthogonal_regularizer".split()  # noqa: SIM905
)
_CONSTRAINTS = frozenset(
    """
    MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm max_norm maxnorm min_max_norm non_neg nonneg
    radial_constraint unit_norm unitnorm
    """.split()  # noqa: SIM905
)
ACTIVATIONS = frozenset(
    """
    ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU celu elu exponential gelu glu hard_shrink
    hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid log_softmax mish relu
    relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid
    sparsemax squareplus swish tanh tanh_shrink threshold
    """.split()  # noqa: SIM905
)

NAMED: dict[str, frozenset[str]] = {
    "activation": ACTIVATIONS,
    "initializer": _INITIALIZERS,
    "regularizer": _REGULARIZERS,
    "constraint": _CONSTRAINTS,
}
"""Allowed strings by the last word of their key, such as `recurrent_activation`."""
FUNCTION_MODULES: dict[str, frozenset[str]] = {
    "builtins": ACTIVATIONS,
    "keras.activations": ACTIVATIONS,
    "keras.initializers": _INITIALIZERS,
    "keras.regularizers": _REGULARIZERS,
    "keras.constraints": _CONSTRAINTS,
}
"""Functions that a file may name, by module."""

# Operations that `keras.ops` leaves in a functional model. Those that call a function which the
# file would have to bring (Map, Scan, Cond, WhileLoop and the like) are not here.
_OPERATIONS = {
    "core": """
        Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient
        Unstack
    """,
    "einops": "Rearrange",
    "image": """
        AffineTransform CropImages ElasticTransform ExtractPatches GaussianBlur HSVToRGB
        MapCoordinates PadImages PerspectiveTransform RGBToGrayscale RGBToHSV Resize SSIM
        ScaleAndTranslate SobelEdges
    """,
    "linalg": """
        Cholesky CholeskyInverse Det Eig Eigh Inv Lstsq LuFactor MatrixRank Norm Pinv Qr SVD Solve
        SolveTriangular
    """,
    "math": """
        CDist Erf Erfc Erfinv ExtractSequences FFT FFT2 IFFT2 IRFFT ISTFT InTopK Logdet Logsumexp
        RFFT Rsqrt STFT SegmentMax SegmentMin SegmentProd SegmentReduction SegmentSum TopK
        ViewAsComplex ViewAsReal
    """,
    "nn": """
        AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm BinaryCrossentropy
        CategoricalCrossentropy Celu Conv ConvTranspose DepthToSpace DepthwiseConv
        DotProductAttention Elu Fold Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm
        LeakyRelu LogSigmoid LogSoftmax MaxPool Moments MultiHot Normalize OneHot PSNR Polar
        RMSNorm Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign
        SpaceToDepth SparseCategoricalCrossentropy SparsePlus SparseSigmoid Sparsemax Squareplus
        TanhShrink Threshold Unfold
    """,
    "numpy": """
        Abs Absolute Add All AllClose Amax Amin Angle Any Append Arange Arccos Arccosh Arcsin
        Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition Argsort Array ArraySplit Average
        Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift
        BitwiseXor BroadcastTo Cbrt Ceil Clip Concatenate Conj Conjugate Copy Corrcoef Correlate
        Cos Cosh CountNonzero Cross Cumprod Cumsum Deg2rad Diag Diagflat Diagonal Diff Digitize
        Divide DivideNoNan Dot Dsplit Dstack Einsum EmptyLike Equal Exp Exp2 ExpandDims Expm1 Fabs
        Flip Fliplr Flipud Floor FloorDivide Fmax Fmin Fmod Full FullLike Gcd Geomspace GetItem
        Greater GreaterEqual Heaviside Histogram Hsplit Hstack Hypot I0 Imag Inner IsIn Isclose
        Isfinite Isinf Isnan Isneginf Isposinf Isreal Kron Lcm Ldexp LeftShift Less LessEqual
        Linspace Log Log10 Log1p Log2 Logaddexp Logaddexp2 LogicalAnd LogicalNot LogicalOr
        LogicalXor Logspace Matmul Max Maximum Mean Median Meshgrid Min Minimum Mod Moveaxis
        Multiply NanToNum Nanargmax Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin
        Nanpercentile Nanprod Nanquantile Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero
        NotEqual OnesLike Outer Pad Percentile Power Prod Ptp Quantile Rad2deg Ravel Real
        Reciprocal Repeat Reshape RightShift Roll Rot90 Round SearchSorted Select Sign Signbit Sin
        Sinc Sinh Size Slogdet Sort Split Sqrt Square Squeeze Stack Std Subtract Sum Swapaxes Take
        TakeAlongAxis Tan Tanh Tensordot Tile Trace Transpose Trapezoid Tril Triu TrueDivide Trunc
        Unique UnravelIndex Vander Var Vdot View Vsplit Vstack Where ZerosLike
    """,
}
OPERATIONS_REFUSED = {
    "AssociativeScan": "calls a function of the file",
    "CTCDecode": "works on text",
    "CTCLoss": "works on text",
    "Cond": "calls a function of the file",
    "ForiLoop": "calls a function of the file",
    "Function": "is a base class",
    "JVP": "calls a function of the file",
    "Map": "calls a function of the file",
    "Operation": "is a base class",
    "Scan": "calls a function of the file",
    "Switch": "calls a function of the file",
    "VectorizedMap": "calls a function of the file",
    "WhileLoop": "calls a function of the file",
}

_POLICIES_2 = frozenset({"Policy", "PolicyV1"})
_POLICIES_3 = frozenset(
    {
        "DTypePolicy",
        "DTypePolicyMap",
        "FloatDTypePolicy",
        "QuantizedDTypePolicy",
        "QuantizedFloat8DTypePolicy",
    }
)
_SHARED_MODULES: dict[str | None, frozenset[str]] = {
    "keras.initializers": _INITIALIZERS,
    "keras.regularizers": _REGULARIZERS,
    "keras.constraints": _CONSTRAINTS,
}
_OPERATION_MODULES: dict[str | None, frozenset[str]] = {
    f"keras.src.ops.{module}": frozenset(names.split()) for module, names in _OPERATIONS.items()
}
# The current module of the layers, and the one in files of older versions.
_OUR_MODULES = ("bokeh_convert.pynet.layers", "bokeh_convert.layers")
_OURS = frozenset(
    {
        "FakeQuantize",
        "FirstChannels",
        "InstanceNormalization",
        "ScaledInstanceNormalization",
        "SpaceToDepth",
    }
)

TENSORFLOW_FUNCTIONS = frozenset({"TFOpLambda", "SlicingOpLambda"})
TENSORFLOW_OPERATOR = "TensorFlowOpLayer"
_CALLS = TENSORFLOW_FUNCTIONS | {TENSORFLOW_OPERATOR}

KERAS_2 = Generation(
    {
        # Without a module, tf-keras looks up the name among its own classes of the expected kind.
        None: _KERAS_2_LAYERS
        | _MODELS
        | _INITIALIZERS
        | _REGULARIZERS
        | _CONSTRAINTS
        | _POLICIES_2
        | _CALLS,
        "keras": _MODELS,
        "keras.models": _MODELS,
        "keras.engine.functional": frozenset({"Functional"}),
        "keras.src.engine.functional": frozenset({"Functional"}),
        "keras.layers": _KERAS_2_LAYERS,
        "keras.layers.experimental": _KERAS_2_LAYERS,
        "keras.layers.experimental.preprocessing": _KERAS_2_LAYERS,
        "keras.layers.core.tf_op_layer": _CALLS,
        "keras.src.layers.core.tf_op_layer": _CALLS,
        "keras.mixed_precision": _POLICIES_2,
        **_SHARED_MODULES,
    },
    _KERAS_2_REFUSED,
)
KERAS_3 = Generation(
    {
        None: _KERAS_3_LAYERS
        | _MODELS
        | _INITIALIZERS
        | _REGULARIZERS
        | _CONSTRAINTS
        | _POLICIES_3
        | {f"bokeh_tflite>{name}" for name in _OURS},
        **dict.fromkeys(_OUR_MODULES, _OURS),
        "keras": _MODELS | _POLICIES_3,
        "keras.models": _MODELS,
        "keras.src.models.functional": frozenset({"Functional"}),
        "keras.layers": _KERAS_3_LAYERS,
        "keras.dtype_policies": _POLICIES_3,
        **_SHARED_MODULES,
        **_OPERATION_MODULES,
    },
    _KERAS_3_REFUSED,
)

REGISTERED: Mapping[tuple[str | None, str], str] = {
    (module, name): f"bokeh_tflite>{name}" for module in _OUR_MODULES for name in _OURS
}
"""The registered name of a class, if it is not the class name."""
