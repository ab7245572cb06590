"""A profile without what one device lacks: what needs a missing point goes with it."""

from __future__ import annotations

from collections.abc import Mapping

from bessai.config.profile import (
    CommandInForce,
    DeadMan,
    DeviceProfile,
    Point,
    Simulation,
    Value,
    WriteProgram,
)


def without_points(profile: DeviceProfile, names: frozenset[str]) -> DeviceProfile:
    """The profile less the points ``names`` and all that cannot work without them.

    ``any_of`` and ``max_of`` are narrowed to what is left. A family that loses a step of one
    program loses all of them: it cannot be commanded half.
    """
    points = {name: point for name, point in profile.points.items() if name not in names}
    scaled = {
        n for n, p in points.items() if p.scale_factor is not None and p.scale_factor in names
    }
    lost = scaled | _unguarded(profile, points, names)
    if lost:
        return without_points(profile, names | lost)
    telemetry = {key: value for key, v in profile.telemetry.items() if (value := _left(v, names))}
    dead_man = _dead_man(profile.dead_man, names)
    programs = profile.programs if _all_left(profile.programs, names) else {}
    if dead_man != profile.dead_man:
        programs = {}  # a command that the device would no longer end by itself
    commanded = tuple(state for state in profile.commanded if not names & set(state.points))
    if programs and not _each_ends_commanded(programs, commanded):
        programs = {}
    update = {
        "points": points,
        "telemetry": telemetry,
        "programs": programs,
        "commanded": commanded if programs else (),
        "checks": tuple(check for check in profile.checks if not names & set(check.points)),
        "guards": tuple(guard for guard in profile.guards if guard.requires not in names),
        "dead_man": dead_man,
        "simulation": _shown(profile.simulation, names),
    }
    return profile.model_copy(update=update)


def _unguarded(
    profile: DeviceProfile, points: Mapping[str, Point], names: frozenset[str]
) -> frozenset[str]:
    """Points that may be read under a condition only which nobody can check any more."""
    blind = [guard for guard in profile.guards if guard.requires in names]
    return frozenset(
        name
        for name, point in points.items()
        if any(guard.touches(point.space, point.address, point.count) for guard in blind)
    )


def _left(value: Value, names: frozenset[str]) -> Value | None:
    if not names & set(value.points):
        return value
    any_of = tuple(name for name in value.any_of if name not in names)
    max_of = tuple(name for name in value.max_of if name not in names)
    return Value(any_of=any_of, max_of=max_of) if any_of or max_of else None


def _all_left(programs: dict[str, WriteProgram], names: frozenset[str]) -> bool:
    steps = (step for program in programs.values() for step in program.steps)
    return all(step.point not in names and step.percent_of not in names for step in steps)


def _each_ends_commanded(
    programs: dict[str, WriteProgram], commanded: tuple[CommandInForce, ...]
) -> bool:
    known = {name for state in commanded for name in state.points}
    return all(program.steps[-1].point in known for program in programs.values())


def _dead_man(dead_man: DeadMan | None, names: frozenset[str]) -> DeadMan | None:
    if dead_man is None:
        return None
    restarted_by = tuple(name for name in dead_man.restarted_by if name not in names)
    on_expiry = {name: raw for name, raw in dead_man.on_expiry.items() if name not in names}
    if not restarted_by or not on_expiry:
        return None
    return dead_man.model_copy(update={"restarted_by": restarted_by, "on_expiry": on_expiry})


def _shown(simulation: Simulation, names: frozenset[str]) -> Simulation:
    def kept(section: dict[str, object]) -> dict[str, object]:
        return {name: shown for name, shown in section.items() if name not in names}

    ceilings = {k: v for k, v in simulation.ceilings.items() if k not in names and v not in names}
    update: dict[str, object] = {
        "values": kept(dict(simulation.values)),
        "shows": kept(dict(simulation.shows)),
        "states": kept(dict(simulation.states)),
        "forced": kept(dict(simulation.forced)),
        "absent": tuple(name for name in simulation.absent if name not in names),
        "ceilings": ceilings,
        "timer_rest": None if simulation.timer_rest in names else simulation.timer_rest,
    }
    return simulation.model_copy(update=update)
