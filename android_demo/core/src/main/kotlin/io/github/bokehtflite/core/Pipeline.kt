package io.github.bokehtflite.core

/** Milliseconds of each stage, in order. */
typealias Timings = Map<String, Double>

/** The way of a photo through the network: the same as `bokeh_runtime.BokehModel.render`. */
class Pipeline(private val file: TfliteFile, private val runner: Runner) {
    val metadata: ModelMetadata = ModelMetadata.of(file)

    /**
     * Renders a photo with a shallow depth of field, into itself.
     *
     * @param strength 1 is the network's output, 0 the photo.
     * @param cancelled called between the stages: true ends the work with [CancelledException].
     * @return `prepare_ms`, `infer_ms`, `join_ms`.
     */
    fun render(photo: Photo, strength: Float = 1f, cancelled: () -> Boolean = { false }): Timings {
        val start = System.nanoTime()
        val frame = Frame.within(photo.height, photo.width, metadata.inputHeight, metadata.inputWidth)
        val networkInput = scale(photo, frame.height, frame.width, metadata.resampling)
        val tensor = frame.pad(networkInput, metadata.inputHeight, metadata.inputWidth)
        val prepared = System.nanoTime()
        if (cancelled()) throw CancelledException()
        val output = runner.run(tensor)
        val inferred = System.nanoTime()
        if (cancelled()) throw CancelledException()
        val networkOutput = clipped(frame.scaled(output.height.toDouble() / metadata.inputHeight).crop(output))
        if (output.values.any { !it.isFinite() }) throw InputException("${file.name}: its output holds NaN or infinity; convert it again")
        join(photo, networkOutput, networkInput, strength)
        val end = System.nanoTime()
        return mapOf(
            "prepare_ms" to (prepared - start) / 1e6,
            "infer_ms" to (inferred - prepared) / 1e6,
            "join_ms" to (end - inferred) / 1e6,
        )
    }
}

/** The work is not wanted any more. */
class CancelledException : Exception()
