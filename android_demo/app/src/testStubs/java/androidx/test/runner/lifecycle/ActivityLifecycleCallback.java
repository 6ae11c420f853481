package androidx.test.runner.lifecycle;

public interface ActivityLifecycleCallback {
    void onActivityLifecycleChanged(android.app.Activity a, Stage s);
}
