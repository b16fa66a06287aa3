#define _GNU_SOURCE /* O_DIRECT, mincore() */
#include "disk.h"

#include "args.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* mincore(2) answers only for files that we own or may write. Otherwise it would reveal
   what other people read. The rule is that of can_do_mincore() in the kernel's
   mm/mincore.c. */
static bool mincore_tells_us(int fd)
{
    struct stat file;
    char path[64];

    if (fstat(fd, &file))
        err(1, "asking for the owner of a file");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return file.st_uid == geteuid() ||
           faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* A file's pages: mapped, and which of them are in memory. Mapping brings none in.
   False where we can't be told. */
struct pages {
    unsigned char *map, *in_core;
    size_t length, count;
};

static bool pages_open(struct pages *pages, int fd, off_t offset, size_t length)
{
    if (!mincore_tells_us(fd))
        return false;
    pages->length = length;
    pages->count = (length + page_size() - 1) / page_size();
    pages->map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, offset);
    if (pages->map == MAP_FAILED && errno == ENOMEM)
        err(1, "mapping a file");
    if (pages->map == MAP_FAILED) /* Not every file can be: sysfs's can't. */
        return false;
    pages->in_core = malloc(pages->count);
    if (!pages->in_core)
        err(1, "allocating the page map of a file");
    if (mincore(pages->map, length, pages->in_core))
        err(1, "asking which pages of a file are in memory");
    return true;
}

static void pages_close(struct pages *pages)
{
    free(pages->in_core);
    if (munmap(pages->map, pages->length))
        err(1, "unmapping a file");
}

long disk_resident(int fd, off_t offset, size_t length)
{
    struct pages pages;
    long resident = 0;

    if (!pages_open(&pages, fd, offset, length))
        return PAGES_UNKNOWN;
    for (size_t i = 0; i < pages.count; i++)
        resident += pages.in_core[i] & 1;
    pages_close(&pages);
    return resident;
}

/* The kernel may also take a page back between two looks. So the larger count is the
   one. */
long disk_resident_settled(int fd, off_t offset, size_t length)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    long before, now = disk_resident(fd, offset, length);

    do {
        before = now;
        if (nanosleep(&pause, NULL) && errno != EINTR)
            err(1, "waiting for pages of a file");
        now = disk_resident(fd, offset, length);
    } while (now > before);
    return before;
}

/* cachestat(2) is younger than many a C library. Calls that are new since
   Linux 5.1 have the same distance from each other on every architecture. */
#ifndef SYS_cachestat
#define SYS_cachestat (SYS_io_uring_setup + 26)
#endif

struct cache_range {
    uint64_t offset, length; /* 0 and 0: the whole file. */
};

struct cache_counts { /* All in pages. */
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/* Of the map that begins there, how many pages are dirty? */
static long dirty_in_map(const unsigned char *map)
{
    FILE *smaps = fopen("/proc/self/smaps", "re");
    char *line = NULL;
    size_t room = 0;
    unsigned long begin = 0, end;
    long kib, dirty = 0;

    if (!smaps)
        return PAGES_UNKNOWN;
    while (getline(&line, &room, smaps) >= 0) {
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            continue;
        if (begin == (uintptr_t)map &&
            (sscanf(line, "Shared_Dirty: %ld kB", &kib) == 1 ||
             sscanf(line, "Private_Dirty: %ld kB", &kib) == 1))
            dirty += kib * 1024 / (long)page_size();
    }
    if (ferror(smaps))
        dirty = PAGES_UNKNOWN;
    free(line);
    fclose(smaps);
    return dirty;
}

/* What any process may know of a file that it has mapped. /proc/self/smaps counts
   pages that we have touched. Only those that are in memory are touched, so none is
   read for that. A mapping is of the inode that has the pages, on overlayfs too.

   smaps knows no writeback. So where it finds no dirty page, the clean ones are
   dropped. A page that is on its way to the disk can't be, and stays. */
static long pages_to_write_of_map(int fd, size_t length)
{
    struct pages pages;

    if (!pages_open(&pages, fd, 0, length))
        return PAGES_UNKNOWN;
    for (size_t i = 0; i < pages.count; i++)
        if (pages.in_core[i] & 1)
            (void)*(volatile unsigned char *)(pages.map + i * page_size());
    long dirty = dirty_in_map(pages.map);
    pages_close(&pages);
    if (dirty != 0)
        return dirty;
    if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
        return PAGES_UNKNOWN;
    return disk_resident(fd, 0, length) == 0 ? 0 : PAGES_UNKNOWN;
}

void disk_print_pages(int width, long pages)
{
    if (pages == PAGES_UNKNOWN)
        printf("%*s", width, "unknown");
    else
        printf("%*ld", width, pages);
}

long disk_pages_to_write(int fd)
{
    struct cache_counts counts;
    struct stat file;

    if (syscall(SYS_cachestat, fd, &(struct cache_range){0}, &counts, 0) == 0 &&
        counts.cached > 0)
        return (long)(counts.dirty + counts.writeback);
    if (fstat(fd, &file))
        err(1, "asking for the size of a file");
    /* It counts no page: true, or not the inode that has the pages. Or there is no
       such call. */
    if (file.st_size == 0 || disk_resident(fd, 0, (size_t)file.st_size) == 0)
        return 0;
    return pages_to_write_of_map(fd, (size_t)file.st_size);
}

enum direct disk_direct(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return DIRECT_REFUSED;
    void *page = aligned_alloc(page_size(), page_size());
    if (!page)
        err(1, "allocating a page");
    /* Btrfs reads through the cache into memory that nobody has touched yet: it
       has no page there that the disk could write to. */
    memset(page, 0, page_size());
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    long before = disk_resident(fd, 0, 1);
    do
        n = pread(fd, page, page_size(), 0);
    while (n < 0 && errno == EINTR);
    int error = errno;
    long after = disk_resident(fd, 0, 1);
    if (close(fd))
        err(1, "closing %s", path);
    free(page);
    errno = error;
    return n < 0         ? DIRECT_REFUSED
           : before != 0 ? DIRECT_UNKNOWN
           : after > 0   ? DIRECT_IN_NAME
                         : DIRECT_WORKS;
}

int disk_open_direct(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

    if (fd < 0 && errno == EINVAL)
        cannot_show("O_DIRECT: the file system of %s has none.\n"
                    "ext4 and XFS have; copy the file to one",
                    path);
    if (fd < 0)
        err(1, "opening %s with O_DIRECT", path);
    if (disk_direct(path) == DIRECT_IN_NAME)
        cannot_show("O_DIRECT: the file system of %s has it in name only, and "
                    "reads through the page cache.\n"
                    "ext4 and XFS have it; copy the file to one",
                    path);
    return fd;
}
