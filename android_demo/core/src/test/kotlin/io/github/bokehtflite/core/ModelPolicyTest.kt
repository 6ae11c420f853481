package io.github.bokehtflite.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The automatic choice between the bundled models, and the user's. */
class ModelPolicyTest {
    private val files = mapOf(
        ModelPolicy.FLOAT16 to Golden.tflite("tests/data/small_float16.tflite"),
        ModelPolicy.INT8 to Golden.tflite("tests/data/small_int8.tflite"),
    )
    private val picture = FloatImage(64, 96, 3, FloatArray(64 * 96 * 3) { it % 7 / 10f })
    private val source = ModelMetadata.of(files.getValue(ModelPolicy.INT8)).sourceSha256
    private val open = mutableListOf<String>()
    private var checks = 0
    private val store = object : VerdictStore {
        val entries = mutableMapOf<String, String>()
        override fun read(key: String) = entries[key]
        override fun write(key: String, verdict: String) { entries[key] = verdict }
        override fun remove(key: String) { entries -= key }
    }

    /** What each model's output is off by on the CPU, null where it does not run; a GPU's is always right enough. */
    private fun policy(
        gpu: Boolean = false,
        int8: Float? = 0.002f,
        float16: Float? = 0.0001f,
        bundled: Set<String> = files.keys,
        source: String = this.source,
    ): ModelPolicy {
        val runners = RunnerFactory { file, options ->
            val name = files.entries.single { it.value === file }.key
            val onCpu = options.delegate == Delegate.CPU
            val label = options.delegate.label
            if (!onCpu && !gpu) throw DelegateException("$label: not on this phone")
            val error = (if (name == ModelPolicy.INT8) int8 else float16) ?: throw DelegateException("$label: cannot run $name")
            val opened = "$name on $label".also(open::add)
            object : Runner {
                override val placement = Placement("", label, "a device", 5, 5)
                override fun run(input: FloatImage): FloatImage {
                    checks++
                    val wrong = if (onCpu) error else error + 0.0001f
                    return FloatImage(64, 96, 3, FloatArray(picture.values.size) { picture.values[it] + wrong })
                }
                override fun close() { open -= opened }
            }
        }
        val reference = Reference(FloatImage(64, 96, 3), picture, source)
        return ModelPolicy(DelegatePolicy(runners, reference, store, 34, "a phone"), bundled, files::getValue)
    }

    private fun OpenedModel.placement() = runner.placement

    @Test
    fun `the GPU runs float16`() {
        val found = policy(gpu = true).open(null, Delegate.GPU)
        assertEquals("float16", found.name)
        assertEquals("gpu", found.placement().delegate)
        assertEquals(listOf("float16 on gpu"), open)
        assertEquals(emptyList<String>(), found.placement().notes)
    }

    @Test
    fun `NNAPI runs float16`() {
        assertEquals("float16", policy(gpu = true).open(null, Delegate.NNAPI).name)
    }

    @Test
    fun `the CPU runs int8 where its check holds`() {
        val found = policy().open(null, Delegate.CPU)
        assertEquals("int8", found.name)
        assertTrue(found.file === files["int8"])
        assertEquals(54.0, found.runner.psnr!!, 0.1)
        assertEquals(emptyList<String>(), found.placement().notes)
        assertEquals(listOf("int8 on cpu"), open)
    }

    @Test
    fun `the CPU runs int8 where there is no GPU, and the reason stays`() {
        val found = policy().open(null, Delegate.GPU)
        assertEquals("int8", found.name)
        assertEquals("gpu", found.placement().requested)
        assertEquals("cpu", found.placement().delegate)
        assertEquals(listOf("gpu: not on this phone"), found.placement().notes)
    }

    @Test
    fun `the CPU runs float16 where int8's check fails, with a note of value and limit`() {
        for (requested in listOf(Delegate.CPU, Delegate.GPU)) {
            open.clear()
            val found = policy(int8 = 0.2f).open(null, requested)
            assertEquals("float16", found.name)
            assertTrue(found.file === files["float16"])
            assertEquals(80.0, found.runner.psnr!!, 0.1)
            assertEquals(requested.label, found.placement().requested)
            val note = "float16 instead of int8: its PSNR to the full model is 13.98 dB on this phone, the limit is 40 dB"
            assertEquals(note, found.placement().notes.first())
            assertEquals(if (requested == Delegate.GPU) 2 else 1, found.placement().notes.size)
            assertEquals(listOf("float16 on cpu"), open, "int8 is closed")
        }
    }

    @Test
    fun `the limit is the check's`() {
        assertEquals("int8", policy(int8 = 0.0099f).open(null, Delegate.CPU).name, "40.1 dB")
        store.entries.clear()
        assertEquals("float16", policy(int8 = 0.0101f).open(null, Delegate.CPU).name, "39.9 dB")
    }

    @Test
    fun `a failed check is remembered, and reported again`() {
        val policy = policy(int8 = 0.2f)
        val first = policy.open(null, Delegate.CPU).placement().notes
        checks = 0
        val again = policy.open(null, Delegate.CPU)
        assertEquals("float16", again.name)
        assertEquals(first, again.placement().notes)
        assertEquals(0, checks)
    }

    @Test
    fun `NaN is a failed check`() {
        val found = policy(int8 = Float.NaN).open(null, Delegate.CPU)
        assertEquals("float16", found.name)
        assertTrue("cannot be compared" in found.placement().notes.single())
    }

    @Test
    fun `without a full model's output to compare with nothing holds`() {
        val found = policy(source = "another").open(null, Delegate.CPU)
        assertEquals("float16", found.name)
        assertTrue("cannot be compared" in found.placement().notes.single())
    }

    @Test
    fun `a CPU that does not run int8 runs float16, with the reason`() {
        val found = policy(int8 = null).open(null, Delegate.CPU)
        assertEquals("float16", found.name)
        assertEquals(listOf("float16 instead of int8: cpu: cannot run int8"), found.placement().notes)
    }

    @Test
    fun `where int8 is not bundled the CPU runs float16, and nothing is missed`() {
        val found = policy(bundled = setOf(ModelPolicy.FLOAT16)).open(null, Delegate.GPU)
        assertEquals("float16", found.name)
        assertEquals("gpu", found.placement().requested)
        assertEquals(listOf("gpu: not on this phone"), found.placement().notes)
    }

    @Test
    fun `the user's model is kept, whatever the delegate and its check`() {
        val wrong = policy(int8 = 0.2f).open("int8", Delegate.CPU)
        assertEquals("int8", wrong.name)
        assertEquals(14.0, wrong.runner.psnr!!, 0.1)
        assertEquals("float16", policy().open("float16", Delegate.CPU).name)
        assertEquals("float16", policy().open("float16", Delegate.GPU).name, "there is no GPU")
        val onGpu = policy(gpu = true).open("int8", Delegate.GPU)
        assertEquals("int8", onGpu.name)
        assertEquals("gpu", onGpu.placement().delegate)
    }

    @Test
    fun `after a GPU that failed as it ran the CPU's model is opened, with the reason`() {
        for ((chosen, expected) in listOf(null to "int8", "float16" to "float16")) {
            val found = policy(gpu = true).openInstead(chosen, Delegate.GPU, "gpu: fails while it runs")
            assertEquals(expected, found.name)
            assertEquals("cpu", found.placement().delegate)
            assertEquals("gpu", found.placement().requested)
            assertEquals(listOf("gpu: fails while it runs"), found.placement().notes)
        }
    }

    @Test
    fun `a phone that runs neither is an error`() {
        val error = assertThrows(DelegateException::class.java) { policy(int8 = null, float16 = null).open(null, Delegate.GPU) }
        assertEquals("cpu: cannot run float16", error.message)
        assertEquals(emptyList<String>(), open)
    }
}
