"""Walking the chain of SunSpec models, and what a profile becomes on a real device."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config import load_profile
from bessai.config.profile import DeviceProfile, SunSpec
from bessai.devices.sunspec import MAX_MODELS, ModelAt, chain_layout, find_models, located
from bessai.errors import DeviceError, DeviceTimeout, RegisterRejected

SPEC = SunSpec(models=(1, 103, 124))
MARKER = (0x5375, 0x6E53)


class Map:
    """Holding registers of a device; what it lacks is refused."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words
        self.asked: list[tuple[int, int]] = []

    async def read(self, address: int, count: int) -> tuple[int, ...]:
        self.asked.append((address, count))
        wanted = range(address, address + count)
        if any(at not in self.words for at in wanted):
            raise RegisterRejected("exception 2", field=f"register {address}")
        return tuple(self.words[at] for at in wanted)


def chain(
    *models: tuple[int, int], base: int = 40000, end: tuple[int, ...] = (0xFFFF, 0)
) -> dict[int, int]:
    """Marker, then each ``(id, length)`` with zeros as its registers, then ``end``."""
    words = [*MARKER]
    for model, length in models:
        words += [model, length, *([0] * length)]
    return dict(enumerate([*words, *end], start=base))


async def find(words: dict[int, int]) -> dict[int, ModelAt]:
    return await find_models(Map(words).read, SPEC)


@pytest.mark.parametrize("base", [40000, 0, 50000])
async def test_models_are_found_behind_the_marker_at_each_base(base: int) -> None:
    models = await find(chain((1, 66), (103, 50), (124, 24), base=base))

    assert models == {
        1: ModelAt(base + 2, 66),
        103: ModelAt(base + 70, 50),
        124: ModelAt(base + 122, 24),
    }


async def test_a_base_with_other_registers_is_passed_over() -> None:
    other = dict.fromkeys(range(40000, 40010), 7)

    assert await find({**other, **chain((1, 65), base=50000)}) == {1: ModelAt(50002, 65)}


async def test_one_request_of_two_registers_is_sent_per_model() -> None:
    device = Map(chain((1, 65), (103, 50)))

    await find_models(device.read, SPEC)

    assert device.asked == [(40000, 2), (40002, 2), (40069, 2), (40121, 2)]


async def test_a_chain_may_end_with_the_bare_id() -> None:
    assert list(await find(chain((1, 65), (103, 50), end=(0xFFFF,)))) == [1, 103]


@pytest.mark.parametrize("end", [(), (124,), (0, 0), (900, 65000)])
async def test_a_chain_that_breaks_off_is_used_as_far_as_it_goes(
    end: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        models = await find(chain((1, 65), (103, 50), end=end))

    assert list(models) == [1, 103]
    assert [record.message for record in caplog.records] == ["SunSpec chain breaks off"]


async def test_an_endless_chain_is_left() -> None:
    device = Map(dict.fromkeys(range(65536), 0) | chain(*[(700 + n, 0) for n in range(200)]))

    models = await find_models(device.read, SPEC)

    assert len(models) == MAX_MODELS
    assert len(device.asked) == MAX_MODELS + 1


async def test_of_a_model_that_occurs_twice_the_first_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        models = await find(chain((1, 65), (103, 50), (1, 65), (203, 105)))

    assert models[1] == ModelAt(40002, 65)
    assert 203 in models
    assert "SunSpec model occurs again, the first one counts" in caplog.messages


@pytest.mark.parametrize("words", [{}, dict.fromkeys(range(40000, 40100), 0), chain()])
async def test_no_map_is_one_clear_error(words: dict[int, int]) -> None:
    with pytest.raises(DeviceError) as caught:
        await find(words)

    assert str(caught.value) == (
        "sunspec.base_addresses: no SunSpec map found; got 40000, 0, 50000; "
        "check the unit id, and that SunSpec Modbus is switched on in the device"
    )


async def test_a_silent_device_is_not_asked_at_the_next_base() -> None:
    asked: list[int] = []

    async def silent(address: int, count: int) -> tuple[int, ...]:
        asked.append(address + 0 * count)
        raise DeviceTimeout("no answer")

    with pytest.raises(DeviceTimeout):
        await find_models(silent, SPEC)
    assert asked == [40000]


@given(
    st.lists(st.tuples(st.integers(1, 65534), st.integers(0, 200)), min_size=1, max_size=30),
    st.sampled_from([40000, 0, 50000]),
)
def test_every_chain_is_found_as_it_was_laid(models: list[tuple[int, int]], base: int) -> None:
    found = asyncio.run(find(chain(*models, base=base)))

    expected: dict[int, ModelAt] = {}
    address = base + 2
    for model, length in models:
        expected.setdefault(model, ModelAt(address, length))
        address += 2 + length
    assert found == expected


def placed_with(profile: DeviceProfile, *without: int) -> DeviceProfile:
    """The profile on a device whose chain is that of the twin, less some models."""
    twin, words = chain_layout(profile)
    assert words
    starts = {p.model: p.address - profile.points[n].address for n, p in twin.points.items()}
    models = {
        model: ModelAt(start, words[start + 1])
        for model, start in starts.items()
        if model is not None and model not in without
    }
    return located(profile, models)


def test_points_get_the_addresses_of_the_device() -> None:
    profile = located(load_profile("sunspec"), {1: ModelAt(40002, 65), 701: ModelAt(40069, 153)})

    assert profile.points["m701.W"].address == 40069 + 10
    assert profile.points["m701.W"].scale_factor == "m701.W_SF"
    assert {point.model for point in profile.points.values()} == {1, 701}


def test_points_beyond_the_length_of_a_model_are_dropped() -> None:
    profile = located(load_profile("sunspec"), {160: ModelAt(40002, 48)})

    inputs = {name.split(".")[1] for name in profile.points if name.count(".") == 2}
    assert inputs == {"1", "2"}


def test_a_value_comes_from_the_first_model_that_the_device_has() -> None:
    profile = placed_with(load_profile("sunspec"), 701, 713)

    assert profile.telemetry["active_power_kw"].any_of == ("m103.W",)
    assert profile.telemetry["soc_pct"].any_of == ("m802.SoC", "m124.ChaState")
    assert "alarms_1" not in profile.telemetry


@pytest.mark.parametrize(("missing", "controllable"), [(704, False), (714, True), (802, True)])
def test_a_device_is_controllable_only_with_all_models_of_its_commands(
    missing: int, controllable: bool
) -> None:
    profile = placed_with(load_profile("sunspec"), missing)

    assert profile.controllable is controllable
    assert bool(profile.commanded) is controllable


def test_checks_that_lose_a_point_are_dropped() -> None:
    profile = placed_with(load_profile("sunspec"), 714)

    assert "AC power = DC power" not in {check.name for check in profile.checks}
    assert "battery U x I = P" in {check.name for check in profile.checks}


def test_a_device_without_scale_factors_has_no_scaled_values() -> None:
    short = {1: ModelAt(40002, 65), 713: ModelAt(40069, 6)}  # ends before Pct_SF

    profile = located(load_profile("sunspec"), short)

    assert "m713.SoC" not in profile.points
    assert "soc_pct" not in profile.telemetry
    assert "m713.Sta" in profile.points


CHAIN_PROFILES = ("sunspec", "fronius_gen24", "solaredge")


@pytest.mark.parametrize("name", CHAIN_PROFILES)
async def test_the_chain_of_a_twin_leads_back_to_its_points(name: str) -> None:
    profile = load_profile(name)
    twin, words = chain_layout(profile)
    memory = dict.fromkeys(range(40000, max(words) + 1), 0) | words

    found = await find_models(Map(memory).read, profile.sunspec or SPEC)

    assert located(profile, found).points == twin.points
    assert twin.controllable


@pytest.mark.parametrize("name", CHAIN_PROFILES)
def test_no_two_points_of_a_twin_share_registers(name: str) -> None:
    twin, _ = chain_layout(load_profile(name))

    for space in {point.space for point in twin.points.values()}:
        spans = sorted((p.address, p.end) for p in twin.points.values() if p.space == space)
        assert overlaps(spans) == []


@pytest.mark.parametrize("name", CHAIN_PROFILES)
def test_a_twin_has_one_model_of_those_that_say_the_same(name: str) -> None:
    twin, _ = chain_layout(load_profile(name))

    models = {point.model for point in twin.points.values()}
    assert models & {101, 102, 103, 111, 112, 113} == {103}


def test_a_family_without_a_chain_is_laid_out_as_it_is() -> None:
    plain = load_profile("sunspec").model_copy(update={"sunspec": None})

    assert chain_layout(plain) == (plain, {})


def overlaps(spans: Iterable[tuple[int, int]]) -> list[int]:
    found: list[int] = []
    last = 0
    for first, end in spans:
        if first < last:
            found.append(first)
        last = end
    return found
