"""How long the rest of a step will take, if it goes on as it went."""

from __future__ import annotations

__all__ = ["Pace"]


class Pace:
    """The pace of the step under way, from the first that it told; anew where parts are played again."""

    def __init__(self) -> None:
        self._step, self._first, self._since = "", 0, 0.0

    def left_s(self, step: str, done: int, total: int, now: float) -> int | None:
        """Seconds that the rest will take; None for the first that is told of a step.

        Args:
            step: its id.
            done: parts.
            total: parts in all.
            now: monotonic seconds.
        """
        if step != self._step or done < self._first:
            self._step, self._first, self._since = step, done, now
        if done == self._first:
            return None
        return round((now - self._since) * (total - done) / (done - self._first))
