"""What the code of the three packages imports, and how long its parts are, read from its syntax."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# In the order in which they may be imported: each from those before it.
PACKAGES = {"bokeh_runtime": "runtime", "bokeh_convert": "convert", "bokeh_bench": "benchmarks"}
MOST_MODULE_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 350, 60, 8
# A library call whose options are all given by keyword.
TAKES_MORE_PARAMETERS = {("bokeh_convert.api", "convert"), ("bokeh_runtime.model", "open")}


def modules_of(package: str) -> dict[str, Path]:
    """The files of a package by the names of their modules."""
    folder = ROOT / PACKAGES[package]
    found = {}
    for path in (folder / package).rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = {name: path for package in PACKAGES for name, path in modules_of(package).items()}


def for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree; not those that only a type checker sees."""
    for child in ast.iter_child_nodes(tree):
        if not for_types_alone(child):
            yield child
            yield from nodes(child)


def imported(source: str) -> set[str]:
    """The modules of the three packages that a source imports, at its top or in a function."""
    found = set()
    for node in nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not read here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return found & MODULES.keys()


IMPORTS = {
    name: imported(path.read_text(encoding="utf-8")) - {name} for name, path in MODULES.items()
}


def room(module: str) -> str:
    """The sub-package that a module is in, or the module if it is in none."""
    return ".".join(module.split(".")[:2])


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes that reach each other, in their order; none if there are no such."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_reader_of_imports_sees_them() -> None:
    source = (
        "import bokeh_runtime.errors\n"
        "from bokeh_runtime import model\n"
        "if TYPE_CHECKING:\n    import bokeh_runtime.cli\n"
        "def f():\n    from bokeh_runtime.imaging.photo import Photo\n"
    )
    found = {"errors", "model", "imaging.photo"}
    assert imported(source) == {f"bokeh_runtime.{name}" for name in found}
    assert circle({"a": {"b"}, "b": {"a"}}) and not circle({"a": {"b"}, "b": set()})  # noqa: PT018
    assert len(MODULES) > 100


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way_between_packages(package: str) -> None:
    order = list(PACKAGES)
    later = order[order.index(package) + 1 :]
    wrong = [
        (name, other)
        for name in modules_of(package)
        for other in IMPORTS[name]
        if other.split(".")[0] in later
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circle(IMPORTS)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_sub_packages_import_each_other_in_a_circle(package: str) -> None:
    rooms: dict[str, set[str]] = {}
    for name in modules_of(package):
        inside = {room(other) for other in IMPORTS[name] if other.startswith(f"{package}.")}
        if name != package:
            rooms.setdefault(room(name), set()).update(inside - {room(name)})
    assert not circle(rooms)


def test_a_stage_of_a_conversion_imports_none_that_comes_after_it() -> None:
    order = ["read", "lower", "rewrite", "quantize", "verify", "judge", "complete"]
    order += ["compile", "write"]
    stages = [f"bokeh_convert.stages.{name}" for name in order]
    for i, stage in enumerate(stages):
        assert not IMPORTS[stage] & {*stages[i:], "bokeh_convert.pipeline"}
    assert {*stages} < IMPORTS["bokeh_convert.pipeline"]


def is_command(function: ast.FunctionDef) -> bool:
    return any("command(" in ast.unparse(decorator) for decorator in function.decorator_list)


def code_lines(function: ast.FunctionDef) -> int:
    """The lines of a function without those of its docstring."""
    first = function.body[0]
    told = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) else 0
    return function.end_lineno - function.lineno + 1 - told


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_and_functions_are_short(package: str) -> None:
    long = []
    for name, path in modules_of(package).items():
        source = path.read_text(encoding="utf-8")
        if len(source.splitlines()) > MOST_MODULE_LINES:
            long.append((name, "lines"))
        for node in nodes(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef):
                continue
            # One line for each of many parameters is not what makes a function hard to read.
            signature = node.body[0].lineno - node.lineno
            counted = code_lines(node)
            if (name, node.name) in TAKES_MORE_PARAMETERS:
                counted -= signature
            if counted > MOST_FUNCTION_LINES:
                long.append((name, f"lines of {node.name}"))
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            parameters = [one for one in given if one.arg not in ("self", "cls")]
            allowed = is_command(node) or (name, node.name) in TAKES_MORE_PARAMETERS
            if len(parameters) > MOST_PARAMETERS and not allowed:
                long.append((name, f"parameters of {node.name}"))
    assert not long
