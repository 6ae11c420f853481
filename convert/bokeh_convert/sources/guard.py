"""Refuses models whose configuration carries code, or names functions that do more than compute.

Loading such a file would run whatever its author put there: tf-keras executes a Lambda layer's
bytecode without asking, and a TFOpLambda layer may name any TensorFlow function, file writers
included. So the configuration is read before a layer is built from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bokeh_runtime.errors import InputError

_CODE_CLASSES = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper", "FlaxLayer", "JaxLayer"})
_MODULES = frozenset({"keras", "tf_keras", "bokeh_convert"})
_CALL_CLASSES = frozenset({"TFOpLambda", "SlicingOpLambda"})
_METHOD_CLASSES = frozenset({"ClassMethod", "InstanceMethod", "InstanceProperty"})

# Functions of TensorFlow that only compute arrays from arrays, by the names that Keras 2 stores.
_PURE = frozenset(
    """
    __operators__.add __operators__.getitem abs add add_n broadcast_to cast clip_by_value
    compat.v1.nn.leaky_relu compat.v1.space_to_depth compat.v1.transpose concat constant
    convert_to_tensor debugging.check_numerics divide exp expand_dims fill gather identity
    image.resize linalg.matmul maximum minimum multiply negative ones ones_like pad pow range
    repeat reshape reverse round rsqrt scalar_mul shape sigmoid sign slice space_to_batch split
    sqrt square squeeze stack stop_gradient strided_slice subtract tanh tile transpose unstack
    where zeros zeros_like
    """.split()  # noqa: SIM905
)
_PURE_MODULES = ("math.", "nn.")


def refuse_code(path: Path, config: Any, custom: frozenset[str]) -> None:
    """Checks a model's configuration before anything is built from it.

    Args:
        path: The file, for the message.
        config: The parsed JSON.
        custom: Names of classes that the user gives; the file's own are then not imported.

    Raises:
        InputError: If a layer is stored as code, is of a class that is not known here, or calls a
            function that is not known to be harmless.
    """
    for node in _nodes(config):
        name = _plain_name(node)
        if name in custom:
            continue
        if name in _CODE_CLASSES:
            raise InputError(
                f"{path}: holds a {name} layer, which is code that loading would run; replace it "
                "by a layer class and save the model again, or trust the file with --trust-source"
            )
        if name in _METHOD_CLASSES:
            raise InputError(
                f"{path}: holds a {name} layer, which calls a method by name; use a function of "
                "TensorFlow instead, or trust the file with --trust-source"
            )
        module = node.get("module")
        # Without a module the name can only mean a class that the library itself registered.
        if module is not None and not _is_known(str(module), name):
            raise InputError(
                f"{path}: needs the class {name} of {module}, which is not known here; "
                f"give it with --custom-objects {module}:{name}"
            )
        if name in _CALL_CLASSES:
            function = str(node.get("config", {}).get("function"))
            if not _is_pure(function):
                raise InputError(
                    f"{path}: calls tf.{function}, which is not known to only compute; "
                    "leave it out of the model, or trust the file with --trust-source"
                )


def custom_aliases(config: Any, objects: dict[str, Any]) -> dict[str, Any]:
    """Returns the user's classes by every name under which the file asks for them.

    A registered class stands in a file as `package>NAME`.
    """
    aliases = dict(objects)
    for node in _nodes(config):
        plain = _plain_name(node)
        if plain in objects:
            for key in ("class_name", "registered_name"):
                if node.get(key):
                    aliases[str(node[key])] = objects[plain]
    return aliases


def _plain_name(node: dict[str, Any]) -> str:
    return str(node.get("class_name")).rpartition(">")[2]


def _is_known(module: str, name: str) -> bool:
    if (module, name) == ("builtins", "function"):
        return True  # one of Keras' own activations, by name
    # Classes only: the functions of Keras include some that fetch files.
    return module.partition(".")[0] in _MODULES and not name[:1].islower()


def _is_pure(function: str) -> bool:
    return function in _PURE or (function.startswith(_PURE_MODULES) and function.count(".") == 1)


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    """Yields every object of the configuration that names a class."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for key, value in config.items():
            # Losses and metrics are not loaded.
            if key != "compile_config":
                yield from _nodes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _nodes(value)
