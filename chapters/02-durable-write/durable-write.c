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

/* One way to write the blocks. */
struct way {
    const char *title, *if_warm;
    int flags;    /* For open(). */
    bool cold;    /* The file is there, and not in memory. */
    size_t bytes; /* To be written of each block, if it has so many. */
};

/* What came of it. */
struct pass {
    const struct way *way;
    const char
        *title; /* The way's, or its other one if the file was in memory. */
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

   EINTR: a signal came before the first byte was taken, so write again. A short write:
   the disk is nearly full, for example. We write the rest. Then the next call succeeds,
   or says why not. No byte and no error has no meaning for a file. To go on could be for
   ever, so we take it for a full disk. */
static void write_fully(int fd, const unsigned char *data, size_t bytes,
                        off_t offset)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pwrite(fd, data + done, bytes - done, offset + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            err(1, "writing the scratch file at byte %jd",
                (intmax_t)offset + (intmax_t)done);
        done += (size_t)n;
    }
}

/* How many bytes of this block the pass writes. The file's last block may be short. */
static size_t part(const struct pass *pass, const struct block *block)
{
    return pass->way->bytes < block->length ? pass->way->bytes : block->length;
}

/* With O_DSYNC in its flags, each write waits until its own bytes are on the disk. Then
   there is nothing left to sync. A block is complete when it is safe: here with its own
   write, else with the sync. */
static void write_blocks(const struct pass *pass, int fd)
{
    for (unsigned i = 0; i < pass->blocks->count; i++) {
        const struct block *block = &pass->blocks->block[i];

        timeline_submitted(pass->timeline, i);
        timeline_call(pass->timeline, CALL_SUBMIT);
        write_fully(fd, block->data, part(pass, block), block->offset);
        timeline_return(pass->timeline);
        if (pass->way->flags & O_DSYNC)
            timeline_completed(pass->timeline, i);
    }
}

/* fsync() has all dirty pages of this file written. It sleeps until the disk has
   reported that they are there. Whoever says "saved" has to wait for that. One sync is
   enough for all blocks, and they are safe at the same time.

   If it fails, do not call it again, not even after EINTR. The kernel takes a page's
   dirty mark away before it writes the page, and does not put it back when the disk
   refuses. So a second fsync() may find no dirty page, and succeed. The data is safe
   only where it came from. */
static void sync_blocks(const struct pass *pass, int fd)
{
    timeline_call(pass->timeline, CALL_WAIT);
    int failed = fsync(fd);
    timeline_return(pass->timeline);
    if (failed)
        err(1, "fsync of the scratch file");
    timeline_completed_all(pass->timeline);
}

/* Count the pages twice: when the last write has returned, and after the sync. The time
   of the pass goes on during the first count, but no bar shows it. */
static void write_all(struct pass *pass, int fd)
{
    timeline_start(pass->timeline);
    write_blocks(pass, fd);
    pass->written = disk_pages_to_write(fd);
    if (!(pass->way->flags & O_DSYNC))
        sync_blocks(pass, fd);
    timeline_stop(pass->timeline);
    pass->synced = disk_pages_to_write(fd);
}

/* --- Around it: a file to write to, and what is in it then ----------------- */

/* Flip all bits. A second call flips them back. */
static void flip(unsigned char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] ^= 0xff;
}

/* Make a file that has other bytes where this pass will write. All of it has to be on
   the disk, and not in memory. Dirty pages can't be dropped: they are all that there is
   of the new bytes. So the sync comes first.

   On tmpfs the pages stay, since there is no disk to have them. Then nothing is cold. */
static void make_cold(struct pass *pass, int fd)
{
    const struct blocks *blocks = pass->blocks;

    for (unsigned i = 0; i < blocks->count; i++) {
        const struct block *block = &blocks->block[i];

        flip(block->data, part(pass, block));
        write_fully(fd, block->data, block->length, block->offset);
        flip(block->data, part(pass, block));
    }
    if (fsync(fd))
        err(1, "fsync of the scratch file");
    if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
        errx(1, "dropping the pages of the scratch file");
    if (disk_resident(fd, 0, blocks->count * blocks->size) > 0)
        pass->title = pass->way->if_warm;
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

/* The file has no name, so that nothing can leave it behind. On Btrfs that saves fsync()
   some work: no crash could find the file, so its log does not get it. */
static void run_pass(struct pass *pass, const struct way *way,
                     const struct blocks *blocks)
{
    int fd = scratch_open(way->flags);
    uint32_t right = blocks_checksum(blocks);

    *pass = (struct pass){.way = way, .title = way->title, .blocks = blocks};
    if (way->cold)
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
    bool synced = !(pass->way->flags & O_DSYNC);

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

static void print_job(const struct blocks *blocks)
{
    long pages = blocks_pages(blocks);

    printf("%u block%s of %zu KiB, %ld page%s, to scratch files in %s\n\n",
           blocks->count, blocks->count == 1 ? "" : "s", blocks->size >> 10,
           pages, pages == 1 ? "" : "s", scratch_folder());
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const struct way ways[] = {
        {"fsync", .bytes = SIZE_MAX},
        {"O_DSYNC", .bytes = SIZE_MAX, .flags = O_DSYNC},
        {"cold page", "warm page", .bytes = page, .cold = true},
        {"cold part", "warm part", .bytes = 100, .cold = true}};
    enum { WAYS = sizeof(ways) / sizeof(ways[0]) };
    struct pass pass[WAYS];
    struct timeline *timelines[WAYS + 1] = {0};
    struct blocks blocks;

    blocks_open(&blocks, &args);
    read_all(&blocks);
    /* In the scratch files the blocks lie side by side. */
    for (unsigned i = 0; i < blocks.count; i++)
        blocks.block[i].offset = (off_t)(i * blocks.size);
    for (int i = 0; i < WAYS; i++) {
        run_pass(&pass[i], &ways[i], &blocks);
        timelines[i] = pass[i].timeline;
    }

    print_job(&blocks);
    timeline_draw_main(timelines);
    puts("               sleeps in          pages to write after\n"
         "          the writes  the sync        the writes   the sync");
    for (int i = 0; i < WAYS; i++)
        print_row(&pass[i]);
    printf("checksum: %08x\n", (unsigned)blocks_checksum(&blocks));

    timeline_trace(args.trace, timelines);
    for (int i = 0; i < WAYS; i++)
        timeline_free(timelines[i]);
    blocks_close(&blocks);
    return 0;
}
