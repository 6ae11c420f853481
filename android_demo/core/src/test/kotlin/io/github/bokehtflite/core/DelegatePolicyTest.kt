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
    private val reference = Reference(FloatImage(64, 96, 3), picture, "")
    private val opened = mutableListOf<String>()
    private val store = object : VerdictStore {
        val entries = mutableMapOf<String, String>()
        override fun read(key: String) = entries[key]
        override fun write(key: String, verdict: String) { entries[key] = verdict }
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

    private fun policy(sdk: Int = 34, error: (RunnerOptions) -> Float?) =
        DelegatePolicy(phone(error), reference, store, sdk, "a phone")

    @Test
    fun `a GPU that draws the right picture is used as asked`() {
        val found = policy { 0.001f }.open(file, Delegate.GPU)
        assertEquals(listOf("gpu"), opened)
        assertEquals("gpu", found.placement.delegate)
        assertEquals("default", found.placement.precision)
        assertEquals(60.0, found.psnr!!, 0.1)
        assertTrue(found.placement.notes.isEmpty())
    }

    @Test
    fun `a wrong picture in half precision turns to float32, and is told again later`() {
        val half = policy { if (it.float32) 0.001f else 0.2f }
        val found = half.open(file, Delegate.GPU)
        assertEquals(listOf("gpu", "closed", "gpu float32"), opened)
        assertEquals("float32", found.placement.precision)
        assertTrue("half precision draws a wrong picture (14.0 dB" in found.placement.notes.single())
        opened.clear()
        val again = half.open(file, Delegate.GPU)
        assertEquals(listOf("gpu float32"), opened)
        assertEquals(60.0, again.psnr!!, 0.1)
        assertTrue("runs in float32" in again.placement.notes.single())
    }

    @Test
    fun `a GPU that is wrong in float32 too gives way to the CPU, visibly`() {
        val wrong = policy { if (it.delegate == Delegate.CPU) 0f else 0.2f }
        val found = wrong.open(file, Delegate.GPU)
        assertEquals("cpu", found.placement.delegate)
        assertEquals("gpu", found.placement.requested)
        assertTrue("draws a wrong picture on this phone (14.0 dB" in found.placement.notes.last())
        opened.clear()
        wrong.open(file, Delegate.GPU)
        assertEquals(listOf("cpu"), opened, "known from now on: the GPU is not asked again")
        assertThrows(DelegateException::class.java) { wrong.openAlone(file, Delegate.GPU) }
    }

    @Test
    fun `NaN is a wrong picture`() {
        val found = policy { if (it.delegate == Delegate.GPU) Float.NaN else 0f }.open(file, Delegate.GPU)
        assertEquals("cpu", found.placement.delegate)
    }

    @Test
    fun `no GPU gives way to the CPU with the reason`() {
        val found = policy { if (it.delegate == Delegate.GPU) null else 0f }.open(file, Delegate.GPU)
        assertEquals(listOf("gpu: not on this phone"), found.placement.notes)
        assertEquals(Double.POSITIVE_INFINITY, found.psnr)
    }

    @Test
    fun `a phone without a CPU path is an error`() {
        assertThrows(DelegateException::class.java) { policy { null }.open(file, Delegate.GPU) }
    }

    @Test
    fun `NNAPI is not asked for where the system has deprecated it`() {
        val found = policy(sdk = 35) { 0f }.open(file, Delegate.NNAPI)
        assertEquals(listOf("cpu"), opened)
        assertTrue("Android 15" in found.placement.notes.single())
        opened.clear()
        assertEquals("nnapi", policy(sdk = 34) { 0f }.open(file, Delegate.NNAPI).placement.delegate)
    }

    @Test
    fun `a benchmark gets what it asked for or nothing`() {
        val none = policy { if (it.delegate == Delegate.GPU) null else 0f }
        assertThrows(DelegateException::class.java) { none.openAlone(file, Delegate.GPU) }
        assertEquals("cpu", none.openAlone(file, Delegate.CPU).placement.delegate)
    }

    @Test
    fun `another phone, model or driver is checked anew`() {
        policy { 0.001f }.open(file, Delegate.GPU)
        assertEquals(1, store.entries.size)
        DelegatePolicy(phone { 0.001f }, reference, store, 34, "another").open(file, Delegate.GPU)
        val other = Golden.tflite("tests/data/small_float16.tflite")
        policy { 0.001f }.open(other, Delegate.GPU)
        assertEquals(3, store.entries.size)
    }

    @Test
    fun `another reference is checked anew`() {
        policy { 0.001f }.open(file, Delegate.GPU)
        val other = Reference(reference.input, picture, "another")
        DelegatePolicy(phone { 0.001f }, other, store, 34, "a phone").open(file, Delegate.GPU)
        assertEquals(2, store.entries.size)
    }

    @Test
    fun `a verdict of an older check, or none that is known, does not hold`() {
        store.entries["${file.sha256} gpu a phone"] = "default 99.0"
        val wrong = policy { if (it.delegate == Delegate.CPU) 0f else 0.2f }
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
    }

    @Test
    fun `without a reference of its size a model runs unchecked`() {
        val found = DelegatePolicy(phone { 0.3f }, null, store, 34, "a phone").open(file, Delegate.GPU)
        assertEquals("gpu", found.placement.delegate)
        assertNull(found.psnr)
    }
}
