/*
 * Reads through a ring with options to turn; reader.c shows what each changes.
 */
#ifndef READER_H
#define READER_H

#include "timeline.h"

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { SMALL = 4096, WHY = 120 };

enum options {
    REGISTERED_FILE = 1,
    REGISTERED_BUFFERS = 2,
    REGISTERED = REGISTERED_FILE | REGISTERED_BUFFERS,
    DEFER_TASKRUN = 4,
    SQPOLL = 8,
    IOPOLL = 16
};

/* One read on its way. Its place in the array is the number of its buffer. */
struct request {
    unsigned char *data;
    size_t length, done;
    unsigned operation; /* Which of all the reads to be done. */
};

struct reader {
    struct io_uring ring;
    unsigned options;
    const char *path;
    int fd;
    const off_t *offsets; /* Of each operation. */
    unsigned operations;
    struct request *requests;
    unsigned batch;            /* How many requests. */
    unsigned spin;             /* SQPOLL: looks at the CQ before a wait. */
    struct timeline *timeline; /* NULL: not drawn, but measured. */

    unsigned in_flight;
    unsigned long calls; /* Of io_uring_enter(), when measured. */
    uint64_t sum;        /* Of all that was read. */
    bool not_polled;     /* IOPOLL: the kernel refused a read. */
};

/* Set up the ring as the options say. Where the kernel refuses: `why`, no ring. */
bool reader_open(struct reader *r, char why[WHY]);

/* Do all operations, a batch of them in flight. */
void reader_read(struct reader *r);

/* What reading these SMALL bytes adds to the sum. One word of each 64 bytes, tied
   to the operation: a read that is missing or from the wrong place gives another
   sum. In which order they come does not count. */
uint64_t reader_sum(const unsigned char *data, unsigned operation);

#endif
