"""The classes of Android, LiteRT, org.json and JUnit that the Android sample uses, as far as it uses them.

Signatures only, written from their documentation: enough for a compiler to find wrong names and types.
"""

from __future__ import annotations

from pathlib import Path

_STUBS = {
    "android/content/res/AssetManager.java": """
        public final class AssetManager {
            public java.io.InputStream open(String name) throws java.io.IOException { return null; }
        }""",
    "android/content/Context.java": """
        public abstract class Context {
            public abstract android.content.res.AssetManager getAssets();
        }""",
    "android/util/Size.java": """
        public final class Size {
            public int getWidth() { return 0; }
            public int getHeight() { return 0; }
        }""",
    "android/graphics/Bitmap.java": """
        public final class Bitmap {
            public enum Config { ALPHA_8, RGB_565, ARGB_8888, RGBA_F16, HARDWARE }
            public Config getConfig() { return null; }
            public Bitmap copy(Config config, boolean mutable) { return null; }
            public int getWidth() { return 0; }
            public int getHeight() { return 0; }
            public int getByteCount() { return 0; }
            public void copyPixelsToBuffer(java.nio.Buffer to) {}
        }""",
    "android/graphics/ImageDecoder.java": """
        public final class ImageDecoder {
            public static final int ALLOCATOR_SOFTWARE = 1;
            public static abstract class Source {}
            public static class ImageInfo {
                public android.util.Size getSize() { return null; }
            }
            public interface OnHeaderDecodedListener {
                void onHeaderDecoded(ImageDecoder decoder, ImageInfo info, Source source);
            }
            public static Source createSource(java.nio.ByteBuffer data) { return null; }
            public static Bitmap decodeBitmap(Source source, OnHeaderDecodedListener listener)
                throws java.io.IOException { return null; }
            public int getAllocator() { return 0; }
            public void setAllocator(int allocator) {}
        }""",
    "org/tensorflow/lite/Interpreter.java": """
        public final class Interpreter implements AutoCloseable {
            public static class Options {
                public Options setNumThreads(int count) { return this; }
            }
            public Interpreter(java.nio.ByteBuffer model, Options options) {}
            public void run(Object input, Object output) {}
            @Override public void close() {}
        }""",
    "org/json/JSONException.java": "public class JSONException extends Exception {}",
    "org/json/JSONArray.java": """
        public class JSONArray {
            public int length() { return 0; }
            public boolean isNull(int index) { return true; }
            public double getDouble(int index) throws JSONException { return 0; }
            public String getString(int index) throws JSONException { return null; }
            public JSONObject getJSONObject(int index) throws JSONException { return null; }
        }""",
    "org/json/JSONObject.java": """
        public class JSONObject {
            public JSONObject(String json) throws JSONException {}
            public boolean isNull(String name) { return true; }
            public boolean getBoolean(String name) throws JSONException { return true; }
            public int getInt(String name) throws JSONException { return 0; }
            public long getLong(String name) throws JSONException { return 0; }
            public double getDouble(String name) throws JSONException { return 0; }
            public String getString(String name) throws JSONException { return null; }
            public JSONArray getJSONArray(String name) throws JSONException { return null; }
            public JSONObject getJSONObject(String name) throws JSONException { return null; }
            public JSONObject optJSONObject(String name) { return null; }
            public double optDouble(String name, double fallback) { return fallback; }
        }""",
    "org/junit/Assert.java": """
        public class Assert {
            public static void assertTrue(String message, boolean condition) {}
        }""",
    "org/junit/Test.java": "public @interface Test {}",
    "org/junit/After.java": "public @interface After {}",
    "org/junit/runner/Runner.java": "public abstract class Runner {}",
    "org/junit/runner/RunWith.java": """
        public @interface RunWith { Class<? extends Runner> value(); }""",
    "androidx/test/ext/junit/runners/AndroidJUnit4.java": """
        public final class AndroidJUnit4 extends org.junit.runner.Runner {}""",
    "android/app/Instrumentation.java": """
        public class Instrumentation {
            public android.content.Context getContext() { return null; }
        }""",
    "androidx/test/platform/app/InstrumentationRegistry.java": """
        public final class InstrumentationRegistry {
            public static android.app.Instrumentation getInstrumentation() { return null; }
        }""",
}


def write_stubs(folder: Path) -> Path:
    """The stubs as Java sources below ``folder``."""
    for name, body in _STUBS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        package = ".".join(Path(name).parent.parts)
        path.write_text(f"package {package};\n{body}\n")
    return folder
