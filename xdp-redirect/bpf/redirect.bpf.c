// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* A router's program: IPv4 transit goes to the AF_XDP socket of the receive queue, everything else to the kernel. */
#include "weir.h"
#include <linux/ip.h>

/* The port's MAC address in the first six bytes; 0 while it is not known, and then nothing is asked of the packet's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} port_mac SEC(".maps");

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
	return act(ctx, classify((const void *)(long)ctx->data, (const void *)(long)ctx->data_end));
}
