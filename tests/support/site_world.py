"""The pure core of a site in a small exact world, with everything that may happen to it as events.

Each event checks what must be true at that moment; a broken promise is an ``AssertionError``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from bessai.control.follow import Orders, receive
from bessai.control.ledger import Write
from bessai.control.ownership import Claim
from bessai.control.permit import GAP_CYCLES, Permit
from bessai.control.step import ControlState, CycleInput, Decision, SiteRules, decide, settle
from bessai.control.validate import validate_state
from bessai.errors import Fenced, ProtocolError
from bessai.model import (
    AutonomyLevel,
    CauseId,
    FleetReply,
    Freeze,
    Schedule,
    StopOrder,
    Stops,
    Telemetry,
)
from bessai.model.outcome import Applied, ApplyOutcome, PartiallyApplied, Rejected
from bessai.model.stop import NO_STOPS
from bessai.units import MonotonicS
from tests.support.site_battery import S_PER_HOUR, Cells, Registers
from tests.support.site_oracle import Ends, Excess, Proof
from tests.support.site_time import WALL_0
from tests.support.site_values import HEALTHY, MARKET_0, SITE

START_S = 1000.0
SHOWN_PCT = 0.1
"""The device shows the state of charge in steps of this size."""
TINY_KW = 1e-6
OBEDIENCE_S = 25.0
"""A rest that was undone by nobody visible is written again within two of the ledger's gaps."""


class Answer(Enum):
    """What becomes of a write."""

    APPLIED = "applied"
    REFUSED = "refused"
    LOST = "lost"
    LANDED = "landed, and no answer"


@dataclass(frozen=True, slots=True)
class Setting:
    """One site and its battery."""

    rules: SiteRules
    capacity_kwh: float
    soc_pct: float
    dead_man_s: float | None
    grid_metered: bool = True


@dataclass(frozen=True, slots=True)
class Read:
    """How one read goes: it fails, or it lies in these fields."""

    fails: bool = False
    lies: Mapping[str, object] = field(default_factory=dict)
    takes_s: float = 0.05


HONEST = Read()


class World:
    """One site, its battery, and all who may disturb it."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.rules = setting, setting.rules
        limits = self.rules.limits
        self.now = START_S
        one_way = math.sqrt(limits.round_trip_efficiency_pct / 100.0)
        full = setting.capacity_kwh
        self.cells = Cells(full, one_way, full * setting.soc_pct / 100.0)
        self.device = Registers(setting.dead_man_s)
        self.other_kw = 0.0
        self.charge_limit_kw = self.discharge_limit_kw = 1e9
        low, high = limits.soc_floor_pct, limits.soc_max_pct
        self.band_kwh = (full * low / 100.0, full * high / 100.0)
        below, above = self._excess()
        self.below, self.above = Excess(below), Excess(above)
        self.covered_until = -math.inf
        self.connected = True
        self.permit = Permit(self._clock, GAP_CYCLES * self.rules.cycle_s)
        self.state, self.orders, self.stops = ControlState(), Orders(), NO_STOPS
        self.claim = Claim()
        self.proof = Proof(self.rules.ownership)
        self.ends = Ends()
        self.told: tuple[float, float] | None = None
        self.known_kw, self.known_at = 0.0, -math.inf
        self.obeyed_since = self.now
        self.last_true: Telemetry | None = None
        self.steps = 0
        self.writes = 0

    # Time and physics

    def live(self, seconds: float) -> None:
        """Time passes while the process runs and beats."""
        beat_s = self.rules.cycle_s / 2.0
        unwatched = seconds > 2.0 * self.rules.cycle_s
        while seconds > 0.0:
            piece = min(seconds, beat_s)
            self._advance(piece)
            self.permit.beat()
            seconds -= piece
        if unwatched:
            self.obeyed_since = self.now

    def stand_still(self, seconds: float) -> None:
        """Time passes while the process does not run."""
        self._advance(seconds)
        self.obeyed_since = self.now

    def _advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            until = end
            ends_at = self.device.ends_at
            for edge in (ends_at, self.covered_until):
                if edge is not None and self.now < edge < until:
                    until = edge
            self._flow(until - self.now)
            self.now = until
            if ends_at is not None and self.now >= ends_at:
                self.device.force(None, self.now)

    def _flow(self, seconds: float) -> None:
        hours = seconds * self.rules.speed / S_PER_HOUR
        gained = self.cells.flow(self.device.power_kw, hours)
        covered = self.now < self.covered_until
        below, above = self._excess()
        assert self.below.flowed(-gained, below, covered=covered), self._far(below, self.below)
        assert self.above.flowed(gained, above, covered=covered), self._far(above, self.above)

    def _excess(self) -> tuple[float, float]:
        """Outside the band, apart from what the device does not show."""
        low, high = self.band_kwh
        unseen = self.cells.capacity_kwh * SHOWN_PCT / 100.0 + 1e-9
        return max(0.0, low - self.cells.kwh - unseen), max(0.0, self.cells.kwh - high - unseen)

    def _far(self, excess_kwh: float, side: Excess) -> str:
        return f"{excess_kwh:g} kWh outside the band, {side.allowed_kwh:g} explained"

    def _clock(self) -> MonotonicS:
        return MonotonicS(self.now)

    @property
    def market_now(self) -> datetime:
        return MARKET_0 + timedelta(seconds=(self.now - START_S) * self.rules.speed)

    # Those who disturb

    def foreign(self, power_kw: float | None) -> None:
        """Somebody else commands or releases the inverter."""
        self.device.force(power_kw, self.now)
        self.covered_until = -math.inf
        self.obeyed_since = self.now

    def flow_beside(self, power_kw: float) -> None:
        self.other_kw = power_kw

    def device_limits(self, charge_kw: float, discharge_kw: float) -> None:
        self.charge_limit_kw, self.discharge_limit_kw = charge_kw, discharge_kw

    def answer(self, reply: FleetReply) -> None:
        """The fleet answers; an older fleet actor, or another site's plan, is refused."""
        outdated = reply.epoch < self.orders.epoch
        try:
            self.orders = receive(self.orders, reply, SITE, MonotonicS(self.now))
        except ProtocolError:
            assert outdated
            return
        assert not outdated
        caps = {p.cause_id: _life(p.expires_at) for p in reply.proposals}
        self.ends.by_cause = {cause: self.now + life for cause, life in caps.items()}
        if reply.schedule is not None:
            self.ends.schedule = reply.schedule
        self.stops = self.stops.heard(self.orders.stop)

    def freeze(self) -> None:
        if self.stops.freeze is None:
            self.stops = Stops(
                self.stops.order, Freeze("guard", "attack", WALL_0, self.stops.revision)
            )

    def order(self, *, stopped: bool) -> None:
        """A person stops or releases the site, and it hears of it."""
        newest = StopOrder(self.stops.revision + 1, stopped, "Ana", "test", WALL_0)
        self.answer(FleetReply(None, 0.0, epoch=self.orders.epoch, stop=newest))

    def claims(self, **changes: object) -> None:
        """What the authority and the machine say; superseded is for ever."""
        if not self.claim.superseded:
            self.claim = replace(self.claim, **changes)  # type: ignore[arg-type]

    def confirm(self) -> None:
        self.claims(epoch=self.claim.epoch or 1, confirmed_at=MonotonicS(self.now))

    def doubt(self) -> None:
        self.permit.doubt()

    def lose(self) -> None:
        self.connected, self.told = False, None

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.permit.doubt()

    # One cycle

    def cycle(
        self, read: Read = HONEST, answer: Answer = Answer.APPLIED, write_s: float = 0.1
    ) -> Decision:
        """Read, decide, write, as the loop does."""
        self.steps += 1
        telemetry = self._read(read)
        self.live(read.takes_s)
        if not self.connected:
            self.state = self.state.after_loss()
        self.permit.beat()
        given = CycleInput(
            MonotonicS(self.now),
            self.market_now,
            telemetry,
            self.orders,
            self.claim,
            self.permit.doubt_at,
            self.stops,
        )
        before = self.state
        self.state, decision = decide(before, self.rules, given)
        validate_state(self.state, self.rules)
        may_write = self.proof.read(telemetry, self.claim, self.permit.doubt_at, self.now)
        self._check_wish(before, given, decision)
        owner = self.state.ownership
        assert owner.may_write == may_write, f"{owner} but proven is {may_write}"
        self.permit.allow(owner.settled_at if owner.may_write else None)
        honest = telemetry is not None and not read.lies
        if telemetry is not None:
            self._check_bounds(telemetry, decision)
            if telemetry.measured_at > self.known_at:
                self.known_kw = _number(telemetry.commanded_kw)
        self._act(decision, answer, write_s, honest=honest)
        if not honest or answer is not Answer.APPLIED or not may_write or not self.connected:
            self.obeyed_since = self.now
        self._check_obedience()
        return decision

    def _read(self, read: Read) -> Telemetry | None:
        if read.fails or not self.connected:
            return None
        limits, power_kw = self.rules.limits, self.device.power_kw
        true = replace(
            HEALTHY,
            measured_at=MonotonicS(self.now),
            soc_pct=round(self.cells.soc_pct / SHOWN_PCT) * SHOWN_PCT,
            capacity_kwh=self.setting.capacity_kwh,
            active_power_kw=power_kw,
            grid_power_kw=power_kw + self.other_kw if self.setting.grid_metered else None,
            charge_limit_kw=min(self.charge_limit_kw, 2.0 * limits.max_charge_kw),
            discharge_limit_kw=min(self.discharge_limit_kw, 2.0 * limits.max_discharge_kw),
            commanded_kw=self._shown(),
        )
        seen, self.last_true = self.last_true or true, true
        lies = dict(read.lies)
        if lies.pop("frozen", False):
            true = replace(seen, measured_at=true.measured_at)
        return replace(true, **lies) if lies else true  # type: ignore[arg-type]

    def _shown(self) -> float | None:
        if self.rules.ownership.tells_command:
            return self.device.forced_kw
        if self.told is None:
            return None
        power_kw, at = self.told
        over = self.device.dead_man_s is not None and self.now - at >= self.device.dead_man_s
        return None if over else power_kw

    def _act(self, decision: Decision, answer: Answer, write_s: float, *, honest: bool) -> None:
        bounds = decision.allowed.bounds
        cycle_s = self.rules.cycle_s
        if decision.write is not None and self.connected:
            landed = self._write(decision.write, answer, write_s)
            if landed and honest and write_s <= 0.4 * cycle_s:
                self.covered_until = self.now + 2.0 * cycle_s
            elif landed:
                self.covered_until = -math.inf
            return
        in_force = self.device.forced_kw
        known = in_force is None or self._shown() == in_force
        if honest and self.connected and self.state.ownership.may_write and known:
            inside = in_force is None or bounds.contains(in_force, TINY_KW)
            assert inside or self._is_ours(in_force), f"{in_force} is left outside {bounds}"
            if inside:
                self.covered_until = self.now + 2.0 * cycle_s

    def _is_ours(self, in_force: float | None) -> bool:
        """Whether it cannot be told from our own command."""
        written, rules = self.state.ledger.written_kw, self.rules.writes
        near_kw = rules.dead_band_kw + TINY_KW
        return in_force is not None and written is not None and abs(in_force - written) <= near_kw

    def _write(self, write: Write, answer: Answer, write_s: float) -> bool:
        self.writes += 1
        assert self.state.ownership.may_write
        self._check_growth(write)
        self.live(write_s)
        outcome, landed = self._sent(write, answer)
        match outcome:
            case Applied():
                self.told = (write.power_kw, self.now)
                self.known_kw, self.known_at = write.power_kw, self.now
            case PartiallyApplied():
                self.told = None
            case Rejected():
                pass
        self.state = settle(self.state, write, outcome, MonotonicS(self.now))
        validate_state(replace(self.state, last=None), self.rules)
        return landed

    def _sent(self, write: Write, answer: Answer) -> tuple[ApplyOutcome, bool]:
        try:
            self.permit.check()
        except Fenced as error:
            return Rejected(str(error)), False
        assert not self.claim.superseded
        assert self.proof.settled >= self.permit.doubt_at, "a write in doubt"
        if answer is Answer.REFUSED:
            return Rejected("exception 4"), False
        if answer is Answer.LOST:
            return PartiallyApplied(1, "power", "no answer"), False
        self.device.force(write.power_kw, self.now)
        if answer is Answer.LANDED:
            return PartiallyApplied(4, "command", "no answer"), True
        return Applied(write.power_kw, 4), True

    # What must be true

    def _check_wish(self, before: ControlState, given: CycleInput, decision: Decision) -> None:
        """Nothing acts that has expired, was refused, or does not cover now; always a reason."""
        setpoint, cause = decision.setpoint, decision.setpoint.cause_id
        assert setpoint.reason
        if given.stops.active:
            assert setpoint.power_kw == 0.0
            assert decision.allowed.bounds.lower_kw == decision.allowed.bounds.upper_kw == 0.0
            assert decision.autonomy is AutonomyLevel.SAFE_STOP
            assert cause is None
        plan = self.ends.schedule
        if cause is None:
            assert setpoint.source == "hold"
        elif cause == "local":
            assert decision.autonomy is AutonomyLevel.LOCAL_POLICY
        elif plan is not None and cause == CauseId(plan.schedule_id):
            self._check_plan(plan, given, decision)
        else:
            assert cause in self.ends.by_cause, f"{cause} was never accepted"
            assert given.now < self.ends.by_cause[cause], f"{cause} has expired"
        dead = [p for p in self.orders.proposals if self.ends.by_cause[p.cause_id] <= given.now]
        if dead:
            alive = tuple(p for p in self.orders.proposals if p not in dead)
            without = replace(given, orders=replace(given.orders, proposals=alive))
            assert decide(before, self.rules, without)[1] == decision, "an expired one has effect"

    def _check_plan(self, plan: Schedule, given: CycleInput, decision: Decision) -> None:
        now = given.market_now
        covering = [i for i in plan.intervals if i.start <= now < i.end]
        assert covering, "the plan does not cover now"
        wish, power = covering[0].power_kw, decision.setpoint.power_kw
        text = decision.setpoint.reason
        limited = "limited" in text or "moved" in text or decision.coasting
        if decision.allowed.bounds.contains(0.0) and not limited:
            assert abs(power - wish) <= TINY_KW
        if decision.allowed.bounds.contains(0.0) and not self.orders.proposals:
            assert min(0.0, wish) - TINY_KW <= power <= max(0.0, wish) + TINY_KW

    def _check_bounds(self, telemetry: Telemetry, decision: Decision) -> None:
        """Limits that can be told from one read alone."""
        limits, power = self.rules.limits, decision.setpoint.power_kw
        assert -limits.max_charge_kw - TINY_KW <= power <= limits.max_discharge_kw + TINY_KW
        for value in (telemetry.soc_pct, telemetry.active_power_kw, telemetry.temperature_c):
            if value is None or not math.isfinite(value):
                assert power == 0.0
        if telemetry.discharge_limit_kw is None or telemetry.charge_limit_kw is None:
            return
        if not (telemetry.discharge_limit_kw >= 0 and telemetry.charge_limit_kw >= 0):
            assert power == 0.0
            return
        assert power <= telemetry.discharge_limit_kw + TINY_KW
        assert power >= -telemetry.charge_limit_kw - TINY_KW
        grid, battery = telemetry.grid_power_kw, telemetry.active_power_kw
        if grid is None or battery is None or decision.allowed.holds:
            return
        other = grid - battery
        # Where rest keeps to the limit so does the power; else it goes the right way, or rests.
        assert power <= max(0.0, limits.export_limit_kw - other) + TINY_KW
        assert power >= min(0.0, -limits.import_limit_kw - other) - TINY_KW

    def _check_growth(self, write: Write) -> None:
        """No faster than the ramp from what the device was known to do.

        Give or take what is too little to write, and what cannot be told from our own command.
        """
        limits, writes = self.rules.limits, self.rules.writes
        steps_kw = writes.change_kw + writes.dead_band_kw + TINY_KW
        growth_kw = limits.ramp_kw_per_s * 2.0 * self.rules.cycle_s + steps_kw
        assert write.power_kw <= max(0.0, self.known_kw) + growth_kw, "up faster than the ramp"
        assert write.power_kw >= min(0.0, self.known_kw) - growth_kw, "down faster than the ramp"

    def _check_obedience(self) -> None:
        """With a device and an epoch that nobody disturbs, a stop is a rest in force."""
        if not self.stops.active:
            self.obeyed_since = self.now
        if self.now - self.obeyed_since > OBEDIENCE_S and self.rules.ownership.tells_command:
            in_force = self.device.forced_kw
            assert in_force == 0.0 or self._is_ours(in_force), f"stopped, and {in_force} in force"

    def check_comes_back(self) -> None:
        """Left in peace, with a person who releases it, a site controls its battery again."""
        if self.claim.superseded:
            return
        self.connect()
        self.device_limits(1e9, 1e9)
        self.flow_beside(0.0)
        self.order(stopped=False)
        self.claims(alone=True, rival=None)
        rest_s = 2.0 * (self.rules.ownership.quiet_s + (self.setting.dead_man_s or 0.0)) + 200.0
        until = self.now + rest_s
        while self.now < until and not self._controls():
            self.confirm()
            self.cycle()
            self.live(self.rules.cycle_s - 0.15)
        assert self._controls(), f"left in peace for {rest_s:g} s, and controls nothing"

    def _controls(self) -> bool:
        """Whether the site owns its battery and has it in hand."""
        last, in_force = self.state.last, self.device.forced_kw
        owns = self.state.ownership.may_write and not self.stops.active
        if not owns or last is None or not self.rules.ownership.tells_command:
            return owns
        return in_force is not None and last.allowed.bounds.contains(in_force, TINY_KW)


def _life(seconds: float) -> float:
    return min(seconds, 60.0) if seconds > 0 else 0.0


def _number(power_kw: float | None) -> float:
    return power_kw if power_kw is not None and math.isfinite(power_kw) else 0.0
