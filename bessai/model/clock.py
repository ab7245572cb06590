"""Market time, which a simulation may accelerate; control time never is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class MarketClock:
    """Maps wall time to market time: ``market = market_start + (wall - wall_start) * speed``.

    Attributes:
        market_start: Aware UTC market time at ``wall_start``.
        wall_start: Aware UTC wall time at which the replay began.
        speed: Market seconds per real second; 1 is live.
    """

    market_start: datetime
    wall_start: datetime
    speed: float = 1.0

    def __post_init__(self) -> None:
        if self.market_start.tzinfo is None or self.wall_start.tzinfo is None:
            raise ValueError("MarketClock needs aware times")
        if not self.speed > 0:
            raise ValueError(f"speed must be positive, got {self.speed}")

    @classmethod
    def live(cls) -> MarketClock:
        """The clock of a real market: market time is wall time."""
        now = datetime.now(UTC)
        return cls(market_start=now, wall_start=now, speed=1.0)

    def market_at(self, wall: datetime) -> datetime:
        """Market time at an aware wall time."""
        return self.market_start + (wall - self.wall_start) * self.speed

    def now(self) -> datetime:
        """Market time now, aware UTC."""
        return self.market_at(datetime.now(UTC))

    def real_s(self, market_duration: timedelta) -> float:
        """Real seconds that a market duration takes."""
        return market_duration.total_seconds() / self.speed
