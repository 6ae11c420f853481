"""Checks the configuration of a Keras model against the allowlists of `layers.py`.

Loading a configuration builds every object in it. For that, tf-keras imports any module, executes
the bytecode of Lambda layers, and runs any graph operator in a TensorFlowOpLayer. So every object
is checked, at any depth, and the library loads the checked copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bokeh_convert.sources.model_types import Json, JsonObject
from bokeh_convert.sources.options import TRUST_SOURCE, custom_object
from bokeh_convert.sources.security import layers
from bokeh_convert.sources.security.functions import PURE_FUNCTIONS
from bokeh_convert.sources.security.operators import STATELESS
from bokeh_runtime.errors import InputError

# Only needed to continue training.
_TRAINING = frozenset({"compile_config"})
# Values that JSON cannot represent.
_VALUES = frozenset({"__bytes__", "__ellipsis__", "__slice__", "__tuple__", "TensorShape"})
_ARRAYS = frozenset({"__keras_tensor__", "__numpy__", "__tensor__"})
_NUMBERS = frozenset(
    """
    bfloat16 bool complex128 complex64 float16 float32 float64 int16 int32 int64 int8 uint16 uint32
    uint64 uint8
    """.split()  # noqa: SIM905
)

_SAVE_OR_TRUST = ("save the model again with model.save(), or trust the file with ", TRUST_SOURCE)
_REMOVE_OR_TRUST = ("remove it from the model, or trust the file with ", TRUST_SOURCE)


def checked_config(
    path: Path,
    config: Json,
    generation: layers.Generation,
    custom: frozenset[str],
    *,
    known: frozenset[str] = frozenset(),
) -> JsonObject:
    """Returns a copy of a model's configuration with only allowed classes and functions.

    Args:
        path: The file, for error messages.
        config: The parsed JSON.
        generation: `layers.KERAS_2` or `layers.KERAS_3`.
        custom: Names of the user's classes and functions. In the copy they have that name alone,
            whatever package or module the file gives.
        known: Registered names of classes that the reader gives to the library.

    Returns:
        The copy, without entries that are only needed to continue training.

    Raises:
        InputError: If an object is stored as code, or its class or function is not on the
            allowlist.
    """
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise InputError(
            f"{path}: is not the configuration of a Keras model; save it with model.save()"
        )
    try:
        checked = _Check(path, generation, custom, known)._object(config)
    except RecursionError:
        raise InputError(
            f"{path}: its configuration is nested too deeply; "
            "save the model again with model.save()"
        ) from None
    return checked


@dataclass(frozen=True)
class _Check:
    path: Path
    generation: layers.Generation
    custom: frozenset[str]
    known: frozenset[str]

    def value(self, value: Json) -> Json:
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "class_name" in value:
            return self._object(value)
        if "_TYPE" in value:
            # tf-keras would decode the string in it as JSON, which was not checked.
            raise InputError(
                f"{self.path}: contains a sparse or ragged constant, which is not supported",
                remedy=_REMOVE_OR_TRUST,
            )
        return self._items(value)

    def _items(self, value: JsonObject) -> JsonObject:
        kept = {key: item for key, item in value.items() if key not in _TRAINING}
        for key, item in kept.items():
            self._refuse_unknown_name(key, item)
        return {key: self.value(item) for key, item in kept.items()}

    def _refuse_unknown_name(self, key: str, value: Json) -> None:
        """Refuses a string that a library would resolve to an unknown function or object."""
        names = layers.NAMED.get(key.rpartition("_")[2])
        if names is None or value is None or isinstance(value, dict | bool):
            return
        if isinstance(value, str):
            if value in names or value in self.custom:
                return
            raise self._unknown(value, "function")
        raise InputError(
            f"{self.path}: {key} is {str(value)[:40]}, which is not a name",
            remedy=_SAVE_OR_TRUST,
        )

    def _object(self, node: JsonObject) -> JsonObject:
        name = node["class_name"]
        if not isinstance(name, str):
            raise InputError(
                f"{self.path}: a class_name is {str(name)[:40]}, which is not a name",
                remedy=_SAVE_OR_TRUST,
            )
        if name == "function":
            return self._function(node)
        plain = name.rpartition(">")[2]
        if plain in self.custom:
            return self._custom(node, plain)
        if name in self.known and node.get("registered_name") in (None, name):
            return self._custom(node, name)
        why = self.generation.refused.get(plain)
        if why is not None:
            raise InputError(
                f"{self.path}: contains a {plain} layer, which {why}",
                remedy=(
                    "replace it by a layer class and save the model again, or trust the file with ",
                    TRUST_SOURCE,
                ),
            )
        if "module" not in node and name in _VALUES | _ARRAYS:
            return self._stored_value(node, name)
        self._refuse_unknown_class(node, name)
        if name in layers.TENSORFLOW_FUNCTIONS:
            self._refuse_unknown_function(node)
        elif name == layers.TENSORFLOW_OPERATOR:
            return self._operator(node)
        return self._items(node)

    def _refuse_unknown_class(self, node: JsonObject, name: str) -> None:
        module = node.get("module")
        if not isinstance(module, str | None):
            raise self._unknown(name, "class", module)
        names = self.generation.allowed.get(module)
        if names is None or name not in names or ("module" in node and module is None):
            raise self._unknown(name, "class", module)
        # The libraries look up the registered name first, and class_name only after that.
        registered = node.get("registered_name")
        if registered not in (None, name, layers.REGISTERED.get((module, name))):
            raise self._unknown(str(registered)[:80], "class", module)

    def _custom(self, node: JsonObject, plain: str) -> JsonObject:
        renamed = {**node, "class_name": plain}
        if "module" in node or "registered_name" in node:
            renamed["registered_name"] = plain
        kept = {key: item for key, item in renamed.items() if key not in _TRAINING}
        own = kept.get("config")
        if isinstance(own, dict) and "class_name" not in own:
            # The strings in it are only read by the user's class.
            kept["config"] = {key: self.value(item) for key, item in own.items()}
        else:
            kept["config"] = self.value(own)
        return {key: item if key == "config" else self.value(item) for key, item in kept.items()}

    def _function(self, node: JsonObject) -> JsonObject:
        name, module = node.get("config"), node.get("module")
        registered = node.get("registered_name")
        if isinstance(name, str):
            plain = name.rpartition(">")[2]
            if plain in self.custom:
                return {**node, "config": plain, "registered_name": plain}
            known = layers.FUNCTION_MODULES.get(module) if isinstance(module, str) else None
            if known is not None and name in known and registered in (None, name, "function"):
                return {
                    "module": module,
                    "class_name": "function",
                    "config": name,
                    "registered_name": registered,
                }
        raise self._unknown(str(name)[:80], "function", module)

    def _stored_value(self, node: JsonObject, name: str) -> JsonObject:
        if name in _ARRAYS:
            config = node.get("config")
            if not isinstance(config, dict) or config.get("dtype") not in _NUMBERS:
                raise InputError(
                    f"{self.path}: contains a constant that is not an array of numbers",
                    remedy=_SAVE_OR_TRUST,
                )
        return self._items(node)

    def _refuse_unknown_function(self, node: JsonObject) -> None:
        config = node.get("config")
        function = config.get("function") if isinstance(config, dict) else None
        if not isinstance(function, str) or function not in PURE_FUNCTIONS:
            raise InputError(
                f"{self.path}: the function tf.{str(function)[:80]} is not known to be free of "
                "side effects",
                remedy=_REMOVE_OR_TRUST,
            )

    def _operator(self, node: JsonObject) -> JsonObject:
        """Checks the graph operator in a TensorFlowOpLayer of TensorFlow 2.0 to 2.3."""
        from google.protobuf import json_format  # type: ignore[import-untyped]
        from tensorflow.core.framework.node_def_pb2 import NodeDef

        config = node.get("config")
        try:
            if not isinstance(config, dict):
                raise TypeError("config is no object")
            stored = json_format.ParseDict(config["node_def"], NodeDef())
        except (json_format.ParseError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.path}: the operator of a {node['class_name']} cannot be read; "
                "save the model again with model.save()"
            ) from error
        calls = any(v.HasField("func") or v.list.func for v in stored.attr.values())
        if stored.op not in STATELESS or calls:
            raise InputError(
                f"{self.path}: the operator {stored.op} is not known to be free of side effects",
                remedy=_REMOVE_OR_TRUST,
            )
        kept = self._items(node)
        # Serialized again, so that the library reads exactly what was checked.
        cast(JsonObject, kept["config"])["node_def"] = json_format.MessageToDict(stored)
        return kept

    def _unknown(self, name: str, kind: str, module: Json = None) -> InputError:
        plain = name.rpartition(">")[2]
        asked = plain if plain == name else f"{plain} ({name})"
        where, given = "", "module"
        if isinstance(module, str):
            where = f" of {module[:80]}"
            given = "module" if module.startswith(("keras", "tf_keras")) else module
        return InputError(
            f"{self.path}: needs the unknown {kind} {asked}{where}",
            remedy=(
                "give it with ",
                custom_object(given, plain),
                ", or trust the file with ",
                TRUST_SOURCE,
            ),
        )


def custom_aliases(config: Json, objects: Mapping[str, object]) -> dict[str, object]:
    """Returns the user's classes by all names that a trusted file has for them.

    A file names a registered class `package>NAME`.
    """
    aliases = dict(objects)
    if isinstance(config, dict):
        plain = str(config.get("class_name")).rpartition(">")[2]
        if plain in objects:
            for key in ("class_name", "registered_name"):
                if config.get(key):
                    aliases[str(config[key])] = objects[plain]
        values: Iterable[Json] = config.values()
    else:
        values = config if isinstance(config, list) else ()
    for value in values:
        if isinstance(value, dict | list):
            aliases |= custom_aliases(value, objects)
    return aliases
