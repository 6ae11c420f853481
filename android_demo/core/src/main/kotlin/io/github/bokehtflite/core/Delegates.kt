package io.github.bokehtflite.core

/** What can run a model; `label` is what the JSON and the command line call it. */
enum class Delegate(val label: String) {
    CPU("cpu"), GPU("gpu"), NNAPI("nnapi");

    companion object {
        fun of(label: String): Delegate? = entries.firstOrNull { it.label == label }
    }
}

/** The first API level whose system deprecates NNAPI: Android 15. */
const val FIRST_WITHOUT_NNAPI = 35

/** The asked hardware is not here, or cannot run the whole model: a line that says why. */
class DelegateException(message: String) : Exception(message)

/**
 * Where a model runs; the fields of `bokeh_runtime.Placement`.
 *
 * @property delegatedOps operators that the delegate runs; null where it does not tell, which is never all.
 * @property unsupportedOps names of the operators that run elsewhere; null where the delegate does not tell.
 * @property precision "float32" if half precision was ruled out, "default" else.
 * @property notes what was refused or changed, and why.
 */
data class Placement(
    val requested: String,
    val delegate: String,
    val device: String,
    val delegatedOps: Int?,
    val totalOps: Int,
    val unsupportedOps: List<String>? = emptyList(),
    val precision: String = "default",
    val notes: List<String> = emptyList(),
)

/** A model that is ready to run. Not thread-safe. */
interface Runner : AutoCloseable {
    val placement: Placement

    /** Runs `[height, width, channels]` in 0 to 1; returns the picture, not clipped. */
    fun run(input: FloatImage): FloatImage
}

/** What a runner is opened with; null [threads] is the opener's choice. */
data class RunnerOptions(val delegate: Delegate, val threads: Int? = null, val float32: Boolean = false)

/** Opens a model on one delegate alone, or throws [DelegateException]: the one door to an interpreter. */
fun interface RunnerFactory {
    fun open(file: TfliteFile, options: RunnerOptions): Runner
}

/**
 * The first photo of the reference pack, as the network sees it, and what the full model draws.
 *
 * @property sourceSha256 of the full model's files.
 */
class Reference(val input: FloatImage, val fullModel: FloatImage, val sourceSha256: String)

/** Remembers which precision draws the right picture: `precision psnr`, by model and device. */
interface VerdictStore {
    fun read(key: String): String?
    fun write(key: String, verdict: String)
}

/** A runner that draws the right picture, and how near it is to the full model: null without a reference. */
class CheckedRunner(val runner: Runner, val placement: Placement, val psnr: Double?) : AutoCloseable by runner

/** A picture as near as this to the full model's is right. */
const val RIGHT_DB = 40.0

/** Counted up when [DelegatePolicy] judges otherwise, so that older verdicts do not hold any more. */
const val CHECK_VERSION = 2

/** A file that is further away by itself may be this much worse on a GPU. */
const val MARGIN_DB = 1.0

/**
 * Chooses what runs a model: what was asked for, if it is there, runs all of it and draws the right picture; the CPU
 * else, visibly.
 *
 * A GPU may compute in half precision, which can lose a picture, and a driver may be wrong in silence. So its picture is
 * held against the full model's once for each model and device: a wrong one makes it compute in float32, and if that is
 * wrong too, the CPU takes over.
 *
 * @param sdk the system's API level.
 * @param device what tells phones, drivers and interpreters apart.
 */
class DelegatePolicy(
    private val factory: RunnerFactory,
    private val reference: Reference?,
    private val store: VerdictStore,
    private val sdk: Int,
    private val device: String,
) {
    /** Opens a model. Throws [DelegateException] if not even the CPU runs it. */
    fun open(file: TfliteFile, asked: Delegate, threads: Int? = null): CheckedRunner {
        val refused = mutableListOf<String>()
        if (asked != Delegate.CPU) {
            try {
                return checked(file, asked, threads, refused)
            } catch (error: DelegateException) {
                refused += error.message ?: "${asked.label}: refused"
            }
        }
        return onCpu(file, asked, threads, refused)
    }

    /** Opens a model on what was asked for and nothing else, as a benchmark must. Throws [DelegateException]. */
    fun openAlone(file: TfliteFile, asked: Delegate, threads: Int? = null): CheckedRunner =
        if (asked == Delegate.CPU) onCpu(file, asked, threads, emptyList()) else checked(file, asked, threads, mutableListOf())

    private fun onCpu(file: TfliteFile, asked: Delegate, threads: Int?, refused: List<String>): CheckedRunner {
        val runner = factory.open(file, RunnerOptions(Delegate.CPU, threads))
        val known = remembered(file, Delegate.CPU)
        val psnr = known?.second ?: distanceOrClosed(file, runner)?.also { remember(file, Delegate.CPU, "default", it) }
        return CheckedRunner(runner, runner.placement.copy(requested = asked.label, notes = refused), psnr)
    }

    private fun checked(file: TfliteFile, asked: Delegate, threads: Int?, notes: MutableList<String>): CheckedRunner {
        if (asked == Delegate.NNAPI && sdk >= FIRST_WITHOUT_NNAPI) {
            throw DelegateException("nnapi: deprecated from Android 15 on; use the GPU")
        }
        val known = remembered(file, asked)
        if (known?.first == WRONG) throw DelegateException(wrong(asked, known.second))
        var float32 = known?.first == "float32"
        var runner = factory.open(file, RunnerOptions(asked, threads, float32))
        var psnr = known?.second
        if (known == null) {
            psnr = distanceOrClosed(file, runner)
            if (psnr != null && !right(file, psnr)) {
                notes += "${asked.label}: half precision draws a wrong picture (${text(psnr)} from the full model)"
                runner.close()
                float32 = true
                runner = factory.open(file, RunnerOptions(asked, threads, float32 = true))
                psnr = distanceOrClosed(file, runner)
            }
            val isRight = psnr == null || right(file, psnr)
            if (psnr != null) remember(file, asked, if (!isRight) WRONG else if (float32) "float32" else "default", psnr)
            if (!isRight) {
                runner.close()
                throw DelegateException(wrong(asked, psnr!!))
            }
        } else if (float32) {
            notes += "${asked.label}: runs in float32, since half precision draws a wrong picture here"
        }
        val placement = runner.placement.copy(
            requested = asked.label,
            precision = if (float32) "float32" else "default",
            notes = notes.toList(),
        )
        return CheckedRunner(runner, placement, psnr)
    }

    /** As [distance]; a runner that fails is closed. */
    private fun distanceOrClosed(file: TfliteFile, runner: Runner): Double? =
        try {
            distance(file, runner)
        } catch (error: Throwable) {
            runner.close()
            throw error
        }

    /** PSNR from the full model in dB, 0 for a picture with NaN; null where there is nothing to hold it against. */
    private fun distance(file: TfliteFile, runner: Runner): Double? {
        if (reference == null) return null
        val shape = file.input.shape
        if (shape != listOf(1, reference.input.height, reference.input.width, reference.input.channels)) return null
        val drawn = runner.run(reference.input)
        if (drawn.values.any { !it.isFinite() }) return 0.0
        if (!drawn.sameShape(reference.fullModel)) return null
        return psnr(clipped(drawn), reference.fullModel)
    }

    private fun right(file: TfliteFile, psnr: Double): Boolean {
        val own = ModelMetadata.of(file).psnrWorst ?: RIGHT_DB
        return psnr >= minOf(RIGHT_DB, own - MARGIN_DB)
    }

    private fun wrong(asked: Delegate, psnr: Double): String =
        "${asked.label}: draws a wrong picture on this phone (${text(psnr)} from the full model, in float32 too)"

    private fun remembered(file: TfliteFile, delegate: Delegate): Pair<String, Double>? {
        val words = store.read(key(file, delegate))?.split(" ") ?: return null
        val psnr = words.getOrNull(1)?.toDoubleOrNull() ?: return null
        return if (words[0] in VERDICTS) words[0] to psnr else null
    }

    private fun remember(file: TfliteFile, delegate: Delegate, verdict: String, psnr: Double) =
        store.write(key(file, delegate), "$verdict $psnr")

    /** What a verdict depends on. */
    private fun key(file: TfliteFile, delegate: Delegate) =
        "${file.sha256} ${delegate.label} $device check $CHECK_VERSION limits $RIGHT_DB $MARGIN_DB reference ${reference?.sourceSha256}"

    private fun text(psnr: Double) = "%.1f dB".format(java.util.Locale.ROOT, psnr)

    private companion object {
        const val WRONG = "wrong"
        val VERDICTS = setOf("default", "float32", WRONG)
    }
}

/** Values outside 0 to 1 become those. */
fun clipped(image: FloatImage): FloatImage =
    FloatImage(image.height, image.width, image.channels, FloatArray(image.values.size) { image.values[it].coerceIn(0f, 1f) })
