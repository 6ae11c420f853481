package io.github.bokehtflite.core

import java.util.Locale

/** A bundled model that is ready to run; [name] is its name among the bundled ones. */
class OpenedModel(val name: String, val file: TfliteFile, val runner: CheckedRunner)

/**
 * Chooses which bundled model runs, where the user has chosen none.
 *
 * On the GPU and on NNAPI it is float16. On the CPU it is int8, the faster one there, if its output on this phone has a PSNR
 * of at least [Contract.GpuCheck.SAME_PICTURE_DB] to the full model's; else float16, with a note that says why.
 *
 * @param policy opens a model on a delegate, and checks its output.
 * @param bundled names of the models; [FLOAT16] is among them.
 * @param read reads the file of a name.
 */
class ModelPolicy(
    private val policy: DelegatePolicy,
    private val bundled: Set<String>,
    private val read: (String) -> TfliteFile,
) {
    init {
        require(FLOAT16 in bundled) { "$FLOAT16 is not bundled" }
    }

    /**
     * Opens a model where it was requested, or on the CPU. Throws [DelegateException] if not even the CPU runs it.
     *
     * @param chosen the user's model, which is opened whatever its check says; null for the automatic choice.
     */
    fun open(chosen: String?, requested: Delegate): OpenedModel {
        if (chosen != null) {
            val file = read(chosen)
            return OpenedModel(chosen, file, policy.open(file, requested))
        }
        val refused = mutableListOf<String>()
        if (requested != Delegate.CPU) {
            try {
                return openAlone(FLOAT16, requested)
            } catch (error: DelegateException) {
                refused += error.message ?: "${requested.label}: refused"
            }
        }
        return onCpu(requested, refused)
    }

    /** Opens a model on the CPU, after what [open] gave has failed as it ran: [why]. Throws [DelegateException]. */
    fun openInstead(chosen: String?, requested: Delegate, why: String): OpenedModel =
        if (chosen == null) onCpu(requested, listOf(why)) else openAlone(chosen, Delegate.CPU).noted(requested, listOf(why))

    private fun onCpu(requested: Delegate, refused: List<String>): OpenedModel {
        if (INT8 !in bundled) return openAlone(FLOAT16, Delegate.CPU).noted(requested, refused)
        val why = try {
            val int8 = openAlone(INT8, Delegate.CPU)
            val psnr = int8.runner.psnr
            // A comparison with NaN is false.
            if (psnr != null && psnr >= LIMIT_DB) return int8.noted(requested, refused)
            int8.runner.close()
            failure(psnr)
        } catch (error: DelegateException) {
            error.message ?: "the CPU does not run it"
        }
        return openAlone(FLOAT16, Delegate.CPU).noted(requested, listOf("float16 instead of int8: $why") + refused)
    }

    private fun openAlone(name: String, delegate: Delegate): OpenedModel {
        val file = read(name)
        return OpenedModel(name, file, policy.openAlone(file, delegate))
    }

    private fun OpenedModel.noted(requested: Delegate, notes: List<String>): OpenedModel {
        val placement = runner.placement.run { copy(requested = requested.label, notes = notes + this.notes) }
        return OpenedModel(name, file, CheckedRunner(runner.runner, placement, runner.psnr))
    }

    private fun failure(psnr: Double?): String =
        if (psnr == null || psnr.isNaN()) "its output cannot be compared with the full model's"
        else "its PSNR to the full model is %.2f dB on this phone, the limit is %.0f dB".format(Locale.ROOT, psnr, LIMIT_DB)

    companion object {
        const val FLOAT16 = "float16"
        const val INT8 = "int8"

        /** The student of the other models' network: a smaller network, which only the user chooses. */
        const val FAST = "fast"
        private const val LIMIT_DB = Contract.GpuCheck.SAME_PICTURE_DB
    }
}
