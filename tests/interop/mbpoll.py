"""``mbpoll``, the Modbus client of Debian, which is built on libmodbus.

Source: https://github.com/epsilonrt/mbpoll.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final, TypeVar

import pytest

from tests.interop.simulator import HOST, Simulator

_VALUE: Final = re.compile(r"^\[(\d+)\]:\s+(\S+)", re.MULTILINE)
_REFUSED: Final = re.compile(r"failed: (.+)$", re.MULTILINE)
Number = TypeVar("Number", int, float)


class Refused(Exception):
    """What the client says about an exception of the device, or about its silence."""


@dataclass(frozen=True, slots=True)
class Mbpoll:
    """Each call is one run of the program: one connection, one request.

    Addresses are those on the wire. ``kind`` is mbpoll's ``-t``: ``4`` holding and ``3`` input
    registers, with ``:int`` or ``:float`` for 32 bits.
    """

    simulator: Simulator
    program: str

    @classmethod
    def for_(cls, simulator: Simulator) -> Mbpoll:
        """The client of this machine, or a skipped test where it is not installed."""
        program = shutil.which("mbpoll")
        if program is None:
            pytest.skip("mbpoll is not installed")
        return cls(simulator, program)

    def words(self, address: int, count: int = 1, *, kind: str = "4:hex") -> list[int]:
        """16-bit registers, unsigned."""
        return [int(text, 16) for text in self._read(address, count, kind)]

    def integer(self, address: int, *, kind: str = "4:int", big: bool = True) -> int:
        """A signed 32-bit integer, high word first where ``big``."""
        return int(self._read(address, 1, kind, *_order(big))[0])

    def real(self, address: int, *, kind: str = "4:float", big: bool = True) -> float:
        """A 32-bit float, high word first where ``big``."""
        return float(self._read(address, 1, kind, *_order(big))[0])

    def write(self, address: int, value: float, *, kind: str = "4", big: bool = True) -> None:
        """One value of 16 or 32 bits."""
        order = _order(big) if ":" in kind else ()
        said = self._run("-t", kind, *order, "-r", str(address), HOST, "--", f"{value:g}")
        assert "Written 1 references." in said, said

    def _read(self, address: int, count: int, kind: str, *order: str) -> list[str]:
        what = ("-t", kind, *order, "-r", str(address), "-c", str(count))
        found = _VALUE.findall(self._run(*what, HOST))
        assert len(found) == count, found
        return [text for _, text in found]

    def _run(self, *arguments: str) -> str:
        link = ("-m", "tcp", "-p", str(self.simulator.port), "-a", str(self.simulator.unit_id))
        done = subprocess.run(
            [self.program, *link, "-0", "-1", "-o", "5", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if refused := _REFUSED.search(done.stderr):
            raise Refused(refused[1])
        assert done.returncode == 0, done.stderr
        return done.stdout


def _order(big: bool) -> tuple[str, ...]:
    return ("-B",) if big else ()
