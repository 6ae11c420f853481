plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    compilerOptions {
        jvmTarget = org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_1_8
        freeCompilerArgs.add("-Xjdk-release=8")
    }
}

java {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
}

dependencies {
    // On the phone the system has it.
    compileOnly(libs.json)
    testImplementation(libs.json)
    testImplementation(libs.junit)
}

tasks.test {
    useJUnitPlatform()
    systemProperty("bokeh.repository", rootDir.parent)
    // `golden.py build/golden` writes it; without it those tests are skipped.
    systemProperty("bokeh.golden", layout.buildDirectory.dir("golden").get().asFile.path)
}
