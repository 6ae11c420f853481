plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "io.github.bokehtflite"
    compileSdk = 36

    defaultConfig {
        applicationId = "io.github.bokehtflite"
        minSdk = 29
        targetSdk = 35
        versionCode = 2
        versionName = "0.2.0"
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles("proguard-rules.pro")
        }
    }

    // A model is mapped from the APK, so it must lie there as it is.
    androidResources {
        noCompress += "tflite"
    }

    testOptions {
        unitTests.isIncludeAndroidResources = true
    }

    sourceSets.named("main") {
        // `make android` writes them.
        assets.srcDir("../../build/android/work/assets")
    }
}

dependencies {
    implementation(project(":core"))
    implementation(libs.tflite)
    implementation(libs.tflite.api)
    implementation(libs.tflite.gpu)
    implementation(libs.tflite.gpu.api)
    testImplementation(libs.junit4)
    testImplementation(libs.robolectric)
}
