/* What liburing-copy.c and demo.c share: a copy, from one descriptor to
   another. */
#ifndef COPY_H
#define COPY_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A buffer and its work: the bytes of the file from `at` up to `end`. */
struct bucket {
    char *data;
    off_t at, end;
    unsigned first, last; /* In the buffer: read, and not yet written. */
    bool in_flight;       /* A read or a write of it is. */
};

struct copy {
    const char *from, *to; /* What they are called, for messages. */
    int in, out;
    bool bar;       /* Draw a progress bar. */
    uint64_t bytes; /* Copied so far; holes do not count. */
    unsigned calls; /* That move data, or look ahead. */
    unsigned most_in_flight;

    struct io_uring *ring;
    struct bucket *buckets; /* `depth` of them. */
    unsigned in_flight;
    bool stream;                  /* One of the two has no offsets. */
    off_t size;                   /* At the start; 0 is unknown. */
    off_t next;                   /* Where the next bucket's work begins. */
    off_t data_begins, data_ends; /* Between two holes, or ends of the file. */
    off_t eof;                    /* The end of the file, once it is known. */
    uint64_t looked;              /* Up to here we have looked ahead. */
    int64_t began, drawn;
};

extern unsigned depth, block; /* How many buffers, of how many KiB. */

enum { MAX_ROUNDS = 99 };
extern unsigned rounds; /* How often the demonstration measures. */

/* Copy all of it. Exits with a message on errors. */
void copy_all(struct copy *copy);

/* The program called without arguments: copies `path` in several ways. */
void demonstrate(const char *path, struct io_uring *ring);

#endif
