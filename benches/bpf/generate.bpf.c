// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * weir-pktgen's generator: makes each of the live frames that the kernel runs it over the next packet of its traffic, at its time, and sends it by the device
 * that the frame pretends to have come from. The frames are used again and again, by forwarders too, so all headers are written every time.
 *
 * Packet n is a function of n but for the time and TCP's positions; src/pktgen/shape.rs is the same function in Rust, and a test compares them.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "payload.h"

/* Room for Ethernet with two tags, IPv6, TCP with timestamps. */
#define HEADERS 96
/* Frames' lengths, in turn. */
#define STEPS 64
/* Turns of the loop that waits for a packet's time, some 20 ns each: above any wait that the loader asks for. */
#define TURNS (1 << 20)
/* Of a tick of TCP's timestamps: a millisecond. */
#define NANOSECONDS 1000000

/* One frame's length, and what depends on it. The sums are of 16-bit words as they lie in memory, of all that is the same in every packet. */
struct step {
	__u16 frame;
	__u16 padding;
	__be16 network_length;
	__be16 transport_length;
	__u32 network_sum;
	__u32 transport_sum;
	/* Bytes of TCP's data. */
	__u32 data;
};

/* `count` values from `first` on. */
struct range {
	__u32 first;
	__u32 count;
};

struct shape {
	__u8 headers[HEADERS];
	/* Where IP, UDP or TCP, and the data begin. */
	__u32 network;
	__u32 transport;
	__u32 payload;
	/* The longest frame, which is what the kernel is given. */
	__u32 longest;
	__u32 ip6;
	__u32 tcp;
	__u32 random;
	__u32 stream;
	/* The low 32 bits of addresses. */
	struct range source;
	struct range destination;
	struct range source_port;
	struct range destination_port;
	__u32 flows;
	__u32 steps;
	/* Milliseconds from a TSval to its echo. */
	__u32 echo;
	/* The short form, in all packets: the smallest has no room for the long one. */
	__u32 compact;
	struct step step[STEPS];
};

const volatile struct shape shape SEC(".rodata.shape") = {};

/* What has been sent, and when the next is due. Only ever used by one processor at a time. */
struct progress {
	/* The next packet. */
	__u64 number;
	/* When the next burst is due, in nanoseconds, with 32 bits behind the point. */
	__u64 due;
	__u32 due_fraction;
	/* Which length is next. */
	__u32 step;
	/* From burst to burst, likewise. 0: no waiting. */
	__u64 gap;
	__u32 gap_fraction;
	/* Packets of a burst, and how many of the present one are still to come. */
	__u32 burst;
	__u32 left;
	__u32 padding;
	/* How far behind the generator may be and still catch up. */
	__u64 debt;
	/* How long it sends, in nanoseconds. */
	__u64 lasting;
	/* When the first and the last packet were sent. The loader sets 0 for a new beginning. */
	__u64 first_at;
	__u64 last_at;
	/* Bytes. */
	__u64 bytes;
	/* Packets that could not be made: none, ever, or the loader and this program do not fit. */
	__u64 failed;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct progress);
} progress SEC(".maps");

/* Of TCP's flows, what has been sent. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} positions SEC(".maps");

/* Of a loop that waits. */
struct wait {
	__u64 until;
	__u64 now;
};

static long look(__u32 turn, struct wait *wait)
{
	wait->now = bpf_ktime_get_ns();
	return wait->now >= wait->until;
}

/* Waits for the packet's time and returns it. */
static __always_inline __u64 wait_for_turn(struct progress *progress)
{
	struct wait wait = {};

	wait.now = bpf_ktime_get_ns();
	if (!progress->gap && !progress->gap_fraction)
		return wait.now;
	if (progress->left) {
		progress->left--;
		return wait.now;
	}
	wait.until = progress->due;
	if (wait.now < wait.until) {
		bpf_loop(TURNS, look, &wait, 0);
	} else if (wait.now - wait.until > progress->debt) {
		/* Something has held us up for long: a burst to make up for it would be traffic that nobody has asked for. */
		progress->due = wait.now;
	}
	progress->left = progress->burst - 1;
	progress->due += progress->gap;
	progress->due_fraction += progress->gap_fraction;
	if (progress->due_fraction < progress->gap_fraction)
		progress->due++;
	return wait.now;
}

/* Spreads neighbouring numbers over all values (the last steps of splitmix64). */
static __always_inline __u64 scatter(__u64 number)
{
	number += 0x9e3779b97f4a7c15;
	number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9;
	number = (number ^ (number >> 27)) * 0x94d049bb133111eb;
	return number ^ (number >> 31);
}

/* The value of a range that a flow has, and what is left of the flow's number for the other ranges. */
static __always_inline __u32 pick(const volatile struct range *range, __u32 *rest)
{
	__u32 place, count = range->count;

	if (count < 2)
		return range->first;
	place = *rest % count;
	*rest /= count;
	return range->first + place;
}

static __always_inline __u16 checksum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u64 words(__u64 value)
{
	return (value & 0xffffffff) + (value >> 32);
}

/* Writes the beginning of the data; returns its sum. */
static __always_inline __u64 write_data(void *data, bool compact, __u64 number, __u64 now)
{
	if (compact) {
		__be16 head = bpf_htons(COMPACT_MAGIC << 8 | shape.stream);
		__be32 low = bpf_htonl(number), time = bpf_htonl(now);

		__builtin_memcpy(data, &head, 2);
		__builtin_memcpy(data + 2, &low, 4);
		__builtin_memcpy(data + 6, &time, 4);
		return (__u64)head + low + time;
	}
	__be16 magic = bpf_htons(FULL_MAGIC);
	__be64 what = bpf_cpu_to_be64((__u64)shape.stream << NUMBER_BITS | (number & ((1ULL << NUMBER_BITS) - 1)));
	__be64 time = bpf_cpu_to_be64(now);

	__builtin_memcpy(data, &magic, 2);
	__builtin_memcpy(data + 2, &what, 8);
	__builtin_memcpy(data + 10, &time, 8);
	return magic + words(what) + words(time);
}

/* RFC 9293 3.1, RFC 7323 3.2 behind two NOPs. */
struct segment {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__be16 offset_flags;
	__be16 window;
	__be16 check;
	__be16 urgent;
	__be32 timestamps_kind;
	__be32 value;
	__be32 echo;
};

/* All headers as they are in every packet. */
static __always_inline void write_headers(void *data)
{
	const volatile __u64 *from = (const volatile __u64 *)shape.headers;
	__u32 word, half;

#pragma unroll
	for (word = 0; word < HEADERS / 8; word++) {
		if ((word + 1) * 8 <= shape.payload) {
			((__u64 *)data)[word] = from[word];
			continue;
		}
#pragma unroll
		for (half = word * 4; half < word * 4 + 3; half++) {
			if ((half + 1) * 2 <= shape.payload)
				((__u16 *)data)[half] = ((const volatile __u16 *)from)[half];
		}
		break;
	}
}

/* Makes the packet; returns whether it fits into the frame. */
static __always_inline bool write_packet(struct xdp_md *ctx, const volatile struct step *step, __u64 number, __u64 now)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 flow, rest, echo, *position;
	__be32 source, destination;
	__be16 source_port, destination_port;
	struct segment *segment;
	__u64 sum;

	if (data + shape.payload + COMPACT > end)
		return false;
	write_headers(data);

	flow = shape.random ? ((scatter(number) >> 32) * shape.flows) >> 32 : number % shape.flows;
	rest = flow;
	source_port = bpf_htons(pick(&shape.source_port, &rest));
	destination_port = bpf_htons(pick(&shape.destination_port, &rest));
	destination = bpf_htonl(pick(&shape.destination, &rest));
	source = bpf_htonl(pick(&shape.source, &rest));

	if (shape.ip6) {
		*(__be16 *)(data + shape.network + 4) = step->network_length;
		*(__be32 *)(data + shape.network + 20) = source;
		*(__be32 *)(data + shape.network + 36) = destination;
	} else {
		*(__be16 *)(data + shape.network + 2) = step->network_length;
		*(__be16 *)(data + shape.network + 10) = checksum((__u64)step->network_sum + source + destination);
		*(__be32 *)(data + shape.network + 12) = source;
		*(__be32 *)(data + shape.network + 16) = destination;
	}
	sum = (__u64)step->transport_sum + source + destination + source_port + destination_port;

	if (shape.compact) {
		sum += write_data(data + shape.payload, true, number, now);
	} else {
		if (data + shape.payload + FULL > end)
			return false;
		sum += write_data(data + shape.payload, false, number, now);
	}

	*(__be16 *)(data + shape.transport) = source_port;
	*(__be16 *)(data + shape.transport + 2) = destination_port;
	if (!shape.tcp) {
		*(__be16 *)(data + shape.transport + 4) = step->transport_length;
		/* RFC 768: 0 would say that there is none. */
		*(__be16 *)(data + shape.transport + 6) = checksum(sum) ?: 0xffff;
		return true;
	}
	position = bpf_map_lookup_elem(&positions, &flow);
	if (!position)
		return false;
	segment = data + shape.transport;
	segment->sequence = bpf_htonl(*position);
	/* As if the other end had sent as much. */
	segment->acknowledgement = segment->sequence;
	*position += step->data;
	echo = now / NANOSECONDS - shape.echo;
	segment->value = bpf_htonl(now / NANOSECONDS);
	segment->echo = bpf_htonl(echo);
	sum += 2 * (__u64)segment->sequence + segment->value + segment->echo;
	segment->check = checksum(sum);
	return true;
}

SEC("xdp")
int weir_generate(struct xdp_md *ctx)
{
	const volatile struct step *step;
	struct progress *sent;
	__u32 only = 0, at;
	__u64 now;

	sent = bpf_map_lookup_elem(&progress, &only);
	if (!sent)
		return XDP_ABORTED;
	at = sent->step;
	if (at >= STEPS)
		return XDP_ABORTED;
	step = &shape.step[at];
	/* What is left of the kernel's run is over in a moment. */
	if (sent->first_at && sent->last_at - sent->first_at >= sent->lasting)
		return XDP_DROP;
	now = wait_for_turn(sent);
	if (!sent->first_at)
		sent->first_at = now;
	sent->last_at = now;
	if (now - sent->first_at >= sent->lasting)
		return XDP_DROP;
	if ((step->frame < shape.longest && bpf_xdp_adjust_tail(ctx, (int)step->frame - (int)shape.longest)) ||
	    !write_packet(ctx, step, sent->number, now)) {
		sent->failed++;
		return XDP_ABORTED;
	}
	sent->step = at + 1 < shape.steps ? at + 1 : 0;
	sent->number++;
	sent->bytes += step->frame;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
