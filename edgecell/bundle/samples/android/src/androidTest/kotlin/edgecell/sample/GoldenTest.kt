package edgecell.sample

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import kotlin.math.abs
import org.json.JSONObject
import org.junit.After
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/**
 * Does this device do with the golden images what the training pipeline did? The test that fails names the
 * stage. Each stage is fed what the stage before should have given.
 */
@RunWith(AndroidJUnit4::class)
class GoldenTest {
    private val assets = InstrumentationRegistry.getInstrumentation().context.assets
    private val classifier = Classifier(assets)
    private val golden = JSONObject(String(read("golden.json"), Charsets.UTF_8))
    private val cases = golden.getJSONArray("cases").let { list ->
        List(list.length()) { list.getJSONObject(it) }
    }

    @After
    fun close() = classifier.close()

    @Test
    fun decode() = all { case ->
        val found = classifier.decode(read(case.getString("image")))
        val expected = case.getJSONObject("decoded")
        when {
            found.width != expected.getInt("width") || found.height != expected.getInt("height") ->
                "is ${found.width} × ${found.height} pixels"
            sha256(found.data) != expected.getString("sha256") -> "has other pixels"
            else -> null
        }
    }

    @Test
    fun resize() = all { case ->
        val decoded = classifier.decode(read(case.getString("image")))
        if (sha256(decoded.data) != case.getJSONObject("decoded").getString("sha256")) {
            null // a fault of decoding
        } else {
            difference(classifier.resize(decoded).data, stored(case, "resized"))
        }
    }

    @Test
    fun scale() = all { case ->
        val tensor = classifier.scale(resized(case))
        val found = ByteArray(tensor.remaining())
        tensor.get(found)
        difference(found, stored(case, "input"))
    }

    @Test
    fun inference() {
        val expected = classifier.card.getJSONObject("model").getString("sha256")
        assertTrue("model.tflite was altered", sha256(classifier.model) == expected)
        val tolerance = golden.getJSONObject("tolerance")
        val reach = tolerance.getDouble("quanta") * tolerance.getDouble("quantum")
        all { case ->
            val found = classifier.values(classifier.infer(tensor(stored(case, "input"))))
            val right = classifier.values(tensor(stored(case, "output")))
            val far = found.indices.filter { !(abs(found[it] - right[it]) <= reach) }
            val best = found.indices.fold(0) { a, b -> if (found[b] > found[a]) b else a }
            when {
                far.isNotEmpty() -> "differs in ${far.size} values, the first ${found[far[0]]}, not ${right[far[0]]}"
                case.isNull("top1") -> null
                best != case.getJSONObject("top1").getInt("index") ->
                    "is not ${case.getJSONObject("top1").getString("label")}"
                else -> null
            }
        }
    }

    private fun all(fault: (JSONObject) -> String?) {
        val faults = cases.mapNotNull { case -> fault(case)?.let { "${case.getString("image")} $it" } }
        assertTrue("${faults.size} of ${cases.size} images; first: ${faults.firstOrNull()}", faults.isEmpty())
    }

    private fun read(name: String): ByteArray = assets.open(name).use { it.readBytes() }

    private fun stored(case: JSONObject, stage: String): ByteArray =
        read(case.getJSONObject(stage).getString("file"))

    private fun resized(case: JSONObject): Pixels {
        val size = classifier.card.getJSONObject("preprocessing").getJSONObject("resize")
        return Pixels(size.getInt("width"), size.getInt("height"), stored(case, "resized"))
    }

    private fun tensor(bytes: ByteArray): ByteBuffer {
        val buffer = ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.LITTLE_ENDIAN)
        buffer.put(bytes)
        buffer.rewind()
        return buffer
    }

    private fun difference(found: ByteArray, expected: ByteArray): String? {
        if (found.size != expected.size) return "gives ${found.size} bytes, not ${expected.size}"
        val count = found.indices.count { found[it] != expected[it] }
        return if (count == 0) null else "differs in $count of ${found.size} bytes"
    }

    private fun sha256(bytes: ByteArray): String =
        MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
}
