"""The rule for a GPU's output gives the verdicts of the contract; Kotlin's test reads the same."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bokeh_runtime.backends.gpu_verdict import Evidence, Verdict, judge
from bokeh_runtime.contract import load
from bokeh_runtime.contract.constants import GPU_CHECK

VECTORS = load("vectors/gpu_check.json")


def evidence(values: dict[str, Any]) -> Evidence:
    assert set(values) == {field.name for field in fields(Evidence)}
    return Evidence(**{k: float(v) if isinstance(v, str) else v for k, v in values.items()})


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_the_rule_gives_the_contracts_verdict(case: dict[str, Any]) -> None:
    assert judge(evidence(case["evidence"])) is Verdict(case["verdict"])


def test_the_vectors_hold_every_verdict_and_are_of_this_version() -> None:
    assert {case["verdict"] for case in VECTORS["cases"]} == {one.value for one in Verdict}
    assert VECTORS["check_version"] == GPU_CHECK.version


def test_what_follows_from_a_verdict_is_the_contracts() -> None:
    assert {one.value for one in Verdict if one.accepted} == set(VECTORS["accepted"])
    retried = {one.value for one in Verdict if one.retry_in_float32}
    assert retried == set(VECTORS["retry_in_float32"])


def test_the_documentation_has_the_contracts_thresholds() -> None:
    page = (Path(__file__).parents[2] / "docs/contract.md").read_text(encoding="utf-8")
    same, floor, margin = (
        f"{value:g} dB"
        for value in (
            GPU_CHECK.same_picture_db,
            GPU_CHECK.full_model_floor_db,
            GPU_CHECK.full_model_margin_db,
        )
    )
    assert f"| a PSNR of at least {same} to the CPU's output |" in page
    assert (
        f"| a PSNR of at least {floor} to the full model's output, and at most {margin} below"
        in page
    )
