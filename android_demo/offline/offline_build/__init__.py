"""Builds the Android app without Gradle: `python -m offline_build --output build/android`."""
