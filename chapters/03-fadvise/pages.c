/*
 * 03-pages · What advice brings in, and what it keeps
 *
 * Counts pages in the page cache. First of a file: how many come when a program
 * gives advice, reads a little, or both. Then of a file that was just written: how
 * many go when the program says that it does not need them.
 *
 * Watch for: the last column of each table. In the first it says how far the kernel
 * goes beyond what was read. RANDOM makes it stop there. In the second it is 0 only
 * after an fsync(2), or at the second try.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/03-fadvise/pages.c \
 *           common/?*.c -lz -o 03-pages
 *
 * Needs: Linux 2.6.27, for pipe2(2).
 * Manual pages: posix_fadvise(2), mincore(2), sync_file_range(2).
 */
#define _GNU_SOURCE /* pipe2(), sync_file_range() */
#include "args.h"
#include "blocks.h"
#include "disk.h"
#include "ready.h"
#include "scratch.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct program program = {
    .name = "03-pages",
    .page = "03-fadvise",
    .does = "Counts the pages that advice brings into the cache, and keeps.",
    .ready = ready_advice,
    .takes_file = true,
};

/* A file, and how much of it we look at. */
struct file {
    const char *path;
    int fd;
    off_t size;
};

/* So much is looked at, of a huge file. The scratch file is so long, and is written in
   pieces of this length. Here the kernel makes one folio of each piece. */
enum { MOST = 64 << 20, SCRATCH = 1 << 20, PIECE = 64 << 10 };

/* mmap(2) the file and ask mincore(2), which says of each page whether it is there.
   A page that is still on its way is not.

   The kernel does not tell everybody. Which pages of a file are in the cache says what
   others have read of it. Then the count is PAGES_UNKNOWN. */
static long count(const struct file *file)
{
    return disk_resident(file->fd, 0, (size_t)file->size);
}

/* The result is the error itself, and errno stays as it was. A length of 0 means: up
   to the end of the file. */
static void advise(const struct file *file, off_t offset, off_t length,
                   int advice)
{
    int error = posix_fadvise(file->fd, offset, length, advice);

    if (error)
        errx(1, "giving advice %d on %s at byte %jd: %s", advice, file->path,
             (intmax_t)offset, strerror(error));
}

/* --- What comes in --------------------------------------------------------- */

enum { NONE = -1 }; /* No advice at all. */

/* Advice for the whole file, and then some pages to read, one after the other. */
static const struct trial {
    const char *name;
    int advice;
    unsigned pages; /* So many to read. */
    bool middle;    /* In the middle of the file, and not from its start. */
} trials[] = {
    {"none", NONE, 1, true},
    {"none", NONE, 1, false},
    {"none", NONE, 256, false},
    {"SEQUENTIAL", POSIX_FADV_SEQUENTIAL, 256, false},
    {"RANDOM", POSIX_FADV_RANDOM, 256, false},
    {"WILLNEED", POSIX_FADV_WILLNEED, 0, false},
};

/* What the kernel reads ahead is still on its way when the last pread() has returned.
   When have all its pages come? Nothing tells us, and there is nothing to wait for. So
   this can only guess: look again and again, until the count has not grown for 20 ms.

   The kernel may also take a page back between two looks. So the larger count is the
   one. */
static long count_in_the_end(const struct file *file)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    long before, now = count(file);

    do {
        before = now;
        if (nanosleep(&pause, NULL) && errno != EINTR)
            err(1, "waiting for pages of %s", file->path);
        now = count(file);
    } while (now > before);
    return before;
}

/* One byte is enough: it brings in its page. */
static void read_page(const struct file *file, off_t offset)
{
    char byte;
    ssize_t n;

    do
        n = pread(file->fd, &byte, 1, offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        err(1, "reading %s at byte %jd", file->path, (intmax_t)offset);
    if (n == 0)
        errx(1,
             "reading %s at byte %jd: the file ends sooner than its size said",
             file->path, (intmax_t)offset);
}

/* How many pages come.

   Each trial opens the file anew. RANDOM and SEQUENTIAL start no read: they say how the
   reads to come will be. The kernel keeps that with the open file, and so it keeps
   where the last read was. With one descriptor for all, a trial would find what the one
   before has left. */
static void try(const struct trial *trial, struct file file)
{
    off_t page = sysconf(_SC_PAGESIZE), all = (file.size + page - 1) / page;
    unsigned pages = trial->pages < all ? trial->pages : (unsigned)all;
    off_t at = trial->middle ? all / 2 * page : 0;

    file.fd = open(file.path, O_RDONLY | O_CLOEXEC);
    if (file.fd < 0)
        err(1, "opening %s", file.path);
    advise(&file, 0, 0, POSIX_FADV_DONTNEED);
    /* Those that stay: on tmpfs all do, and those that a program has mapped. */
    long before = count(&file);

    if (trial->advice != NONE)
        advise(&file, 0, 0, trial->advice);
    for (unsigned i = 0; i < pages; i++)
        read_page(&file, at + i * page);

    printf("%-13s%4u page%s%-17s", trial->name, pages, pages == 1 ? " " : "s",
           pages == 0      ? ""
           : trial->middle ? " in the middle"
                           : " from the start");
    disk_print_pages(11, before);
    long after = count_in_the_end(&file);
    disk_print_pages(12, after == PAGES_UNKNOWN ? after : after - before);
    putchar('\n');
    if (close(file.fd))
        err(1, "closing %s", file.path);
}

/* --- What is no error ------------------------------------------------------ */

/* A wish that can't be fulfilled is no error. A call that makes no sense is. */
static void try_impossible(int fd, off_t size)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC))
        err(1, "opening a pipe");
    int end = posix_fadvise(fd, size + MOST, MOST, POSIX_FADV_WILLNEED);
    int on_a_pipe = posix_fadvise(ends[0], 0, 0, POSIX_FADV_WILLNEED);
    printf("\nWILLNEED after the end of the file: %s\n",
           end ? strerror(end) : "no error");
    printf("WILLNEED on a pipe: %s\n",
           on_a_pipe ? strerror(on_a_pipe) : "no error");
    if (close(ends[0]) || close(ends[1]))
        err(1, "closing a pipe");
}

/* --- What stays ------------------------------------------------------------ */

/* Now all its pages are dirty: they differ from what is on the disk. */
static void write_all(const struct file *file)
{
    static const char zeros[PIECE];

    for (off_t done = 0; done < file->size;) {
        off_t left = file->size - done, most = sizeof(zeros);
        ssize_t n =
            pwrite(file->fd, zeros, (size_t)(left < most ? left : most), done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC; /* As in chapter 02. */
        if (n <= 0)
            err(1, "writing %s", file->path);
        done += n; /* It may be short, as a read may. */
    }
}

static void print_staying(const char *step, const struct file *file)
{
    printf("%-44s", step);
    disk_print_pages(17, count(file));
    putchar('\n');
}

/* A page that is dirty can't be dropped: what was written would be lost. DONTNEED
   leaves such pages, says nothing, and does not remember them. What it does is to have
   them written, as a rule.

   WAIT_BEFORE starts no write. It waits for those that somebody else has started, so
   we see that DONTNEED was the one. */
static void drop_dirty(const struct file *file)
{
    write_all(file);
    advise(file, 0, 0, POSIX_FADV_DONTNEED);
    print_staying("written, DONTNEED", file);
    if (sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE))
        err(1, "waiting for the pages of %s", file->path);
    print_staying("  after a wait for the disk", file);
    advise(file, 0, 0, POSIX_FADV_DONTNEED);
    print_staying("  DONTNEED again", file);
}

/* The way that the manual page recommends: fsync(2) first, and drop after it.

   A range that begins or ends in the middle of a page spares that page. This one begins
   and ends at whole pages, one page from each end of the file. But the kernel keeps
   pages in groups, its folios, and drops a folio whole or not at all. */
static void drop_clean(const struct file *file)
{
    off_t page = sysconf(_SC_PAGESIZE);

    write_all(file);
    if (fsync(file->fd))
        err(1, "syncing %s", file->path);
    advise(file, page, file->size - 2 * page, POSIX_FADV_DONTNEED);
    print_staying("written, fsync, DONTNEED but for both ends", file);
    advise(file, 0, 0, POSIX_FADV_DONTNEED);
    print_staying("  DONTNEED for all of it", file);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks; /* It knows which files can be read, and why not. */
    long page = sysconf(_SC_PAGESIZE);

    blocks_open(&blocks, &args);
    struct file file = {blocks.path, blocks.fd,
                        blocks.file_size < MOST ? blocks.file_size : MOST};
    struct file scratch = {"the scratch file", scratch_open(0), SCRATCH};
    advise(&file, 0, 0, POSIX_FADV_DONTNEED);
    printf("pages looked at: %jd\n", (intmax_t)(file.size + page - 1) / page);
    if (count(&file) == PAGES_UNKNOWN)
        puts("(unknown: mincore() tells of files that you own or may write, "
             "and can map)");

    printf("\n%49s%12s\n%-13s%-24s%12s%12s\n", "cached", "pages", "advice",
           "then the program reads", "before", "that come");
    for (unsigned i = 0; i < sizeof(trials) / sizeof(*trials); i++)
        try(&trials[i], file);
    try_impossible(blocks.fd, blocks.file_size);

    int width = printf("\na new file of %ld pages", SCRATCH / page);
    printf("%*s\n", 62 - width, "pages that stay");
    drop_dirty(&scratch);
    drop_clean(&scratch);

    if (close(scratch.fd))
        err(1, "closing %s", scratch.path);
    blocks_close(&blocks);
    return 0;
}
