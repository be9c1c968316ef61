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
#include <linux/in6.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* In the order of `Verdict` in src/verdict.rs, which names them. */
enum verdict {
	REDIRECTED,
	ARP,
	NOT_IP,
	OWN_ADDRESS,
	MULTICAST,
	OTHER_MAC,
	MALFORMED,
	NO_SOCKET,
	OWN_MAC,
	NEIGHBOUR_SOLICITATION,
	OTHER_VLAN,
	LINK_LOCAL,
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

/* The same of IPv6. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct in6_addr);
	__type(value, __u8);
} own_addresses6 SEC(".maps");

/* IEEE 802.1Q-2018 9.6. */
struct tag {
	__be16 control;
	__be16 type;
};
#define TAG_ID 0x0fff
/* QinQ before it was a standard. */
#define ETH_P_OLD_8021AD 0x9100
/* Tags that a program steps over: two are QinQ. */
#define TAGS 2

static __always_inline int is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD) || type == bpf_htons(ETH_P_OLD_8021AD);
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} verdicts SEC(".maps");

/* Packets may lie in several buffers, the first of which has their headers (Linux 5.18). The loader sets it before the verifier looks: where it is false, what
 * needs such a kernel is not there. */
const volatile bool frags SEC(".rodata.frags") = false;

/* Offers the packet to the queue's socket if the verdict is REDIRECTED, counts it, and says what the kernel is to do with it. */
static __always_inline int act(struct xdp_md *ctx, enum verdict verdict)
{
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
		counts->of[verdict].bytes += frags ? bpf_xdp_get_buff_len(ctx) : ctx->data_end - ctx->data;
	}
	return action;
}

#ifdef TAGS_BESIDE
/* The tag that the driver has taken out of the frame; an error if there is none (Linux 6.8). A program that asks is bound to its device. */
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *protocol, __u16 *control) __ksym;

/* Puts a tag that lies beside the frame back into it. 1: there was one. 0: there was none. Below: it can't be put there. */
static __always_inline int put_tag_back(struct xdp_md *ctx)
{
	__u16 control;
	__be16 type;
	__u8 *data;

	if (bpf_xdp_metadata_rx_vlan_tag(ctx, &type, &control))
		return 0;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct tag)))
		return -1;
	data = (void *)(long)ctx->data;
	if (data + 2 * ETH_ALEN + sizeof(struct tag) > (__u8 *)(long)ctx->data_end)
		return -1;
	__builtin_memmove(data, data + sizeof(struct tag), 2 * ETH_ALEN);
	*(__be16 *)(data + 2 * ETH_ALEN) = type;
	*(__be16 *)(data + 2 * ETH_ALEN + sizeof(type)) = bpf_htons(control);
	return 1;
}

/* Takes it out again. */
static __always_inline void take_tag_out(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	if (data + 2 * ETH_ALEN + sizeof(struct tag) > (__u8 *)(long)ctx->data_end)
		return;
	__builtin_memmove(data + sizeof(struct tag), data, 2 * ETH_ALEN);
	bpf_xdp_adjust_head(ctx, sizeof(struct tag));
}
#else
static __always_inline int put_tag_back(struct xdp_md *ctx)
{
	return 0;
}

static __always_inline void take_tag_out(struct xdp_md *ctx)
{
}
#endif

/* A program: `classify` says what a frame is, all its tags in it. The kernel gets it as it came. */
#define decide(ctx, classify)                                                                                          \
	({                                                                                                             \
		int beside = put_tag_back(ctx);                                                                        \
		enum verdict verdict = OTHER_VLAN;                                                                     \
		int action;                                                                                            \
                                                                                                                       \
		if (beside >= 0)                                                                                       \
			verdict = classify((const void *)(long)(ctx)->data, (const void *)(long)(ctx)->data_end);      \
		action = act(ctx, verdict);                                                                            \
		if (beside > 0 && action != XDP_REDIRECT)                                                              \
			take_tag_out(ctx);                                                                             \
		action;                                                                                                \
	})

char LICENSE[] SEC("license") = "Dual BSD/GPL";
