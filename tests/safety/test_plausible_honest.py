"""A battery that tells the truth, as well as it can, is never doubted."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bessai.model import Telemetry
from bessai.safety import Trace
from tests.safety.battery_play import Play, Scene


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Batteries of 0.5 kWh to 10 MWh between a tenth and twice their capacity an hour."""
    capacity_kwh = 10.0 ** draw(st.floats(-0.3, 4.0))
    size_kw = capacity_kwh * draw(st.sampled_from([0.1, 0.5, 1.0, 2.0]))
    return Scene(
        capacity_kwh=capacity_kwh,
        size_kw=size_kw,
        stated_share=draw(st.sampled_from([1.0, 0.5])),
        efficiency_pct=draw(st.sampled_from([80.0, 90.0, 98.0])),
        noise_kw=draw(st.sampled_from([0.001, 0.01 * size_kw])),
        resolution_pct=draw(st.sampled_from([0.1, 1.0])),
        speed=draw(st.sampled_from([1.0, 10.0, 60.0, 600.0, 3600.0]) | st.floats(1.0, 3600.0)),
        cycle_s=draw(st.floats(0.2, 5.0)),
        lag=draw(st.sampled_from([0.1, 0.9])),
        seed=draw(st.integers(0, 999)),
    )


class HonestBattery(RuleBasedStateMachine):
    """Any commands, lost values, gaps and restarts."""

    @initialize(scene=scenes(), start_pct=st.floats(0, 100))
    def begin(self, scene: Scene, start_pct: float) -> None:
        self.play = Play(scene, start_pct)

    @rule(
        share=st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(-1, 1) | st.floats(-0.05, 0.05),
        cycles=st.integers(1, 30),
    )
    def work(self, share: float, cycles: int) -> None:
        for _ in range(cycles):
            self.play.read()
            self.play.act(share * self.play.scene.size_kw)

    @rule(share=st.floats(-1, 1), cycles=st.integers(1, 8))
    def swing(self, share: float, cycles: int) -> None:
        for cycle in range(cycles):
            self.play.read()
            self.play.act(share * self.play.scene.size_kw * (1 if cycle % 2 else -1))

    @rule(field=st.sampled_from(["soc_pct", "active_power_kw", "capacity_kwh"]))
    def lose(self, field: str) -> None:
        def without(seen: Telemetry) -> Telemetry:
            return replace(seen, **{field: None})  # type: ignore[arg-type]

        self.play.read(without)
        self.play.act(self.play.wish_kw)

    @rule(seconds=st.sampled_from([0.5, 3.0, 15.0, 300.0]))
    def gap(self, seconds: float) -> None:
        self.play.skip(seconds)

    @rule()
    def restart(self) -> None:
        self.play.trace = Trace()

    @invariant()
    def is_never_doubted(self) -> None:
        if hasattr(self, "play"):
            assert self.play.trace.findings == ()
            assert self.play.trace.unseen_pct == 0.0


TestHonestBattery = HonestBattery.TestCase
TestHonestBattery.settings = settings(max_examples=60, stateful_step_count=40)
