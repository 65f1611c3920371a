"""The time limit: late, in time, cancelled from elsewhere, nested."""

import asyncio

import pytest

from stead.core.within import Within


async def test_late_work_is_ended() -> None:
    with pytest.raises(TimeoutError), Within(0.01):
        await asyncio.sleep(10)

    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)  # the task is whole again


async def test_work_in_time_is_left_alone() -> None:
    with Within(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.08)


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def work() -> None:
        with Within(10):
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_is_the_cancellation() -> None:
    async def work() -> None:
        with Within(0.01):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                asyncio.current_task().cancel()  # somebody else, while the limit is ending us
                raise

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_inner_limit_does_not_end_the_outer_one() -> None:
    with Within(5):
        with pytest.raises(TimeoutError), Within(0.01):
            await asyncio.sleep(10)
        await asyncio.sleep(0)


async def test_an_error_of_the_work_is_its_own() -> None:
    with pytest.raises(ValueError, match="mine"), Within(1):
        raise ValueError("mine")
