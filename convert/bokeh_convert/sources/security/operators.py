"""Allowlist of TensorFlow graph operators without side effects.

TensorFlow's own flags are not sufficient: ReadFile, PyFuncStateless and DebugIdentity count as
stateless there, and ImmutableConst maps any file into memory. None of the operators listed here
accesses a file, the network, Python or another process. Operators on strings, data sets, queues,
readers and decoders are not listed at all.
"""

from __future__ import annotations

_ARRAYS = """
    BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastGradientArgs BroadcastTo Bucketize
    Cast CheckNumerics Complex ComplexAbs Concat ConcatOffset ConcatV2 Conj ConjugateTranspose Const
    DepthToSpace Diag DiagPart DynamicPartition DynamicStitch EnsureShape ExpandDims
    ExtractImagePatches ExtractVolumePatches FakeParam Fill Gather GatherNd GatherV2 Identity
    IdentityN Imag InplaceAdd InplaceSub InplaceUpdate InvertPermutation ListDiff
    LowerBound MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3
    MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad OneHot
    OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch Placeholder PlaceholderV2
    PlaceholderWithDefault PreventGradient Range Rank Real Reshape Reverse ReverseSequence ReverseV2
    Roll ScatterNd ScatterNdNonAliasingAdd Select SelectV2 Shape ShapeN Size Slice
    Snapshot SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV Squeeze StopGradient StridedSlice
    TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate
    TensorStridedSliceUpdate Tile Transpose Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2
    Unpack UnravelIndex UpperBound Where ZerosLike
"""
_MATH = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin
    Asinh Atan Atan2 Atanh BatchMatMul BatchMatMulV2 BatchMatMulV3 BesselI0 BesselI0e BesselI1
    BesselI1e BesselJ0 BesselJ1 Betainc Bincount BitwiseAnd BitwiseOr BitwiseXor Ceil Cholesky
    ClipByValue Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp DenseBincount Digamma Div DivNoNan
    Eig Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expm1 FFT FFT2D FFT3D FFTND Floor FloorDiv
    FloorMod Greater GreaterEqual HistogramFixedWidth IFFT IFFT2D IFFT3D IFFTND IRFFT IRFFT2D
    IRFFT3D IRFFTND Igamma Igammac Inv Invert IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma
    LinSpace Log Log1p LogMatrixDeterminant LogicalAnd LogicalNot LogicalOr Lu MatMul
    MatrixDeterminant MatrixInverse MatrixSolve MatrixSolveLs MatrixTriangularSolve Max Maximum Mean
    Min Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual NthElement Polygamma PopulationCount
    Pow Prod Qr RFFT RFFT2D RFFT3D RFFTND RealDiv Reciprocal RightShift Rint Round Rsqrt SegmentMax
    SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum
    SegmentSumV2 SelfAdjointEigV2 Sigmoid Sign Sin Sinh Sqrt Square SquaredDifference Sub Sum Svd
    Tan Tanh TopK TopKV2 TruncateDiv TruncateMod UnsortedSegmentMax UnsortedSegmentMin
    UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
"""
_NETWORKS = """
    ApproxTopK AvgPool AvgPool3D BatchNormWithGlobalNormalization BiasAdd BiasAddV1 Conv Conv2D
    Conv2DBackpropFilter Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D Conv3DBackpropInput
    Conv3DBackpropInputV2 CudnnRNN CudnnRNNCanonicalToParams CudnnRNNCanonicalToParamsV2
    CudnnRNNParamsSize CudnnRNNV2 CudnnRNNV3 DataFormatDimMap DataFormatVecPermute
    DepthwiseConv2dNative DepthwiseConv2dNativeBackpropInput Dequantize Dilation2D Elu
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    FractionalAvgPool FractionalMaxPool FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    FusedPadConv2D FusedResizeAndPadConv2D InTopK InTopKV2 L2Loss LRN LeakyRelu LogSoftmax MaxPool
    MaxPool3D MaxPoolV2 MaxPoolWithArgmax QuantizeAndDequantize QuantizeAndDequantizeV2
    QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2 Relu Relu6 Selu Softmax
    SoftmaxCrossEntropyWithLogits Softplus Softsign SparseSoftmaxCrossEntropyWithLogits
"""
# Graphs of recurrent Keras 2 layers contain their gradients.
_GRADIENTS = """
    AvgPoolGrad BiasAddGrad Conv2DBackpropFilterV2 CudnnRNNBackprop CudnnRNNBackpropV2
    CudnnRNNBackpropV3 DepthwiseConv2dNativeBackpropFilter EluGrad FusedBatchNormGradV3
    LeakyReluGrad MaxPoolGrad MirrorPadGrad ReciprocalGrad Relu6Grad ReluGrad ResizeBilinearGrad
    ResizeNearestNeighborGrad RsqrtGrad SeluGrad SigmoidGrad SoftplusGrad SoftsignGrad SqrtGrad
    StridedSliceGrad TanhGrad
"""
_IMAGES = """
    AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize
    DrawBoundingBoxes ExtractGlimpse ExtractGlimpseV2 HSVToRGB ImageProjectiveTransformV2
    ImageProjectiveTransformV3 NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 RGBToHSV ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor
    ScaleAndTranslate
"""
_RANDOM = """
    Multinomial ParameterizedTruncatedNormal RandomGamma RandomIndexShuffle RandomShuffle
    RandomStandardNormal RandomUniform RandomUniformInt StatelessMultinomial
    StatelessParameterizedTruncatedNormal StatelessRandomBinomial StatelessRandomGammaV2
    StatelessRandomGammaV3 StatelessRandomGetAlg StatelessRandomGetKeyCounter
    StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2
    StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt
    StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2
    StatelessRandomUniformV2 StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2
    StatefulStandardNormalV2 StatefulUniform StatefulUniformInt StatefulTruncatedNormal
    RngReadAndSkip RngSkip TruncatedNormal
"""
# Calls, branches and loops (the functions that they call are checked too), and tensor lists.
_CONTROL = """
    Assert Case Enter Exit If LoopCond Merge NextIteration NoOp PartitionedCall
    StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile Switch While
    EmptyTensorList TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3
    TensorArrayV3 TensorArrayWriteV3 TensorListConcatV2 TensorListElementShape TensorListFromTensor
    TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
    TensorListReserve TensorListResize TensorListScatterV2 TensorListSetItem TensorListStack
"""
# Variables of the model, which exist only in this process.
_VARIABLES = """
    Assign AssignAdd AssignAddVariableOp AssignSub AssignSubVariableOp AssignVariableOp
    DisableCopyOnRead IsVariableInitialized ReadVariableOp ResourceGather ResourceGatherNd
    VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2
"""
# A SavedModel restores its variables and fills its tables with these. They are not allowed in a
# network: RestoreV2 would read any checkpoint.
_LOADING = """
    HashTable HashTableV2 LookupTableImport LookupTableImportV2 MutexV2 RestoreV2
    StaticRegexFullMatch StringJoin
"""

WITHOUT_SIDE_EFFECTS = frozenset(
    (_ARRAYS + _MATH + _NETWORKS + _GRADIENTS + _IMAGES + _RANDOM + _CONTROL + _VARIABLES).split()
)
"""Operators allowed in a network."""
LOADING = WITHOUT_SIDE_EFFECTS | frozenset(_LOADING.split())
"""Operators allowed when a SavedModel is loaded."""
STATELESS = WITHOUT_SIDE_EFFECTS - frozenset((_CONTROL + _VARIABLES).split()) - {"Placeholder"}
"""Operators allowed in a Keras 2 TensorFlowOpLayer: no calls, no variables."""
