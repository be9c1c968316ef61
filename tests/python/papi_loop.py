"""Reads segments in a tight loop with the unmodified vpp_papi, while their writers change them and are killed.

Every number that a writer writes can be told from garbage. Ends when a line (or the end) comes on standard input;
says what it read. A watchdog makes a hang a failure."""

import os
import select
import signal
import sys

from vpp_papi.vpp_stats import VPPStats

STEP = 1_000_003
# What a removed entry looks like to this client, depending on which of its own look-ups misses it.
GONE = (KeyError, IndexError, TypeError)


def check(name, entry, value):
    kind = name.rsplit("/", 1)[-1]
    if kind == "simple" or kind == "link":
        rows = value if kind == "simple" else [value]
        for row in rows:
            assert all(cell % STEP == 0 for cell in row), (name, value)
        if kind == "simple":
            # Growth goes from the last row to row 0.
            assert all(len(row) >= len(value[0]) for row in value), (name, value)
    elif kind == "combined":
        for row in value:
            for packets, octets in row:
                # Read between a packet's count and its bytes', or a few of them.
                assert octets % 64 == 0 and abs(packets - octets // 64) <= 1_000_000, (name, value)
    elif kind == "names":
        for text in value:
            first, _, again = text.partition(":")
            assert text == "" or first == again, (name, value)
    elif kind == "histogram":
        assert value.min_exp == 4 and all(len(row) == 8 for row in value.bins), (name, value)
    elif kind == "ring":
        assert value.get_config()["entry_size"] == 32, name


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def stopped():
    return bool(select.select([sys.stdin], [], [], 0)[0])


def read_all(stats):
    count = 0
    for name in list(stats.directory):
        try:
            value = stats[name]
        except GONE:
            continue
        if value is not None:
            check(name, stats.directory.get(name), value)
            count += 1
    return count


def main():
    segments = values = rounds = 0
    while not stopped():
        signal.alarm(20)
        stats = VPPStats(sys.argv[1])
        try:
            stats.connect()
        except (OSError, IndexError):
            # Nobody listens, or the server was killed before it answered.
            continue
        segments += 1
        pid = stats["/sys/pid"]
        while alive(pid) and not stopped():
            signal.alarm(20)
            values += read_all(stats)
            rounds += 1
        # What a killed writer left must be readable as a whole.
        values += read_all(stats)
        stats.disconnect()
    print(f"{segments} {rounds} {values}")


main()
