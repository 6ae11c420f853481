package io.github.bokehtflite.core

/** What a GPU's (or NNAPI's) output is; [label] is the contract's name. */
enum class Verdict(val label: String) {
    /** As the CPU's. */
    SAME("same"),

    /** Another than the CPU's, and about as close to the full model, or closer. */
    AS_GOOD("as_good"),
    WRONG("wrong"),
    NOT_FINITE("not_finite"),

    /** The CPU's bit for bit, where the delegate would round otherwise: it did not run there. */
    IDENTICAL("identical"),

    /** The delegate does not run the whole model, and that was not allowed; or it runs nothing. */
    PARTIAL("partial"),

    /** There is nothing to compare with. */
    NO_EVIDENCE("no_evidence"),
    ;

    /** Whether the delegate may be used as it is. */
    val accepted get() = this == SAME || this == AS_GOOD

    /** Whether half precision may be the cause. */
    val retryInFloat32 get() = this == WRONG || this == NOT_FINITE

    companion object {
        fun of(label: String): Verdict? = entries.firstOrNull { it.label == label }
    }
}

/**
 * What is known of a delegate's output for one input: the fields of `Evidence` in `bokeh_runtime.backends.gpu_verdict`.
 *
 * @property gpuVsCpuDb PSNR of clipped values in dB; null where there is nothing to compare with. So the two others.
 * @property floatSums the file has convolutions, which the device computes in floats.
 * @property delegatedOps null where the delegate does not report it.
 */
data class Evidence(
    val finite: Boolean,
    val identical: Boolean,
    val gpuVsCpuDb: Double?,
    val gpuVsFullModelDb: Double?,
    val cpuVsFullModelDb: Double?,
    val floatSums: Boolean,
    val delegatedOps: Int?,
    val totalOps: Int,
    val allowPartial: Boolean = false,
)

/**
 * The rule by which a delegate's output is judged, the same as in Python; the first part that applies decides. Why it is
 * so: `bokeh_runtime.backends.gpu_verdict`. Its cases: `contract/vectors/gpu_check.json`.
 */
fun judge(evidence: Evidence): Verdict {
    val delegated = evidence.delegatedOps
    if (delegated == 0 || (delegated != evidence.totalOps && !evidence.allowPartial)) return Verdict.PARTIAL
    if (!evidence.finite) return Verdict.NOT_FINITE
    val distance = evidence.gpuVsCpuDb
    if (distance == null || distance.isNaN()) return Verdict.NO_EVIDENCE
    // Of a part that is known, all convolutions may be the CPU's.
    val knownPart = delegated != null && delegated < evidence.totalOps
    if (evidence.identical && evidence.floatSums && !knownPart) return Verdict.IDENTICAL
    if (distance >= Contract.GpuCheck.SAME_PICTURE_DB) return Verdict.SAME
    val gpu = evidence.gpuVsFullModelDb
    val cpu = evidence.cpuVsFullModelDb
    // A comparison with NaN is false.
    val asGood = gpu != null && cpu != null &&
        gpu >= Contract.GpuCheck.FULL_MODEL_FLOOR_DB && gpu >= cpu - Contract.GpuCheck.FULL_MODEL_MARGIN_DB
    return if (asGood) Verdict.AS_GOOD else Verdict.WRONG
}
