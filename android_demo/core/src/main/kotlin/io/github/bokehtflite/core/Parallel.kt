package io.github.bokehtflite.core

import java.util.stream.IntStream

/** Does [work] for each of `0 until count`, on all cores. */
internal fun parallel(count: Int, work: (Int) -> Unit) {
    IntStream.range(0, count).parallel().forEach(work)
}
