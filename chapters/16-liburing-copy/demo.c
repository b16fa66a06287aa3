/*
 * What 16-liburing-copy does without arguments: copies one file through the
 * ring, and with a loop of read(2) and write(2), cold and warm. All copies are
 * files without a name: they are gone with the program.
 */
#include "blocks.h"
#include "copy.h"
#include "cost.h"
#include "scratch.h"
#include "timeline.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 128 << 10 }; /* What cp of coreutils 9.1 takes at once. */

unsigned rounds = 1;

/* Copies, and what they took. */
struct pass {
    int64_t time;
    unsigned calls, most_in_flight; /* Calls that move data. */
    uint64_t bytes;
};

/* --- The loop ------------------------------------------------------------- */

static unsigned loop(const char *from, int in, int out)
{
    static char data[CHUNK];
    unsigned calls = 0;

    for (;;) {
        ssize_t n = read(in, data, sizeof(data));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err(1, "reading %s", from);
        calls++;
        if (n == 0)
            return calls;
        for (ssize_t done = 0; done < n;) {
            ssize_t m = write(out, data + done, (size_t)(n - done));
            if (m < 0 && errno == EINTR)
                continue;
            if (m < 0)
                err(1, "writing a scratch file");
            calls++;
            done += m;
        }
    }
}

/* --- Cold, warm, equal ---------------------------------------------------- */

static size_t size_of(const char *path, int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);

    if (size < 0 || lseek(fd, 0, SEEK_SET))
        err(1, "looking for the end of %s", path);
    return (size_t)size;
}

/* Have the pages dropped from the page cache, and say how many are left. */
static long drop(const char *path, int fd)
{
    struct block whole = {.length = size_of(path, fd)};
    struct blocks file = {.path = path, .fd = fd, .count = 1, .block = &whole};

    blocks_drop(&file);
    return blocks_resident(&file);
}

/* Pages and more pages; or unknown, where one of them is. */
static long add(long pages, long more)
{
    bool unknown = pages == PAGES_UNKNOWN || more == PAGES_UNKNOWN;

    return unknown ? PAGES_UNKNOWN : pages + more;
}

static void read_whole(int fd, char *data, size_t bytes, off_t offset)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, data + done, bytes - done, offset + (off_t)done);
        if (n < 0 && errno != EINTR)
            err(1, "reading it back");
        if (n == 0)
            errx(1, "reading it back: it has become shorter");
        done += n > 0 ? (size_t)n : 0;
    }
}

static void compare(const char *path, int in, int out)
{
    static char one[CHUNK], other[CHUNK];
    size_t size = size_of(path, in);

    if (size_of("a scratch file", out) != size)
        errx(1, "the copy of %s has another size", path);
    for (size_t at = 0; at < size; at += CHUNK) {
        size_t n = size - at < CHUNK ? size - at : CHUNK;
        read_whole(in, one, n, (off_t)at);
        read_whole(out, other, n, (off_t)at);
        if (memcmp(one, other, n) != 0)
            errx(1, "the copy of %s differs behind byte %zu", path, at);
    }
}

/* --- The passes ----------------------------------------------------------- */

/* Copy to a new scratch file, and look whether that is the same: with the ring,
   or where there is none with the loop. Returns the file. */
static int copy_once(const char *path, int in, struct io_uring *ring,
                     struct pass *pass)
{
    int out = scratch_open(0);
    struct copy copy = {.from = path,
                        .to = "a scratch file",
                        .in = in,
                        .out = out,
                        .ring = ring};

    if (lseek(in, 0, SEEK_SET))
        err(1, "rewinding %s", path);
    int64_t began = timeline_now();
    if (ring)
        copy_all(&copy);
    else
        copy.calls = loop(path, in, out);
    pass->time += timeline_now() - began;
    pass->calls += copy.calls;
    pass->bytes += copy.bytes;
    pass->most_in_flight = ring ? copy.most_in_flight : 1;
    compare(path, in, out);
    return out;
}

/* Both ways in turn, `times` copies each, in as many rounds as are wanted: a row
   of the table. Returns what the ring's last copies took. `cached`: what was
   in the cache before a cold copy; NULL is warm. */
static struct pass row(const char *name, const char *path, int in, int times,
                       struct io_uring *ring, long *cached)
{
    double took[2][MAX_ROUNDS], ratio[MAX_ROUNDS];
    struct pass pass[2];

    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 2; i++) {
            unsigned way = (round + i) % 2; /* Nobody is always the first. */
            pass[way] = (struct pass){0};
            if (cached)
                *cached = add(*cached, drop(path, in));
            for (int n = 0; n < times; n++)
                if (close(copy_once(path, in, way ? NULL : ring, &pass[way])))
                    err(1, "closing a scratch file");
            took[way][round] = (double)pass[way].time / 1e6;
        }
        ratio[round] = took[0][round] / took[1][round];
    }
    printf("%-14s%9.2f ms %6u calls%11.2f ms %6u calls%10.0f%%\n", name,
           cost_median(took[0], rounds), pass[0].calls,
           cost_median(took[1], rounds), pass[1].calls,
           100 * cost_median(ratio, rounds));
    return pass[0];
}

/* A file of some bytes, to be copied. It ends in a hole where `size` is more. */
static int make_file(unsigned blocks, off_t apart, off_t size)
{
    static const char data[4096] = "Some bytes, and then zeros.";
    int fd = scratch_open(0);

    for (unsigned i = 1; i <= blocks; i++)
        if (pwrite(fd, data, sizeof(data), i * apart) != sizeof(data))
            err(1, "writing a scratch file");
    if (ftruncate(fd, size))
        err(1, "setting the size of a scratch file");
    return fd;
}

static intmax_t on_disk(int fd)
{
    struct stat file;

    if (fstat(fd, &file))
        err(1, "asking for the blocks of a scratch file");
    return (intmax_t)file.st_blocks / 2; /* Of 512 bytes, whatever the disk. */
}

static void copy_holes(struct io_uring *ring)
{
    struct pass pass = {0};
    int in = make_file(3, 16 << 20, 64 << 20);
    int out = copy_once("a file with holes", in, ring, &pass);

    printf(
        "a file of 64 MiB with holes: %jd KiB on the disk, its copy %jd KiB\n"
        "read and written of it: %ju KiB, in %u calls\n",
        on_disk(in), on_disk(out), (uintmax_t)pass.bytes >> 10, pass.calls);
    if (close(in) || close(out))
        err(1, "closing a scratch file");
}

void demonstrate(const char *path, struct io_uring *ring)
{
    int in = open(path, O_RDONLY | O_CLOEXEC);
    struct stat file;

    if (in < 0 && errno == ENOENT)
        errx(1, "opening %s: %s", path, args_no_sample);
    if (in < 0 || fstat(in, &file))
        err(1, "opening %s", path);
    if (file.st_size == 0)
        errx(1, "copying %s: it is empty", path);
    posix_fadvise(in, 0, 0, POSIX_FADV_SEQUENTIAL); /* For both ways, as cp. */
    int small = make_file(1, 0, 4096);

    printf(
        "%jd MiB to scratch files in %s; the ring has %u buffers of %u KiB\n\n"
        "%25s%35s%17s\n",
        (intmax_t)file.st_size >> 20, scratch_folder(), depth, block, "ring",
        "read and write", "ring / loop");
    long cached = 0;
    struct pass cold = row("cold", path, in, 1, ring, &cached);
    row("warm", path, in, 1, ring, NULL);
    row("4 KiB, 100 x", "a small file", small, 100, ring, NULL);
    if (cached == PAGES_UNKNOWN)
        puts("\npages cached before the cold copies: unknown");
    else
        printf("\npages cached before the cold copies: %ld\n", cached);
    /* What would have to wait, the kernel does in threads of this process, called
       iou-wrk. We have one of our own. */
    struct cost cost;
    cost_look(&cost);
    printf("most in flight in the ring: %u\n"
           "threads of the kernel's: %u\n"
           "bytes: %ju, and all copies are equal\n",
           cold.most_in_flight, cost.threads - 1, (uintmax_t)cold.bytes);
    copy_holes(ring);
    if (close(in) || close(small))
        err(1, "closing %s", path);
}
