// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A bridge's program: all frames go to the AF_XDP socket of the receive queue, but those for the machine itself.
 *
 * The machine's own frames are those to its MAC addresses, and the questions that others ask for its addresses: ARP requests and
 * neighbour solicitations. The kernel's bridge, which the ports belong to, passes these on to the other side as well.
 */
#include "weir.h"
#include <linux/icmpv6.h>
#include <linux/ipv6.h>

/* An ARP packet for IPv4 over Ethernet (RFC 826). */
struct arp4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender[ETH_ALEN];
	__u8 sender_address[4];
	__u8 target[ETH_ALEN];
	__be32 target_address;
} __attribute__((packed));

/* RFC 4861 4.3, behind an IPv6 header without extensions. */
struct solicitation {
	struct ipv6hdr ip;
	struct icmp6hdr icmp;
	struct in6_addr target;
};
#define NEIGHBOR_SOLICITATION 135

/* A port that is both sides: its two VLANs. 0: the port is one side, and all frames are transit. */
struct vlans {
	__u16 wan;
	__u16 lan;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vlans);
} port_vlans SEC(".maps");

/* The MAC addresses that the kernel answers for, in the first six bytes of the key. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u8);
} own_macs SEC(".maps");

/* Whether somebody asks for an address of the machine; `body` is what follows the type. */
static __always_inline enum verdict question(__be16 type, const void *body, const void *end)
{
	const struct arp4 *arp = body;
	const struct solicitation *solicitation = body;
	__be32 target;
	struct in6_addr target6;

	if (type == bpf_htons(ETH_P_ARP)) {
		if ((const void *)(arp + 1) > end || arp->protocol != bpf_htons(ETH_P_IP) ||
		    arp->hardware_length != ETH_ALEN || arp->protocol_length != 4)
			return REDIRECTED;
		target = arp->target_address;
		return bpf_map_lookup_elem(&own_addresses, &target) ? ARP : REDIRECTED;
	}
	if (type == bpf_htons(ETH_P_IPV6)) {
		if ((const void *)(solicitation + 1) > end || solicitation->ip.nexthdr != IPPROTO_ICMPV6 ||
		    solicitation->icmp.icmp6_type != NEIGHBOR_SOLICITATION)
			return REDIRECTED;
		target6 = solicitation->target;
		return bpf_map_lookup_elem(&own_addresses6, &target6) ? NEIGHBOUR_SOLICITATION : REDIRECTED;
	}
	return REDIRECTED;
}

/* What the frame is. REDIRECTED means transit: whether a socket takes it is known only when it is offered. */
static __always_inline enum verdict classify(const void *data, const void *end)
{
	const struct ethhdr *ethernet = data;
	const struct tag *tag = (const void *)(ethernet + 1);
	__u64 destination = 0;
	__u32 only = 0;
	struct vlans *vlans;
	__be16 type;
	__u16 id;
	int tags;

	if ((const void *)(ethernet + 1) > end)
		return MALFORMED;
	type = ethernet->h_proto;
	vlans = bpf_map_lookup_elem(&port_vlans, &only);
	if (vlans && vlans->wan) {
		if (type != bpf_htons(ETH_P_8021Q) || (const void *)(tag + 1) > end)
			return OTHER_VLAN;
		id = bpf_ntohs(tag->control) & TAG_ID;
		if (id != vlans->wan && id != vlans->lan)
			return OTHER_VLAN;
	}
	if (!(ethernet->h_dest[0] & 1)) {
		__builtin_memcpy(&destination, ethernet->h_dest, ETH_ALEN);
		return bpf_map_lookup_elem(&own_macs, &destination) ? OWN_MAC : REDIRECTED;
	}
	/* A VLAN device on the kernel's bridge, in another one's VLAN, may be asked for. */
#pragma unroll
	for (tags = 0; tags < TAGS; tags++) {
		if (!is_tag(type))
			break;
		if ((const void *)(tag + 1) > end)
			return REDIRECTED;
		type = tag->type;
		tag++;
	}
	return question(type, tag, end);
}

SEC("xdp")
int weir_bridge(struct xdp_md *ctx)
{
	return decide(ctx, classify);
}
