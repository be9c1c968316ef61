// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * weir's XDP program: IPv4 transit goes to the AF_XDP socket of the receive queue, everything else to the kernel.
 *
 * One instance runs per port, with its own sockets and counters, so nothing here looks up a device; only the machine's own
 * addresses are shared by all ports. Whatever the program does not understand, and whatever has no socket to take it, is
 * passed: the kernel is the fallback for everything.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
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

/* The port's MAC address in the first six bytes; 0 while it is not known, and then nothing is asked of the packet's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} port_mac SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} verdicts SEC(".maps");

/* IN_MULTICAST of 224.0.0.0/4 (RFC 5771) and the limited broadcast address (RFC 919). */
static __always_inline int is_group_address(__be32 address)
{
	return (address & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || address == bpf_htonl(0xffffffff);
}

/* What the packet is. REDIRECTED means transit: whether a socket takes it is known only when it is offered. */
static __always_inline enum verdict classify(const void *data, const void *end)
{
	const struct ethhdr *ethernet = data;
	const struct iphdr *ip = (const void *)(ethernet + 1);
	__u64 destination = 0;
	__u32 only = 0;
	__u64 *mac;

	if ((const void *)(ethernet + 1) > end)
		return MALFORMED;
	if (ethernet->h_proto == bpf_htons(ETH_P_ARP))
		return ARP;
	if (ethernet->h_proto != bpf_htons(ETH_P_IP))
		return NOT_IP4;
	if (ethernet->h_dest[0] & 1)
		return MULTICAST;
	/* Another host's, or another device's on top of this one (macvlan, VRRP): the kernel knows. */
	__builtin_memcpy(&destination, ethernet->h_dest, ETH_ALEN);
	mac = bpf_map_lookup_elem(&port_mac, &only);
	if (mac && *mac && *mac != destination)
		return OTHER_MAC;
	/* A header that is cut off or lies is the graph's to drop, under a name: the kernel's counters would hide it. */
	if ((const void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return REDIRECTED;
	if (is_group_address(ip->daddr))
		return MULTICAST;
	if (bpf_map_lookup_elem(&own_addresses, &ip->daddr))
		return OWN_ADDRESS;
	return REDIRECTED;
}

SEC("xdp")
int weir_redirect(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	enum verdict verdict = classify(data, end);
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
