"""Prints every entry of the segment behind a socket as the unmodified vpp_papi decodes it, one line each."""

import sys

from vpp_papi.vpp_stats import VPPStats

# Entries that differ between any two reads.
MOVING = ("/sys/heartbeat", "/sys/heartbeat_ns", "/mem/stat segment")


def shown(stats, name, entry):
    value = stats[name]
    if entry.type == 7:
        return f"{value.min_exp} {value.bins}"
    if entry.type == 8:
        config = value.get_config()
        rows = [
            [record.hex() for record in value.consume_data(thread)]
            for thread in range(config["n_threads"])
        ]
        schema, _, version = value.get_schema_string()
        return f"{config['entry_size']} {config['ring_size']} {schema!r} {version} {rows}"
    return repr(value)


def main():
    stats = VPPStats(sys.argv[1])
    stats.connect()
    for name, entry in stats.directory.items():
        moving = name in MOVING
        print(name, entry.type, "moving" if moving else shown(stats, name, entry), sep="\t")
    # Column slices are what most programs use.
    print("column", stats["/if/rx"][:, 1].sum_packets(), stats["/if/rx"][:, 1].sum_octets(), sep="\t")
    print("error", stats.get_err_counter("/err/ip4-input/bad-checksum"), sep="\t")
    print("ls", stats.ls(["/if/"]), sep="\t")
    stats.disconnect()


main()
