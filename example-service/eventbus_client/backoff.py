"""How long to wait before another attempt."""

import random
from collections.abc import Callable

Backoff = Callable[[int], float]

FIRST_SECONDS = 0.5
MOST_SECONDS = 5.0


def full_jitter(attempt: int) -> float:
    """Give a random number of seconds, at most 0.5, 1, 2, 4, 5: so not all come back at the same moment.

    Args:
        attempt: How many have failed before this one; 0 for the first.
    """
    doubled = FIRST_SECONDS * 2 ** min(attempt, 10)
    return random.uniform(0, min(MOST_SECONDS, doubled))  # noqa: S311 - jitter is no secret
