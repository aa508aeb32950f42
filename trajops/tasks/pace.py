"""How long a task will still take, by its own pace and by nothing else."""

# Before that there is no pace to speak of.
LEAST_S = 2.0
LEAST_SHARE = 0.03


def eta_s(done: float, total: float, elapsed_s: float) -> float | None:
    """Seconds left if the rest goes as fast as what is done.

    Args:
        done: units of work, of equal size.
        total: all of them.
        elapsed_s: since the first one was begun, seconds.

    Returns:
        None before two seconds and three per cent of the work.
    """
    if total <= 0 or elapsed_s < LEAST_S or done < LEAST_SHARE * total:
        return None
    return max(0.0, elapsed_s * (total - done) / done)
