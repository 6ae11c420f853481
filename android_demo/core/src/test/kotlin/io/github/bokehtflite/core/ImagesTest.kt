package io.github.bokehtflite.core

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class ImagesTest {
    @Test
    fun `psnr by hand`() {
        val black = FloatImage(4, 5, 3)
        val grey = FloatImage(4, 5, 3, FloatArray(60) { 0.1f })
        assertEquals(20.0, psnr(grey, black), 1e-5)
        assertEquals(Double.POSITIVE_INFINITY, psnr(black, black))
    }

    @Test
    fun `mirrors repeat the edge, however far they reach`() {
        assertEquals(listOf(2, 1, 0, 0, 1, 2, 2, 1, 0, 0), (-3..6).map { mirrored(it, 3) })
        assertEquals(listOf(0, 0, 0), (-1..1).map { mirrored(it, 1) })
    }

    @Test
    fun `a frame keeps the photo's shape and lies in the middle`() {
        assertEquals(Frame(0, 64, 256, 256), Frame.within(1000, 1000, 256, 384))
        assertEquals(Frame(0, 0, 256, 384), Frame.within(2000, 3000, 256, 384))
        assertEquals(Frame(127, 0, 1, 384), Frame.within(1, 4000, 256, 384))
    }

    @Test
    fun `what is cut out of the frame is what was put in`() {
        val image = FloatImage(2, 3, 1, FloatArray(6) { it.toFloat() })
        val frame = Frame(1, 2, 2, 3)
        assertArrayEquals(image.values, frame.crop(frame.pad(image, 5, 8)).values)
    }

    @Test
    fun `strength 0 is the photo, byte for byte`() {
        val bytes = ByteArray(60 * 80 * 3) { (it * 31).toByte() }
        val photo = Photo(60, 80, bytes.copyOf())
        join(photo, FloatImage(20, 27, 3), null, strength = 0f)
        assertTrue(Golden.largest(photo.rgb, bytes) <= 0)
    }

    @Test
    fun `shapes are checked`() {
        assertThrows(IllegalArgumentException::class.java) { Photo(2, 2, ByteArray(11)) }
        assertThrows(IllegalArgumentException::class.java) { psnr(FloatImage(1, 2, 3), FloatImage(2, 1, 3)) }
    }
}
