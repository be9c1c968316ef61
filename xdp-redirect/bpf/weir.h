/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What weir's XDP programs share: verdicts, the maps that every instance has, and the way to the socket.
 *
 * One instance runs per port, with its own sockets and counters, so nothing here looks up a device; only the machine's own
 * addresses are shared by all ports. Whatever a program does not understand, and whatever has no socket to take it, is
 * passed: the kernel is the fallback for everything.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* In the order of `Verdict` in src/verdict.rs, which names them. */
enum verdict {
	REDIRECTED,
	ARP,
	NOT_IP4,
	OWN_ADDRESS,
	MULTICAST,
	OTHER_MAC,
	MALFORMED,
	NO_SOCKET,
	OWN_MAC,
	NEIGHBOUR_SOLICITATION,
	OTHER_VLAN,
	VERDICTS
};

struct count {
	__u64 packets;
	__u64 bytes;
};

/* All verdicts in one value: the reader copies a CPU's counts with one system call for all of them. */
struct counts {
	struct count of[VERDICTS];
};

/* Receive queue number -> AF_XDP socket. The loader sets the size: one slot for each queue of the port. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Addresses that the kernel answers for, in network byte order. The loader puts the map that all ports share here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __be32);
	__type(value, __u8);
} own_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} verdicts SEC(".maps");

/* Offers the packet to the queue's socket if the verdict is REDIRECTED, counts it, and says what the kernel is to do with it. */
static __always_inline int act(struct xdp_md *ctx, enum verdict verdict)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	int action = XDP_PASS;
	__u32 only = 0;
	struct counts *counts;

	if (verdict == REDIRECTED) {
		/* An empty slot, or a queue beyond the map, gives back the flags' action: the packet is the kernel's. */
		action = bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
		if (action != XDP_REDIRECT)
			verdict = NO_SOCKET;
	}

	counts = bpf_map_lookup_elem(&verdicts, &only);
	/* The bound is never met; the verifier wants to see it. */
	if (counts && verdict < VERDICTS) {
		counts->of[verdict].packets++;
		counts->of[verdict].bytes += end - data;
	}
	return action;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
