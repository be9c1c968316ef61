// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A router's program: IP transit goes to the AF_XDP socket of the receive queue, everything else to the kernel. Of tagged packets those are transit whose
 * tags are a sub-interface's.
 */
#include "weir.h"
#include <linux/ip.h>
#include <linux/ipv6.h>

/* The port's MAC address in the first six bytes; 0 while it is not known, and then nothing is asked of the packet's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} port_mac SEC(".maps");

/* Up to two tags, as they stand in a frame but for the priorities; zero where there is none. */
struct tags {
	struct {
		__be16 type;
		__be16 id;
	} of[TAGS];
};

/* As many as a weir has ports. */
#define SUB_INTERFACES 1024

/* The sub-interfaces of the port: their MAC addresses, as in port_mac. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SUB_INTERFACES);
	__type(key, struct tags);
	__type(value, __u64);
} sub_interfaces SEC(".maps");

/* IN_MULTICAST of 224.0.0.0/4 (RFC 5771) and the limited broadcast address (RFC 919). */
static __always_inline int is_group_address(__be32 address)
{
	return (address & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || address == bpf_htonl(0xffffffff);
}

/* fe80::/10 (RFC 4291 2.5.6). */
static __always_inline int is_link_local(const struct in6_addr *address)
{
	return address->in6_u.u6_addr8[0] == 0xfe && (address->in6_u.u6_addr8[1] & 0xc0) == 0x80;
}

/* Of an IPv4 packet. A header that is cut off or lies is the graph's to drop, under a name: the kernel's counters would hide it. */
static __always_inline enum verdict classify4(const struct iphdr *ip, const void *end)
{
	if ((const void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return REDIRECTED;
	if (is_group_address(ip->daddr))
		return MULTICAST;
	return bpf_map_lookup_elem(&own_addresses, &ip->daddr) ? OWN_ADDRESS : REDIRECTED;
}

/* Of an IPv6 packet. What ends at the link is the kernel's: routers, neighbours and their questions. */
static __always_inline enum verdict classify6(const struct ipv6hdr *ip, const void *end)
{
	struct in6_addr destination;

	if ((const void *)(ip + 1) > end || ip->version != 6)
		return REDIRECTED;
	destination = ip->daddr;
	if (destination.in6_u.u6_addr8[0] == 0xff)
		return MULTICAST;
	if (is_link_local(&destination) || is_link_local(&ip->saddr))
		return LINK_LOCAL;
	return bpf_map_lookup_elem(&own_addresses6, &destination) ? OWN_ADDRESS : REDIRECTED;
}

/* What the packet is. REDIRECTED means transit: whether a socket takes it is known only when it is offered. */
static __always_inline enum verdict classify(const void *data, const void *end)
{
	const struct ethhdr *ethernet = data;
	const struct tag *tag = (const void *)(ethernet + 1);
	struct tags tags = {};
	__u64 destination = 0;
	__u32 only = 0;
	__be16 type;
	__u64 *mac;
	int depth;

	if ((const void *)(ethernet + 1) > end)
		return MALFORMED;
	type = ethernet->h_proto;
#pragma unroll
	for (depth = 0; depth < TAGS; depth++) {
		if (!is_tag(type))
			break;
		if ((const void *)(tag + 1) > end)
			return OTHER_VLAN;
		tags.of[depth].type = type;
		tags.of[depth].id = tag->control & bpf_htons(TAG_ID);
		type = tag->type;
		tag++;
	}
	if (depth)
		mac = bpf_map_lookup_elem(&sub_interfaces, &tags);
	else
		mac = bpf_map_lookup_elem(&port_mac, &only);
	if (!mac)
		return OTHER_VLAN;
	if (type == bpf_htons(ETH_P_ARP))
		return ARP;
	if (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6))
		return NOT_IP;
	if (ethernet->h_dest[0] & 1)
		return MULTICAST;
	/* Another host's, or another device's on top of this one (macvlan, VRRP): the kernel knows. */
	__builtin_memcpy(&destination, ethernet->h_dest, ETH_ALEN);
	if (*mac && *mac != destination)
		return OTHER_MAC;
	if (type == bpf_htons(ETH_P_IP))
		return classify4((const void *)tag, end);
	return classify6((const void *)tag, end);
}

SEC("xdp")
int weir_redirect(struct xdp_md *ctx)
{
	return decide(ctx, classify);
}
