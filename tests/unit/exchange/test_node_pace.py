"""How long the rest of a step will take: as long as parts took so far, anew where some are played again."""

from __future__ import annotations

from exchange.node.pace import Pace


def test_the_rest_takes_as_long_as_parts_took_since_the_first_that_was_told() -> None:
    pace = Pace()
    assert pace.left_s("train", 2, 10, 100.0) is None
    assert pace.left_s("train", 4, 10, 106.0) == 18
    assert pace.left_s("train", 10, 10, 130.0) == 0


def test_another_step_and_parts_played_again_begin_anew() -> None:
    pace = Pace()
    pace.left_s("train", 5, 10, 100.0)
    assert pace.left_s("train", 4, 10, 150.0) is None
    assert pace.left_s("train", 5, 10, 152.0) == 10
    assert pace.left_s("evaluate", 6, 10, 152.0) is None
