package io.github.bokehtflite

import android.content.Context
import android.content.res.AssetManager
import android.os.Build
import io.github.bokehtflite.core.DelegatePolicy
import io.github.bokehtflite.core.FloatImage
import io.github.bokehtflite.core.Reference
import io.github.bokehtflite.core.RunnerFactory
import io.github.bokehtflite.core.TfliteFile
import io.github.bokehtflite.core.VerdictStore
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.json.JSONObject

/** The bundled models, the reference they are checked against, and what is known of this phone. */
class Models(private val context: Context) {
    /** Name on the screen, and asset; the first is chosen unless another is. */
    val bundled: Map<String, String> = linkedMapOf(
        // float16 first: the GPU, which is chosen first too, computes in floats. On the CPU int8 is the faster one.
        "float16" to "models/demo_pynet_float16.tflite",
        "int8" to "models/demo_pynet_int8.tflite",
    )

    val policy: DelegatePolicy by lazy {
        // The app's version identifies its interpreter; the fingerprint is of the system, drivers included.
        val version = context.packageManager.getPackageInfo(context.packageName, 0).versionName
        DelegatePolicy(runners, reference(), Verdicts(context), Build.VERSION.SDK_INT, "${Build.FINGERPRINT} app $version")
    }

    /** Opens a bundled model; assets of models are stored as they are, so the file is mapped and not copied. */
    fun open(name: String): TfliteFile {
        val asset = bundled.getValue(name)
        return TfliteFile.read(asset.substringAfterLast('/'), content(context.assets, asset))
    }

    companion object {
        /** What runs models; tests have another. */
        internal var runners: RunnerFactory = TfliteRunners

        /** An asset's bytes; a JVM has no file descriptors into an APK. */
        internal var content: (AssetManager, String) -> ByteBuffer = { assets, name ->
            assets.openFd(name).use { descriptor ->
                FileInputStream(descriptor.fileDescriptor).use { stream ->
                    stream.channel.map(FileChannel.MapMode.READ_ONLY, descriptor.startOffset, descriptor.declaredLength)
                }
            }
        }
    }

    private fun reference(): Reference {
        val json = JSONObject(context.assets.open("models/reference.json").use { it.readBytes().decodeToString() })
        val bytes = ByteBuffer.wrap(context.assets.open("models/reference.bin").use { it.readBytes() })
            .order(ByteOrder.LITTLE_ENDIAN)
        val input = shaped(json, "input_shape")
        for (i in input.values.indices) input.values[i] = (bytes.get().toInt() and 0xff) / 255f
        val fullModel = shaped(json, "output_shape")
        bytes.asFloatBuffer().get(fullModel.values)
        return Reference(input, fullModel, json.getString("source_sha256"))
    }

    private fun shaped(json: JSONObject, name: String): FloatImage {
        val shape = json.getJSONArray(name)
        return FloatImage(shape.getInt(0), shape.getInt(1), shape.getInt(2))
    }

    private class Verdicts(context: Context) : VerdictStore {
        private val store = context.getSharedPreferences("checks", Context.MODE_PRIVATE)

        override fun read(key: String): String? = store.getString(key, null)

        override fun write(key: String, verdict: String) = store.edit().putString(key, verdict).apply()
    }
}
