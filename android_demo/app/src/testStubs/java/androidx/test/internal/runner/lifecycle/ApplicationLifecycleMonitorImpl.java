package androidx.test.internal.runner.lifecycle;

public final class ApplicationLifecycleMonitorImpl implements androidx.test.runner.lifecycle.ApplicationLifecycleMonitor {
    public ApplicationLifecycleMonitorImpl() {}

    public void signalLifecycleChange(android.app.Application a, androidx.test.runner.lifecycle.ApplicationStage s) {}
}
