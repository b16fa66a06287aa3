/*
 * 08 · io_submit
 *
 * Reads the eight blocks through Linux AIO: eight requests handed to the kernel
 * in one system call, the results collected by another. Then writes and syncs
 * the same way, and makes mistakes on purpose to see how they come back.
 *
 * Watch for: when io_submit(2) returns, all eight reads are complete. It did
 * not start them; it did them, asleep eight times over. On a file opened
 * without O_DIRECT, the asynchronous interface isn't.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/08-io-submit/io-submit.c \
 *           common/?*.c -lz -o 08-io-submit
 *
 * Needs: Linux 4.18 for fsync through io_submit(2), 2.6 for the rest; glibc
 * 2.32.
 * Manual pages: io_setup(2), io_submit(2), io_getevents(2), io_destroy(2).
 */
#define _GNU_SOURCE /* strerrorname_np() */
#include "args.h"
#include "blocks.h"
#include "ready.h"
#include "scratch.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const struct program program = {
    .name = "08-io-submit",
    .does = "Reads blocks of a file with io_submit(2), then writes and syncs.",
    .ready = ready_aio,
    .reads_blocks = true,
    .takes_file = true,
};

/* --- The system calls ---------------------------------------------------- */

/* glibc has no wrappers for these four. libaio has, but its wrappers return
   -errno and hide what we are here to see. */
static int io_setup(unsigned requests, aio_context_t *context)
{
    return (int)syscall(SYS_io_setup, requests, context);
}

static int io_submit(aio_context_t context, long n, struct iocb **iocbs)
{
    return (int)syscall(SYS_io_submit, context, n, iocbs);
}

static int io_getevents(aio_context_t context, long min, long max,
                        struct io_event *events, struct timespec *timeout)
{
    return (int)syscall(SYS_io_getevents, context, min, max, events, timeout);
}

static int io_destroy(aio_context_t context)
{
    return (int)syscall(SYS_io_destroy, context);
}

/* --- The job ------------------------------------------------------------- */

/* One block's way through the kernel. */
struct request {
    struct iocb iocb; /* "I/O control block": what the kernel reads. */
    size_t done;      /* Bytes read so far. */
};

static void prepare(struct request *request, const struct blocks *blocks,
                    unsigned i)
{
    const struct block *block = &blocks->block[i];

    /* What is not named here is 0, as the reserved fields must be. aio_data
       comes back untouched in the event, and is how we tell which request it
       belongs to. */
    request->iocb = (struct iocb){
        .aio_data = i,
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)blocks->fd,
        .aio_buf = (uintptr_t)(block->data + request->done),
        .aio_nbytes = block->length - request->done,
        .aio_offset = block->offset + (off_t)request->done,
    };
}

/* Hand over `n` requests. io_submit() may take fewer than it is given, and
   says how many; only when it takes none does it return -1. */
static void submit(aio_context_t context, struct iocb **iocbs, unsigned n,
                   struct timeline *timeline)
{
    while (n > 0) {
        timeline_call(timeline, CALL_SUBMIT);
        int taken = io_submit(context, (long)n, iocbs);
        timeline_return(timeline);

        /* EAGAIN would mean that the context is full. Ours has room for all
           the blocks at once, so any error is a real one. */
        if (taken < 0)
            err(1, "submitting %u reads", n);
        iocbs += taken;
        n -= (unsigned)taken;
    }
}

/* Collect what is complete: at least `min` events, and with 0 only what is
   there already. Returns how many blocks that finished. */
static unsigned collect(aio_context_t context, long min,
                        struct request *requests, const struct blocks *blocks,
                        struct timeline *timeline)
{
    struct io_event events[MAX_BLOCKS];
    struct timespec zero = {0};
    unsigned finished = 0;
    int n;

    do { /* A signal may end the wait before an event does. */
        timeline_call(timeline, min == 0 ? CALL_LOOK : CALL_WAIT);
        n = io_getevents(context, min, (long)blocks->count, events,
                         min == 0 ? &zero : NULL);
        timeline_return(timeline);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        err(1, "collecting results");

    for (int k = 0; k < n; k++) {
        unsigned i = (unsigned)events[k].data;
        struct request *request = &requests[i];
        int64_t res = events[k].res;

        /* A count of bytes, as from read(), or -errno. */
        if (res == -EINTR)
            res = 0; /* A signal came before a byte did. */
        else if (res <= 0)
            blocks_failed(blocks, i, res);

        request->done += (size_t)res;
        if (request->done < blocks->block[i].length) {
            /* Short or interrupted, as with pread(): ask for the rest. */
            prepare(request, blocks, i);
            submit(context, &(struct iocb *){&request->iocb}, 1, timeline);
        } else {
            timeline_completed(timeline, i);
            finished++;
        }
    }
    return finished;
}

/* Read all blocks, `batch` of them in one io_submit(). */
static void read_all(aio_context_t context, const struct blocks *blocks,
                     unsigned batch, struct timeline *timeline)
{
    struct request *requests = calloc(blocks->count, sizeof(*requests));
    struct iocb **iocbs = calloc(blocks->count, sizeof(struct iocb *));
    unsigned finished = 0;

    if (!requests || !iocbs)
        err(1, "allocating %u requests", blocks->count);
    blocks_clear(blocks);
    for (unsigned i = 0; i < blocks->count; i++) {
        prepare(&requests[i], blocks, i);
        iocbs[i] = &requests[i].iocb;
    }

    timeline_start(timeline);
    for (unsigned i = 0; i < blocks->count; i += batch) {
        unsigned left = blocks->count - i, n = left < batch ? left : batch;

        for (unsigned k = i; k < i + n; k++)
            timeline_submitted(timeline, k);
        submit(context, &iocbs[i], n, timeline);

        /* The question of this chapter: how many are complete already? */
        finished += collect(context, 0, requests, blocks, timeline);
    }
    while (finished < blocks->count)
        finished += collect(context, 1, requests, blocks, timeline);
    timeline_stop(timeline);
    timeline_threads(timeline);
    free(iocbs);
    free(requests);
}

/* --- Write, fsync, and mistakes ------------------------------------------ */

/* Submit one iocb, wait for its event, return its res. Where io_submit()
   itself refuses the iocb, that is -errno as well. */
static int64_t run_one(aio_context_t context, struct iocb *iocb)
{
    struct io_event event;
    int n;

    if (io_submit(context, 1, &iocb) != 1)
        return -errno;
    do
        n = io_getevents(context, 1, 1, &event, NULL);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        err(1, "waiting for one result");
    return event.res;
}

static void write_and_sync(aio_context_t context, const struct block *block)
{
    int fd = scratch_open(0);
    size_t done = 0;

    /* In order means one at a time: Linux AIO knows no "after that one". The
       sync is submitted once the write's result has come. */
    while (done < block->length) {
        struct iocb write = {
            .aio_lio_opcode = IOCB_CMD_PWRITE,
            .aio_fildes = (uint32_t)fd,
            .aio_buf = (uintptr_t)(block->data + done),
            .aio_nbytes = block->length - done,
            .aio_offset = (off_t)done,
        };
        int64_t res = run_one(context, &write);
        printf("IOCB_CMD_PWRITE of %zu bytes: res %" PRId64 "\n",
               block->length - done, res);
        if (res <= 0)
            errx(1, "writing the scratch file: %s", strerror((int)-res));
        done += (size_t)res;
    }

    struct iocb sync = {
        .aio_lio_opcode = IOCB_CMD_FSYNC,
        .aio_fildes = (uint32_t)fd,
    };
    int64_t res = run_one(context, &sync);
    if (res == -EINVAL)
        cannot_show("IOCB_CMD_FSYNC: %s: it needs Linux 4.18 or later",
                    strerror(EINVAL));
    if (res < 0)
        errx(1, "syncing the scratch file: %s", strerror((int)-res));
    printf("IOCB_CMD_FSYNC: res %" PRId64 "\n", res);
    if (close(fd))
        err(1, "closing the scratch file");
}

/* Three reads, the second of a descriptor that is not open. */
static void submit_a_bad_one(aio_context_t context, const struct blocks *blocks)
{
    struct request requests[3] = {0};
    struct iocb *iocbs[3];
    struct io_event events[2];

    for (unsigned i = 0; i < 3; i++) {
        prepare(&requests[i], blocks, 0);
        iocbs[i] = &requests[i].iocb;
    }
    requests[1].iocb.aio_fildes = (uint32_t)-1;

    int taken = io_submit(context, 3, iocbs);
    printf("three reads, the second with descriptor -1: %d taken\n", taken);
    if (taken != 1)
        err(1, "submitting a good read before a bad one");

    /* Only now does the bad one come first, and errno say what is wrong. */
    taken = io_submit(context, 2, &iocbs[1]);
    if (taken != -1 || errno != EBADF)
        err(1, "submitting a bad read: %d taken, and not EBADF", taken);
    printf("the bad one first, then the third: %d, errno %s\n", taken,
           strerrorname_np(errno));

    taken = io_submit(context, 1, &iocbs[2]);
    printf("the third alone: %d taken\n", taken);
    if (taken != 1)
        err(1, "submitting a good read after a bad one");

    for (int got = 0; got < 2;) {
        int n = io_getevents(context, 1, 2 - got, events, NULL);
        if (n < 0 && errno != EINTR)
            err(1, "waiting for the good reads");
        for (int k = 0; k < n; k++, got++)
            if (events[k].res <= 0)
                blocks_failed(blocks, 0, events[k].res);
    }
}

/* A request can be taken and fail later. Then the error is in res alone. */
static void read_into_forbidden_memory(aio_context_t context,
                                       const struct blocks *blocks)
{
    size_t bytes = blocks->block[0].length;
    void *forbidden =
        mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (forbidden == MAP_FAILED)
        err(1, "mapping memory that may not be written");
    struct request request = {0};
    prepare(&request, blocks, 0);
    request.iocb.aio_buf = (uintptr_t)forbidden;

    int64_t res = run_one(context, &request.iocb);
    if (res != -EFAULT)
        errx(1,
             "reading into memory that may not be written: res %" PRId64
             ", and not -EFAULT",
             res);
    printf("a read into memory that may not be written: res %" PRId64 ", -%s\n",
           res, strerrorname_np(EFAULT));
    if (munmap(forbidden, bytes))
        err(1, "unmapping the memory that may not be written");
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;
    aio_context_t context = 0; /* Must be 0 before io_setup(). */

    /* Room for all the blocks at once, and for the three reads below. */
    if (io_setup(args.count + 3, &context))
        refused(AIO_SETUP, errno);
    ready_submit(context);
    blocks_open(&blocks, &args);
    struct timeline *one = timeline_new("at once", blocks.count);
    struct timeline *many = timeline_new("singly", blocks.count);

    blocks_drop(&blocks);
    blocks_announce(&blocks);
    read_all(context, &blocks, blocks.count, one);
    uint32_t checksum = blocks_checksum(&blocks);
    blocks_drop(&blocks);
    read_all(context, &blocks, 1, many);

    timeline_draw(one, many); /* Both to one scale. */
    timeline_facts(one, checksum);
    putchar('\n');
    timeline_draw(many, one);
    timeline_facts(many, blocks_checksum(&blocks));

    puts("\nWrite, then fsync:");
    write_and_sync(context, &blocks.block[0]);
    puts("\nMistakes:");
    submit_a_bad_one(context, &blocks);
    read_into_forbidden_memory(context, &blocks);

    timeline_trace(args.trace, (struct timeline *[]){one, many, NULL});
    timeline_free(many);
    timeline_free(one);
    blocks_close(&blocks);
    if (io_destroy(context))
        err(1, "destroying the AIO context");
    return 0;
}
