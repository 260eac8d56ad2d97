import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkit.averaging import averaged_weights


def test_the_model_computes_with_averages_and_gets_its_own_weights_back():
    variable = keras.Variable(np.zeros(1, np.float32))
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
    optimizer.build([variable])
    for _ in range(2):  # to 1, then 2; the average is 1, then 1.5
        optimizer.apply([tf.constant([-1.0])], [variable])
    with averaged_weights(optimizer, [variable]):
        assert float(variable.numpy()[0]) == pytest.approx(1.5)
    assert float(variable.numpy()[0]) == 2
    with pytest.raises(RuntimeError), averaged_weights(optimizer, [variable]):
        raise RuntimeError
    assert float(variable.numpy()[0]) == 2


def test_without_averages_nothing_happens():
    variable = keras.Variable(np.ones(1, np.float32))
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([variable])
    with averaged_weights(optimizer, [variable]):
        assert float(variable.numpy()[0]) == 1
