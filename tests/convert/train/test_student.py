from __future__ import annotations

import keras
import numpy as np
import pytest

from bokeh_convert.pynet.network import Form, pynet
from bokeh_convert.train.student import factorize, initialize_from_teacher
from bokeh_convert.train.student_choice import cost_of, student_for, student_like
from bokeh_convert.train.teacher_outputs import Teacher
from bokeh_runtime.errors import InputError

HEADS = ("l3",)  # without the finest levels, which take long to build


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {
        f"{layer.name}/{number}": value
        for layer in model.layers
        for number, value in enumerate(layer.get_weights())
    }


def network(width: float = 0.125, form: Form | None = None) -> keras.Model:
    return pynet(width=width, input_channels=3, heads=HEADS, residual=True, form=form or Form())


@pytest.fixture(scope="module")
def teacher() -> keras.Model:
    model = network()
    rng = np.random.default_rng(5)
    for layer in model.layers:  # norms and biases with values of their own
        layer.set_weights([w + rng.normal(0, 0.05, w.shape) for w in layer.get_weights()])
    return model


def output(model: keras.Model) -> np.ndarray:
    photo = np.random.default_rng(6).random((1, 64, 96, 3)).astype(np.float32)
    return keras.ops.convert_to_numpy(model(photo, training=False))


@pytest.mark.parametrize("form", [Form(), Form("factorized", rank=5.0)])
def test_a_student_with_the_rank_of_its_teacher_draws_the_same(
    form: Form, teacher: keras.Model
) -> None:
    student = network(form=form)
    assert np.abs(output(student) - output(teacher)).max() > 0.01
    initialize_from_teacher(student, weights(teacher))
    np.testing.assert_allclose(output(student), output(teacher), atol=2e-4)


def test_a_lower_rank_is_nearer_to_the_teacher_than_random_weights(teacher: keras.Model) -> None:
    student = network(form=Form("factorized"))
    before = np.abs(output(student) - output(teacher)).mean()
    initialize_from_teacher(student, weights(teacher))
    assert np.abs(output(student) - output(teacher)).mean() < 0.7 * before


def test_of_a_wider_teacher_the_channels_with_the_largest_filters_stay() -> None:
    wide, narrow = network(0.25), network(0.125)
    # Channels that are zero everywhere: without them, nothing is lost.
    for layer in wide.layers:
        arrays = layer.get_weights()
        if isinstance(layer, keras.layers.Conv2DTranspose):
            arrays[0][:, :, ::2] = 0
        elif arrays and not layer.name.startswith("out_"):
            if arrays[0].shape[-1] == 8:  # as many as the narrow one has
                continue
            for array in arrays:
                array[..., ::2] = 0
        layer.set_weights(arrays)
    used = initialize_from_teacher(narrow, weights(wide))
    assert used == sum(bool(layer.weights) for layer in narrow.layers)
    np.testing.assert_allclose(output(narrow), output(wide), atol=1e-4)


def test_nothing_is_taken_from_another_network(teacher: keras.Model) -> None:
    before = weights(teacher)
    other = {f"block_{name}": value for name, value in before.items()}
    assert initialize_from_teacher(teacher, other) == 0
    for name, value in weights(teacher).items():
        np.testing.assert_array_equal(value, before[name])


def test_factors_of_the_full_rank_are_the_kernel() -> None:
    kernel = np.random.default_rng(0).normal(size=(5, 5, 3, 4)).astype(np.float32)
    column, row = factorize(kernel, 15)
    assert (column.shape, row.shape) == ((5, 1, 3, 15), (1, 5, 15, 4))
    product = np.einsum("yir,xro->yxio", column[:, 0], row[0])
    np.testing.assert_allclose(product, kernel, atol=1e-5)


def described(model: keras.Model, width: float | None) -> Teacher:
    # Of the whole network, as its factorized form is counted.
    like = Teacher("t.h5", 3, HEADS, "area", width, True, True, (64, 96), 1, 1.0)
    cost = cost_of(student_like(like, width=0.125, form=Form()), (64, 96))
    assert model.count_params()
    return Teacher(
        "t.h5",
        3,
        HEADS,
        "area",
        width,
        True,
        True,
        (64, 96),
        cost.multiplications,
        cost.instructions,
    )


@pytest.mark.slow
def test_a_speedup_chooses_the_largest_student_that_is_cheap_enough(teacher: keras.Model) -> None:
    own = described(teacher, 0.125)
    sizes = []
    for speedup in (1.2, 1.6):
        student = student_for(own, speedup)
        cost = cost_of(student, own.size)
        assert cost.multiplications * speedup <= own.multiplications
        assert cost.instructions * speedup <= own.static_cost
        sizes.append(cost.multiplications)
    assert sizes[1] < sizes[0]
    with pytest.raises(InputError, match="the smallest student costs"):
        student_for(own, 1000)
