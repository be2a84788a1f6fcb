"""Tables of relative positions for windows of another size."""

from __future__ import annotations

import numpy as np
import pytest

from mindcv_halo.models.weights.position_tables import Reach, list_tables, resize_table

# (query size, window): stride 1, strided queries, no halo, a whole map.
REACHES = [Reach(8, 14), Reach(4, 14), Reach(8, 8), Reach(7, 11), Reach(2, 4), Reach(12, 12), Reach(10, 20)]


def table_of(reach: Reach, slope: float) -> np.ndarray:
    """Rows that rise by `slope` for each pixel of distance from the middle, and by twice that."""
    distance = np.arange(reach.rows, dtype=np.float32) - np.float32(reach.middle)
    return np.stack([slope * distance, 2 * slope * distance], axis=1)


@pytest.mark.parametrize("reach", REACHES)
def test_the_middle_is_the_row_of_a_distance_of_zero(reach):
    """Queries lie in the middle of the keys: the distances of key and query are as far to one side as to the other."""
    offset = (reach.keys - reach.queries) / 2
    distances = [key - offset - query for query in range(reach.queries) for key in range(reach.keys)]
    rows = [key - query + reach.keys - 1 for query in range(reach.queries) for key in range(reach.keys)]
    assert min(distances) == -max(distances)
    assert max(rows) == reach.rows - 1 and min(rows) == reach.rows - reach.used
    np.testing.assert_allclose(np.array(rows) - reach.middle, distances)


@pytest.mark.parametrize("reach", REACHES)
def test_the_same_reach_changes_nothing(reach):
    table = np.random.default_rng(0).standard_normal((reach.rows, 3)).astype(np.float32)
    np.testing.assert_array_equal(resize_table(table, reach, reach), table)


@pytest.mark.parametrize("old", REACHES)
@pytest.mark.parametrize("new", REACHES)
def test_straight_tables_stay_straight(old, new):
    """Used rows cover used rows from end to end, and the middle stays."""
    resized = resize_table(table_of(old, 1.0), old, new)
    assert resized.shape == (new.rows, 2) and resized.dtype == np.float32
    expected = table_of(new, (old.used - 1) / (new.used - 1))
    used = slice(new.rows - new.used, None)
    np.testing.assert_allclose(resized[used], expected[used], atol=1e-4)


def test_values_between_two_rows():
    old, new = Reach(1, 3), Reach(1, 5)  # three and five used rows, the last ones of five and nine
    table = np.array([[9], [9], [0], [10], [40]], np.float32)
    np.testing.assert_allclose(resize_table(table, old, new)[4:, 0], [0, 5, 10, 25, 40])


def test_one_pixel_alone_keeps_the_middle():
    table = np.arange(7, dtype=np.float32)[:, None]
    np.testing.assert_allclose(resize_table(table, Reach(4, 4), Reach(1, 1)), [[3]])
    np.testing.assert_allclose(resize_table(np.ones((1, 1), np.float32), Reach(1, 1), Reach(2, 4)), np.ones((7, 1)))


def test_the_tables_of_a_network():
    from support.weight_files import make_network

    from mindcv_halo.models.specs import Halo

    network = make_network()
    tables = {table.name: table for table in list_tables(network)}
    assert set(tables) == {name for name in network.parameters_dict() if "pos_embed" in name}
    first = tables["stages.1.1.mix.attention.pos_embed.height_rel"]
    strided = tables["stages.2.0.mix.attention.pos_embed.width_rel"]
    assert (first.reach, strided.reach) == (Reach(2, 4), Reach(1, 4))
    for table in tables.values():
        assert table.reach_with(table.reach.rows, Halo(2, 1)) == table.reach
    # With an odd block attention runs at full resolution, and a pool follows.
    assert strided.reach_with(0, Halo(4, 1)) == Reach(2, 6)
    assert strided.reach_with(0, Halo(5, 1)) == Reach(5, 7)
