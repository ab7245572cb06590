"""``bessai devices set HOST power KW`` and ``release``: hold a power by hand, then let go."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Final, assert_never

from rich.console import Console
from rich.text import Text

from bessai.cli.devices_set import confirm, print_writes
from bessai.cli.devices_target import Target, control_time, end_of_command, wait_for_end
from bessai.cli.devices_watch import telemetry_line
from bessai.cli.tables import number
from bessai.control.link import Backoff
from bessai.devices import ModbusInverter
from bessai.devices.program import Command, power_command, release_command
from bessai.errors import DeviceError
from bessai.model.outcome import Applied, ApplyOutcome, PartiallyApplied, Rejected

_LOOK_S: Final = 1.0
_RELEASE_TRIES: Final = 10
_NEAR_KW: Final = 0.2
_NEAR_SHARE: Final = 0.1


def run_power(
    target: Target, power_kw: float, for_s: float | None, console: Console, *, yes: bool
) -> None:
    """Command ``power_kw``, + discharge, hold it, and release.

    Raises:
        DeviceError: the family takes no such command, the device refuses it, or it could not be
            released.
    """
    command = asyncio.run(_planned(target, power_kw))
    dead_man = target.profile.dead_man
    console.print(
        Text(f"{target.address}, {target.profile.title}: {_told(command.power_kw)}"), soft_wrap=True
    )
    print_writes(command.writes, console)
    if dead_man is None:
        text = "no dead-man: if this program is killed, the device keeps the command for ever"
        console.print(Text(text, style="bold yellow"), soft_wrap=True)
    until = "Ctrl-C" if for_s is None else f"{for_s:g} s are over"
    console.print(Text(f"held until {until}, then released"))
    confirm(yes=yes)
    asyncio.run(_Hold(target, power_kw, console).run(for_s))


def run_release(target: Target, console: Console, *, yes: bool) -> None:
    """Return the device to its own mode, and read that back.

    Raises:
        DeviceError: the family cannot be commanded, or the device cannot be released.
    """
    command = asyncio.run(_planned(target, None))
    console.print(Text(f"{target.address}, {target.profile.title}: release"), soft_wrap=True)
    print_writes(command.writes, console)
    confirm(yes=yes)
    asyncio.run(_release_only(target, console))


async def _planned(target: Target, power_kw: float | None) -> Command:
    """What the command will write; asked for on a connection of its own.

    The person may think as long as they like: the device's only connection is free meanwhile.
    """
    device = target.driver()
    if not target.profile.controllable:
        raise DeviceError(
            f"profile {target.profile.name} cannot be commanded",
            field="power" if power_kw is not None else "release",
            fix="use it for monitoring only",
        )
    await device.connect()
    try:
        if power_kw is None:
            return release_command(device.profile, device.reading)
        return power_command(device.profile, power_kw, device.reading)
    finally:
        await device.close()


async def _release_only(target: Target, console: Console) -> None:
    hold = _Hold(target, 0.0, console)
    with end_of_command() as stop:
        try:
            await hold.release(stop)
        finally:
            await hold.device.close()


@dataclass(slots=True)
class _Pace:
    """When the command is due again, and whether the battery's answer was judged."""

    every_s: float
    renew_s: float
    judge_s: float
    judged: bool = False


class _Hold:
    """One command, from its first write to its verified end."""

    def __init__(self, target: Target, power_kw: float, console: Console) -> None:
        self.device: Final[ModbusInverter] = target.driver()
        self._target = target
        self._power_kw = power_kw
        self._console = console

    async def run(self, for_s: float | None) -> None:
        """Command, renew, release.

        Raises:
            DeviceError: the device refuses, is lost, or cannot be released.
        """
        with end_of_command() as stop:
            try:
                await self.device.connect()
                await self._command_and_hold(for_s, stop)
            finally:
                await self.device.close()

    async def release(self, stop: asyncio.Event) -> None:
        """Try until the device is back in its own mode; a signal gives up.

        Raises:
            DeviceError: it is not.
        """
        stop.clear()
        habits, reason = self._target.profile.connection, "not tried"
        backoff = Backoff(habits.reconnect_min_s, habits.reconnect_max_s)
        for attempt in range(1, _RELEASE_TRIES + 1):
            reason = await self._release_once()
            if not reason:
                return self._say("released: the device follows its own mode again", "green")
            self._say(f"not released yet: {reason}", "yellow")
            if await wait_for_end(stop, backoff.wait_s(attempt, random.random())):  # noqa: S311
                break
        raise DeviceError(f"was not released: {reason}", field=self._target.address, fix=self._fix)

    async def _command_and_hold(self, for_s: float | None, stop: asyncio.Event) -> None:
        outcome = await self.device.apply_power(self._power_kw)
        if isinstance(outcome, Rejected):
            raise DeviceError(outcome.error, field="power")
        trouble = _trouble(outcome)
        if isinstance(outcome, Applied):
            self._power_kw = outcome.power_kw  # narrowed by the device's own limit, perhaps
            self._say(f"commanded: {_told(self._power_kw)}", "green")
            trouble = await self._hold(for_s, stop)
        if trouble:
            self._say(f"{trouble}; releasing", "red")
        await self.release(stop)
        if trouble:
            raise DeviceError(trouble, field="power")

    async def _hold(self, for_s: float | None, stop: asyncio.Event) -> str:
        """Renew and watch until the end; what went wrong, or nothing."""
        began_s = control_time()
        every_s = self._renewal_s()
        within_s = self._target.profile.effect.within_s
        pace = _Pace(every_s, began_s + every_s, began_s + within_s)
        while not stop.is_set() and (for_s is None or control_time() < began_s + for_s):
            trouble = await self._look(pace)
            if trouble:
                return trouble
            left_s = _LOOK_S if for_s is None else min(_LOOK_S, began_s + for_s - control_time())
            await wait_for_end(stop, left_s)
        return ""

    async def _look(self, pace: _Pace) -> str:
        """One second of holding."""
        now_s = control_time()
        if now_s >= pace.renew_s:
            pace.renew_s = now_s + pace.every_s
            trouble = _trouble(await self.device.apply_power(self._power_kw))
            if trouble:
                return trouble
        try:
            telemetry = await self.device.read_telemetry()
        except DeviceError as error:
            return str(error)
        self._say(telemetry_line(telemetry))
        if telemetry.commanded_kw is None and self.device.profile.command_readable:
            return "the device left the command by itself"
        if now_s >= pace.judge_s and not pace.judged:
            pace.judged = True
            self._judge(telemetry.active_power_kw)
        return ""

    def _judge(self, measured_kw: float | None) -> None:
        if measured_kw is None:
            return self._say(
                "whether the battery follows is not known: it tells no power", "yellow"
            )
        near_kw = max(_NEAR_KW, _NEAR_SHARE * abs(self._power_kw))
        wrong = self._power_kw * measured_kw < 0 and abs(measured_kw) > near_kw
        if wrong:
            return self._say("WRONG SIGN: the battery goes the other way", "bold red")
        if abs(measured_kw - self._power_kw) > near_kw:
            return self._say(
                f"the battery does not follow: {number(measured_kw, 'kW', 2)}", "yellow"
            )
        return self._say("the battery follows", "green")

    async def _release_once(self) -> str:
        """Release and see that no command is left; the reason where there is one."""
        try:
            outcome = await self.device.release()
            if isinstance(outcome, Rejected):
                await self.device.connect()
                outcome = await self.device.release()
            trouble = _trouble(outcome)
            if trouble:
                return trouble
            telemetry = await self.device.read_telemetry()
        except DeviceError as error:
            return str(error)
        if telemetry.commanded_kw is not None:
            return f"it still holds {number(telemetry.commanded_kw, 'kW', 2, sign=True)}"
        return ""

    def _renewal_s(self) -> float:
        dead_man = self._target.profile.dead_man
        return float("inf") if dead_man is None else dead_man.renewal_s

    @property
    def _fix(self) -> str:
        dead_man = self._target.profile.dead_man
        if dead_man is None:
            return "run `bessai devices set HOST release`: the device has no dead-man"
        return f"its dead-man ends the command within {dead_man.period_s} s"

    def _say(self, line: str, style: str = "") -> None:
        self._console.print(Text(line, style=style), soft_wrap=True)


def _trouble(outcome: ApplyOutcome) -> str:
    match outcome:
        case Applied():
            return ""
        case PartiallyApplied(failed_point=point, error=error):
            return f"{point}: {error}"
        case Rejected(error=error):
            return error
        case _:
            assert_never(outcome)


def _told(power_kw: float) -> str:
    if power_kw == 0:
        return "hold at 0 kW"
    return f"{'discharge' if power_kw > 0 else 'charge'} {abs(power_kw):g} kW"
