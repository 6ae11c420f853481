package io.github.bokehtflite

import android.content.Context
import android.content.res.AssetManager
import android.os.Build
import io.github.bokehtflite.core.DelegatePolicy
import io.github.bokehtflite.core.ModelPolicy
import io.github.bokehtflite.core.Reference
import io.github.bokehtflite.core.RunnerFactory
import io.github.bokehtflite.core.TfliteFile
import io.github.bokehtflite.core.VerdictStore
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel

/** The bundled models, the reference they are checked against, and what is known of this phone. */
class Models(private val context: Context) {
    /** Name on the screen, and asset. A build with other models may lack all but the first. */
    val bundled: Map<String, String> by lazy {
        val assets = context.assets.list("models").orEmpty()
        listOf(ModelPolicy.FLOAT16, ModelPolicy.INT8, ModelPolicy.FAST)
            .associateWith { name -> "models/$name.tflite" }
            .filterValues { asset -> asset.substringAfter('/') in assets }
    }

    val policy: DelegatePolicy by lazy {
        // The app's version identifies its interpreter; the fingerprint is of the system, drivers included.
        val version = context.packageManager.getPackageInfo(context.packageName, 0).versionName
        DelegatePolicy(runners, reference(), Verdicts(context), Build.VERSION.SDK_INT, "${Build.FINGERPRINT} app $version")
    }

    /** Chooses and opens a bundled model. */
    val choice: ModelPolicy by lazy { ModelPolicy(policy, bundled.keys, ::read) }

    /** Reads a bundled model; assets of models are stored as they are, so the file is mapped and not copied. */
    private fun read(name: String): TfliteFile {
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
        fun asset(name: String) = context.assets.open("models/$name").use { it.readBytes() }
        return Reference.read(asset("reference.json").decodeToString(), asset("reference.bin"))
    }

    private class Verdicts(context: Context) : VerdictStore {
        private val store = context.getSharedPreferences("checks", Context.MODE_PRIVATE)

        override fun read(key: String): String? = store.getString(key, null)

        override fun write(key: String, verdict: String) {
            store.edit().putString(key, verdict).commit() // `apply` writes later, and a driver may end the process before
        }

        override fun remove(key: String) = store.edit().remove(key).apply()
    }
}
