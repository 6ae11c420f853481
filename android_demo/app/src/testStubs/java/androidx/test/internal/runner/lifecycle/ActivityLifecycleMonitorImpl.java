package androidx.test.internal.runner.lifecycle;

public final class ActivityLifecycleMonitorImpl implements androidx.test.runner.lifecycle.ActivityLifecycleMonitor {
    java.util.Map<android.app.Activity, androidx.test.runner.lifecycle.Stage> stages = new java.util.HashMap<>();

    public ActivityLifecycleMonitorImpl() {}

    public void signalLifecycleChange(androidx.test.runner.lifecycle.Stage s, android.app.Activity a) { stages.put(a, s); }

    public void addLifecycleCallback(androidx.test.runner.lifecycle.ActivityLifecycleCallback c) {}

    public void removeLifecycleCallback(androidx.test.runner.lifecycle.ActivityLifecycleCallback c) {}

    public androidx.test.runner.lifecycle.Stage getLifecycleStageOf(android.app.Activity a) { return stages.get(a); }

    public java.util.Collection<android.app.Activity> getActivitiesInStage(androidx.test.runner.lifecycle.Stage s) { java.util.List<android.app.Activity> l = new java.util.ArrayList<>(); for (var e : stages.entrySet()) if (e.getValue() == s) l.add(e.getKey()); return l; }
}
