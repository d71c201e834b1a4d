package edgecell.sample

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** An image: width × height × 3 bytes, red first. */
class Pixels(val width: Int, val height: Int, val data: ByteArray)

/**
 * From pixels to the input tensor, as `preprocessing` in model.json says, to the byte. Android's own
 * scaling of bitmaps gives other pixels.
 */
object Preprocess {
    private const val WEIGHT_BITS = 22

    /**
     * The image in the model's size; [crop] takes the largest centre of the model's shape, else all of it
     * is squeezed. Of either the middle [fraction] of each side is seen.
     */
    fun resize(image: Pixels, width: Int, height: Int, crop: Boolean, fraction: Double): Pixels {
        val cut = centre(image, width, height, crop, fraction)
        val rows = Strip(cut.data, cut.height, cut.width, cut.width * 3, 3)
        val narrow = Strip(ByteArray(cut.height * width * 3), cut.height, width, width * 3, 3)
        pass(rows, narrow)
        val columns = Strip(narrow.data, width, cut.height, 3, width * 3)
        val short = Strip(ByteArray(height * width * 3), width, height, 3, width * 3)
        pass(columns, short)
        return Pixels(width, height, short.data)
    }

    /** The input tensor's bytes: pixel u enters as u * multiply + add, in [dtype] of model.json. */
    fun scale(image: Pixels, dtype: String, multiply: Double, add: Double): ByteBuffer {
        val size = when (dtype) {
            "uint8", "int8" -> 1
            "int16" -> 2
            "float32" -> 4
            else -> throw IllegalArgumentException("an input of $dtype")
        }
        val tensor = ByteBuffer.allocateDirect(image.data.size * size).order(ByteOrder.nativeOrder())
        for (byte in image.data) {
            val value = (byte.toInt() and 0xff) * multiply + add
            when (size) {
                1 -> tensor.put(Math.rint(value).toInt().toByte()) // halves to even
                2 -> tensor.putShort(Math.rint(value).toInt().toShort())
                else -> tensor.putFloat(value.toFloat())
            }
        }
        tensor.rewind()
        return tensor
    }

    /** Lines of an image as one pass sees them, each of [count] pixels; steps in bytes. */
    private class Strip(
        val data: ByteArray, val lines: Int, val count: Int, val lineStep: Int, val step: Int
    )

    private fun centre(image: Pixels, width: Int, height: Int, crop: Boolean, fraction: Double): Pixels {
        val side = min(image.height.toDouble() / height, image.width.toDouble() / width)
        val high = if (crop) side * height else image.height.toDouble()
        val wide = if (crop) side * width else image.width.toDouble()
        val cutHeight = Math.rint(high * fraction).toInt().coerceIn(1, image.height)
        val cutWidth = Math.rint(wide * fraction).toInt().coerceIn(1, image.width)
        if (cutHeight == image.height && cutWidth == image.width) return image
        val top = (image.height - cutHeight) / 2
        val left = (image.width - cutWidth) / 2
        val data = ByteArray(cutHeight * cutWidth * 3)
        for (y in 0 until cutHeight) {
            val from = ((top + y) * image.width + left) * 3
            System.arraycopy(image.data, from, data, y * cutWidth * 3, cutWidth * 3)
        }
        return Pixels(cutWidth, cutHeight, data)
    }

    private fun pass(input: Strip, output: Strip) {
        val ratio = input.count.toDouble() / output.count
        val stretch = max(ratio, 1.0) // antialias: the kernel widens when it shrinks
        val inverse = 1.0 / stretch
        for (i in 0 until output.count) {
            val middle = (i + 0.5) * ratio
            val first = max((middle - stretch + 0.5).toInt(), 0)
            val last = min((middle + stretch + 0.5).toInt(), input.count)
            val shares = DoubleArray(last - first) { j ->
                max(0.0, 1.0 - abs((first + j - middle + 0.5) * inverse))
            }
            var total = 0.0
            for (share in shares) total += share
            val weights = IntArray(shares.size) { (0.5 + shares[it] / total * (1 shl WEIGHT_BITS)).toInt() }
            for (line in 0 until output.lines) {
                for (channel in 0 until 3) {
                    var from = line * input.lineStep + first * input.step + channel
                    var sum = 1 shl (WEIGHT_BITS - 1)
                    for (weight in weights) {
                        sum += (input.data[from].toInt() and 0xff) * weight
                        from += input.step
                    }
                    val level = min(sum shr WEIGHT_BITS, 255)
                    output.data[line * output.lineStep + i * output.step + channel] = level.toByte()
                }
            }
        }
    }
}
