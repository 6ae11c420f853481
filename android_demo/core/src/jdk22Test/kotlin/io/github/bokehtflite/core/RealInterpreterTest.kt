package io.github.bokehtflite.core

import java.io.File
import java.nio.ByteBuffer
import java.nio.file.Path
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory

/** The golden test: the same photo and model give the same pixels in Kotlin and in Python, within 1 of 255. */
class RealInterpreterTest {
    @TestFactory
    fun `the same photo and model give the same pixels`(): List<DynamicTest> = Golden.entries("renderings").map { entry ->
        dynamicTest(entry.getString("name")) { compare(entry) }
    }

    private fun compare(entry: JSONObject) {
        val library = Path.of(System.getProperty("bokeh.litert"))
        val model = entry.getString("model")
        val file = Golden.tflite(model)
        val photo = Golden.photo(entry)
        LitertRunner(library, File(Golden.repository, model).toPath(), file).use { runner ->
            val int8 = ModelMetadata.of(file).scheme == "int8"
            val fed = if (int8) FedLikePython(runner, Golden.floats(entry, "tensor")) else runner
            Pipeline(file, RangedRunner(fed, file)).render(photo, entry.getDouble("strength").toFloat())
        }
        val off = Golden.largest(photo.rgb, Golden.bytes(entry, "result"))
        assertTrue(off <= 1, "off by $off")
    }

    @Test
    fun `the bundled int8 file passes its check on this CPU, so it is the first choice there`() {
        val models = File(System.getProperty("bokeh.assets"), "models")
        val reference = Reference.read(File(models, "reference.json").readText(), File(models, "reference.bin").readBytes())
        val runners = RunnerFactory { file, options ->
            if (options.delegate != Delegate.CPU) throw DelegateException("${options.delegate.label}: not on this machine")
            LitertRunner(Path.of(System.getProperty("bokeh.litert")), File(file.name).toPath(), file)
        }
        val store = object : VerdictStore {
            override fun read(key: String): String? = null
            override fun write(key: String, verdict: String) = Unit
            override fun remove(key: String) = Unit
        }
        val policy = DelegatePolicy(runners, reference, store, Contract.Nnapi.LAST_API_LEVEL, "this machine")
        val names = setOf(ModelPolicy.FLOAT16, ModelPolicy.INT8)
        val choice = ModelPolicy(policy, names) { name ->
            File(models, "$name.tflite").let { TfliteFile.read(it.path, ByteBuffer.wrap(it.readBytes())) }
        }
        choice.open(null, Delegate.GPU).runner.use { assertEquals(listOf("gpu: not on this machine"), it.placement.notes) }
        for ((name, least) in mapOf("int8" to 45.0, "float16" to 80.0)) {
            val opened = choice.open(name.takeIf { it != ModelPolicy.INT8 }, Delegate.CPU)
            assertEquals(name, opened.name)
            opened.runner.use { assertTrue(it.psnr!! > least, "$name: ${it.psnr} dB") }
        }
    }

    /**
     * In an int8 file, a difference of a float32's last bit can round an activation to the next integer, and the layers
     * after it amplify that: docs/android.md has the measurement. So it is fed Python's bits, after ours have been found
     * the same to 1e-4, and then held to 1 of 255 as every file is.
     */
    private class FedLikePython(private val runner: Runner, private val bits: FloatArray) : Runner by runner {
        override fun run(input: FloatImage): FloatImage {
            assertTrue(Golden.largest(input.values, bits) <= 1e-4f, "the input")
            return runner.run(FloatImage(input.height, input.width, input.channels, bits))
        }
    }
}
