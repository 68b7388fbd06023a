"""How old events are, whatever the system's clock does: both clocks are set by hand here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from eventbus.config import Settings
from eventbus.event import Draft
from eventbus.log import Publisher
from eventbus.log.ages import EVEN, FINENESS, MOST_MARKS, Ages
from eventbus.log.memory import MemoryLog
from eventbus.log.retention import Retention

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
WEEK = 7 * DAY
TODAY = 1_790_000_000.0


class Clocks:
    """A machine's two clocks; one of them may leap."""

    def __init__(self, wall: float = TODAY) -> None:
        self.wall = wall
        self.steady = 1_000.0

    def run(self, ages: Ages, seconds: float, *, newest: int, step: float = 1.0) -> None:
        """Let time pass; look at the clocks all the while, as the bus does."""
        until = self.steady + seconds
        while self.steady < until:
            self.steady += step
            self.wall += step
            ages.look(newest)

    def restart(self, ages: Ages, *, off: float = 0.0) -> Ages:
        """Stop the bus, and start it again later, perhaps on a machine whose steady clock began anew."""
        kept = ages.to_keep()
        self.wall += off
        self.steady = 5.0
        again = self.ages()
        again.resume(kept)
        return again

    def ages(self) -> Ages:
        return Ages(wall=lambda: self.wall, steady=lambda: self.steady)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_an_event_is_as_old_as_the_time_that_has_passed_and_never_older(clocks: Clocks) -> None:
    ages = clocks.ages()
    clocks.run(ages, 1, newest=10)

    clocks.run(ages, 99, newest=20)

    assert ages.position(98.5) == 10
    assert ages.position(99.5) == 0
    assert ages.position(0) == 20


@pytest.mark.parametrize("leap", [8 * DAY, -8 * DAY, 9_000 * 365 * DAY, -50 * 365 * DAY, 31 * 365 * DAY])
@pytest.mark.parametrize("back_after", [3.0, DAY])
def test_a_clock_that_leaps_makes_nothing_older_and_is_named(
    clocks: Clocks, caplog: pytest.LogCaptureFixture, leap: float, back_after: float
) -> None:
    ages = clocks.ages()
    clocks.run(ages, 10 * MINUTE, newest=100)

    clocks.wall += leap
    clocks.run(ages, back_after, newest=100)
    clocks.wall -= leap
    clocks.run(ages, HOUR, newest=100)

    assert ages.position(DAY + 2 * HOUR) == 0
    assert ages.position(HOUR) == 100
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" s;")[0] for line in lines] == [
        f"the system's clock leapt by {moved:+.0f}" for moved in (leap, -leap)
    ]


@pytest.mark.parametrize("seconds", [3.0, DAY])
def test_after_a_start_in_1986_the_right_time_makes_nothing_older(seconds: float) -> None:
    clocks = Clocks(wall=500_000_000.0)
    ages = clocks.ages()
    clocks.run(ages, seconds, newest=100)
    ages = clocks.restart(ages, off=10)
    clocks.run(ages, seconds, newest=200)

    clocks.wall = TODAY
    clocks.run(ages, DAY, newest=200)
    ages = clocks.restart(ages, off=10)
    clocks.run(ages, DAY, newest=200)

    assert ages.position(5 * DAY) == 0
    assert ages.position(2 * DAY) == 200


def test_time_that_the_bus_was_off_counts_once_the_clock_has_run_evenly(clocks: Clocks) -> None:
    ages = clocks.ages()
    clocks.run(ages, HOUR, newest=100)
    ages = clocks.restart(ages, off=WEEK)

    clocks.run(ages, EVEN - 2, newest=200)
    assert ages.position(WEEK) == 0

    clocks.run(ages, 4, newest=200)
    assert ages.position(WEEK) == 100
    assert ages.position(WEEK + 2 * HOUR) == 0
    assert ages.position(HOUR) == 100  # what came since is as old as it is


def test_a_machine_that_runs_an_hour_a_day_keeps_a_week(clocks: Clocks) -> None:
    ages = clocks.ages()
    for day in range(1, 30):
        clocks.run(ages, HOUR, newest=day, step=5)
        assert max(0, day - 8) <= ages.position(WEEK) <= max(0, day - 7)
        ages = clocks.restart(ages, off=23 * HOUR)


def test_runs_that_are_too_short_to_believe_the_clock_are_counted_by_the_next_long_one(clocks: Clocks) -> None:
    ages = clocks.ages()
    clocks.run(ages, HOUR, newest=100)
    for _ in range(3):
        ages = clocks.restart(ages, off=3 * DAY)
        clocks.run(ages, MINUTE, newest=200)
    clocks.run(ages, EVEN, newest=200)

    assert ages.position(9 * DAY) == 100
    assert ages.position(DAY) == 100


def test_a_wrong_time_at_the_start_does_not_count_and_the_right_one_does(clocks: Clocks) -> None:
    ages = clocks.ages()
    clocks.run(ages, HOUR, newest=100)
    ages = clocks.restart(ages, off=2 * DAY)
    right, clocks.wall = clocks.wall, 500_000_000.0

    clocks.run(ages, 20 * MINUTE, newest=200)
    assert ages.position(2 * HOUR) == 0
    clocks.wall = right + 20 * MINUTE
    clocks.run(ages, 2 * EVEN, newest=200)

    assert ages.position(2 * DAY) == 100
    assert ages.position(2 * DAY + 2 * HOUR) == 0


def test_a_start_in_another_age_deletes_nothing(clocks: Clocks) -> None:
    ages = clocks.ages()
    clocks.run(ages, HOUR, newest=100)

    ages = clocks.restart(ages, off=9_000 * 365 * DAY)
    clocks.run(ages, HOUR, newest=100)

    assert ages.position(3 * HOUR) == 0


def test_a_clock_that_is_put_right_bit_by_bit_leaps_not(clocks: Clocks, caplog: pytest.LogCaptureFixture) -> None:
    ages = clocks.ages()
    for _ in range(1_000):
        clocks.wall += 0.1
        clocks.run(ages, 1, newest=1)

    assert not caplog.records


def test_marks_are_few_and_tell_each_age_to_a_hundredth(clocks: Clocks) -> None:
    ages = clocks.ages()
    newest = 0
    for _ in range(20_000):
        newest += 1
        clocks.run(ages, 30, newest=newest, step=30)
        if newest % 1000 == 0:
            ages.forget(ages.position(WEEK))

    assert len(ages._marks) <= MOST_MARKS
    for age in (MINUTE, HOUR, DAY, 6 * DAY):
        exact = newest - age // 30
        assert exact - age / 30 * 2 / FINENESS - 2 <= ages.position(age) <= exact
    assert len(ages.to_keep()) < 200_000


def test_what_has_gone_needs_no_marks(clocks: Clocks) -> None:
    ages = clocks.ages()
    for newest in range(100):
        clocks.run(ages, 1, newest=newest)

    ages.forget(99)
    clocks.run(ages, 100, newest=99)

    assert len(ages._marks) == 1
    assert ages.look(100) is False


async def test_a_bus_that_gets_its_events_in_the_first_minutes_of_each_run_lets_them_go_by_age() -> None:
    day, minute = 24 * 60 * 60, 60
    wall, log = SimpleNamespace(now=1_800_000_000.0, begun=0.0), MemoryLog()

    for _ in range(30):
        wall.begun = wall.now
        retention = Retention(log, settings=Settings(retention_seconds=7.0 * day))
        retention.ages = Ages(wall=lambda: wall.now, steady=lambda: wall.now - wall.begun)
        await retention.begin()
        for number in range(10):
            wall.now += minute
            if number == 1:
                await log.append([(Draft(name="hi"), Publisher(source="client", scope="client-anna"))])
            retention.ages.look(log.head)
            await retention._trim()
            await retention.keep_ages()
        await retention.keep_ages()
        wall.now = wall.begun + day

    assert 7 <= log.head - log.trimmed <= 9
