/*
 * 90 · The first byte
 *
 * Reads the eight blocks with pread(2), each in two calls: the first byte alone,
 * and then the rest.
 *
 * Watch for: sixteen calls, and yet no more sleeps than blocks. The first byte
 * brings its whole page.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/90-first-byte/first-byte.c \
 *           common/?*.c -lz -o 90-first-byte
 *
 * Needs: any Linux.
 * Manual pages: pread(2).
 */
#include "job.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static const struct program program = {
    .name = "90-first-byte",
    .does = "Reads the first byte of each block, and then the rest.",
};

static unsigned calls; /* Of pread(2) that brought bytes. */

/* Read `length` bytes of block i, beginning `done` bytes into it.

   A read may be interrupted before the first byte, or come short. Chapter 01 has
   the loop that copes with both. This program keeps its lesson short: it makes the
   calls of that loop visible, and leaves errors to blocks_failed(). */
static void read_part(const struct blocks *blocks, struct timeline *timeline,
                      unsigned i, size_t done, size_t length)
{
    const struct block *block = &blocks->block[i];

    while (length > 0) {
        timeline_call(timeline, CALL_SUBMIT);
        ssize_t n = pread(blocks->fd, block->data + done, length,
                          block->offset + (off_t)done);
        timeline_return(timeline);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            blocks_failed(blocks, i, n < 0 ? -errno : 0);
        calls++;
        done += (size_t)n;
        length -= (size_t)n;
    }
}

static void read_all(const struct blocks *blocks, struct timeline *timeline,
                     void *context)
{
    (void)context;
    for (unsigned i = 0; i < blocks->count; i++) {
        timeline_submitted(timeline, i);
        read_part(blocks, timeline, i, 0, 1);
        read_part(blocks, timeline, i, 1, blocks->block[i].length - 1);
        timeline_completed(timeline, i);
    }
}

int main(int argc, char **argv)
{
    struct job *job = job_open(argc, argv, &program);

    job_pass(job, "pread", read_all, NULL);
    job_show(job);
    printf("\ncalls: %u\n", calls);
    return job_close(job);
}
