package io.github.bokehtflite.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest

/** A file that is wrong: the message is one line that says what and what to do. */
class InputException(message: String) : Exception(message)

/** How a tensor's numbers stand for real ones; scale is 0 for floats. */
data class TensorInfo(val shape: List<Int>, val type: Type, val scale: Float, val zeroPoint: Int) {
    enum class Type(val code: Int, val bytes: Int) {
        FLOAT32(0, 4), UINT8(3, 1), INT16(7, 2), INT8(9, 1);

        companion object {
            fun of(code: Int): Type = entries.firstOrNull { it.code == code }
                ?: throw InputException("tensors of type $code are not known; convert the model again")
        }
    }

    val size: Int get() = shape.fold(1, Int::times)
}

/**
 * What the app needs to know of a .tflite file, read from its flatbuffer (schema.fbs of TensorFlow Lite).
 *
 * @property content the file's bytes; position 0 to limit.
 * @property input the first input's tensor, `[1, height, width, channels]`.
 * @property output the first output's.
 * @property operators how many the main subgraph has.
 * @property convolves whether CONV_2D is among them.
 * @property metadata the texts of its metadata entries, by name.
 */
class TfliteFile private constructor(
    val name: String,
    val content: ByteBuffer,
    val input: TensorInfo,
    val output: TensorInfo,
    val operators: Int,
    val convolves: Boolean,
    val metadata: Map<String, String>,
) {
    /** Hash of the bytes, in hex. */
    val sha256: String by lazy {
        val digest = MessageDigest.getInstance("SHA-256")
        digest.update(content.duplicate().apply { rewind() })
        digest.digest().joinToString("") { "%02x".format(it) }
    }

    companion object {
        /** Reads a file. Throws [InputException] if it is no .tflite, or damaged. */
        fun read(name: String, content: ByteBuffer): TfliteFile {
            try {
                return Reader(content).read(name)
            } catch (error: InputException) {
                throw InputException("$name: ${error.message}")
            } catch (error: RuntimeException) { // offsets past the end, empty lists, negative sizes
                throw InputException("$name: is damaged; copy it again")
            }
        }
    }

    /** What a damaged file leads to is a [RuntimeException], which [TfliteFile.read] explains. */
    private class Reader(content: ByteBuffer) {
        private val whole = content
        private val bytes = content.duplicate().order(ByteOrder.LITTLE_ENDIAN)

        fun read(name: String): TfliteFile {
            if (bytes.limit() < 8 || text(4, 4) != "TFL3") throw InputException("is no .tflite file; choose another")
            val model = bytes.getInt(0)
            val subgraph = vector(model, SUBGRAPHS).first()
            val tensors = vector(subgraph, TENSORS)
            val operators = vector(subgraph, OPERATORS)
            val codes = vector(model, OPERATOR_CODES).map(::builtin)
            val buffers = vector(model, BUFFERS)
            val metadata = vector(model, METADATA).associate { entry ->
                string(entry, 0) to data(buffers[scalar(entry, 1)])
            }
            return TfliteFile(
                name,
                whole,
                tensor(tensors[numbers(subgraph, INPUTS).first()]),
                tensor(tensors[numbers(subgraph, OUTPUTS).first()]),
                operators.size,
                operators.any { codes[scalar(it, 0)] == CONV_2D },
                metadata,
            )
        }

        private fun tensor(table: Int): TensorInfo {
            val quantization = field(table, 4)?.let { it + bytes.getInt(it) }
            val scales = quantization?.let { field(it, 2) }?.let { it + bytes.getInt(it) }
            val zeros = quantization?.let { field(it, 3) }?.let { it + bytes.getInt(it) }
            val quantized = scales != null && bytes.getInt(scales) > 0
            return TensorInfo(
                numbers(table, 0),
                TensorInfo.Type.of(field(table, 1)?.let { bytes.get(it).toInt() } ?: 0),
                if (quantized) bytes.getFloat(scales!! + 4) else 0f,
                if (quantized && zeros != null) bytes.getLong(zeros + 4).toInt() else 0,
            )
        }

        /** The operator's number: in field 3 of newer files, in field 0, a byte, of older ones. */
        private fun builtin(code: Int): Int = maxOf(scalar(code, 3), field(code, 0)?.let { bytes.get(it).toInt() } ?: 0)

        /** Position of a table's field, null where it has its default. */
        private fun field(table: Int, number: Int): Int? {
            val vtable = table - bytes.getInt(table)
            if (4 + 2 * number >= bytes.getShort(vtable)) return null
            val offset = bytes.getShort(vtable + 4 + 2 * number).toInt()
            return if (offset == 0) null else table + offset
        }

        private fun scalar(table: Int, number: Int): Int = field(table, number)?.let(bytes::getInt) ?: 0

        private fun start(table: Int, number: Int): Int? = field(table, number)?.let { it + bytes.getInt(it) }

        private fun count(start: Int): Int {
            val count = bytes.getInt(start)
            if (count < 0 || count > bytes.limit()) throw IndexOutOfBoundsException()
            return count
        }

        /** Positions of a vector's tables. */
        private fun vector(table: Int, number: Int): List<Int> {
            val start = start(table, number) ?: return emptyList()
            return List(count(start)) { i -> (start + 4 + 4 * i).let { it + bytes.getInt(it) } }
        }

        private fun numbers(table: Int, number: Int): List<Int> {
            val start = start(table, number) ?: return emptyList()
            return List(count(start)) { i -> bytes.getInt(start + 4 + 4 * i) }
        }

        private fun string(table: Int, number: Int): String =
            start(table, number)?.let { text(it + 4, count(it)) } ?: ""

        /** Large files keep their buffers behind the flatbuffer: then fields 1 and 2 say where. */
        private fun data(buffer: Int): String {
            start(buffer, 0)?.let { return text(it + 4, count(it)) }
            val offset = field(buffer, 1) ?: return ""
            val size = field(buffer, 2) ?: return ""
            return text(bytes.getLong(offset).toInt(), bytes.getLong(size).toInt())
        }

        private fun text(start: Int, size: Int): String {
            if (start < 0 || size < 0 || size > bytes.limit() - start) throw IndexOutOfBoundsException()
            val copy = ByteArray(size)
            bytes.duplicate().apply { position(start) }.get(copy)
            return copy.toString(Charsets.UTF_8)
        }
    }

}

private const val OPERATOR_CODES = 1
private const val SUBGRAPHS = 2
private const val BUFFERS = 4
private const val METADATA = 6
private const val TENSORS = 0
private const val INPUTS = 1
private const val OUTPUTS = 2
private const val OPERATORS = 3
private const val CONV_2D = 3
