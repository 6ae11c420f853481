"""Measures two files against each other, and reads the report."""

import json
import subprocess
import sys
from pathlib import Path

from bokeh_runtime.shipped_models import shipped_model

OUT = Path(__file__).resolve().parents[1] / "build" / "examples" / "bench"
COMMAND = Path(sys.executable).with_name("bokeh-bench")


def main() -> None:
    """Runs the command as in a shell, with few runs, and prints some of its report."""
    files = [shipped_model("demo_pynet_float16.tflite"), shipped_model("demo_pynet_int8.tflite")]
    # Each row is measured in a process of its own. For figures to quote, leave out what makes this
    # quick, and see --pair for the ratio of two files with its interval.
    quick = ("--runs", "5", "--seconds", "0", "--no-operators")
    subprocess.run([COMMAND, *files, "--delegate", "cpu", *quick, "-o", OUT], check=True)
    report = json.loads((OUT / "report.json").read_text(encoding="utf-8"))
    for row in report["rows"]:
        fidelity = row["fidelity"][0]
        print(
            f"{row['name']}: {row['latency']['latency_ms']:.0f} ms, "
            f"{fidelity['psnr_db_mean']} dB PSNR to the full model"
        )


if __name__ == "__main__":
    main()
