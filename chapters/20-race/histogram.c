#include "histogram.h"

/* 0 to 63 are themselves. Above, the six bits below the highest one say which
   of the 64 buckets, and the highest one which power of two. */
static unsigned bucket_of(uint64_t ns)
{
    unsigned power = 0;

    while (ns >> power >= 2 * FINE)
        power++;
    unsigned bucket = power * FINE + (unsigned)(ns >> power);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

void histogram_add(struct histogram *h, int64_t ns)
{
    h->bucket[bucket_of(ns > 0 ? (uint64_t)ns : 0)]++;
    h->total++;
}

void histogram_merge(struct histogram *h, const struct histogram *other)
{
    for (unsigned i = 0; i < BUCKETS; i++)
        h->bucket[i] += other->bucket[i];
    h->total += other->total;
}

double histogram_at(const struct histogram *h, double share)
{
    double wanted = share * (double)h->total, seen = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen < wanted || seen == 0)
            continue;
        /* As bucket_of(), backwards: 64 to 127 times a power of two. */
        unsigned power = i < 2 * FINE ? 0 : i / FINE - 1;
        double width = (double)((uint64_t)1 << power);
        return (i - power * FINE) * width + (width - 1) / 2;
    }
    return 0;
}
