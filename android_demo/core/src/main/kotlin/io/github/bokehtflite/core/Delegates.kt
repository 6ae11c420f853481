package io.github.bokehtflite.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONObject

/** What can run a model; `label` is what the JSON and the command line call it. */
enum class Delegate(val label: String) {
    CPU("cpu"), GPU("gpu"), NNAPI("nnapi");

    companion object {
        fun of(label: String): Delegate? = entries.firstOrNull { it.label == label }
    }
}

/** The requested hardware is not here, or cannot run the whole model: a line that says why. */
class DelegateException(message: String) : Exception(message)

/**
 * Where a model runs; the fields of `bokeh_runtime.Placement`.
 *
 * @property delegatedOps operators that the delegate runs; null where it does not report that, which never means all.
 * @property unsupportedOps names of the operators that the delegate does not run; null where it does not report them.
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

    /** Runs `[height, width, channels]`; returns the output, not clipped. A [RangedRunner] takes and returns 0 to 1. */
    fun run(input: FloatImage): FloatImage
}

/** What a runner is opened with; null [threads] is the opener's choice. */
data class RunnerOptions(val delegate: Delegate, val threads: Int? = null, val float32: Boolean = false)

/** Opens a model on one delegate alone, or throws [DelegateException]: the one door to an interpreter. */
fun interface RunnerFactory {
    fun open(file: TfliteFile, options: RunnerOptions): Runner
}

/**
 * The first photo of the reference pack, as the network's input, and the full model's output for it.
 *
 * @property sourceSha256 of the full model's files.
 */
class Reference(val input: FloatImage, val fullModel: FloatImage, val sourceSha256: String) {
    companion object {
        /**
         * Reads what the build writes.
         *
         * @param description of `reference.json`: the shapes, and the hash of the full model's files.
         * @param values of `reference.bin`: the input as bytes, then the output as floats, little-endian.
         */
        fun read(description: String, values: ByteArray): Reference {
            val json = JSONObject(description)
            val bytes = ByteBuffer.wrap(values).order(ByteOrder.LITTLE_ENDIAN)
            fun shaped(name: String) = json.getJSONArray(name).let { FloatImage(it.getInt(0), it.getInt(1), it.getInt(2)) }
            val input = shaped("input_shape")
            for (i in input.values.indices) input.values[i] = (bytes.get().toInt() and 0xff) / 255f
            val fullModel = shaped("output_shape")
            bytes.asFloatBuffer().get(fullModel.values)
            return Reference(input, fullModel, json.getString("source_sha256"))
        }
    }
}

/** Remembers what was found of a delegate, by model and device. */
interface VerdictStore {
    fun read(key: String): String?

    /** Returns when it outlasts the end of the process. */
    fun write(key: String, verdict: String)
    fun remove(key: String)
}

/** A runner whose output was judged right, and its PSNR to the full model: null without a reference. */
class CheckedRunner(val runner: RangedRunner, val placement: Placement, val psnr: Double?) : AutoCloseable by runner

/**
 * Chooses what runs a model: what was requested, if it is there, runs all of it and its output is right; the CPU else,
 * visibly.
 *
 * A GPU may compute in half precision, which can lose a picture, and a driver may be wrong in silence. So its output is
 * judged ([judge]) once for each model and device: a wrong one makes it compute in float32, and if that is wrong too, the
 * CPU takes over. A driver that ends the process during that check is not tried again.
 *
 * @param runners opens a model that takes its own values; they are scaled here.
 * @param sdk the system's API level.
 * @param device identifies phone, drivers and interpreter.
 */
class DelegatePolicy(
    private val runners: RunnerFactory,
    private val reference: Reference?,
    private val store: VerdictStore,
    private val sdk: Int,
    private val device: String,
) {
    private val ranged = RunnerFactory(::opened)

    private fun opened(file: TfliteFile, options: RunnerOptions) = RangedRunner(runners.open(file, options), file)

    /** What the store says of a delegate: its precision, or why it is refused. */
    private class Known(val word: String, val psnr: Double?)

    /** Opens a model. Throws [DelegateException] if not even the CPU runs it. */
    fun open(file: TfliteFile, requested: Delegate, threads: Int? = null): CheckedRunner {
        val refused = mutableListOf<String>()
        if (requested != Delegate.CPU) {
            try {
                return checked(file, requested, threads)
            } catch (error: DelegateException) {
                refused += error.message ?: "${requested.label}: refused"
            }
        }
        return onCpu(file, requested, threads, refused)
    }

    /** Opens a model on what was requested and nothing else, as a benchmark must. Throws [DelegateException]. */
    fun openAlone(file: TfliteFile, requested: Delegate, threads: Int? = null): CheckedRunner =
        if (requested == Delegate.CPU) onCpu(file, requested, threads, emptyList()) else checked(file, requested, threads)

    private fun onCpu(file: TfliteFile, requested: Delegate, threads: Int?, refused: List<String>): CheckedRunner {
        val runner = opened(file, RunnerOptions(Delegate.CPU, threads))
        val known = remembered(file, Delegate.CPU)
        val psnr = if (known != null) known.psnr else closedOnFailure(runner) {
            GpuCheck(ranged, file, reference).fullModelDb(runner).also { remember(file, Delegate.CPU, DEFAULT, it) }
        }
        return CheckedRunner(runner, runner.placement.copy(requested = requested.label, notes = refused), psnr)
    }

    private fun checked(file: TfliteFile, requested: Delegate, threads: Int?): CheckedRunner {
        if (requested == Delegate.NNAPI && sdk > Contract.Nnapi.LAST_API_LEVEL) {
            throw DelegateException("nnapi: deprecated from Android 15 on; use the GPU")
        }
        val known = remembered(file, requested) ?: return judgedTwice(file, requested, threads)
        Verdict.of(known.word)?.let { throw DelegateException(refusal(requested, it, known.psnr)) }
        val float32 = known.word == FLOAT32
        val runner = opened(file, RunnerOptions(requested, threads, float32))
        val note = "${requested.label}: runs in float32, since half precision gives a wrong picture here"
        return checked(runner, requested, float32, known.psnr, if (float32) listOf(note) else emptyList())
    }

    /**
     * Judges, under a mark in the store: a driver that ends the process leaves it there, and would end each one after it. The first
     * time may have been the user, who ended the app meanwhile; so the check is tried a second time.
     */
    private fun judgedTwice(file: TfliteFile, requested: Delegate, threads: Int?): CheckedRunner {
        val key = key(file, requested)
        val left = store.read(key)
        if (left == STARTED_AGAIN) {
            throw DelegateException(
                "${requested.label}: the app ended twice during its check, so it is not used; clear the app's storage to try it again",
            )
        }
        val mark = if (left == STARTED) STARTED_AGAIN else STARTED
        store.write(key, mark)
        try {
            return judged(file, requested, threads)
        } finally {
            if (store.read(key) == mark) store.remove(key)
        }
    }

    /** Opens a model on a delegate that is not known yet, judges its output, and remembers the verdict. */
    private fun judged(file: TfliteFile, requested: Delegate, threads: Int?): CheckedRunner {
        val check = GpuCheck(ranged, file, reference)
        val notes = mutableListOf<String>()
        for (float32 in listOf(false, true)) {
            val runner = opened(file, RunnerOptions(requested, threads, float32))
            val evidence = closedOnFailure(runner) { check.evidence(runner) }
            val verdict = judge(evidence)
            val psnr = evidence.gpuVsFullModelDb
            if (verdict.accepted) {
                remember(file, requested, if (float32) FLOAT32 else DEFAULT, psnr)
                return checked(runner, requested, float32, psnr, notes)
            }
            runner.close()
            if (float32 || !verdict.retryInFloat32) {
                // Without the CPU nothing was found out.
                if (verdict != Verdict.NO_EVIDENCE) remember(file, requested, verdict.label, evidence.gpuVsCpuDb)
                throw DelegateException(refusal(requested, verdict, evidence.gpuVsCpuDb))
            }
            notes += "${requested.label}: half precision gives a wrong picture (${text(evidence.gpuVsCpuDb)} from the CPU's)"
        }
        throw IllegalStateException("both precisions were tried")
    }

    private fun checked(runner: RangedRunner, requested: Delegate, float32: Boolean, psnr: Double?, notes: List<String>): CheckedRunner {
        val precision = if (float32) FLOAT32 else DEFAULT
        return CheckedRunner(runner, runner.placement.copy(requested = requested.label, precision = precision, notes = notes), psnr)
    }

    private fun <T> closedOnFailure(runner: Runner, work: () -> T): T =
        try {
            work()
        } catch (error: Throwable) {
            runner.close()
            throw error
        }

    private fun refusal(delegate: Delegate, verdict: Verdict, psnr: Double?): String = "${delegate.label}: " + when (verdict) {
        Verdict.IDENTICAL -> "its output is the CPU's bit for bit, so it did not run there"
        Verdict.PARTIAL -> "does not show that it runs the whole model"
        Verdict.NO_EVIDENCE -> "its output cannot be compared, since the CPU does not run the model"
        else -> "gives a wrong picture on this phone (${text(psnr)} from the CPU's, in float32 too)"
    }

    private fun text(psnr: Double?) = if (psnr == null) "NaN" else "%.1f dB".format(java.util.Locale.ROOT, psnr)

    private fun remembered(file: TfliteFile, delegate: Delegate): Known? {
        val words = store.read(key(file, delegate))?.split(" ") ?: return null
        if (words.size != 2 || words[0] !in WORDS) return null
        val psnr = words[1].toDoubleOrNull()
        return if (psnr == null && words[1] != NONE) null else Known(words[0], psnr)
    }

    private fun remember(file: TfliteFile, delegate: Delegate, word: String, psnr: Double?) =
        store.write(key(file, delegate), "$word ${psnr ?: NONE}")

    /** What a verdict depends on. */
    private fun key(file: TfliteFile, delegate: Delegate) = Contract.GpuCheck.run {
        "${file.sha256} ${delegate.label} $device check $VERSION limits $SAME_PICTURE_DB $FULL_MODEL_MARGIN_DB " +
            "$FULL_MODEL_FLOOR_DB reference ${reference?.sourceSha256}"
    }

    private companion object {
        const val DEFAULT = "default"
        const val FLOAT32 = "float32"
        const val NONE = "-"
        const val STARTED = "started"
        const val STARTED_AGAIN = "started-again"
        val WORDS = Verdict.entries.filterNot { it.accepted }.map { it.label } + listOf(DEFAULT, FLOAT32)
    }
}

/** Values outside 0 to 1 become those. */
fun clipped(image: FloatImage): FloatImage =
    FloatImage(image.height, image.width, image.channels, FloatArray(image.values.size) { image.values[it].coerceIn(0f, 1f) })
