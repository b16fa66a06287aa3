/*
 * Latencies, in a fixed amount of memory however many there are.
 *
 * A bucket for each value up to 64 ns; above, 64 buckets for each power of two.
 * So a bucket is at most 1/64 of its values wide, and its middle, which is what
 * comes back, is off by 0.8 % at most. (HdrHistogram works like this.)
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum { FINE = 64, POWERS = 36, BUCKETS = FINE * POWERS };

struct histogram {
    uint64_t total;
    uint32_t bucket[BUCKETS]; /* Up to 2^41 ns, half an hour. */
};

/* Add one value, in nanoseconds. */
void histogram_add(struct histogram *h, int64_t ns);

/* Add all that another one has. */
void histogram_merge(struct histogram *h, const struct histogram *other);

/* The value that a share of all values (0 to 1) does not exceed, in
   nanoseconds; 0 where there are none. */
double histogram_at(const struct histogram *h, double share);

#endif
