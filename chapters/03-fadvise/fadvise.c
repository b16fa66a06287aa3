/*
 * 03 · Advice
 *
 * Reads eight blocks of a cold file twice with pread(2): once plainly, and once
 * after telling the kernel with posix_fadvise(2) that all eight will be needed.
 * Then counts pages to see what other advice does, and what it does not.
 *
 * Watch for: with advice the eight bars overlap, in one thread. But nothing
 * says when the pages are there: the reads find out, and wait if they are not.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/03-fadvise/fadvise.c \
 *           common/?*.c -lz -o 03-fadvise
 *
 * Needs: Linux 2.6.27, for pipe2(2); glibc 2.32, for strerrorname_np(3).
 * Manual pages: posix_fadvise(2), mincore(2), sync_file_range(2).
 */
#define _GNU_SOURCE /* strerrorname_np(), sync_file_range() */
#include "args.h"
#include "blocks.h"
#include "scratch.h"
#include "timeline.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned work;

static void ready(const struct args *args)
{
    (void)args;
    /* Elsewhere this is EBADF. */
    if (posix_fadvise(-1, 0, 0, POSIX_FADV_NORMAL) == ENOSYS)
        cannot_show("posix_fadvise(): %s: this kernel was built without "
                    "CONFIG_ADVISE_SYSCALLS",
                    strerror(ENOSYS));
}

static const struct program program = {

    .name = "03-fadvise",
    .ready = ready,
    .does = "Reads blocks of a file with and without posix_fadvise(2).",
    .reads_blocks = true,
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("work", "microseconds between advice and reads",
                          &work, 0, 1000000),
            OPTION_END},
};

/* posix_fadvise() returns the error itself, and leaves errno alone. A length
   of 0 means up to the end of the file. */
static void advise(int fd, const char *path, off_t offset, off_t length,
                   int advice)
{
    int error = posix_fadvise(fd, offset, length, advice);

    if (error)
        errx(1, "giving advice %d on %s at byte %jd: %s", advice, path,
             (intmax_t)offset, strerror(error));
}

/* --- The job ------------------------------------------------------------- */

static void read_block(const struct blocks *blocks, unsigned i, enum call call,
                       struct timeline *timeline)
{
    timeline_call(timeline, call);
    int64_t res = blocks_read(blocks, i); /* pread(), in chapter 01's loop. */
    timeline_return(timeline);
    if (res <= 0)
        blocks_failed(blocks, i, res);
    timeline_completed(timeline, i);
}

static void read_plain(const struct blocks *blocks, struct timeline *timeline)
{
    blocks_clear(blocks);
    timeline_start(timeline);
    for (unsigned i = 0; i < blocks->count; i++) {
        timeline_submitted(timeline, i);
        read_block(blocks, i, CALL_SUBMIT, timeline);
    }
    timeline_stop(timeline);
    timeline_threads(timeline);
}

/* Stands for whatever else a program has to do, in no system call. */
static void do_other_work(void)
{
    int64_t end = timeline_now() + (int64_t)work * 1000;

    while (timeline_now() < end)
        ;
}

/* Returns how many pages of the blocks were there when the reads began. */
static long read_advised(const struct blocks *blocks, struct timeline *timeline)
{
    blocks_clear(blocks);
    timeline_start(timeline);

    /* What is handed over is the advice: the kernel starts to read the pages
       into the cache, and the call returns. */
    for (unsigned i = 0; i < blocks->count; i++) {
        const struct block *block = &blocks->block[i];

        timeline_submitted(timeline, i);
        timeline_call(timeline, CALL_SUBMIT);
        advise(blocks->fd, blocks->path, block->offset, (off_t)block->length,
               POSIX_FADV_WILLNEED);
        timeline_return(timeline);
    }

    do_other_work();
    long resident = blocks_resident(blocks);

    /* No call waits for advice to be followed. pread() waits for the pages
       that have not come yet, and copies: now it is what gets the result. */
    for (unsigned i = 0; i < blocks->count; i++)
        read_block(blocks, i, CALL_WAIT, timeline);
    timeline_stop(timeline);
    timeline_threads(timeline);
    return resident;
}

static double waited(const struct timeline *timeline)
{
    return (double)timeline_waited(timeline) / 1e6; /* Milliseconds. */
}

static void compare(const struct blocks *blocks, long resident,
                    const struct timeline *plain,
                    const struct timeline *advised)
{
    if (resident == PAGES_UNKNOWN)
        puts("\npages in the cache when the reads began: unknown");
    else
        printf("\npages in the cache when the reads began: %ld of %ld\n",
               resident, blocks_pages(blocks));
    printf("main thread waited: %.2f ms plain, %.2f ms advised (",
           waited(plain), waited(advised));
    if (waited(plain) > 0)
        printf("%.0f%%)\n", 100 * waited(advised) / waited(plain));
    else /* It found its pages in the cache, or the clock is too coarse. */
        puts("share unknown)");
}

/* --- What the kernel makes of it ----------------------------------------- */

/* Pages that the kernel was told or has decided to read arrive some time, and
   nothing says that the last one has. So look until the count has not grown
   for 20 ms. That is a guess: all that anybody can do who waits for advice. And
   the kernel may take a page back meanwhile, so the larger count is the one. */
static long resident_in_the_end(const struct blocks *blocks)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    long before, now = blocks_resident(blocks);

    do {
        before = now;
        if (nanosleep(&pause, NULL) && errno != EINTR)
            err(1, "waiting for pages of %s", blocks->path);
        now = blocks_resident(blocks);
    } while (now > before);
    return before;
}

/* A page that is locked at the moment survives. So once more, where some stay;
   but on tmpfs all do. Returns how many. */
static long drop_all(const struct blocks *blocks)
{
    long left = 0;

    for (int tries = 0; tries < 5; tries++) {
        blocks_drop(blocks);
        left = blocks_resident(blocks);
        if (left <= 0)
            break;
    }
    return left;
}

static void print_difference(int width, long before, long after)
{
    if (before == PAGES_UNKNOWN || after == PAGES_UNKNOWN)
        printf("%*s", width, "unknown");
    else
        printf("%*ld", width, after - before);
}

/* How many pages come in when `n` are asked for, one pread() each. The advice
   is kept with the open file: a new one, so that no earlier read or advice has
   a say. */
static void print_brought_in(const struct blocks *file, int advice,
                             off_t offset, unsigned n, int width)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    long before = drop_all(file);
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        err(1, "opening %s", file->path);
    advise(fd, file->path, 0, 0, advice);

    for (unsigned i = 0; i < n; i++, offset += (off_t)page) {
        ssize_t got;
        do /* Short is fine here: one byte brings in the page. */
            got = pread(fd, file->memory, page, offset);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            err(1, "reading %s at byte %jd", file->path, (intmax_t)offset);
        if (got == 0)
            errx(1, "reading %s at byte %jd: the file has become shorter",
                 file->path, (intmax_t)offset);
    }
    print_difference(width, before, resident_in_the_end(file));
    if (close(fd))
        err(1, "closing %s", file->path);
}

static void try_read_ahead(const struct blocks *file)
{
    static const struct {
        const char *name;
        int advice;
    } tries[] = {{"RANDOM", POSIX_FADV_RANDOM},
                 {"NORMAL", POSIX_FADV_NORMAL},
                 {"SEQUENTIAL", POSIX_FADV_SEQUENTIAL}};
    long page = sysconf(_SC_PAGESIZE), pages = blocks_pages(file);
    unsigned many = pages < 256 ? (unsigned)pages : 256;

    printf("\n%-12s%18s%18s%12u in order\n", "pages read in", "1 at the start",
           "1 in the middle", many);
    for (unsigned i = 0; i < 3; i++) {
        printf("%-12s", tries[i].name);
        print_brought_in(file, tries[i].advice, 0, 1, 19);
        print_brought_in(file, tries[i].advice, pages / 2 * page, 1, 18);
        print_brought_in(file, tries[i].advice, 0, many, 21);
        putchar('\n');
    }
}

/* What is refused is a wrong call, never a wish that can't be fulfilled. */
static void try_impossible(const struct blocks *file)
{
    int ends[2];

    long before = drop_all(file);
    advise(file->fd, file->path, 0, (off_t)file->block->length,
           POSIX_FADV_WILLNEED);
    printf("\nWILLNEED on %ld pages at once: ", blocks_pages(file));
    print_difference(0, before, resident_in_the_end(file));
    puts(" came");

    advise(file->fd, file->path, file->file_size, 1 << 20, POSIX_FADV_WILLNEED);
    puts("WILLNEED behind the end of the file: no error");
    if (pipe2(ends, O_CLOEXEC))
        err(1, "opening a pipe");
    int error = posix_fadvise(ends[0], 0, 0, POSIX_FADV_WILLNEED);
    printf("WILLNEED on a pipe: %s\n", strerrorname_np(error));
    if (close(ends[0]) || close(ends[1]))
        err(1, "closing a pipe");
}

/* --- DONTNEED and dirty pages -------------------------------------------- */

static void write_scratch(int fd, size_t bytes)
{
    static const char zeros[64 << 10];

    for (size_t done = 0; done < bytes;) {
        size_t left = bytes - done;
        ssize_t n =
            pwrite(fd, zeros, left < sizeof(zeros) ? left : sizeof(zeros),
                   (off_t)done);
        if (n < 0 && errno != EINTR)
            err(1, "writing the scratch file");
        if (n > 0) /* It may be short, as a read may. */
            done += (size_t)n;
    }
}

static void print_staying(const char *after, const struct blocks *scratch)
{
    long resident = blocks_resident(scratch);

    if (resident == PAGES_UNKNOWN)
        printf("%s: unknown how many stay\n", after);
    else
        printf("%s: %ld of %ld pages stay\n", after, resident,
               blocks_pages(scratch));
}

static void try_dirty(void)
{
    struct block all = {.length = 1 << 20};
    struct blocks scratch = {.path = "the scratch file",
                             .fd = scratch_open(0),
                             .count = 1,
                             .block = &all};

    write_scratch(scratch.fd, all.length);
    blocks_drop(&scratch); /* POSIX_FADV_DONTNEED */
    print_staying("\nwritten, DONTNEED", &scratch);

    /* This flag starts no write. It waits for those that are under way. */
    if (sync_file_range(scratch.fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE))
        err(1, "waiting for the scratch file's pages");
    print_staying("no longer dirty", &scratch);
    blocks_drop(&scratch);
    print_staying("DONTNEED again", &scratch);

    write_scratch(scratch.fd, all.length);
    if (fsync(scratch.fd))
        err(1, "syncing the scratch file");
    blocks_drop(&scratch);
    print_staying("written, fsync, DONTNEED", &scratch);
    if (close(scratch.fd))
        err(1, "closing the scratch file");
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;

    blocks_open(&blocks, &args);
    struct timeline *rehearsal = timeline_new("rehearsal", blocks.count);
    struct timeline *plain = timeline_new("plain", blocks.count);
    struct timeline *advised = timeline_new("advised", blocks.count);

    /* Not shown. A disk has a cache of its own, that of a virtual machine is
       its host's memory: let both passes find it alike. */
    blocks_drop(&blocks);
    read_plain(&blocks, rehearsal);

    blocks_drop(&blocks);
    blocks_announce(&blocks);
    read_plain(&blocks, plain);
    uint32_t checksum = blocks_checksum(&blocks);
    blocks_drop(&blocks);
    long resident = read_advised(&blocks, advised);

    timeline_draw(plain, advised); /* Both to one scale. */
    timeline_facts(plain, checksum);
    putchar('\n');
    timeline_draw(advised, plain);
    timeline_facts(advised, blocks_checksum(&blocks));
    compare(&blocks, resident, plain, advised);

    /* The same file as one block, so that all its pages are counted, around
       those that are asked for too. Of a huge file the first 64 MiB. */
    const off_t max = 64 << 20;
    struct block whole = {
        .length = (size_t)(blocks.file_size < max ? blocks.file_size : max)};
    struct blocks file = blocks;
    file.count = 1;
    file.block = &whole;
    try_read_ahead(&file);
    try_impossible(&file);
    try_dirty();

    timeline_trace(args.trace, (struct timeline *[]){plain, advised, NULL});
    timeline_free(advised);
    timeline_free(plain);
    timeline_free(rehearsal);
    blocks_close(&blocks);
    return 0;
}
