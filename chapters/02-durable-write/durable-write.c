/*
 * 02 · Durable write
 *
 * Writes eight blocks to a file and makes sure that they are on the disk: with
 * one fsync(2) after the last write, then with O_DSYNC. After that it changes
 * eight pages of a file that is not in memory, whole ones and parts.
 *
 * Watch for: in which call does the thread sleep, in the writes or in the sync?
 * How many pages are still to be written to the disk when a call has returned?
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/02-durable-write/durable-write.c common/?*.c -lz \
 *           -o 02-durable-write
 *
 * Needs: Linux 2.6.26, to count the sleeps of one thread.
 * Manual pages: write(2), fsync(2), open(2), cachestat(2), proc(5).
 */
#include "args.h"
#include "blocks.h"
#include "disk.h"
#include "scratch.h"
#include "timeline.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static const struct program program = {
    .name = "02-durable-write",
    .does = "Writes blocks to a file, and shows who waits for the disk.",
    .reads_blocks = true,
    .takes_file = true,
};

/* One way to write the blocks, and what came of it. */
struct pass {
    const char *title, *if_warm;
    int flags;    /* For open(). */
    bool cold;    /* The file is there, and not in memory. */
    size_t bytes; /* To be written of each block, if it has so many. */
    const struct blocks *blocks;
    struct timeline *timeline;
    /* How many pages are still to be written: after the writes, after the sync. */
    long written, synced;
};

/* --- The lesson: write, and wait ------------------------------------------- */

/* pwrite() copies into the page cache, marks these pages *dirty* and returns. Dirty
   means that memory is newer than the disk. From here on everybody who reads the
   file gets the new bytes, and a crash loses them. So success says: the kernel has
   the bytes. It does not say: the disk has them.

   The loop is that of chapter 01. EINTR: a signal came before the first byte was
   taken, so write again. Fewer bytes than we gave: the disk is almost full, say. The
   next call takes the rest, or says why it can't. No byte and no error: that has no
   meaning for a file, and to go on would be to go on for ever. */
static void write_bytes(const struct pass *pass, int fd, unsigned i,
                        size_t bytes)
{
    const struct block *block = &pass->blocks->block[i];
    size_t done = 0;

    while (done < bytes) {
        timeline_call(pass->timeline, CALL_SUBMIT);
        ssize_t n = pwrite(fd, block->data + done, bytes - done,
                           block->offset + (off_t)done);
        timeline_return(pass->timeline);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            err(1, "writing the scratch file at byte %jd",
                (intmax_t)block->offset + (intmax_t)done);
        done += (size_t)n;
    }
}

/* fsync() has all dirty pages of this file written. It sleeps until the disk has
   reported that they are there. Whoever says "saved" has to wait for that.

   If it fails, do not call it again, not even after EINTR. The kernel takes a page's
   dirty mark away before it writes the page, and does not put it back when the disk
   refuses. So a second fsync() may find no dirty page, and succeed. The data is safe
   only where it came from. */
static void sync_file(const struct pass *pass, int fd)
{
    timeline_call(pass->timeline, CALL_WAIT);
    int failed = fsync(fd);
    timeline_return(pass->timeline);
    if (failed)
        err(1, "fsync of the scratch file");
}

/* With O_DSYNC in its flags, each write waits until its own bytes are on the disk. Then
   there is nothing left to sync. A block is complete when it is safe: here with its own
   write, else with the sync. */
static void write_blocks(const struct pass *pass, int fd)
{
    const struct blocks *blocks = pass->blocks;

    for (unsigned i = 0; i < blocks->count; i++) {
        size_t length = blocks->block[i].length;

        timeline_submitted(pass->timeline, i);
        write_bytes(pass, fd, i, pass->bytes < length ? pass->bytes : length);
        if (pass->flags & O_DSYNC)
            timeline_completed(pass->timeline, i);
    }
}

/* One sync is enough for all blocks, and they are safe at the same time. */
static void sync_blocks(const struct pass *pass, int fd)
{
    sync_file(pass, fd);
    for (unsigned i = 0; i < pass->blocks->count; i++) {
        timeline_completed(pass->timeline, i);
        pass->timeline->block[i].end = pass->timeline->block[0].end;
    }
}

/* Count the pages twice: when the last write has returned, and after the sync. */
static void write_all(struct pass *pass, int fd)
{
    timeline_start(pass->timeline);
    write_blocks(pass, fd);
    pass->written = disk_pages_to_write(fd);
    if (!(pass->flags & O_DSYNC))
        sync_blocks(pass, fd);
    timeline_stop(pass->timeline);
    pass->synced = disk_pages_to_write(fd);
}

/* --- Around it: a file to write to, and what is in it then ----------------- */

/* The other bytes of a block, and back again. */
static void invert(const struct blocks *blocks)
{
    for (unsigned i = 0; i < blocks->count; i++)
        for (size_t k = 0; k < blocks->block[i].length; k++)
            blocks->block[i].data[k] ^= 0xff;
}

/* In the file there are other bytes where this pass will write. All of it is on the
   disk, and its pages are not in memory. Dirty pages can't be dropped: they are all that
   there is of the new bytes. So the sync comes first.

   On tmpfs the pages stay, since there is no disk to have them. Then nothing is cold. */
static void make_cold(struct pass *pass, int fd)
{
    struct pass whole = {.blocks = pass->blocks,
                         .timeline = timeline_new("", pass->blocks->count),
                         .bytes = SIZE_MAX},
                part = whole;

    part.bytes = pass->bytes;
    write_blocks(&whole, fd);
    invert(pass->blocks);
    write_blocks(&part, fd);
    invert(pass->blocks);
    sync_file(&whole, fd);
    timeline_free(whole.timeline);
    if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
        errx(1, "dropping the pages of the scratch file");
    if (disk_resident(fd, 0, pass->blocks->count * pass->blocks->size) > 0)
        pass->title = pass->if_warm;
}

static void read_all(const struct blocks *blocks)
{
    blocks_clear(blocks);
    for (unsigned i = 0; i < blocks->count; i++) {
        int64_t res = blocks_read(blocks, i);

        if (res != (int64_t)blocks->block[i].length)
            blocks_failed(blocks, i, res);
    }
}

/* Ask the file what it holds, as everybody does who reads it. That is what the page
   cache has. It proves nothing of the disk. */
static void check(const struct pass *pass, int fd, uint32_t right)
{
    struct blocks copy = *pass->blocks;

    copy.path = "the scratch file";
    copy.fd = fd;
    read_all(&copy);
    if (blocks_checksum(&copy) != right)
        errx(1, "%s: the scratch file holds other bytes than were written",
             pass->title);
}

static void run_pass(struct pass *pass, const struct blocks *blocks)
{
    int fd = scratch_open(pass->flags);
    uint32_t right = blocks_checksum(blocks);

    pass->blocks = blocks;
    if (pass->cold)
        make_cold(pass, fd);
    pass->timeline = timeline_new(pass->title, blocks->count);
    write_all(pass, fd);
    check(pass, fd, right);
    if (close(fd))
        err(1, "closing the scratch file");
}

/* --- What came of it ------------------------------------------------------- */

/* With O_DSYNC nobody calls fsync(). */
static void print_row(const struct pass *pass)
{
    bool synced = !(pass->flags & O_DSYNC);

    printf("%-9s %10ld", pass->title,
           timeline_slept(pass->timeline, CALL_SUBMIT));
    if (synced)
        printf("%10ld", timeline_slept(pass->timeline, CALL_WAIT));
    else
        printf("%10s", "-");
    disk_print_pages(18, pass->written);
    if (synced)
        disk_print_pages(11, pass->synced);
    else
        printf("%11s", "-");
    putchar('\n');
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct pass pass[] = {
        {"fsync", .bytes = SIZE_MAX},
        {"O_DSYNC", .bytes = SIZE_MAX, .flags = O_DSYNC},
        {"cold page", "warm page", .bytes = page, .cold = true},
        {"cold part", "warm part", .bytes = 100, .cold = true}};
    enum { PASSES = sizeof(pass) / sizeof(pass[0]) };
    struct timeline *timelines[PASSES + 1] = {0};
    struct blocks blocks;

    blocks_open(&blocks, &args);
    read_all(&blocks);
    /* In the scratch files the blocks lie side by side. */
    for (unsigned i = 0; i < blocks.count; i++)
        blocks.block[i].offset = (off_t)(i * blocks.size);
    for (int i = 0; i < PASSES; i++) {
        run_pass(&pass[i], &blocks);
        timelines[i] = pass[i].timeline;
    }

    long pages = blocks_pages(&blocks);
    printf("%u block%s of %zu KiB, %ld page%s, to scratch files in %s\n\n",
           blocks.count, blocks.count == 1 ? "" : "s", blocks.size >> 10, pages,
           pages == 1 ? "" : "s", scratch_folder());
    timeline_draw_main(timelines);
    puts("               sleeps in          pages to write after\n"
         "          the writes  the sync        the writes   the sync");
    for (int i = 0; i < PASSES; i++)
        print_row(&pass[i]);
    printf("checksum: %08x\n", (unsigned)blocks_checksum(&blocks));

    timeline_trace(args.trace, timelines);
    for (int i = 0; i < PASSES; i++)
        timeline_free(timelines[i]);
    blocks_close(&blocks);
    return 0;
}
