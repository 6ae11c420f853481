package io.github.bokehtflite

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.RectF
import android.util.AttributeSet
import android.view.MotionEvent
import android.view.View

/** Two pictures of one shape on top of each other; the first is visible up to a line that the finger moves. */
class CompareView(context: Context, attributes: AttributeSet) : View(context, attributes) {
    /** Told when the finger moves the line; 0 to 1. */
    var onCut: (Float) -> Unit = {}

    var cut = 0.5f
        set(value) {
            field = value.coerceIn(0f, 1f)
            invalidate()
        }

    private var before: Bitmap? = null
    private var after: Bitmap? = null
    private val place = RectF()
    private val smooth = Paint(Paint.FILTER_BITMAP_FLAG)
    private val line = Paint().apply {
        color = 0xffffffff.toInt()
        strokeWidth = 2 * resources.displayMetrics.density
        setShadowLayer(4f, 0f, 0f, 0xff000000.toInt())
    }

    /** Shows pictures; null shows none. */
    fun show(before: Bitmap?, after: Bitmap?) {
        this.before = before
        this.after = after
        contentDescription = context.getString(if (after == null) R.string.picture_empty else R.string.picture_ready)
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        val shown = before ?: after ?: return
        val factor = minOf(width.toFloat() / shown.width, height.toFloat() / shown.height)
        val left = (width - shown.width * factor) / 2
        val top = (height - shown.height * factor) / 2
        place.set(left, top, left + shown.width * factor, top + shown.height * factor)
        val border = place.left + cut * place.width()
        half(canvas, before ?: shown, place.left, border)
        half(canvas, after ?: shown, border, place.right)
        if (before != null && after != null) canvas.drawLine(border, place.top, border, place.bottom, line)
    }

    override fun onTouchEvent(event: MotionEvent): Boolean {
        if (after == null || place.width() == 0f) return super.onTouchEvent(event)
        parent.requestDisallowInterceptTouchEvent(true)
        cut = (event.x - place.left) / place.width()
        onCut(cut)
        if (event.action == MotionEvent.ACTION_UP) performClick()
        return true
    }

    // The seek bar below does the same for the keyboard and for TalkBack.
    override fun performClick(): Boolean = super.performClick()

    private fun half(canvas: Canvas, bitmap: Bitmap, from: Float, to: Float) {
        canvas.save()
        canvas.clipRect(from, place.top, to, place.bottom)
        canvas.drawBitmap(bitmap, null, place, smooth)
        canvas.restore()
    }
}
