/*
 * 03-pages · What advice brings in, and what it keeps
 *
 * Counts pages in the page cache. First of a file: how many come when a program
 * gives advice, reads a little, or both. Then of a file that was just written: how
 * many stay when the program says that it does not need them.
 *
 * Watch for: the last column of each table. In the first, compare it with the pages
 * that were read. In the second it is 0 only where fsync(2) came before the advice.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/03-fadvise/pages.c \
 *           common/?*.c -lz -o 03-pages
 *
 * Needs: Linux 2.6.23, for O_CLOEXEC.
 * Manual pages: posix_fadvise(2), mincore(2), fsync(2).
 */
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
    long pages; /* Of that size; the last one may be a part. */
};

enum { MOST = 64 << 20 };   /* Of a huge file, so much is looked at. */
enum { SCRATCH = 1 << 20 }; /* The size of the file that is written. */

/* How many pages are in the cache now? mincore(2) says it. A page that is still on its
   way is not. The count is PAGES_UNKNOWN if the file is not ours: disk.h says why. */
static long count(const struct file *file)
{
    return disk_resident(file->fd, 0, (size_t)file->size);
}

/* Advice for the whole file: a length of 0 means, up to its end. The result is the error
   itself, and errno stays as it was. */
static void advise(const struct file *file, int advice)
{
    int error = posix_fadvise(file->fd, 0, 0, advice);

    if (error)
        errx(1, "giving advice %d on %s: %s", advice, file->path,
             strerror(error));
}

/* --- What comes in --------------------------------------------------------- */

enum { NONE = -1 }; /* No advice at all. */

enum place { NOWHERE, START, MIDDLE };
static const char *const place_names[] = {"nowhere", "the start", "the middle"};

/* Advice for the whole file, and then some pages to read, one after the other. */
static const struct trial {
    const char *name;
    int advice;
    enum place from; /* Where the first of these pages is. */
    unsigned pages;  /* So many to read. */
} trials[] = {
    {"none", NONE, MIDDLE, 1},
    {"none", NONE, START, 1},
    {"none", NONE, START, 256},
    {"SEQUENTIAL", POSIX_FADV_SEQUENTIAL, START, 256},
    {"RANDOM", POSIX_FADV_RANDOM, START, 256},
    {"WILLNEED", POSIX_FADV_WILLNEED, NOWHERE, 0},
};

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

/* How many pages come? What the kernel reads ahead is still on its way when the last
   pread() has returned, and nothing tells us when it is there. disk_resident_settled()
   can only look again and again.

   Each trial opens the file anew. RANDOM and SEQUENTIAL start no read: they say how the
   reads to come will be. The kernel stores that, and the place of the last read, in the
   open file. A new open() starts without both. */
static long pages_that_come(const struct trial *trial, unsigned pages,
                            struct file file)
{
    off_t page = sysconf(_SC_PAGESIZE);
    off_t first = trial->from == MIDDLE ? file.pages / 2 : 0;

    file.fd = open(file.path, O_RDONLY | O_CLOEXEC);
    if (file.fd < 0)
        err(1, "opening %s", file.path);
    advise(&file, POSIX_FADV_DONTNEED);
    long before = count(&file); /* Those that could not be dropped. */

    if (trial->advice != NONE)
        advise(&file, trial->advice);
    for (unsigned i = 0; i < pages; i++)
        read_page(&file, (first + i) * page);

    long after = disk_resident_settled(file.fd, 0, (size_t)file.size);
    if (close(file.fd))
        err(1, "closing %s", file.path);
    return after == PAGES_UNKNOWN ? after : after - before;
}

/* A short file may have fewer pages than the trial wants to read. */
static void print_trial(const struct trial *trial, const struct file *file)
{
    unsigned pages =
        file->pages < (long)trial->pages ? (unsigned)file->pages : trial->pages;

    printf("%-14s%-15s%10u", trial->name, place_names[trial->from], pages);
    disk_print_pages(18, pages_that_come(trial, pages, *file));
    putchar('\n');
}

/* --- What stays ------------------------------------------------------------ */

/* Now all its pages are dirty: they differ from what is on the disk. */
static void write_all(const struct file *file)
{
    static const char zeros[SCRATCH];

    for (size_t done = 0; done < sizeof(zeros);) {
        ssize_t n =
            pwrite(file->fd, zeros + done, sizeof(zeros) - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC; /* As in chapter 02. */
        if (n <= 0)
            err(1, "writing %s", file->path);
        done += (size_t)n; /* It may be short, as a read may. */
    }
}

static void sync_all(const struct file *file)
{
    if (fsync(file->fd))
        err(1, "syncing %s", file->path);
}

static void print_staying(const char *steps, const struct file *file)
{
    printf("%-26s%13ld", steps, file->pages);
    disk_print_pages(18, count(file));
    putchar('\n');
}

/* The wrong order. To drop a dirty page would be to lose what was written. So DONTNEED
   skips it, reports no error, and does not drop it later, when it is clean. */
static void drop_then_sync(const struct file *file)
{
    write_all(file);
    advise(file, POSIX_FADV_DONTNEED);
    print_staying("write, DONTNEED", file);
    sync_all(file);
    print_staying("write, DONTNEED, fsync", file);
}

/* The right order. After fsync(2) no page is dirty when the advice comes. */
static void sync_then_drop(const struct file *file)
{
    write_all(file);
    sync_all(file);
    advise(file, POSIX_FADV_DONTNEED);
    print_staying("write, fsync, DONTNEED", file);
}

/* --- Both tables ----------------------------------------------------------- */

/* The first line. Some pages can't be dropped: those that are dirty, or that a program
   has mapped, and on tmpfs all. */
static void announce(const struct file *file)
{
    advise(file, POSIX_FADV_DONTNEED);
    long stay = count(file);

    printf("pages looked at: %ld\n", file->pages);
    if (stay == PAGES_UNKNOWN)
        puts("(unknown: mincore() tells of files that you own or may write, "
             "and can map)");
    else if (stay > 0)
        printf("(%ld of them stay cached: dirty, mapped, or on tmpfs)\n", stay);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks; /* It knows which files can be read, and why not. */
    off_t page = sysconf(_SC_PAGESIZE);

    blocks_open(&blocks, &args);
    off_t size = blocks.file_size < MOST ? blocks.file_size : MOST;
    struct file file = {blocks.path, blocks.fd, size,
                        (long)((size + page - 1) / page)};
    struct file scratch = {"the scratch file", scratch_open(0), SCRATCH,
                           (long)(SCRATCH / page)};

    announce(&file);
    printf("\n%-14s%-15s%10s%18s\n", "advice", "reads from", "pages read",
           "pages that come");
    for (unsigned i = 0; i < sizeof(trials) / sizeof(*trials); i++)
        print_trial(&trials[i], &file);

    printf("\n%-26s%13s%18s\n", "a new file", "pages written",
           "pages that stay");
    drop_then_sync(&scratch);
    sync_then_drop(&scratch);

    if (close(scratch.fd))
        err(1, "closing %s", scratch.path);
    blocks_close(&blocks);
    return 0;
}
