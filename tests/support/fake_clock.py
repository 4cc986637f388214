"""A clock that only sleeping moves."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest


@dataclass
class FakeClock:
    """Seconds that would have been slept."""

    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def monotonic(self) -> float:
        return sum(self.waits)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of `streaming.storage.retry` in place of the real one."""
    from streaming.storage import retry

    moved = FakeClock()
    monkeypatch.setattr(retry, "time", moved)
    return moved
