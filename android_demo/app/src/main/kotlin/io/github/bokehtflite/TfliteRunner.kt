package io.github.bokehtflite

import io.github.bokehtflite.core.Delegate
import io.github.bokehtflite.core.DelegateException
import io.github.bokehtflite.core.FloatImage
import io.github.bokehtflite.core.Placement
import io.github.bokehtflite.core.Runner
import io.github.bokehtflite.core.RunnerFactory
import io.github.bokehtflite.core.RunnerOptions
import io.github.bokehtflite.core.Tensors
import io.github.bokehtflite.core.TfliteFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.gpu.GpuDelegate
import org.tensorflow.lite.gpu.GpuDelegateFactory
import org.tensorflow.lite.nnapi.NnApiDelegate
import org.tensorflow.lite.planLength

/** Runs models with TensorFlow Lite's interpreter: the only file that knows it. */
object TfliteRunners : RunnerFactory {
    private val threads = minOf(4, Runtime.getRuntime().availableProcessors())

    override fun open(file: TfliteFile, options: RunnerOptions): Runner {
        val delegate = options.delegate
        try {
            return TfliteRunner(file, options, options.threads ?: threads)
        } catch (error: DelegateException) {
            throw error
        } catch (error: Exception) { // the interpreter refuses with several classes of its own
            throw DelegateException("${delegate.label}: ${line(error)}")
        } catch (error: LinkageError) { // no library for this phone's processor, or it misses what it links to
            throw DelegateException("${delegate.label}: its library does not load (${line(error)})")
        }
    }

    private fun line(error: Throwable): String = error.message?.trim()?.lines()?.firstOrNull() ?: error.javaClass.simpleName
}

private class TfliteRunner(private val file: TfliteFile, options: RunnerOptions, threads: Int) : Runner {
    private val delegate: org.tensorflow.lite.Delegate? = delegateOf(options)
    private val interpreter: Interpreter
    private val input = buffer(Tensors.bytes(file.input))
    private val output = buffer(Tensors.bytes(file.output))
    override val placement: Placement

    init {
        var opened: Interpreter? = null
        try {
            val settings = Interpreter.Options().setNumThreads(threads)
            // Else XNNPACK takes what a delegate leaves, and nobody could tell them apart.
            settings.setUseXNNPACK(delegate == null)
            delegate?.let(settings::addDelegate)
            file.content.rewind()
            opened = Interpreter(file.content, settings)
            interpreter = opened
            interpreter.allocateTensors()
            val plan = planLength(interpreter)
            if (delegate != null && plan != 1) {
                throw DelegateException(
                    "${options.delegate.label}: takes this model in part alone ($plan nodes are left of ${file.operators})",
                )
            }
            placement = Placement(
                requested = options.delegate.label,
                delegate = options.delegate.label,
                device = device(options.delegate, threads, whole = plan == 1),
                // Of a plan in parts the interpreter does not report what XNNPACK took.
                delegatedOps = if (plan == 1) file.operators else null,
                totalOps = file.operators,
                unsupportedOps = if (plan == 1) emptyList() else null,
            )
        } catch (error: Throwable) {
            opened?.close()
            delegate?.close()
            throw error
        }
    }

    override fun run(input: FloatImage): FloatImage {
        Tensors.write(input, file.input, this.input)
        output.rewind()
        try {
            interpreter.run(this.input, output)
        } catch (error: RuntimeException) {
            throw DelegateException("${placement.delegate}: fails while it runs (${error.message?.lines()?.first()})")
        }
        return Tensors.read(output, file.output)
    }

    override fun close() {
        interpreter.close()
        delegate?.close()
    }

    private fun delegateOf(options: RunnerOptions): org.tensorflow.lite.Delegate? = when (options.delegate) {
        Delegate.CPU -> null
        Delegate.GPU -> GpuDelegate(
            GpuDelegateFactory.Options()
                .setPrecisionLossAllowed(!options.float32)
                .setQuantizedModelsAllowed(true)
                .setInferencePreference(GpuDelegateFactory.Options.INFERENCE_PREFERENCE_SUSTAINED_SPEED),
        )
        Delegate.NNAPI -> NnApiDelegate()
    }

    private fun device(delegate: Delegate, threads: Int, whole: Boolean): String {
        if (delegate != Delegate.CPU) return "${chip()}, ${delegate.label.uppercase()}"
        // Which operators XNNPACK leaves to the built-in kernels, this interpreter does not report.
        return "${chip()}, XNNPACK${if (whole) "" else " in part"}, $threads threads"
    }

    private fun buffer(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
}
