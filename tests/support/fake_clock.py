"""A clock that advances only by sleeping."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest


@dataclass
class FakeClock:
    """Records the seconds of each sleep."""

    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def monotonic(self) -> float:
        return sum(self.waits)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Replace the clock of `streaming.storage.retry`."""
    from streaming.storage import retry

    fake = FakeClock()
    monkeypatch.setattr(retry, "time", fake)
    return fake
