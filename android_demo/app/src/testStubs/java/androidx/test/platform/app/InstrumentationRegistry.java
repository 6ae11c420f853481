package androidx.test.platform.app;

public final class InstrumentationRegistry {
    static android.app.Instrumentation i;

    public static android.app.Instrumentation getInstrumentation() { return i; }

    public static void registerInstance(android.app.Instrumentation x, android.os.Bundle b) { i = x; }
}
