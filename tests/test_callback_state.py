import collections

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit.callback_state import CallbackState

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda items: (
        st.lists(items)
        | st.lists(items).map(tuple)
        | st.sets(SCALARS)
        | st.dictionaries(SCALARS, items)
    ),
    max_leaves=20,
)


def there_and_back(**values):
    callback, other = keras.callbacks.Callback(), keras.callbacks.Callback()
    vars(callback).update(values)
    state = CallbackState.of(callback)
    state.restore(other)
    return state, other


@given(VALUES)
def test_numbers_texts_and_what_holds_them_come_back(value):
    state, other = there_and_back(remembered=value)
    assert other.remembered == value
    assert type(other.remembered) is type(value)
    assert not state.lost


def test_arrays_come_back_as_copies_wherever_they_are():
    array = np.arange(3, dtype=np.int16)
    _, other = there_and_back(value={"best": [array, (array,)]}, last=np.float32(0.5))
    array += 1
    for found in (other.value["best"][0], other.value["best"][1][0]):
        assert found.dtype == np.int16
        np.testing.assert_array_equal(found, [0, 1, 2])
    assert other.last == 0.5


@pytest.mark.parametrize(
    "value",
    [
        np.random.default_rng(0),
        collections.deque([1]),
        {"a": [object()]},
        np.array([None]),
        [np.zeros(2), collections.Counter()],
    ],
)
def test_what_cannot_be_kept_is_named(value):
    state, other = there_and_back(odd=value, even=[np.ones(1)])
    assert state.lost == (f"odd ({type(value).__name__})",)
    assert not hasattr(other, "odd")
    np.testing.assert_array_equal(other.even[0], [1])


def test_a_list_that_holds_itself_is_named():
    value = []
    value.append(value)
    assert there_and_back(odd=value)[0].lost == ("odd (list)",)


def test_functions_and_the_model_are_no_state():
    state, _ = there_and_back(monitor_op=np.less, module=np, _model=object(), params={"epochs": 1})
    assert not state.lost
    assert not {"monitor_op", "module", "_model", "params"} & set(state.values)
