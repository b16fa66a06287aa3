#include "blocks.h"

#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

int blocks_open_file(const char *path, bool sample, off_t *size)
{
    struct stat file;

    /* O_NONBLOCK means nothing to a regular file, but without it open() of a
       FIFO would wait here for somebody to write to it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && sample)
        errx(1, "opening %s: %s", path, args_no_sample);
    if (fd < 0)
        err(1, "opening %s", path);
    if (fstat(fd, &file))
        err(1, "asking for the size of %s", path);
    if (S_ISDIR(file.st_mode))
        errx(1, "reading %s: %s", path, strerror(EISDIR));
    if (!S_ISREG(file.st_mode))
        errx(1, "reading %s: not a regular file, it has no blocks to pick",
             path);
    if (file.st_size == 0)
        errx(1,
             "reading %s: its size is 0: empty, or made up as it is read, "
             "as files in /proc are",
             path);
    /* Off again: some kernels make an io_uring read of a cold page fail with
       EAGAIN where O_NONBLOCK is set. */
    if (fcntl(fd, F_SETFL, 0))
        err(1, "setting the flags of %s", path);
    *size = file.st_size;
    return fd;
}

static void pick_blocks(struct blocks *blocks)
{
    off_t size = (off_t)blocks->size, page = (off_t)page_size();
    off_t room = blocks->file_size / size + (blocks->file_size % size != 0);

    if (room < blocks->count)
        blocks->count = (unsigned)room;

    /* With room to spare, keep the same distance from block to block, cut down
       to whole pages. It can't get smaller than a block. */
    off_t distance = blocks->file_size / blocks->count / page * page;
    if (distance < size)
        distance = size;

    for (unsigned i = 0; i < blocks->count; i++) {
        struct block *block = &blocks->block[i];

        block->offset = distance * i;
        block->data = blocks->memory + blocks->size * i;
        off_t left = blocks->file_size - block->offset;
        block->length = left < size ? (size_t)left : blocks->size;
    }
}

/* What we write must not replace what we read. */
static void refuse_same_file(const struct blocks *blocks, const char *trace)
{
    struct stat file, there;

    if (fstat(blocks->fd, &file))
        err(1, "asking which file %s is", blocks->path);
    if (stat(trace, &there) == 0 && file.st_dev == there.st_dev &&
        file.st_ino == there.st_ino)
        errx(1, "writing to %s: that is the file to be read", trace);
}

void blocks_open(struct blocks *blocks, const struct args *args)
{
    *blocks = (struct blocks){
        .path = args->file, .count = args->count, .size = args->size};
    blocks->fd = blocks_open_file(args->file, args->sample, &blocks->file_size);
    if (args->trace)
        refuse_same_file(blocks, args->trace);

    blocks->block = calloc(blocks->count, sizeof(*blocks->block));
    blocks->memory =
        aligned_alloc(page_size(), (size_t)blocks->count * blocks->size);
    if (!blocks->block || !blocks->memory)
        err(1, "allocating %u blocks of %zu bytes", blocks->count,
            blocks->size);
    pick_blocks(blocks);

    int error = posix_fadvise(blocks->fd, 0, 0, POSIX_FADV_RANDOM);
    if (error)
        errx(1, "advising random reads of %s: %s", blocks->path,
             strerror(error));
}

void blocks_drop(const struct blocks *blocks)
{
    /* posix_fadvise() returns the error and leaves errno alone. */
    int error = posix_fadvise(blocks->fd, 0, 0, POSIX_FADV_DONTNEED);
    if (error)
        errx(1, "dropping the cached pages of %s: %s", blocks->path,
             strerror(error));
}

static size_t pages_of(const struct block *block)
{
    return (block->length + page_size() - 1) / page_size();
}

long blocks_resident(const struct blocks *blocks)
{
    long resident = 0;

    for (unsigned i = 0; i < blocks->count; i++) {
        const struct block *block = &blocks->block[i];
        long more = disk_resident(blocks->fd, block->offset, block->length);
        if (more == PAGES_UNKNOWN)
            return PAGES_UNKNOWN;
        resident += more;
    }
    return resident;
}

long blocks_file_resident(const struct blocks *blocks)
{
    const off_t most = (off_t)64 << 30, piece = (off_t)256 << 20;
    long resident = 0;

    if (blocks->file_size > most)
        return PAGES_UNKNOWN;
    for (off_t at = 0; at < blocks->file_size; at += piece) {
        off_t left = blocks->file_size - at;
        long more = disk_resident(blocks->fd, at,
                                  (size_t)(left < piece ? left : piece));
        if (more == PAGES_UNKNOWN)
            return PAGES_UNKNOWN;
        resident += more;
    }
    return resident;
}

long blocks_pages(const struct blocks *blocks)
{
    long pages = 0;

    for (unsigned i = 0; i < blocks->count; i++)
        pages += (long)pages_of(&blocks->block[i]);
    return pages;
}

static void print_size(off_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double size = (double)bytes;
    unsigned unit = 0;

    while (size >= 1024 && unit < 4) {
        size /= 1024;
        unit++;
    }
    printf("%.*f %s", size != (double)(long)size, size,
           bytes == 1 ? "byte" : units[unit]);
}

bool blocks_announce(const struct blocks *blocks)
{
    long resident = blocks_resident(blocks), pages = blocks_pages(blocks);
    const char *name = strrchr(blocks->path, '/');

    printf("%u block%s of ", blocks->count, blocks->count == 1 ? "" : "s");
    print_size(
        (off_t)(blocks->count == 1 ? blocks->block->length : blocks->size));
    printf(" from %s (", name && name[1] ? name + 1 : blocks->path);
    print_size(blocks->file_size);
    if (resident == 0)
        printf("), cold: 0 of %ld pages cached\n", pages);
    else if (resident > 0)
        printf("), %s: %ld of %ld pages stay cached\n"
               "(pages stay that are dirty or mapped, and on tmpfs all do)\n",
               resident == pages ? "warm" : "partly cached", resident, pages);
    else
        puts("), cold or warm: unknown\n"
             "(unknown: mincore() tells of files that you own or may write, "
             "and can map)");
    putchar('\n');
    return resident == 0;
}

void blocks_move(struct blocks *blocks, void *memory)
{
    if (!blocks->borrowed)
        free(blocks->memory);
    blocks->borrowed = true;
    blocks->memory = memory;
    for (unsigned i = 0; i < blocks->count; i++)
        blocks->block[i].data = blocks->memory + blocks->size * i;
}

void blocks_clear(const struct blocks *blocks)
{
    memset(blocks->memory, 0, (size_t)blocks->count * blocks->size);
}

int64_t blocks_read(const struct blocks *blocks, unsigned i)
{
    const struct block *block = &blocks->block[i];
    size_t done = 0;

    while (done < block->length) {
        ssize_t n = pread(blocks->fd, block->data + done, block->length - done,
                          block->offset + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        done += (size_t)n;
    }
    return (int64_t)done;
}

uint32_t blocks_checksum(const struct blocks *blocks)
{
    uLong crc = crc32(0, NULL, 0);

    for (unsigned i = 0; i < blocks->count; i++)
        crc = crc32_z(crc, blocks->block[i].data, blocks->block[i].length);
    return (uint32_t)crc;
}

void blocks_failed(const struct blocks *blocks, unsigned i, int64_t res)
{
    intmax_t offset = blocks->block[i].offset;

    if (res == 0)
        errx(1,
             "reading %s at byte %jd: the file ends sooner than its size said",
             blocks->path, offset);
    errx(1, "reading %s at byte %jd: %s", blocks->path, offset,
         request_error((int)-res));
}

void blocks_close(struct blocks *blocks)
{
    if (!blocks->borrowed)
        free(blocks->memory);
    free(blocks->block);
    if (close(blocks->fd))
        err(1, "closing %s", blocks->path);
}
