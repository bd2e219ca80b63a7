"""Figures from series of runs and from lines of time. Nothing here reads a clock or a process."""

import statistics

median = statistics.median
# Microseconds within which an answer is never called late.
USUAL = 5000


def spread(values, form="{:.0f}"):
    """Median and extremes as text."""
    middle = form.format(median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"


def recovered(line, interval, flood, quiet_bins=10):
    """Seconds after the flood until packet-ins are answered as before it.

    `line`: [sent, answered, lost, slowest in us] of each interval (in seconds), by the time of sending; `flood`: its begin and end in seconds.
    As before: for `quiet_bins` intervals in a row all are answered, none slower than `USUAL` or than twice what was the slowest in
    an interval before the flood (its median: one pause of the machine must not excuse all).
    Returns None if that does not come to pass.
    """
    begin, end = flood
    before = line[:int(begin / interval)]
    after = line[round(end / interval):]
    limit = max(USUAL, 2 * median(slowest for *_, slowest in before))
    good = [answered == sent and slowest <= limit for sent, answered, _, slowest in after]
    for first in range(len(good) - quiet_bins + 1):
        if all(good[first:first + quiet_bins]):
            return first * interval
    return None


def back(samples, interval, usual, since, bins=5, share=0.9):
    """Seconds from `since` until the rate is back, with `since` in seconds of the line.

    `samples`: answers a second in each interval (in seconds); `usual`: the rate before. It is back where `bins` intervals in a
    row have this share of the usual rate on average. Returns None if that does not come to pass.
    """
    start = int(since / interval)
    for first in range(start, len(samples) - bins + 1):
        if sum(samples[first:first + bins]) / bins >= share * usual:
            return max(0.0, first * interval - since)
    return None


def lowest(samples, width):
    """Lowest average of so many samples in a row."""
    sums = [sum(samples[n:n + width]) / width for n in range(len(samples) - width + 1)]
    return min(sums, default=0)
