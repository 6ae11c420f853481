package io.github.bokehtflite.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Phones that fail in every way that is known. */
class DelegatePolicyTest {
    private val file = Golden.tflite("tests/data/small_float32.tflite")
    private val picture = FloatImage(64, 96, 3, FloatArray(64 * 96 * 3) { it % 7 / 10f })
    private val source = ModelMetadata.of(file).sourceSha256
    private val reference = Reference(FloatImage(64, 96, 3), picture, source)
    private val opened = mutableListOf<String>()
    private val store = object : VerdictStore {
        val entries = mutableMapOf<String, String>()
        override fun read(key: String) = entries[key]
        override fun write(key: String, verdict: String) { entries[key] = verdict }
        override fun remove(key: String) { entries -= key }
    }

    /** Draws the right picture plus an error that depends on how it was opened; null refuses. */
    private fun phone(error: (RunnerOptions) -> Float?) = RunnerFactory { _, options ->
        opened += options.delegate.label + if (options.float32) " float32" else ""
        val wrong = error(options) ?: throw DelegateException("${options.delegate.label}: not on this phone")
        object : Runner {
            override val placement = Placement("", options.delegate.label, "a device", 5, 5)
            override fun run(input: FloatImage) =
                FloatImage(64, 96, 3, FloatArray(picture.values.size) { picture.values[it] + wrong })
            override fun close() { opened += "closed" }
        }
    }

    /** A phone whose CPU gives the full model's picture. */
    private fun gpu(error: (RunnerOptions) -> Float?) = { options: RunnerOptions ->
        if (options.delegate == Delegate.CPU) 0f else error(options)
    }

    private fun policy(sdk: Int = 34, error: (RunnerOptions) -> Float?) =
        DelegatePolicy(phone(gpu(error)), reference, store, sdk, "a phone")

    @Test
    fun `a GPU with the right output is used as requested`() {
        val found = policy { 0.001f }.open(file, Delegate.GPU)
        assertEquals(listOf("gpu", "cpu", "closed"), opened)
        assertEquals("gpu", found.placement.delegate)
        assertEquals("default", found.placement.precision)
        assertEquals(60.0, found.psnr!!, 0.1)
        assertTrue(found.placement.notes.isEmpty())
    }

    @Test
    fun `a wrong output in half precision turns to float32, and is reported again later`() {
        val half = policy { if (it.float32) 0.001f else 0.2f }
        val found = half.open(file, Delegate.GPU)
        assertEquals(listOf("gpu", "cpu", "closed", "closed", "gpu float32"), opened)
        assertEquals("float32", found.placement.precision)
        assertTrue("half precision gives a wrong picture (14.0 dB" in found.placement.notes.single())
        opened.clear()
        val again = half.open(file, Delegate.GPU)
        assertEquals(listOf("gpu float32"), opened)
        assertEquals(60.0, again.psnr!!, 0.1)
        assertTrue("runs in float32" in again.placement.notes.single())
    }

    @Test
    fun `a GPU that is wrong in float32 too gives way to the CPU, visibly`() {
        val wrong = policy { 0.2f }
        val found = wrong.open(file, Delegate.GPU)
        assertEquals("cpu", found.placement.delegate)
        assertEquals("gpu", found.placement.requested)
        assertTrue("gives a wrong picture on this phone (14.0 dB" in found.placement.notes.last())
        opened.clear()
        wrong.open(file, Delegate.GPU)
        assertEquals(listOf("cpu"), opened, "known from now on: the GPU is not tried again")
        assertThrows(DelegateException::class.java) { wrong.openAlone(file, Delegate.GPU) }
    }

    @Test
    fun `NaN is a wrong picture`() {
        val found = policy { Float.NaN }.open(file, Delegate.GPU)
        assertEquals("cpu", found.placement.delegate)
    }

    @Test
    fun `no GPU gives way to the CPU with the reason`() {
        val found = policy { null }.open(file, Delegate.GPU)
        assertEquals(listOf("gpu: not on this phone"), found.placement.notes)
        assertEquals(Double.POSITIVE_INFINITY, found.psnr)
    }

    @Test
    fun `a phone without a CPU path is an error`() {
        val nothing = DelegatePolicy(phone { null }, reference, store, 34, "a phone")
        assertThrows(DelegateException::class.java) { nothing.open(file, Delegate.GPU) }
    }

    @Test
    fun `NNAPI is not tried where the system has deprecated it`() {
        val found = policy(sdk = 35) { 0.001f }.open(file, Delegate.NNAPI)
        assertEquals(listOf("cpu"), opened)
        assertTrue("Android 15" in found.placement.notes.single())
        opened.clear()
        assertEquals("nnapi", policy(sdk = 34) { 0.001f }.open(file, Delegate.NNAPI).placement.delegate)
    }

    @Test
    fun `a benchmark gets what it requested or nothing`() {
        val none = policy { null }
        assertThrows(DelegateException::class.java) { none.openAlone(file, Delegate.GPU) }
        assertEquals("cpu", none.openAlone(file, Delegate.CPU).placement.delegate)
    }

    @Test
    fun `another phone, model or driver is checked anew`() {
        policy { 0.001f }.open(file, Delegate.GPU)
        assertEquals(1, store.entries.size)
        DelegatePolicy(phone(gpu { 0.001f }), reference, store, 34, "another").open(file, Delegate.GPU)
        val other = Golden.tflite("tests/data/small_float16.tflite")
        policy { 0.001f }.open(other, Delegate.GPU)
        assertEquals(3, store.entries.size)
    }

    @Test
    fun `another reference is checked anew`() {
        policy { 0.001f }.open(file, Delegate.GPU)
        val other = Reference(reference.input, picture, "another")
        DelegatePolicy(phone(gpu { 0.001f }), other, store, 34, "a phone").open(file, Delegate.GPU)
        assertEquals(2, store.entries.size)
    }

    @Test
    fun `a verdict of an older check, or none that is known, does not hold`() {
        store.entries["${file.sha256} gpu a phone"] = "default 99.0"
        val wrong = policy { 0.2f }
        assertEquals("cpu", wrong.open(file, Delegate.GPU).placement.delegate)
        for (entry in listOf("nonsense", "nonsense 99.0", "default", "default many", "")) {
            store.entries.keys.forEach { store.entries[it] = entry }
            assertEquals("cpu", wrong.open(file, Delegate.GPU).placement.delegate, entry)
        }
    }

    @Test
    fun `a runner that fails at the check is closed`() {
        val failing = RunnerFactory { _, options ->
            opened += options.delegate.label
            object : Runner {
                override val placement = Placement("", options.delegate.label, "a device", 5, 5)
                override fun run(input: FloatImage): FloatImage = throw DelegateException("fails while it runs")
                override fun close() { opened += "closed" }
            }
        }
        assertThrows(DelegateException::class.java) {
            DelegatePolicy(failing, reference, store, 34, "a phone").open(file, Delegate.GPU)
        }
        assertEquals(listOf("gpu", "closed", "cpu", "closed"), opened)
        assertTrue(store.entries.isEmpty(), "it is tried again")
    }

    @Test
    fun `a driver that ended the process twice during its check is not tried again`() {
        var left = emptyMap<String, String>()
        val driver = policy { 0.001f.also { left = store.entries.toMap() } }
        repeat(2) {
            opened.clear()
            assertEquals("gpu", driver.open(file, Delegate.GPU).placement.delegate)
            assertTrue("gpu" in opened)
            store.entries.clear()
            store.entries += left // what a process has written that ends as the GPU opens
        }
        opened.clear()
        val found = driver.open(file, Delegate.GPU)
        assertEquals(listOf("cpu"), opened)
        assertEquals("cpu", found.placement.delegate)
        assertTrue("the app ended twice during its check" in found.placement.notes.single())
        assertThrows(DelegateException::class.java) { driver.openAlone(file, Delegate.GPU) }
        assertEquals("nnapi", driver.open(file, Delegate.NNAPI).placement.delegate)
    }

    @Test
    fun `without a reference a model is compared with the CPU alone`() {
        val right = DelegatePolicy(phone(gpu { 0.001f }), null, store, 34, "a phone").open(file, Delegate.GPU)
        assertEquals("gpu", right.placement.delegate)
        assertNull(right.psnr)
        val wrong = DelegatePolicy(phone(gpu { 0.3f }), null, store, 34, "another").open(file, Delegate.GPU)
        assertEquals("cpu", wrong.placement.delegate)
    }

    @Test
    fun `another model's reference says nothing of this one`() {
        val other = Reference(reference.input, FloatImage(64, 96, 3), "another")
        val found = DelegatePolicy(phone(gpu { 0.001f }), other, store, 34, "a phone").open(file, Delegate.GPU)
        assertEquals("gpu", found.placement.delegate)
        assertNull(found.psnr)
    }

    @Test
    fun `a quantized file may differ from the CPU as far as it stays as close to the full model`() {
        val nearer = phone { if (it.delegate == Delegate.CPU) 0.05f else 0.01f }
        assertEquals("gpu", DelegatePolicy(nearer, reference, store, 34, "a phone").open(file, Delegate.GPU).placement.delegate)
        val further = phone { if (it.delegate == Delegate.CPU) 0.01f else 0.05f }
        assertEquals("cpu", DelegatePolicy(further, reference, store, 34, "another").open(file, Delegate.GPU).placement.delegate)
    }

    @Test
    fun `the CPU's picture bit for bit did not run on the GPU`() {
        val found = policy { 0f }.open(file, Delegate.GPU)
        assertEquals("cpu", found.placement.delegate)
        assertTrue("bit for bit" in found.placement.notes.single())
        val integers = Golden.tflite("tests/data/small_full-integer.tflite")
        assertEquals("nnapi", policy { 0f }.open(integers, Delegate.NNAPI).placement.delegate, "sums of integers are exact")
    }

    @Test
    fun `without the CPU there is no evidence, and nothing is remembered`() {
        val alone = phone { if (it.delegate == Delegate.CPU) null else 0.001f }
        val policy = DelegatePolicy(alone, reference, store, 34, "a phone")
        val error = assertThrows(DelegateException::class.java) { policy.openAlone(file, Delegate.GPU) }
        assertTrue("cannot be compared" in error.message!!)
        assertEquals(listOf("gpu", "cpu", "closed"), opened)
        assertTrue(store.entries.isEmpty())
    }

    @Test
    fun `NaN on the CPU is the file's fault`() {
        val broken = phone { if (it.delegate == Delegate.CPU) Float.NaN else 0.001f }
        val policy = DelegatePolicy(broken, reference, store, 34, "a phone")
        assertThrows(InputException::class.java) { policy.open(file, Delegate.GPU) }
        assertEquals(listOf("gpu", "cpu", "closed", "closed"), opened)
    }

    @Test
    fun `a delegate that does not report what it runs is refused`() {
        val silent = RunnerFactory { _, options ->
            val right = phone(gpu { 0.001f }).open(file, options)
            object : Runner by right {
                override val placement = right.placement.copy(delegatedOps = null, unsupportedOps = null)
            }
        }
        val found = DelegatePolicy(silent, reference, store, 34, "a phone").open(file, Delegate.GPU)
        assertEquals("cpu", found.placement.delegate)
        assertEquals("gpu: does not show that it runs the whole model", found.placement.notes.single())
    }
}
