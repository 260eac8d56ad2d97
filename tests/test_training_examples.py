import numpy as np

from tlkit.rows import Stacked
from tlkit.training_examples import Examples, choose_views, epoch_order


def test_the_order_depends_on_seed_and_epoch_alone():
    rows = np.arange(5, 30)
    assert sorted(epoch_order(rows, 0, 1)) == list(rows)
    np.testing.assert_array_equal(epoch_order(rows, 0, 1), epoch_order(rows, 0, 1))
    assert list(epoch_order(rows, 0, 1)) != list(epoch_order(rows, 0, 2))
    assert list(epoch_order(rows, 0, 1)) != list(epoch_order(rows, 1, 1))


def test_each_epoch_takes_one_view_of_each_image():
    inputs = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
    examples = Examples(inputs, np.arange(100) % 3, np.arange(90))
    stacked = Stacked([examples.inputs, examples.inputs + 1, examples.inputs + 2])
    viewed = Examples(stacked, examples.labels, examples.rows)
    order = epoch_order(viewed.rows, 0, 1)
    chosen = choose_views(viewed, order, 0, 1)
    np.testing.assert_array_equal(chosen % 100, order)
    assert set(chosen // 100) == {0, 1, 2}
    np.testing.assert_array_equal(chosen, choose_views(viewed, order, 0, 1))
    assert list(chosen // 100) != list(choose_views(viewed, order, 0, 2) // 100)
    np.testing.assert_array_equal(choose_views(examples, order, 0, 1), order)
