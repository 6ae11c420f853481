"""Holds JSON against the schemas of the contract."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from bokeh_runtime.contract import load, load_schema

NAMES = sorted(
    path.name
    for path in (files("bokeh_runtime.contract") / "schemas").iterdir()
    if path.name.endswith(".json")
)


def check_format(data: Any) -> None:
    """Raises `jsonschema.ValidationError` if data is not of the format that it names."""
    plain = json.loads(json.dumps(data, allow_nan=False))  # tuples and lists are the same
    Draft202012Validator(load_schema(plain["schema"]), registry=_registry()).validate(plain)


@cache
def _registry() -> Registry:
    resources = ((name, Resource.from_contents(load(f"schemas/{name}"))) for name in NAMES)
    return Registry().with_resources(resources)
