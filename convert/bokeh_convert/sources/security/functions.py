"""Allowlist of TensorFlow functions without side effects, by the names that Keras 2 stores.

A TFOpLambda layer stores the name of the function that was called on a tensor.
"""

from __future__ import annotations

_TENSORFLOW = """
    __operators__.add __operators__.eq __operators__.getitem __operators__.ne abs acos acosh add
    add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space bitcast boolean_mask
    broadcast_dynamic_shape broadcast_to cast clip_by_global_norm clip_by_norm clip_by_value concat
    constant convert_to_tensor cos cosh cumsum debugging.check_numerics divide dynamic_partition
    dynamic_stitch einsum ensure_shape equal exp expand_dims eye fill floor gather gather_nd greater
    greater_equal identity identity_n less less_equal linspace logical_and logical_not logical_or
    matmul maximum meshgrid minimum multiply negative norm not_equal one_hot ones ones_like pad pow
    range rank realdiv repeat reshape reverse reverse_sequence roll round saturate_cast
    scalar_mul scatter_nd searchsorted sequence_mask shape shape_n sigmoid sign sin sinh size slice
    sort space_to_batch space_to_batch_nd split sqrt square squeeze stack stop_gradient
    strided_slice subtract tan tanh tensor_scatter_nd_add tensor_scatter_nd_max
    tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update tensordot tile
    transpose truediv truncatediv truncatemod unique unstack where zeros zeros_like
    quantization.fake_quant_with_min_max_args quantization.fake_quant_with_min_max_vars
    quantization.fake_quant_with_min_max_vars_per_channel quantization.quantize_and_dequantize_v2
"""
_MATH = """
    abs accumulate_n acos acosh add add_n angle argmax argmin asin asinh atan atan2 atanh bessel_i0
    bessel_i0e bessel_i1 bessel_i1e betainc bincount ceil confusion_matrix conj cos cosh
    count_nonzero cumprod cumsum cumulative_logsumexp digamma divide divide_no_nan equal erf erfc
    erfcinv erfinv exp expm1 floor floordiv floormod greater greater_equal igamma igammac imag
    in_top_k invert_permutation is_finite is_inf is_nan is_non_decreasing is_strictly_increasing
    l2_normalize lbeta less less_equal lgamma log log1p log_sigmoid log_softmax logical_and
    logical_not logical_or logical_xor maximum minimum mod multiply multiply_no_nan ndtri negative
    nextafter not_equal polygamma polyval pow real reciprocal reciprocal_no_nan reduce_all
    reduce_any reduce_euclidean_norm reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod
    reduce_std reduce_sum reduce_variance rint round rsqrt scalar_mul segment_max segment_mean
    segment_min segment_prod segment_sum sigmoid sign sin sinh sobol_sample softmax softplus
    softsign sqrt square squared_difference subtract tan tanh top_k truediv unsorted_segment_max
    unsorted_segment_mean unsorted_segment_min unsorted_segment_prod unsorted_segment_sqrt_n
    unsorted_segment_sum xdivy xlog1py xlogy zero_fraction zeta
"""
_NN = """
    atrous_conv2d atrous_conv2d_transpose avg_pool avg_pool1d avg_pool2d avg_pool3d
    batch_norm_with_global_normalization batch_normalization bias_add conv1d conv1d_transpose conv2d
    conv2d_transpose conv3d conv3d_transpose conv_transpose convolution crelu depth_to_space
    depthwise_conv2d depthwise_conv2d_backprop_input dilation2d dropout elu embedding_lookup
    erosion2d fractional_avg_pool fractional_max_pool gelu in_top_k l2_loss l2_normalize leaky_relu
    local_response_normalization log_softmax lrn max_pool max_pool1d max_pool2d max_pool3d
    max_pool_with_argmax moments normalize_moments pool relu relu6 selu separable_conv2d sigmoid
    sigmoid_cross_entropy_with_logits silu softmax softmax_cross_entropy_with_logits softplus
    softsign space_to_batch space_to_depth sufficient_statistics swish tanh top_k weighted_moments
    with_space_to_batch zero_fraction
"""
_IMAGE = """
    adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop
    convert_image_dtype crop_and_resize crop_to_bounding_box extract_patches flip_left_right
    flip_up_down grayscale_to_rgb hsv_to_rgb image_gradients pad_to_bounding_box
    per_image_standardization psnr resize resize_with_crop_or_pad resize_with_pad rgb_to_grayscale
    rgb_to_hsv rgb_to_yiq rgb_to_yuv rot90 sobel_edges ssim ssim_multiscale total_variation
    transpose yiq_to_rgb yuv_to_rgb
"""
_LINALG = """
    adjoint band_part cholesky cross det diag diag_part einsum eye inv l2_normalize matmul
    matrix_transpose matvec norm normalize pinv qr set_diag solve svd tensor_diag tensor_diag_part
    tensordot trace
"""
_SIGNAL = """
    dct fft fft2d fft3d fftshift idct ifft ifft2d ifft3d ifftshift irfft irfft2d irfft3d rfft rfft2d
    rfft3d
"""
# Functions of TensorFlow 1 that TensorFlow 2 keeps under compat.v1.
_V1 = """
    argmax argmin batch_to_space batch_to_space_nd concat count_nonzero depth_to_space div
    div_no_nan expand_dims floor_div floordiv floormod gather gather_nd image.resize
    image.resize_area
    image.resize_bicubic image.resize_bilinear image.resize_image_with_pad image.resize_images
    image.resize_nearest_neighbor log_sigmoid matmul nn.avg_pool nn.avg_pool2d
    nn.batch_normalization nn.conv2d nn.conv2d_transpose nn.convolution nn.crelu nn.depth_to_space
    nn.depthwise_conv2d nn.depthwise_conv2d_native nn.dropout nn.fused_batch_norm nn.leaky_relu
    nn.local_response_normalization nn.max_pool nn.max_pool2d nn.moments nn.pool nn.relu_layer
    nn.separable_conv2d nn.softmax nn.space_to_batch nn.space_to_depth one_hot ones_like pad
    reduce_all reduce_any reduce_max reduce_mean reduce_min reduce_prod reduce_sum reverse_v2
    space_to_batch space_to_batch_nd space_to_depth split squeeze strided_slice to_float
    transpose where zeros_like
"""
# keras.backend: functions such as K.mean, called on the output of a layer.
_BACKEND = """
    abs all any argmax argmin batch_dot batch_flatten batch_normalization bias_add cast clip
    concatenate conv1d conv2d conv2d_transpose conv3d cos cumprod cumsum depthwise_conv2d dot elu
    equal exp expand_dims flatten gather greater greater_equal hard_sigmoid l2_normalize less
    less_equal log max maximum mean min minimum not_equal ones_like
    permute_dimensions pool2d pow prod relu repeat repeat_elements reshape resize_images reverse
    round separable_conv2d sigmoid sign sin softmax softplus softsign spatial_2d_padding sqrt square
    squeeze stack std stop_gradient sum switch tanh temporal_padding tile transpose var zeros_like
"""
_ACTIVATIONS = """
    elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign swish
    tanh
"""

PURE_FUNCTIONS = frozenset(
    prefix + name
    for prefix, names in (
        ("", _TENSORFLOW),
        ("math.", _MATH),
        ("nn.", _NN),
        ("image.", _IMAGE),
        ("linalg.", _LINALG),
        ("signal.", _SIGNAL),
        ("compat.v1.", _V1),
        ("keras.backend.", _BACKEND),
        ("keras.activations.", _ACTIVATIONS),
    )
    for name in names.split()
)
