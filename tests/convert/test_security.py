"""The allowlists for model files, and the checks of their containers."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from bokeh_convert.sources import SourceOptions, read_model
from bokeh_convert.sources.security import layers, operators
from bokeh_convert.sources.security.config import checked_config
from bokeh_convert.sources.security.functions import PURE_FUNCTIONS
from bokeh_convert.sources.security.graph import refuse_unknown_operators
from bokeh_convert.train.inference import open_for_inference
from bokeh_runtime import InputError
from helpers.models import small_model

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


def _exported_layers(library: Any) -> set[str]:
    return {
        name
        for name, item in vars(library.layers).items()
        if inspect.isclass(item) and issubclass(item, library.layers.Layer)
    }


@pytest.mark.parametrize(
    ("library", "generation"), [(tf_keras, layers.KERAS_2), (keras, layers.KERAS_3)]
)
def test_every_layer_of_the_installed_keras_was_looked_at(
    library: Any, generation: layers.Generation
) -> None:
    known = generation.allowed["keras.layers"] | set(generation.refused)
    new = _exported_layers(library) - known
    assert not new, f"read these classes, then allow or refuse them in layers.py: {sorted(new)}"
    assert not generation.allowed["keras.layers"] & set(generation.refused)


def test_every_operation_of_the_installed_keras_was_looked_at() -> None:
    import keras.src.ops as package
    from keras.src.ops.operation import Operation

    new = {}
    for entry in pkgutil.iter_modules(package.__path__):
        if entry.name.endswith("_test"):
            continue
        name = f"keras.src.ops.{entry.name}"
        found = {
            key
            for key, item in vars(importlib.import_module(name)).items()
            if inspect.isclass(item) and issubclass(item, Operation) and item.__module__ == name
        }
        allowed = layers.KERAS_3.allowed.get(name, frozenset())
        assert not allowed & set(layers.OPERATIONS_REFUSED)
        new[name] = found - allowed - set(layers.OPERATIONS_REFUSED)
    assert not any(new.values()), "read these classes, then allow or refuse them in layers.py"


@pytest.mark.parametrize(
    "name",
    """
    Abort DebugIdentity DebugIdentityV2 DebugIdentityV3 DebugNumericSummary DebugNumericSummaryV2
    EagerPyFunc FIFOQueueV2 FixedLengthRecordReaderV2 IdentityReaderV2 ImmutableConst
    InitializeTableFromTextFileV2 IteratorGetNext MatchingFiles MergeV2Checkpoints ModelDataset
    Print PrintV2 PyFunc PyFuncStateless ReadFile RemoteCall Restore RestoreV2 Save SaveSlices
    SaveV2 ShardedFilename StatefulPartitionedCallX SummaryWriter TFRecordDataset TFRecordReaderV2
    TextLineDataset TextLineReaderV2 WholeFileReaderV2 WriteFile WriteAudioSummary XlaCallModule
    """.split(),  # noqa: SIM905
)
def test_an_operator_that_does_more_than_compute_is_in_no_network(name: str) -> None:
    assert name not in operators.WITHOUT_SIDE_EFFECTS
    assert name not in operators.STATELESS


def test_listed_operators_and_functions_exist() -> None:
    """A misspelt name could later become the name of an unsafe operator."""
    from tensorflow.python.framework import op_def_registry

    assert not [name for name in operators.LOADING if op_def_registry.get(name) is None]
    missing = []
    for name in PURE_FUNCTIONS:
        if name.startswith("__operators__"):
            continue
        root = tf_keras if name.startswith("keras.") else tf
        item: Any = root
        for part in name.removeprefix("keras.").split("."):
            item = getattr(item, part, None)
        if not callable(item):
            missing.append(name)
    assert not missing


def test_a_function_may_not_take_the_name_of_an_operator() -> None:
    graph = tf.Graph().as_graph_def()
    graph.library.function.add().signature.name = "WriteFile"
    graph.node.add(name="evil", op="WriteFile")
    with pytest.raises(InputError, match="the operator WriteFile is not known"):
        refuse_unknown_operators(Path("x"), graph)


def test_a_function_that_nothing_calls_is_checked_too() -> None:
    graph = tf.Graph().as_graph_def()
    function = graph.library.function.add()
    function.signature.name = "unused"
    function.node_def.add(name="evil", op="WriteFile")
    with pytest.raises(InputError, match="the operator WriteFile is not known"):
        refuse_unknown_operators(Path("x"), graph)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_the_traced_graph_of_every_source_is_checked(suffix: str, tmp_path: Path) -> None:
    """Here in a class of the user's, which is on no allowlist."""
    library = keras if suffix == ".keras" else tf_keras

    class Prints(library.layers.Layer):
        def call(self, x):
            with tf.control_dependencies([tf.raw_ops.PrintV2(input="x")]):
                return tf.identity(x)

    photo = library.Input((8, 8, 3))
    model = library.Model(photo, Prints()(photo))
    read = _read_with(model, tmp_path / f"model{suffix}", Prints)
    with pytest.raises(InputError, match="the operator PrintV2 is not known") as refusal:
        read(trust_source=False).at(8, 8)
    assert str(tmp_path) in str(refusal.value)
    read(trust_source=True).at(8, 8)


def _read_with(model: Any, path: Path, given: type):
    import types

    model.save(path)
    module = types.ModuleType("the_users")
    vars(module)[given.__name__] = given

    def read(*, trust_source: bool) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(__import__("sys").modules, "the_users", module)
            options = SourceOptions(
                custom_objects=(f"the_users:{given.__name__}",), trust_source=trust_source
            )
            return read_model(path, options)

    return read


def _conv(**changed: Any) -> dict[str, Any]:
    return {"class_name": "Conv2D", "config": {"name": "conv"}, **changed}


def _holding(node: Any) -> dict[str, Any]:
    return {"class_name": "Functional", "config": {"layers": [node]}}


def _activation(value: Any) -> dict[str, Any]:
    return {"class_name": "Activation", "config": {"activation": value}}


def _function(module: Any, name: Any) -> dict[str, Any]:
    return {"class_name": "function", "module": module, "config": name, "registered_name": name}


HIDDEN = {
    "a list for a class name": _conv(class_name=["Conv2D"]),
    "a dictionary for a class name": _conv(class_name={"class_name": "Conv2D", "config": {}}),
    "a class name that decodes to one": _conv(
        class_name={"class_name": "__bytes__", "value": "Lambda"}
    ),
    "null for a class name": _conv(class_name=None),
    "a package before an allowed name": _conv(class_name="Evil>Conv2D"),
    "a registered name": _conv(module="keras.layers", registered_name="Evil>Conv2D"),
    "an internal module": _conv(module="keras.src.utils.io_utils"),
    "a module and a function of Keras": _conv(class_name="get_file", module="keras.utils"),
    "an odd module": _conv(module=["keras.layers"]),
    "a null module": _conv(module=None),
    "a dotted name": _conv(class_name="os.Conv2D", module="keras.layers"),
    "a function of Keras by name": _activation("get"),
    "a function of Python": _activation(_function("os", "system")),
    "a builtin": _activation(_function("builtins", "eval")),
    "a function of keras.utils": _activation(_function("keras.utils", "get_file")),
    "a function whose name is no text": _activation(_function("builtins", {"a": 1})),
    "a list for an activation": _activation(["relu", "get"]),
    "bytecode": _activation({"class_name": "__lambda__", "config": {"value": "x"}}),
    "a type": _activation({"class_name": "__typespec__", "spec_name": "X", "config": []}),
    "a type of TensorFlow": _activation({"class_name": "TypeSpec", "type_spec": "X"}),
    "a composite": _activation({"class_name": "CompositeTensor", "spec": 0, "tensors": []}),
    "a second JSON": _activation([{"_TYPE": "COMPOSITE"}, "{}"]),
    "an array of objects": _conv(
        x={"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}}
    ),
    "a layer in a shape": _conv(build_config={"input_shape": {"class_name": "Lambda"}}),
    "a layer in an unknown key": _conv(whatever=[{"x": {"class_name": "Lambda", "config": {}}}]),
    "a layer in an inner model": _holding(_holding({"class_name": "Lambda", "config": {}})),
    "a layer in a wrapper": {
        "class_name": "TimeDistributed",
        "config": {"layer": {"class_name": "Lambda", "config": {}}},
    },
    "a pickle": {"class_name": "TorchModuleWrapper", "config": {"module": "x"}},
    "a layer of JAX": {"class_name": "JaxLayer", "config": {}},
    "a layer of Flax": {"class_name": "FlaxLayer", "config": {}},
    "a method": {"class_name": "InstanceMethod", "config": {"attr_name": "x"}},
    "a loop": {"class_name": "WhileLoop", "module": "keras.src.ops.core", "config": {}},
    "a table": {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
}


@pytest.mark.parametrize("generation", [layers.KERAS_2, layers.KERAS_3], ids=["keras2", "keras3"])
@pytest.mark.parametrize("node", HIDDEN.values(), ids=HIDDEN.keys())
def test_what_hides_in_a_configuration_is_refused(node: Any, generation: layers.Generation) -> None:
    with pytest.raises(InputError) as refusal:
        checked_config(Path("model.h5"), _holding(node), generation, frozenset())
    assert str(refusal.value).startswith("model.h5: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("generation", [layers.KERAS_2, layers.KERAS_3], ids=["keras2", "keras3"])
def test_a_class_of_the_users_takes_every_name_that_ends_as_its_own(
    generation: layers.Generation,
) -> None:
    """A file must not get Keras' own Lambda if the user has given a class of that name."""
    node = {
        "class_name": "Lambda", "module": "keras.layers", "registered_name": None,
        "config": {"activation": "my_own_word", "inner": _conv()},
    }  # fmt: skip
    checked = checked_config(Path("x"), _holding(node), generation, frozenset({"Lambda"}))
    (kept,) = checked["config"]["layers"]
    assert (kept["class_name"], kept["registered_name"]) == ("Lambda", "Lambda")
    node["config"]["inner"] = {"class_name": "TorchModuleWrapper", "config": {}}
    with pytest.raises(InputError):
        checked_config(Path("x"), _holding(node), generation, frozenset({"Lambda"}))


@pytest.mark.parametrize(
    "node",
    [{"op": "ReadFile"}, {"op": "PartitionedCall"}, "CgRldmls", b"", None, {"op": ["AddV2"]}, 7],
)
def test_a_stored_operator_must_be_known_and_readable(node: Any) -> None:
    layer = {"class_name": "TensorFlowOpLayer", "config": {"name": "x", "node_def": node}}
    with pytest.raises(InputError, match=r"the operator \w* is not known|cannot be read"):
        checked_config(Path("x"), _holding(layer), layers.KERAS_2, frozenset())


def test_an_operator_that_calls_a_function_is_refused() -> None:
    node = {"op": "AddV2", "attr": {"f": {"func": {"name": "WriteFile"}}}}
    layer = {"class_name": "TensorFlowOpLayer", "config": {"name": "x", "node_def": node}}
    with pytest.raises(InputError, match="the operator AddV2 is not known"):
        checked_config(Path("x"), _holding(layer), layers.KERAS_2, frozenset())


def test_a_file_of_tensorflow_2_0_with_stored_operators_is_read(tmp_path: Path) -> None:
    """As `photo + 1` creates them."""
    photo = tf_keras.Input((None, None, 3), name="photo")
    tf_keras.Model(photo, tf_keras.layers.Activation("relu", name="mine")(photo)).save(
        tmp_path / "old.h5"
    )
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layer = config["config"]["layers"][1]
        layer["class_name"] = "TensorFlowOpLayer"
        node = {"name": "mine", "op": "AddV2", "input": ["photo", "mine/y"]}
        layer["config"] = {
            "name": "mine", "trainable": True, "dtype": "float32", "constants": {"1": 1.0},
            "node_def": {**node, "attr": {"T": {"type": "DT_FLOAT"}}},
        }  # fmt: skip
        file.attrs["model_config"] = json.dumps(config)
    image = np.full((8, 8, 3), 0.25, np.float32)
    read = read_model(tmp_path / "old.h5")
    np.testing.assert_array_equal(read.at(8, 8).run(image), image + 1)


def test_operations_on_tensors_of_keras_3_are_read(tmp_path: Path) -> None:
    from keras import ops

    photo = keras.Input((16, 16, 3))
    x = ops.add(photo, np.ones(3, np.float32)) * 0.5
    x = ops.image.resize(ops.relu(x)[:, ::2], (16, 16))
    x = ops.where(x > 0.5, ops.clip(x, 0, 1), ops.mean(x, axis=1, keepdims=True))
    shared = keras.layers.TimeDistributed(keras.layers.Dense(3, activation="gelu"))
    norm = keras.layers.BatchNormalization(beta_regularizer="l2", gamma_constraint="non_neg")
    model = keras.Model(photo, norm(shared(x)))
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    model.save(tmp_path / "ops.keras")
    image = np.random.default_rng(1).random((16, 16, 3), dtype=np.float32)
    actual = read_model(tmp_path / "ops.keras").at(16, 16).run(image)
    np.testing.assert_allclose(actual, model(image[None])[0], atol=1e-6)


def _instances(library: Any) -> list[Any]:
    """Layers that image-to-image networks use."""
    own = library.layers
    conv = {"padding": "same", "kernel_initializer": "he_normal", "kernel_regularizer": "l2"}
    return [
        own.Rescaling(0.5), own.Normalization(mean=0.5, variance=0.1), own.Resizing(16, 16),
        own.CenterCrop(16, 16), own.Conv2D(8, 3, activation="relu", **conv),
        own.BatchNormalization(), own.LayerNormalization(), own.GroupNormalization(2),
        own.UnitNormalization(), own.DepthwiseConv2D(3, padding="same"),
        own.SeparableConv2D(8, 3, padding="same"),
        own.PReLU(shared_axes=[1, 2]), own.LeakyReLU(), own.ELU(), own.ReLU(6.0), own.Softmax(),
        own.Activation("swish"), own.Dropout(0.1), own.SpatialDropout2D(0.1),
        own.GaussianNoise(0.1), own.AlphaDropout(0.1), own.ActivityRegularization(0.1),
        own.AveragePooling2D(2), own.MaxPooling2D(2), own.UpSampling2D(4, interpolation="bilinear"),
        own.ZeroPadding2D(1), own.Cropping2D(1), own.Permute((2, 1, 3)),
        own.TimeDistributed(own.Bidirectional(own.GRU(4, return_sequences=True))),
        own.Reshape((16, 16, 8)), own.Identity(),
        own.Dense(8, kernel_constraint="max_norm"),
        own.EinsumDense("abcd,de->abce", (None, None, 8)),
        own.Conv2DTranspose(3, 3, padding="same", activation="sigmoid"),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "suffix"), [(tf_keras, ".h5"), (keras, ".h5"), (keras, ".keras")]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_layers_of_image_networks_pass(library: Any, suffix: str, tmp_path: Path) -> None:
    model = library.Sequential([library.Input((16, 16, 3)), *_instances(library)])
    model.save(tmp_path / f"all{suffix}")
    image = np.random.default_rng(1).random((16, 16, 3), dtype=np.float32)
    actual = read_model(tmp_path / f"all{suffix}").at(16, 16).run(image)
    np.testing.assert_allclose(actual, model(image[None], training=False)[0], atol=1e-5)


@pytest.mark.parametrize(("library", "suffix"), [(tf_keras, ".h5"), (keras, ".keras")])
def test_attention_and_merging_in_mixed_precision_pass(
    library: Any, suffix: str, tmp_path: Path
) -> None:
    own = library.layers
    policy = "mixed_float16"
    photo = library.Input((8, 8, 3))
    x = own.Conv2D(4, 1, dtype=policy)(photo)
    flat = own.Reshape((64, 4))(x)
    x = own.Add()([own.MultiHeadAttention(2, 2)(flat, flat), own.Attention()([flat, flat])])
    x = own.Reshape((8, 8, 4))(x)
    x = own.Concatenate()([x, own.Multiply()([x, x]), own.Average()([x, x])])
    model = library.Model(photo, own.Conv2D(3, 1, dtype="float32")(x))
    model.save(tmp_path / f"model{suffix}")
    image = np.random.default_rng(1).random((8, 8, 3), dtype=np.float32)
    actual = read_model(tmp_path / f"model{suffix}").at(8, 8).run(image)
    # Computed in float32 here; half precision rounds values up to 2 by 2 ** -11.
    np.testing.assert_allclose(actual, model(image[None])[0], atol=3e-3)


def test_what_is_only_there_for_training_does_not_reach_the_library(tmp_path: Path) -> None:
    node = _conv(compile_config={"loss": _function("os", "system")})
    node["config"]["compile_config"] = {"class_name": "Lambda"}
    checked = checked_config(Path("x"), _holding(node), layers.KERAS_3, frozenset())
    assert "compile_config" not in json.dumps(checked)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_scoring_a_model_reads_it_as_carefully(suffix: str, tmp_path: Path) -> None:
    photo = keras.Input((None, None, 3))
    code = keras.layers.Lambda(lambda x: x)
    keras.Model(photo, code(photo)).save(tmp_path / f"evil{suffix}")
    with pytest.raises(InputError, match="Lambda layer, which is code"):
        open_for_inference(tmp_path / f"evil{suffix}")
    model = small_model()
    model.save(tmp_path / f"good{suffix}")
    draw, takes_depth = open_for_inference(tmp_path / f"good{suffix}")
    image = np.random.default_rng(1).random((16, 16, 3), dtype=np.float32)
    np.testing.assert_allclose(draw(image), model(image[None])[0], atol=1e-6)
    assert not takes_depth


# Containers.


def _archive(path: Path, parts: list[tuple[str, bytes]], **options: Any) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in parts:
            archive.writestr(name, content)


@pytest.fixture
def parts(small_keras: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(small_keras) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_configurations_is_refused(parts, tmp_path: Path) -> None:
    path = tmp_path / "evil.keras"
    _archive(path, [*parts, ("config.json", dict(parts)["config.json"])])
    with pytest.raises(InputError, match=r"has 2 entries config\.json"):
        read_model(path)


def test_what_unpacks_to_far_too_much_is_refused(parts, tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    bomb = [(name, content) for name, content in parts if name != "config.json"]
    _archive(path, [*bomb, ("config.json", b" " * (80 << 20))], compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InputError, match=r"config\.json decompresses from \d+ to 83886080 bytes"):
        read_model(path)


def test_weights_that_unpack_to_far_too_much_are_refused(tmp_path: Path) -> None:
    small_model().save(tmp_path / "bomb.h5")
    with h5py.File(tmp_path / "bomb.h5", "r+") as file:
        # Never written, so it takes no space in the file.
        file["model_weights"].create_dataset("huge", (1 << 31,), "f4", chunks=(1 << 20,))
    with pytest.raises(InputError, match=r"decompress to 8\.6 GB"):
        read_model(tmp_path / "bomb.h5")


def test_entries_that_leave_the_folder_are_not_unpacked(parts, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "model.keras"
    _archive(path, [*parts, ("../escaped", b"x"), ("assets/../../../escaped", b"x")])
    read_model(path)
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["in", "model.keras"]


def test_a_configuration_nested_without_end_is_refused(parts, tmp_path: Path) -> None:
    depth = 100_000
    deep = b'{"class_name": "Functional", "config": ' + b"[" * depth + b"]" * depth + b"}"
    kept = [(name, content) for name, content in parts if name != "config.json"]
    _archive(tmp_path / "deep.keras", [("config.json", deep), *kept])
    with pytest.raises(InputError, match="nested too deeply"):
        read_model(tmp_path / "deep.keras")


def test_a_link_within_an_h5_file_is_refused(tmp_path: Path) -> None:
    small_model().save(tmp_path / "links.h5")
    with h5py.File(tmp_path / "links.h5", "r+") as file:
        file["model_weights/again"] = h5py.SoftLink("/model_weights")
    with pytest.raises(InputError, match="again is a link to /model_weights"):
        read_model(tmp_path / "links.h5")


def _group_in_itself(file: h5py.File) -> None:
    file["model_weights/round"] = file["model_weights"]


def _array_of_two_names(file: h5py.File) -> None:
    huge = file["model_weights"].create_dataset("huge", (1 << 24,), "f4", chunks=(1 << 20,))
    file["model_weights/again"] = huge


def _weight_listed_twice(file: h5py.File) -> None:
    layer = file["model_weights/first"]
    layer.attrs["weight_names"] = [*layer.attrs["weight_names"], layer.attrs["weight_names"][0]]


def _weight_listed_in_two_parts(file: h5py.File) -> None:
    """As Keras cuts lists that are longer than an attribute may be."""
    layer = file["model_weights/first"]
    names = layer.attrs["weight_names"]
    del layer.attrs["weight_names"]
    layer.attrs["weight_names0"], layer.attrs["weight_names1"] = names, names[:1]


def _layer_listed_twice(file: h5py.File) -> None:
    weights = file["model_weights"]
    weights.attrs["layer_names"] = [*weights.attrs["layer_names"], "first"]


def _array_of_objects(file: h5py.File) -> None:
    file["model_weights"].create_dataset("texts", (4,), h5py.string_dtype())


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (_group_in_itself, "model_weights has several names"),
        (_array_of_two_names, "has several names, which is implausible"),
        (_weight_listed_twice, "model_weights/first/weight_names names an array again"),
        (_weight_listed_in_two_parts, "model_weights/first/weight_names1 names an array again"),
        (_layer_listed_twice, "model_weights/layer_names names an array again"),
        (_array_of_objects, "texts is no array of numbers"),
    ],
)
def test_no_array_counts_once_and_is_read_many_times(
    change: Callable[[h5py.File], None], cause: str, tmp_path: Path
) -> None:
    small_model().save(tmp_path / "many.h5")
    with h5py.File(tmp_path / "many.h5", "r+") as file:
        change(file)
    with pytest.raises(InputError, match=cause):
        read_model(tmp_path / "many.h5")


def test_layers_of_a_weights_file_may_not_share_an_array(tmp_path: Path) -> None:
    small_model().save_weights(tmp_path / "many.weights.h5")
    with h5py.File(tmp_path / "many.weights.h5", "r+") as file:
        layer = file["layers/conv2d/vars"]
        layer["2"] = layer["0"]
    with pytest.raises(InputError, match="has several names, which is implausible"):
        read_model(tmp_path / "many.weights.h5")


def test_the_last_of_two_keys_is_the_one_that_is_checked(tmp_path: Path) -> None:
    small_model().save(tmp_path / "twice.h5")
    with h5py.File(tmp_path / "twice.h5", "r+") as file:
        config = file.attrs["model_config"]
        twice = '"class_name": "LeakyReLU", "class_name": "Lambda"'
        file.attrs["model_config"] = config.replace('"class_name": "LeakyReLU"', twice)
    with pytest.raises(InputError, match="contains a Lambda layer"):
        read_model(tmp_path / "twice.h5")


def test_keras_is_given_what_was_checked(tmp_path: Path) -> None:
    """A file with a duplicate key is loaded as it was checked, not as another parser reads it."""
    model = small_model()
    model.save(tmp_path / "twice.h5")
    with h5py.File(tmp_path / "twice.h5", "r+") as file:
        config = file.attrs["model_config"]
        twice = '"class_name": "Lambda", "class_name": "LeakyReLU"'
        file.attrs["model_config"] = config.replace('"class_name": "LeakyReLU"', twice)
        file.attrs["training_config"] = "not JSON at all"
    image = np.random.default_rng(1).random((16, 16, 3), dtype=np.float32)
    actual = read_model(tmp_path / "twice.h5").at(16, 16).run(image)
    np.testing.assert_allclose(actual, model(image[None])[0], atol=1e-6)


def test_old_files_that_hold_bytes_are_of_keras_2(tmp_path: Path) -> None:
    photo = tf_keras.Input((None, None, 3))
    tf_keras.Model(photo, tf_keras.layers.Conv2D(3, 1)(photo)).save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        config = file.attrs["model_config"]
        del file.attrs["keras_version"], file.attrs["model_config"]
        file.attrs["keras_version"] = np.bytes_(b"2.2.4")
        file.attrs["model_config"] = np.bytes_(config.encode())
    assert read_model(tmp_path / "old.h5").format == "keras2-h5"
