package edgecell.sample

import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.ImageDecoder
import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/**
 * The model of the bundle, from the app's assets model.json and model.tflite. Not a medical device; not for
 * clinical use. Not thread-safe.
 */
class Classifier(assets: AssetManager) : Closeable {
    /** model.json; show `verified.sentence` unless `verified.status` is "passed". */
    val card = JSONObject(String(assets.open("model.json").use { it.readBytes() }, Charsets.UTF_8))

    init {
        require(card.getString("schema") == "edgecell/bundle" && card.getInt("schema_version") <= 2) {
            "model.json is of a newer kind than this sample knows"
        }
    }

    val model: ByteArray = assets.open("model.tflite").use { it.readBytes() }
    val labels: List<String> = card.getJSONArray("labels").let { list ->
        List(list.length()) { list.getString(it) }
    }

    private val steps = card.getJSONObject("preprocessing")
    private val size = steps.getJSONObject("resize")
    private val input = card.getJSONObject("input")
    private val output = card.getJSONObject("output")
    private val decision = card.getJSONObject("decision")
    private val bytesOfOutput = labels.size * when (output.getString("dtype")) {
        "uint8", "int8" -> 1
        "int16" -> 2
        else -> 4
    }
    private val interpreter = Interpreter(direct(model), Interpreter.Options().setNumThreads(1))

    /** An image file's bytes → the model's own probability of each label. */
    fun predict(encoded: ByteArray): DoubleArray = probabilities(infer(scale(resize(decode(encoded)))))

    /** A camera's picture → the same; it has to be upright. */
    fun predict(picture: Bitmap): DoubleArray = probabilities(infer(scale(resize(pixels(picture)))))

    /** An image file's bytes → pixels, upright, transparency over black. */
    fun decode(encoded: ByteArray): Pixels {
        val most = steps.getJSONObject("decode").getLong("max_pixels")
        val source = ImageDecoder.createSource(ByteBuffer.wrap(encoded))
        return pixels(ImageDecoder.decodeBitmap(source) { decoder, info, _ ->
            require(info.size.width.toLong() * info.size.height <= most) { "more than $most pixels" }
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
        })
    }

    fun resize(image: Pixels): Pixels = Preprocess.resize(
        image,
        size.getInt("width"),
        size.getInt("height"),
        steps.getJSONObject("fit").getString("mode") == "crop",
        steps.getJSONObject("fit").optDouble("central_fraction", 1.0)
    )

    fun scale(image: Pixels): ByteBuffer = Preprocess.scale(
        image, input.getString("dtype"), input.getDouble("multiply"), input.getDouble("add")
    )

    /** The input tensor's bytes → the output tensor's. */
    fun infer(tensor: ByteBuffer): ByteBuffer {
        val found = ByteBuffer.allocateDirect(bytesOfOutput).order(ByteOrder.nativeOrder())
        interpreter.run(tensor, found)
        found.rewind()
        return found
    }

    /** The output tensor's own numbers. */
    fun values(tensor: ByteBuffer): DoubleArray = DoubleArray(labels.size) {
        when (output.getString("dtype")) {
            "uint8" -> (tensor.get(it).toInt() and 0xff).toDouble()
            "int8" -> tensor.get(it).toDouble()
            "int16" -> tensor.getShort(2 * it).toDouble()
            else -> tensor.getFloat(4 * it).toDouble()
        }
    }

    /** Probabilities to show people: with the temperature, or each label's scaling, where there is one. */
    fun calibrated(probabilities: DoubleArray): DoubleArray {
        val temperature = decision.getJSONObject("temperature")
        val floor = temperature.getDouble("floor")
        val scaling = decision.optJSONObject("labels")?.optJSONObject("scaling")
        if (scaling != null) {
            val slopes = scaling.getJSONArray("slopes")
            val offsets = scaling.getJSONArray("offsets")
            return DoubleArray(probabilities.size) {
                val kept = min(max(probabilities[it], floor), 1 - floor)
                1 / (1 + exp(-(ln(kept / (1 - kept)) * slopes.getDouble(it) + offsets.getDouble(it))))
            }
        }
        if (!temperature.getBoolean("use")) return probabilities
        val value = temperature.getDouble("value")
        val logits = probabilities.map { ln(max(it, floor)) / value }
        val most = logits.fold(Double.NEGATIVE_INFINITY, ::max)
        val odds = logits.map { exp(it - most) }
        val sum = odds.sum()
        return DoubleArray(odds.size) { odds[it] / sum }
    }

    /** The labels to show: one, several where several can hold, none where the model is not sure. */
    fun answers(probabilities: DoubleArray): List<String> {
        if (card.getJSONObject("task").getString("kind") == "multi-label") {
            val threshold = decision.getDouble("label_threshold")
            val own = decision.optJSONObject("labels")?.getJSONArray("thresholds")
            return labels.filterIndexed { i, _ ->
                if (own == null || own.isNull(i)) {
                    probabilities[i] > threshold
                } else {
                    probabilities[i] >= own.getDouble(i) - 1e-7
                }
            }
        }
        val best = labels.indices.fold(0) { a, b -> if (probabilities[b] > probabilities[a]) b else a }
        val abstention = decision.getJSONObject("abstention")
        val sure = abstention.isNull("threshold")
            || probabilities[best] >= abstention.getDouble("threshold") - 1e-7
        return if (sure) listOf(labels[best]) else emptyList()
    }

    override fun close() = interpreter.close()

    private fun probabilities(tensor: ByteBuffer): DoubleArray {
        val raw = values(tensor)
        if (output.isNull("scale")) return raw
        val zero = output.getInt("zero_point")
        val step = output.getDouble("scale")
        return DoubleArray(raw.size) { (raw[it] - zero) * step }
    }

    private fun pixels(picture: Bitmap): Pixels {
        val plain = if (picture.config == Bitmap.Config.ARGB_8888) {
            picture
        } else {
            picture.copy(Bitmap.Config.ARGB_8888, false)
        }
        // In memory red comes first, and colours are multiplied with alpha: that is over black.
        val rgba = ByteBuffer.allocate(plain.byteCount)
        plain.copyPixelsToBuffer(rgba)
        val data = ByteArray(plain.width * plain.height * 3)
        for (i in data.indices) data[i] = rgba.get(i / 3 * 4 + i % 3)
        return Pixels(plain.width, plain.height, data)
    }

    private fun direct(bytes: ByteArray): ByteBuffer {
        val buffer = ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder())
        buffer.put(bytes)
        buffer.rewind()
        return buffer
    }
}
