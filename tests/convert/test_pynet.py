from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bokeh_convert.pynet.network import HEADS, pynet, pynet_in_order


@pytest.fixture(scope="module")
def whole_in_order():
    return pynet_in_order(heads=HEADS)


@pytest.fixture(scope="module")
def whole(whole_in_order):
    return whole_in_order[0]


@pytest.mark.slow
def test_authors_width_holds_the_authors_variables_in_their_order(
    whole_in_order, data: Path
) -> None:
    expected = (data / "pynet_variable_shapes.txt").read_text().split()
    shapes = [weight.shape for layer in whole_in_order[1] for weight in layer.weights]
    assert ["x".join(str(n) for n in shape) for shape in shapes] == expected


def test_authors_width_holds_47_551_791_parameters(whole) -> None:
    assert sum(math.prod(weight.shape) for weight in whole.weights) == 47_551_791


@pytest.mark.slow
@pytest.mark.parametrize(("head", "scale"), [(h, 2.0 ** (i - 5)) for i, h in enumerate(HEADS)])
def test_each_head_alone_has_its_size(head: str, scale: float) -> None:
    model = pynet(width=0.05, input_channels=3, size=(64, 96), heads=(head,))
    assert model.output_shape == (None, int(64 * scale), int(96 * scale), 3)


@pytest.mark.slow
def test_a_coarse_head_leaves_the_finer_levels_out() -> None:
    coarse, fine = (pynet(width=0.05, heads=(head,)) for head in ("l4", "l_up"))
    assert coarse.count_params() < fine.count_params()
    assert not [layer.name for layer in coarse.layers if layer.name.startswith("l1_d3")]


@pytest.mark.slow
def test_a_residual_model_starts_from_the_photo(rng: np.random.Generator) -> None:
    model = pynet(width=0.05, input_channels=4, heads=("l0",), residual=True)
    model.get_layer("out_l0_conv").set_weights([np.zeros((3, 3, 8, 3)), np.zeros(3)])
    photo = rng.random((1, 32, 64, 4), dtype=np.float32)
    np.testing.assert_allclose(model(photo), photo[..., :3], atol=1e-6)


@pytest.mark.slow
def test_the_authors_head_is_scaled_tanh(rng: np.random.Generator) -> None:
    model = pynet(width=0.05, input_channels=3, heads=("l5",))
    model.get_layer("out_l5_conv").set_weights([np.zeros((3, 3, 26, 3)), np.full(3, 0.3)])
    actual = model(rng.random((1, 32, 32, 3), dtype=np.float32))
    np.testing.assert_allclose(actual, 0.58 * math.tanh(0.3) + 0.5, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"input_channels": 5}, {"width": 0}, {"heads": ("l9",)}, {"heads": ()}, {"size": (64, 100)}],
)
def test_arguments_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pynet(**{"width": 0.05, **wrong})
