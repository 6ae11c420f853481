package io.github.bokehtflite.core

/** The values of a tensor that stand for black and for white: `ValueRange` of `bokeh_runtime`. */
data class ValueRange(val low: Float, val high: Float) {
    /** Scales an image from 0 to 1 to this range. */
    fun fromUnit(image: FloatImage): FloatImage = scaled(image) { it * (high - low) + low }

    /** Scales values of this range to 0 to 1, without clipping. */
    fun toUnit(image: FloatImage): FloatImage = scaled(image) { (it - low) / (high - low) }

    private inline fun scaled(image: FloatImage, change: (Float) -> Float): FloatImage =
        if (this == UNIT) image
        else FloatImage(image.height, image.width, image.channels, FloatArray(image.values.size) { change(image.values[it]) })

    companion object {
        val UNIT = ValueRange(0f, 1f)
    }
}

/**
 * A runner whose images are in 0 to 1, of a model with other value ranges.
 *
 * @param runner runs the model on its own values.
 */
class RangedRunner(private val runner: Runner, private val input: ValueRange, private val output: ValueRange) : Runner by runner {
    /** For a file: in the ranges that its metadata has; 0 to 1 without metadata. */
    constructor(runner: Runner, file: TfliteFile) : this(runner, ModelMetadata.orNull(file))

    private constructor(runner: Runner, metadata: ModelMetadata?) :
        this(runner, metadata?.inputRange ?: ValueRange.UNIT, metadata?.outputRange ?: ValueRange.UNIT)

    override fun run(input: FloatImage): FloatImage = output.toUnit(runRaw(input))

    /** Runs an image in 0 to 1; returns the output in the model's own range. */
    fun runRaw(image: FloatImage): FloatImage = runner.run(input.fromUnit(image))
}
