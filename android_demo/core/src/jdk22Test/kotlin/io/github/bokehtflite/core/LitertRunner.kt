package io.github.bokehtflite.core

import java.lang.foreign.Arena
import java.lang.foreign.FunctionDescriptor
import java.lang.foreign.Linker
import java.lang.foreign.MemorySegment
import java.lang.foreign.SymbolLookup
import java.lang.foreign.ValueLayout.ADDRESS
import java.lang.foreign.ValueLayout.JAVA_FLOAT
import java.lang.foreign.ValueLayout.JAVA_INT
import java.lang.foreign.ValueLayout.JAVA_LONG
import java.nio.file.Path

/** LiteRT's C library on Linux, through Java's foreign-function interface: a real interpreter for tests. */
class LitertRunner(library: Path, model: Path, private val file: TfliteFile) : Runner {
    private val arena = Arena.ofShared()
    private val symbols = SymbolLookup.libraryLookup(library, arena)
    private val compiled: MemorySegment
    private val input: MemorySegment
    private val output: MemorySegment
    override val placement = Placement("cpu", "cpu", "LiteRT on Linux", file.operators, file.operators)

    init {
        val environment = make("CreateEnvironment", 0, MemorySegment.NULL)
        val loaded = make("CreateModelFromFile", environment, arena.allocateFrom(model.toString()))
        val options = make("CreateOptions")
        call("SetOptionsHardwareAccelerators", options, CPU)
        compiled = make("CreateCompiledModel", environment, loaded, options)
        val subgraph = make("GetModelSubgraph", loaded, 0L)
        fun buffer(side: String): MemorySegment {
            val tensor = make("GetSubgraph$side", subgraph, 0L)
            val type = arena.allocate(512)
            call("GetRankedTensorType", tensor, type)
            val needs = make("GetCompiledModel${side}BufferRequirements", compiled, 0L, 0L)
            return make("CreateManagedTensorBufferFromRequirements", environment, type, needs)
        }
        input = buffer("Input")
        output = buffer("Output")
    }

    override fun run(input: FloatImage): FloatImage {
        locked(this.input, WRITE, input.values.size) { memory -> MemorySegment.copy(input.values, 0, memory, JAVA_FLOAT, 0, input.values.size) }
        call("RunCompiledModel", compiled, 0L, 1L, pointer(this.input), 1L, pointer(output))
        val (height, width, channels) = file.output.shape.drop(1)
        val picture = FloatImage(height, width, channels)
        locked(output, READ, picture.values.size) { memory -> MemorySegment.copy(memory, JAVA_FLOAT, 0, picture.values, 0, picture.values.size) }
        return picture
    }

    override fun close() = Unit

    private fun locked(buffer: MemorySegment, mode: Int, floats: Int, use: (MemorySegment) -> Unit) {
        val address = arena.allocate(ADDRESS)
        call("LockTensorBuffer", buffer, address, mode)
        use(address.get(ADDRESS, 0).reinterpret(floats * 4L))
        call("UnlockTensorBuffer", buffer)
    }

    private fun pointer(value: MemorySegment): MemorySegment = arena.allocate(ADDRESS).apply { set(ADDRESS, 0, value) }

    private fun make(name: String, vararg arguments: Any): MemorySegment {
        val made = arena.allocate(ADDRESS)
        call(name, *arguments, made)
        return made.get(ADDRESS, 0)
    }

    private fun call(name: String, vararg arguments: Any) {
        val layouts = arguments.map {
            when (it) {
                is Int -> JAVA_INT
                is Long -> JAVA_LONG
                else -> ADDRESS
            }
        }
        val function = symbols.find("LiteRt$name").orElseThrow { IllegalStateException("LiteRt$name is not there") }
        val handle = Linker.nativeLinker().downcallHandle(function, FunctionDescriptor.of(JAVA_INT, *layouts.toTypedArray()))
        val status = handle.invokeWithArguments(*arguments) as Int
        check(status == 0) { "LiteRt$name failed with status $status" }
    }

    private companion object {
        const val CPU = 1
        const val READ = 0
        const val WRITE = 1
    }
}
