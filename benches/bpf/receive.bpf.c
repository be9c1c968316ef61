// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * weir-pktgen's receiver: counts the generator's packets by stream, exactly, and drops them; everything else is the kernel's.
 *
 * One lock a stream, since its packets may arrive on any processor.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "payload.h"

/* Words that remember which packets have come, 32 in each: 131,072 packets, so that a copy or a late packet is known as such behind so many others. */
#define WORDS 4096
#define WORD_SHIFT 5
/* The histogram's bins: times below 64 ns have one each, and then each power of two has 64; the last is at 2^36 ns, more than a minute. */
#define BIN_SHIFT 6
#define BINS ((36 - BIN_SHIFT + 1) << BIN_SHIFT)
/* Tags that are stepped over: two are QinQ. */
#define TAGS 2

/* In the order of `Words` in src/pktgen/accounts.rs. */
struct stream {
	struct bpf_spin_lock lock;
	__u32 padding;
	__u64 packets;
	__u64 bytes;
	/* The lowest and the highest number, and when the first and the last packet came. */
	__u64 lowest;
	__u64 highest;
	__u64 first_at;
	__u64 last_at;
	/* Behind one with a higher number (RFC 4737 3.3), for the first time. */
	__u64 reordered;
	/* Again. */
	__u64 duplicates;
	/* Too late to tell which of the two. */
	__u64 ancient;
	__u64 shortest;
	__u64 longest;
	__u64 least_time;
	__u64 most_time;
	__u64 sum_time;
	/* The upper half of a word says which 32 numbers it is about, the lower half which of them have come. */
	__u64 seen[WORDS];
	__u64 bins[BINS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stream);
} streams SEC(".maps");

/* What was not ours and went to the kernel. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} others SEC(".maps");

/* IEEE 802.1Q-2018 9.6. */
struct tag {
	__be16 control;
	__be16 type;
};

/* Where a packet's data begin, or 0; `length` becomes their bytes by the packet's own word. */
static __always_inline void *data_of(void *data, void *end, __u32 *length)
{
	struct ethhdr *ethernet = data;
	struct tag *tag = (void *)(ethernet + 1);
	__u32 total, header;
	struct tcphdr *tcp;
	struct udphdr *udp;
	__u8 protocol;
	__be16 type;
	void *next;
	int tags;

	if ((void *)(ethernet + 1) > end)
		return 0;
	type = ethernet->h_proto;
#pragma unroll
	for (tags = 0; tags < TAGS; tags++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return 0;
		type = tag->type;
		tag++;
	}
	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)tag;

		/* The generator writes no options. */
		if ((void *)(ip + 1) > end || ip->ihl != 5)
			return 0;
		total = bpf_ntohs(ip->tot_len) - sizeof(*ip);
		protocol = ip->protocol;
		next = ip + 1;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)tag;

		if ((void *)(ip + 1) > end)
			return 0;
		total = bpf_ntohs(ip->payload_len);
		protocol = ip->nexthdr;
		next = ip + 1;
	} else {
		return 0;
	}
	if (protocol == IPPROTO_UDP) {
		udp = next;
		if ((void *)(udp + 1) > end)
			return 0;
		*length = total - sizeof(*udp);
		return udp + 1;
	}
	tcp = next;
	/* Only with timestamps and nothing else. */
	header = sizeof(*tcp) + 12;
	if (protocol != IPPROTO_TCP || next + header > end || tcp->doff * 4 != header)
		return 0;
	*length = total - header;
	return next + header;
}

static __always_inline __u32 bin_of(__u64 time)
{
	__u64 value = time;
	__u32 exponent = 0, step;

	if (value >> 36)
		return BINS - 1;
#pragma unroll
	for (step = 16; step; step >>= 1) {
		if (value >> (BIN_SHIFT + step)) {
			value >>= step;
			exponent += step;
		}
	}
	/* The highest bit is the seventh now, unless it was lower. */
	if (!(value >> BIN_SHIFT))
		return value;
	return ((exponent + 1) << BIN_SHIFT) + (value & ((1 << BIN_SHIFT) - 1));
}

/* Counts a packet whose number is `number`, or has these low 32 bits. */
static __always_inline void count(struct stream *stream, __u64 number, bool compact, __u64 time, __u64 now, __u64 bytes)
{
	__u32 bin = bin_of(time), index;
	__u64 word, bit, about;

	bpf_spin_lock(&stream->lock);
	if (compact && stream->packets)
		number = stream->highest + (__s32)((__u32)number - (__u32)stream->highest);
	if (!stream->packets) {
		stream->lowest = number;
		stream->highest = number;
		stream->first_at = now;
		stream->shortest = bytes;
		stream->least_time = time;
	}
	about = number >> WORD_SHIFT;
	index = about & (WORDS - 1);
	about <<= 32;
	bit = 1ULL << (number & ((1 << WORD_SHIFT) - 1));
	word = stream->seen[index];
	if (word >> 32 != about >> 32) {
		/* A word about lower numbers is not needed any more. One about higher ones was needed sooner. */
		if ((__s32)((__u32)(about >> 32) - (__u32)(word >> 32)) > 0 || number >= stream->highest)
			word = about;
		else
			bit = 0;
	}
	if (!bit) {
		stream->ancient++;
	} else if (word & bit) {
		stream->duplicates++;
	} else {
		stream->seen[index] = word | bit;
		if (number < stream->highest)
			stream->reordered++;
	}
	if (number > stream->highest)
		stream->highest = number;
	if (number < stream->lowest)
		stream->lowest = number;
	stream->packets++;
	stream->bytes += bytes;
	stream->last_at = now;
	if (bytes < stream->shortest)
		stream->shortest = bytes;
	if (bytes > stream->longest)
		stream->longest = bytes;
	if (time < stream->least_time)
		stream->least_time = time;
	if (time > stream->most_time)
		stream->most_time = time;
	stream->sum_time += time;
	if (bin < BINS)
		stream->bins[bin]++;
	bpf_spin_unlock(&stream->lock);
}

SEC("xdp")
int weir_receive(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 now = bpf_ktime_get_ns(), number, time, *passed;
	__u32 length = 0, only = 0, key;
	struct stream *stream;
	__be16 magic;
	void *from;
	bool compact;

	from = data_of(data, end, &length);
	if (!from || length > 0xffff || length < COMPACT || from + COMPACT > end)
		goto other;
	__builtin_memcpy(&magic, from, 2);
	compact = bpf_ntohs(magic) >> 8 == COMPACT_MAGIC;
	if (compact) {
		__be32 low, low_time;

		__builtin_memcpy(&low, from + 2, 4);
		__builtin_memcpy(&low_time, from + 6, 4);
		key = bpf_ntohs(magic) & 0xff;
		number = bpf_ntohl(low);
		time = (__u32)((__u32)now - bpf_ntohl(low_time));
	} else {
		__be64 what, sent;

		if (length < FULL || from + FULL > end || magic != bpf_htons(FULL_MAGIC))
			goto other;
		__builtin_memcpy(&what, from + 2, 8);
		__builtin_memcpy(&sent, from + 10, 8);
		what = bpf_be64_to_cpu(what);
		key = what >> NUMBER_BITS;
		number = what & ((1ULL << NUMBER_BITS) - 1);
		time = now - bpf_be64_to_cpu(sent);
		/* Another machine's clock. */
		if ((__s64)time < 0)
			time = 0;
	}
	stream = bpf_map_lookup_elem(&streams, &key);
	if (!stream)
		goto other;
	count(stream, number, compact, time, now, end - data);
	return XDP_DROP;

other:
	passed = bpf_map_lookup_elem(&others, &only);
	if (passed)
		++*passed;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
