/*
 * 01 · Blocking read
 *
 * Reads eight blocks of a file with pread(2), one after the other: first cold,
 * from the disk, then once more warm, from the page cache.
 *
 * Watch for: the cold bars form a staircase, since no read begins before the
 * one above has ended, and the main lane is blocked from left to right. The
 * warm pass, drawn to the same scale, hardly leaves the left edge.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/01-blocking-read/blocking-read.c common/?*.c -lz \
 *           -o 01-blocking-read
 *
 * Needs: any Linux.
 * Manual pages: pread(2), mincore(2), posix_fadvise(2), getrusage(2).
 */
#include "args.h"
#include "blocks.h"
#include "timeline.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static const struct program program = {
    .name = "01-blocking-read",
    .does = "Reads blocks of a file with pread(2), cold and then warm.",
    .reads_blocks = true,
    .takes_file = true,
};

static void read_block(const struct blocks *blocks, unsigned i,
                       struct timeline *timeline)
{
    const struct block *block = &blocks->block[i];
    size_t done = 0;

    timeline_submitted(timeline, i);

    /* A loop, because pread() promises less than you would hope: it returns
       how many bytes it read, and that may be fewer than we asked for. */
    while (done < block->length) {
        timeline_call(timeline, CALL_SUBMIT);
        ssize_t n = pread(blocks->fd, block->data + done, block->length - done,
                          block->offset + (off_t)done);
        timeline_return(timeline);

        /* A signal came before a byte did: nothing was read, ask again. A
           local disk does not do this, a FUSE file system may. */
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            blocks_failed(blocks, i, -errno);
        /* 0 is the end of the file. We only ask for bytes that were there
           when we looked, so somebody has cut the file shorter since. Without
           this line the loop would never end. */
        if (n == 0)
            blocks_failed(blocks, i, 0);
        done += (size_t)n;
    }

    timeline_completed(timeline, i);
}

static void read_all(const struct blocks *blocks, struct timeline *timeline)
{
    blocks_clear(blocks);
    timeline_start(timeline);
    for (unsigned i = 0; i < blocks->count; i++)
        read_block(blocks, i, timeline);
    timeline_stop(timeline);
    timeline_threads(timeline);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;

    blocks_open(&blocks, &args);
    blocks_drop(&blocks);
    blocks_announce(&blocks);
    long before = blocks_resident(&blocks);
    struct timeline *cold =
        timeline_new(before == 0 ? "cold" : "first", blocks.count);
    struct timeline *warm = timeline_new("warm", blocks.count);

    read_all(&blocks, cold);
    long between = blocks_resident(&blocks);
    uint32_t checksum = blocks_checksum(&blocks);
    read_all(&blocks, warm);
    long after = blocks_resident(&blocks);

    timeline_draw(cold, warm); /* Both to one scale. */
    timeline_facts(cold, checksum);
    putchar('\n');
    timeline_draw(warm, cold);
    timeline_facts(warm, blocks_checksum(&blocks));

    fputs("\npages in the cache: ", stdout);
    if (before < 0 || between < 0 || after < 0) /* PAGES_UNKNOWN */
        puts("unknown");
    else
        printf("%ld before, %ld between, %ld after\n", before, between, after);

    timeline_trace(args.trace, (struct timeline *[]){cold, warm, NULL});
    timeline_free(warm);
    timeline_free(cold);
    blocks_close(&blocks);
    return 0;
}
