/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What weir-pktgen writes at the beginning of a packet's data, in network byte order, as src/pktgen/payload.rs has it:
 *
 *   18 bytes     magic 2 | stream 1 | number 7 | time 8
 *   10 bytes     magic 1 | stream 1 | number 4 | time 4          where there is no room for 18
 *
 * The number counts a stream's packets from 0; the time is CLOCK_MONOTONIC in nanoseconds. The short form has their low words.
 */
#define FULL 18
#define FULL_MAGIC 0x5770
#define COMPACT 10
#define COMPACT_MAGIC 0x77
/* Of the number in the full form. */
#define NUMBER_BITS 56
/* Streams that a receiver tells apart: the stream is one byte. */
#define STREAMS 256
