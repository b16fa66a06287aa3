/*
 * 01 · Blocking read
 *
 * Reads eight blocks of a file with pread(2), one after the other: first cold,
 * from the disk, then once more warm, from the page cache.
 *
 * Watch for: the cold bars form a staircase, since no read begins before the
 * one above it has ended. In nearly all runs the main lane is blocked from left to
 * right. The warm pass, drawn to the same scale, hardly leaves the left edge.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/01-blocking-read/blocking-read.c common/?*.c -lz \
 *           -o 01-blocking-read
 *
 * Needs: Linux 2.6.26, to count the sleeps of one thread.
 * Manual pages: pread(2), mincore(2), posix_fadvise(2), getrusage(2).
 */
#include "args.h"
#include "blocks.h"
#include "timeline.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned readahead_on;

static const struct program program = {
    .name = "01-blocking-read",
    .does = "Reads blocks of a file with pread(2), cold and then warm.",
    .reads_blocks = true,
    .takes_file = true,
    .facts = FACT_IN_FLIGHT | FACT_BLOCKED | FACT_SLEEPS_IN_SUBMIT,
    .options =
        (const struct program_option[]){
            OPTION_SWITCH("readahead", "let the kernel read ahead",
                          &readahead_on),
            OPTION_END},
};

/* --- The lesson: one block, one call that sleeps --------------------------- */

/* pread() has returned n. How many bytes of the block is that?

   All of them, mostly. It may be fewer, and that is a success. It happens where the
   file ends, where one asks for 2 GiB or more, and on some network file systems. It
   happens before an error, too. Then the next call returns the error.

   EINTR: a signal arrived before the first byte. Nothing was read, so the answer is
   0 bytes, and the loop asks again. A local disk does not do this. FUSE and CIFS do.

   n is 0: here the file ends. blocks_open() has looked how long the file is, so
   somebody has cut it shorter since. To ask again would give 0 again, for ever. */
static size_t bytes_read(const struct blocks *blocks, unsigned i, ssize_t n)
{
    if (n < 0 && errno == EINTR)
        return 0;
    if (n < 0)
        blocks_failed(blocks, i, -errno); /* Ends the program. */
    if (n == 0)
        blocks_failed(blocks, i, 0);
    return (size_t)n;
}

static void read_block(const struct blocks *blocks, unsigned i,
                       struct timeline *timeline)
{
    const struct block *block = &blocks->block[i];
    size_t done = 0;

    timeline_submitted(timeline, i);
    /* A loop, because pread() promises less than you would hope. Each round asks
       for what is missing, at the place in the file and in memory where it is. */
    while (done < block->length) {
        timeline_call(timeline, CALL_SUBMIT); /* Counts our sleeps so far. */
        ssize_t n = pread(blocks->fd, block->data + done, block->length - done,
                          block->offset + (off_t)done);
        timeline_return(timeline); /* Counts again. Leaves errno alone. */
        done += bytes_read(blocks, i, n);
    }
    timeline_completed(timeline, i);
}

/* What is kept of a pass until it is shown. */
struct pass {
    struct timeline *timeline;
    uint32_t checksum;
};

/* Read all blocks once, one after the other. */
static struct pass read_all(const struct blocks *blocks, const char *title)
{
    struct timeline *timeline = timeline_new(title, blocks->count);

    timeline->facts = program.facts;
    /* Clear the memory first. Otherwise bytes of the last pass could hide a read
       that failed in this one. */
    blocks_clear(blocks);
    timeline_start(timeline);
    for (unsigned i = 0; i < blocks->count; i++)
        read_block(blocks, i, timeline);
    timeline_stop(timeline);
    return (struct pass){timeline, blocks_checksum(blocks)};
}

/* --- Around it ------------------------------------------------------------- */

/* Usually the kernel guesses what will be read next, and brings it in before
   anybody asks: readahead. blocks_open() has said that we read at random
   (POSIX_FADV_RANDOM). Then the kernel brings in what is asked for and no more, and
   we see our own reads. This function lets the kernel guess again. */
static void let_it_read_ahead(int fd)
{
    int error = posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);

    if (error) /* It returns the error, and leaves errno alone. */
        errx(1, "advising normal reads: %s", strerror(error));
}

static void print_pages(const struct blocks *blocks, long before, long after)
{
    long page = sysconf(_SC_PAGESIZE);
    intmax_t all = (blocks->file_size + page - 1) / page;

    if (before < 0 || after < 0) /* PAGES_UNKNOWN */
        printf("\npages cached, of %jd in the file: unknown\n", all);
    else
        printf("\npages cached, of %jd in the file: %ld before, %ld after\n",
               all, before, after);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;

    blocks_open(&blocks, &args);
    if (readahead_on)
        let_it_read_ahead(blocks.fd);

    /* A rehearsal, which is not shown: what is slow only the first time, such as the
       kernel's first copy into our memory, would look like a slow disk. */
    struct pass rehearsal = read_all(&blocks, "rehearsal");

    blocks_drop(&blocks); /* POSIX_FADV_DONTNEED: out of the page cache. */
    bool is_cold = blocks_announce(&blocks);

    /* The pages of the whole file are counted: those of our blocks, and any that
       the kernel brings in besides. */
    long before = blocks_file_resident(&blocks);
    struct pass cold = read_all(&blocks, is_cold ? "cold" : "first");
    long after = blocks_file_resident(&blocks);
    struct pass warm = read_all(&blocks, "warm"); /* Nothing is dropped. */

    timeline_draw(cold.timeline, warm.timeline); /* Both to one scale. */
    timeline_facts(cold.timeline, cold.checksum);
    putchar('\n');
    timeline_draw(warm.timeline, cold.timeline);
    timeline_facts(warm.timeline, warm.checksum);
    print_pages(&blocks, before, after);

    timeline_trace(args.trace,
                   (struct timeline *[]){cold.timeline, warm.timeline, NULL});
    timeline_free(warm.timeline);
    timeline_free(cold.timeline);
    timeline_free(rehearsal.timeline);
    blocks_close(&blocks);
    return 0;
}
