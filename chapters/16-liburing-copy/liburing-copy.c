/*
 * 16 · A copy to trust
 *
 * Copies a file through one ring with a set number of buffers: while one is
 * written, others are read. The destination gets its name when it is complete,
 * and not before. Called without arguments, it copies the sample file to
 * scratch files (demo.c), beside a loop of read(2) and write(2).
 *
 * Watch for: which of the two is quicker, cold and warm, and how many system
 * calls each one makes.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/16-liburing-copy/?*.c \
 *           common/?*.c -lz -luring -o 16-liburing-copy
 *
 * Needs: Linux 5.6, for IORING_OP_READ; liburing 2.3.
 * Manual pages: io_uring_prep_read(3), io_uring_submit_and_wait(3), preadv2(2),
 * lseek(2), ftruncate(2), futimens(3), rename(2).
 */
#define _GNU_SOURCE /* SEEK_DATA, SEEK_HOLE, preadv2 */
#include "args.h"
#include "copy.h"
#include "ready.h"
#include "save.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { AHEAD = 8 << 20 };

unsigned depth = 3, block = 128;
static unsigned synced;

static void ready(const struct args *args)
{
    if (args->destination)
        ready_uring_read(args);
    else
        ready_uring_worker("writes beside reads");
}

static const struct program program = {
    .name = "16-liburing-copy",
    .does = "Copies a file through io_uring, whole or not at all.",
    .ready = ready,
    .copies = true,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("depth", "buffers", &depth, 1, 256),
            OPTION_NUMBER("block", "KiB in each", &block, 4, 16384),
            OPTION_SWITCH("sync", "return when it is on the disk", &synced),
            OPTION_NUMBER("rounds", "without SRC DST: of measuring", &rounds, 1,
                          MAX_ROUNDS),
            OPTION_END},
};

/* --- Progress, on stderr, if that is a terminal --------------------------- */

/* Ten times a second are enough for any eye. */
static void progress(struct copy *c, bool complete)
{
    static const char full[] = "##############################";
    int64_t time = c->bar ? timeline_now() : 0;

    /* What was too quick to be drawn needs no last line either. */
    if (!c->bar ||
        (complete ? c->drawn == c->began : time - c->drawn < 100000000))
        return;
    c->drawn = time;
    double seconds = (double)(time - c->began) / 1e9, mib = 1 << 20;
    /* A place in the file: so holes count, and what is in flight. */
    double at = (double)(c->stream ? (off_t)c->bytes : c->next);
    double share = at / (double)c->size; /* Of size 0: none. */
    fputc('\r', stderr);
    if (share <= 1)
        fprintf(stderr, "%3.0f%% [%-30.*s] ", 100 * share, (int)(30 * share),
                full);
    fprintf(stderr, "%.1f MiB, %.1f MiB/s", (double)c->bytes / mib,
            (double)c->bytes / mib / seconds);
    if (!complete && share > 0 && share <= 1)
        fprintf(stderr, ", %.0f s left", seconds / share - seconds);
    fputs(complete ? "\033[K\n" : "\033[K", stderr); /* Clear the rest. */
}

/* err(below_bar(c, errno), ...) begins a line of its own. */
static int below_bar(const struct copy *c, int error)
{
    if (c->drawn > c->began)
        fputc('\n', stderr);
    errno = error;
    return 1;
}

/* --- What each buffer is to do -------------------------------------------- */

/* SEEK_DATA and SEEK_HOLE: from `at`, where does the next one begin? */
static off_t seek(const struct copy *c, off_t at, int what)
{
    off_t found = lseek(c->in, at, what);

    if (found < 0 && errno != ENXIO)
        err(below_bar(c, errno), "looking for holes in %s", c->from);
    return found;
}

/* The kernel reads ahead of a reader. So let it see one far ahead of us, that
   asks for a byte of each block and waits for none. Not far at first: one who
   leaps over what is not there yet gets single pages. May fail: no matter. */
static void look_ahead(struct copy *c)
{
    struct iovec byte = {&(char){0}, 1};
    uint64_t step = (uint64_t)block * 1024, next = (uint64_t)c->next;
    uint64_t lead = (next - (uint64_t)c->data_begins) / 2;
    uint64_t until = next + (lead < AHEAD ? lead : AHEAD);

    if (c->looked <= next)
        c->looked = next + step;
    for (; c->looked < until && c->looked < (uint64_t)c->data_ends;
         c->looked += step) {
        c->calls++;
        if (preadv2(c->in, &byte, 1, (off_t)c->looked, RWF_NOWAIT) < 0 &&
            errno == EOPNOTSUPP) {
            c->looked = UINT64_MAX; /* Not in this file system: never again. */
            return;
        }
    }
}

/* Give the bucket a block of its own, or say that there is none left. Holes are
   left out: never read, never written. */
static bool claim(struct copy *c, struct bucket *bucket)
{
    if (!c->stream && c->next == c->data_ends && c->next < c->eof) {
        off_t data = seek(c, c->next, SEEK_DATA); /* Negative: no more. */
        c->next = data < 0 || data > c->eof ? c->eof : data;
        off_t hole = seek(c, c->next, SEEK_HOLE);
        c->data_ends = hole < 0 || hole > c->eof ? c->eof : hole;
        c->data_begins = c->next;
    }
    if (c->next >= c->eof)
        return false;
    if (!c->stream)
        look_ahead(c);

    /* A stream has one position, and of two reads in flight either may be the
       first to move it. So one bucket does all the work, in order. */
    off_t max = (off_t)block * 1024, left = c->data_ends - c->next;
    bucket->at = c->next;
    bucket->end = c->next + (c->stream || left < max ? left : max);
    c->next = bucket->end;
    return true;
}

/* A bucket with bytes in its buffer writes them; an empty one reads. */
static void queue(struct copy *c, struct bucket *bucket)
{
    /* Never NULL: the queue has room for one request of each bucket. */
    struct io_uring_sqe *sqe = io_uring_get_sqe(c->ring);
    uint64_t offset = c->stream ? (uint64_t)-1 : (uint64_t)bucket->at;
    off_t want = bucket->end - bucket->at;

    if (want > (off_t)block * 1024)
        want = (off_t)block * 1024;
    if (bucket->first < bucket->last)
        io_uring_prep_write(sqe, c->out, bucket->data + bucket->first,
                            bucket->last - bucket->first, offset);
    else
        io_uring_prep_read(sqe, c->in, bucket->data, (unsigned)want, offset);
    io_uring_sqe_set_data(sqe, bucket);
    bucket->in_flight = true;
    if (++c->in_flight > c->most_in_flight)
        c->most_in_flight = c->in_flight;
}

static void complete(struct copy *c, const struct io_uring_cqe *cqe)
{
    struct bucket *bucket = io_uring_cqe_get_data(cqe);
    bool reading = bucket->first == bucket->last;

    bucket->in_flight = false;
    c->in_flight--;
    if (cqe->res == -EINTR || cqe->res == -EAGAIN)
        return; /* Nothing was done. fill() asks again. */
    /* A completion does not set errno, but carries its own error, negative. To
       write 0 bytes is an error: else this could go on for ever. */
    if (cqe->res < 0 || (cqe->res == 0 && !reading))
        errx(below_bar(c, 0), "%s %s at byte %jd: %s",
             reading ? "reading" : "writing", reading ? c->from : c->to,
             (intmax_t)bucket->at, request_error(cqe->res ? -cqe->res : EIO));

    unsigned n = (unsigned)cqe->res;
    if (reading && n > 0) {
        /* Short or not: these are written, then fill() asks for the rest. */
        bucket->first = 0;
        bucket->last = n;
    } else if (reading) {
        /* The end of the file. No stat() knows better: files in /proc say that
           they are empty, and those in /sys that they are a page. */
        bucket->end = bucket->at;
        if (bucket->at < c->eof)
            c->eof = bucket->at;
    } else {
        bucket->first += n; /* After a short write some are left. */
        bucket->at += n;
        c->bytes += n;
    }
}

/* --- The ring ------------------------------------------------------------- */

/* Have writes go on in the kernel's thread, then start one read: what the page
   cache has is read in the submit, and a write must not wait for two of those.
   Returns whether there is more to read, and a bucket for it. */
static bool fill(struct copy *c)
{
    bool reading = false;

    for (struct bucket *b = c->buckets; b < c->buckets + depth; b++)
        if (!b->in_flight && b->first < b->last)
            queue(c, b);
    for (struct bucket *b = c->buckets; b < c->buckets + depth; b++) {
        if (b->in_flight || (b->at == b->end && c->next >= c->eof))
            continue;
        if (reading)
            return true;
        if (b->at < b->end || claim(c, b)) {
            queue(c, b);
            reading = true;
        }
    }
    return false;
}

/* Submit what is queued, in one system call, and wait for so many completions. */
static void submit_and_wait(struct copy *c, unsigned completions)
{
    struct io_uring_cqe *cqe;
    int result = io_uring_submit_and_wait(c->ring, completions);

    c->calls++;
    /* No room in the kernel: it passes when something completes (chapter 13).
       After an error the call has not waited. */
    if ((result == -EAGAIN || result == -EBUSY) &&
        c->in_flight > io_uring_sq_ready(c->ring)) {
        c->calls += io_uring_cq_ready(c->ring) == 0;
        result = io_uring_wait_cqe(c->ring, &cqe);
    }
    /* What was not taken stays queued, for the next round. */
    if (result < 0 && result != -EINTR)
        err(below_bar(c, -result), "submitting reads and writes");
}

static void reap(struct copy *c)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(c->ring, head, cqe)
    {
        complete(c, cqe);
        n++;
    }
    io_uring_cq_advance(c->ring, n);
}

/* Can both be read and written at any offset? Else, from start to end. */
static bool is_stream(struct copy *c)
{
    struct stat in, out;

    if (fstat(c->in, &in) || fstat(c->out, &out))
        err(1, "asking what %s and %s are", c->from, c->to);
    c->size = S_ISREG(in.st_mode) ? in.st_size : 0;
    /* Size 0: empty, or in /proc. A file system that knows no SEEK_DATA (EINVAL)
       is one of that kind too. */
    return c->size == 0 || !S_ISREG(out.st_mode) ||
           (lseek(c->in, 0, SEEK_DATA) < 0 && errno == EINVAL);
}

void copy_all(struct copy *c)
{
    size_t bytes = (size_t)block * 1024;
    char *memory = mmap(NULL, depth * bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    c->buckets = calloc(depth, sizeof(*c->buckets));
    if (memory == MAP_FAILED || !c->buckets)
        err(1, "allocating %u buffers of %u KiB", depth, block);
    for (unsigned i = 0; i < depth; i++)
        c->buckets[i].data = memory + i * bytes;
    c->stream = is_stream(c);
    c->eof = c->stream ? INT64_MAX : c->size;
    c->data_ends = c->stream ? INT64_MAX : 0;
    c->began = c->drawn = timeline_now();

    for (bool more = fill(c); c->in_flight > 0; more = fill(c)) {
        submit_and_wait(c, more ? 0 : 1);
        reap(c);
        progress(c, false);
    }
    /* What ends in a hole was never written up to its end. */
    if (!c->stream && ftruncate(c->out, c->eof))
        err(below_bar(c, errno), "setting the size of %s", c->to);
    progress(c, true);
    free(c->buckets);
    munmap(memory, depth * bytes);
}

/* --- The command ---------------------------------------------------------- */

/* Refuse before anything is touched. */
static void refuse(const char *from, const struct stat *in, const char *to)
{
    size_t length = strlen(to);
    struct stat out;

    if (S_ISDIR(in->st_mode))
        errx(1, "copying %s: it is a directory", from);
    if (stat(to, &out)) {
        if (length == 0 || to[length - 1] == '/')
            errx(1, "creating '%s': that is no name of a file", to);
        return;
    }
    /* Names say nothing: links, and paths with .. in them, lead here too. */
    if (in->st_dev == out.st_dev && in->st_ino == out.st_ino)
        errx(1, "%s and %s are the same file", from, to);
    if (S_ISDIR(out.st_mode))
        errx(1, "replacing %s: it is a directory", to);
}

/* Mode and times are those of the source. It must be as it was when we began: of
   a file that is written to meanwhile we may have parts of two states. */
static void keep(const struct copy *c, const struct stat *in)
{
    struct stat after, out;
    mode_t mask = umask(0);

    umask(mask);
    if (fstat(c->in, &after) || fstat(c->out, &out))
        err(1, "asking what %s and %s are", c->from, c->to);
    /* Every call that changes it sets the ctime, and none sets it back. */
    if (S_ISREG(in->st_mode) && (in->st_ctim.tv_sec != after.st_ctim.tv_sec ||
                                 in->st_ctim.tv_nsec != after.st_ctim.tv_nsec))
        errx(1, "%s changed while it was copied", c->from);
    if (!S_ISREG(out.st_mode))
        return;
    /* A FIFO's mode says nothing about what came out of it. Who may not read a
       disk is not to read its copy. And no set-user-ID: that would be ours, and
       not the owner's. */
    mode_t mode = S_ISREG(in->st_mode) || S_ISBLK(in->st_mode)
                      ? in->st_mode & 0777
                      : 0666 & ~mask;
    if (fchmod(c->out, mode))
        err(1, "setting the mode of %s", c->to);
    if (S_ISREG(in->st_mode) &&
        futimens(c->out, (struct timespec[]){in->st_atim, in->st_mtim}))
        err(1, "setting the times of %s", c->to);
}

static void copy_file(const char *from, const char *to, struct io_uring *ring)
{
    struct copy c = {.from = from, .to = to, .ring = ring};
    struct stat in;

    c.in = open(from, O_RDONLY | O_CLOEXEC);
    if (c.in < 0 || fstat(c.in, &in))
        err(1, "opening %s", from);
    refuse(from, &in, to);
    /* Another name in the same folder, or the FIFO itself: chapter 02, and
       common/save.c. From here on Ctrl-C and errors remove what is half done. */
    c.out = save_open(to);
    c.bar = isatty(STDERR_FILENO);
    /* Read further ahead (chapter 03). Advice may be refused: no matter. */
    posix_fadvise(c.in, 0, 0, POSIX_FADV_SEQUENTIAL);
    copy_all(&c);
    keep(&c, &in);
    save_close(c.out, synced);
    if (close(c.in))
        err(1, "closing %s", from);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct io_uring ring;

    int result = io_uring_queue_init(depth, &ring, 0);
    if (result < 0)
        refused(URING_SETUP, -result);
    if (args.destination)
        copy_file(args.file, args.destination, &ring);
    else
        demonstrate(args.file, &ring);
    io_uring_queue_exit(&ring);
    return 0;
}
