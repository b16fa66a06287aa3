/*
 * 20 · The race: what is measured, and how it is told.
 */
#ifndef REPORT_H
#define REPORT_H

#include "race.h"

#include <stdio.h>

enum { MAX_ROUNDS = 99, MAX_DEPTHS = 8 };

/* Latencies are in microseconds; calls and processor time are for one read. */
enum measure { RATE, P50, P99, P999, CALLS, CPU, MEASURES };

/* An engine at one depth, or what fio calls so. */
struct entry {
    const char *name;
    char why[WHY]; /* Empty, or why it does not run. */
    unsigned depth;
    unsigned in_flight[MAX_ROUNDS]; /* The most. */
    uint64_t reads[MAX_ROUNDS];
    double seconds[MAX_ROUNDS];
    double value[MEASURES][MAX_ROUNDS];
    double fio[MAX_ROUNDS]; /* Reads a second of fio's; 0 is none. */
    const char *fio_name;   /* What fio calls it; NULL: it has none. */
};

struct report {
    const struct course *course;
    unsigned rounds;
    unsigned engines;      /* Entries of one depth. */
    unsigned depths;       /* More than one is a sweep. */
    struct entry *entries; /* `engines` for each depth, in the order of both. */
};

/* The median of what was measured in all rounds. */
double report_median(const struct report *report, const struct entry *entry,
                     enum measure measure);

/* The same of fio's reads a second; 0 where there are none. */
double report_fio_median(const struct report *report,
                         const struct entry *entry);

void report_tables(const struct report *report);
void report_sweep(const struct report *report, bool fio);
void report_fio(const struct report *report);

/* One line for each heat. */
void report_csv(const struct report *report);

/* Have gnuplot draw it, into an SVG file. */
void report_plot(const struct report *report, const char *path);

#endif
