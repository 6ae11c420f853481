package io.github.bokehtflite.core

import kotlin.math.cos
import kotlin.math.sin

/**
 * Runs a model on a delegate and on the CPU with the same input, for [judge].
 *
 * @param reference of the full model; null if there is none.
 */
internal class GpuCheck(private val factory: RunnerFactory, private val file: TfliteFile, reference: Reference?) {
    private val metadata = ModelMetadata.orNull(file)
    private val input: FloatImage
    private val fullModel: FloatImage?

    /** The CPU's output for the same input; run once, when it is needed. */
    private val byCpu: FloatImage by lazy {
        factory.open(file, RunnerOptions(Delegate.CPU)).use { it.run(input) }
    }

    init {
        val fits = reference != null && reference.input.run { listOf(1, height, width, channels) } == file.input.shape
        input = if (fits) reference!!.input else testImage(file.input.shape)
        val hashes = listOf(metadata?.sourceSha256.orEmpty(), reference?.sourceSha256.orEmpty())
        val another = hashes.none(String::isEmpty) && hashes[0] != hashes[1]
        fullModel = reference?.fullModel?.takeIf { fits && !another }
    }

    /**
     * Returns what the output of [runner] shows. Throws [InputException] if the CPU's output is not finite, and
     * [DelegateException] if a runner fails.
     */
    fun evidence(runner: Runner): Evidence {
        val output = runner.run(input)
        val finite = output.values.all(Float::isFinite)
        val expected = try {
            byCpu
        } catch (error: DelegateException) {
            null // without the CPU there is no evidence
        }
        if (expected != null && !expected.values.all(Float::isFinite)) {
            throw InputException("${file.name}: its output on the CPU holds NaN or infinity; convert it again")
        }
        return Evidence(
            finite = finite,
            identical = expected != null && output.sameShape(expected) && output.values.contentEquals(expected.values),
            gpuVsCpuDb = distance(output.takeIf { finite }, expected),
            gpuVsFullModelDb = fullModelDb(output),
            cpuVsFullModelDb = expected?.let(::fullModelDb),
            floatSums = file.convolves && sumsFloats(runner.placement.delegate),
            delegatedOps = runner.placement.delegatedOps,
            totalOps = runner.placement.totalOps,
        )
    }

    /** A GPU computes every file in floats; NNAPI an integer one in integers, whose sums have one result in any order. */
    private fun sumsFloats(delegate: String) = delegate != Delegate.NNAPI.label || metadata?.scheme?.startsWith("float") != false

    /** PSNR of the CPU's runner to the full model; null where there is no full model to compare with. */
    fun fullModelDb(runner: Runner): Double? = if (fullModel == null) null else fullModelDb(runner.run(input))

    private fun fullModelDb(output: FloatImage): Double? =
        distance(output.takeIf { it.values.all(Float::isFinite) }, fullModel)

    private fun distance(image: FloatImage?, other: FloatImage?): Double? =
        if (image == null || other == null || !image.sameShape(other)) null else psnr(clipped(image), clipped(other))
}

/** Waves of every channel, for models without a reference; `GpuCheck` in `constants.py` has the formula. */
internal fun testImage(shape: List<Int>): FloatImage {
    val (height, width, channels) = shape.drop(1)
    val image = FloatImage(height, width, channels)
    val period = Contract.GpuCheck.IMAGE_PERIOD_PX.toDouble()
    for (i in image.values.indices) {
        val channel = i % channels
        val column = i / channels % width
        val row = i / channels / width
        val wave = sin(row / period + channel) * cos((channel + 1) * column / period)
        image.values[i] = (Contract.GpuCheck.IMAGE_MEAN + Contract.GpuCheck.IMAGE_AMPLITUDE * wave).toFloat()
    }
    return image
}
