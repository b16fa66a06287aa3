/*
 * 15 · The same with liburing
 *
 * Reads the eight blocks through io_uring once more, with liburing in place of
 * the mmaps, the masks and the memory orders. What is left is the job.
 *
 * Watch for: the timeline and the facts are those of chapter 13; the last line
 * counts what was saved.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/15-liburing-read/liburing-read.c common/?*.c -lz -luring \
 *           -o 15-liburing-read
 *
 * Needs: Linux 5.6, for IORING_OP_READ; liburing 2.3.
 * Manual pages: io_uring_queue_init(3), io_uring_get_sqe(3),
 * io_uring_prep_read(3), io_uring_submit(3), io_uring_wait_cqe(3).
 */
#include "count.h"
#include "job.h"
#include "ready.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>

static const struct program program = {
    .name = "15-liburing-read",
    .does = "Reads blocks of a file through io_uring, with liburing.",
    .ready = ready_uring_read,
    .options = (const struct program_option[]){JOB_ENTRIES, OPTION_END},
};

/* One block's way through the ring. */
struct request {
    size_t done;    /* Bytes read so far. */
    bool in_flight; /* In the ring, or in the kernel. */
};

struct reader {
    const struct blocks *blocks;
    struct timeline *timeline;
    struct io_uring ring;
    struct request requests[MAX_BLOCKS]; /* One for each block. */
    unsigned in_flight, finished;
};

/* Fill entries for the blocks that want bytes, while there is room. Returns how
   many. */
static unsigned fill(struct reader *r)
{
    unsigned filled = 0;

    for (unsigned i = 0; i < r->blocks->count; i++) {
        const struct block *block = &r->blocks->block[i];
        struct request *request = &r->requests[i];

        if (request->in_flight || request->done == block->length)
            continue;
        /* Not more in flight than the completion queue can hold. */
        if (r->in_flight == r->ring.cq.ring_entries)
            break;

        /* NULL is no error: the queue is full, and the others go next time. A
           program that does not check writes to address 0 as soon as it has
           one block more than the queue has entries. */
        struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
        if (!sqe)
            break;
        io_uring_prep_read(sqe, r->blocks->fd, block->data + request->done,
                           (unsigned)(block->length - request->done),
                           (uint64_t)block->offset + request->done);
        io_uring_sqe_set_data64(sqe,
                                i); /* After prep: some versions clear it. */

        if (request->done == 0)
            timeline_submitted(r->timeline, i);
        request->in_flight = true;
        r->in_flight++;
        filled++;
    }
    return filled;
}

/* liburing returns -errno and leaves errno alone: perror() would print whatever
   failed before, or "Success". Here it becomes errno, once for all calls. */
static void check(int result, const char *what)
{
    if (result >= 0 || result == -EINTR) /* The loop comes back. */
        return;
    errno = -result;
    err(1, "%s", what);
}

/* Returns how many entries the kernel took. */
static unsigned submit(struct reader *r)
{
    int taken;

    if (io_uring_sq_ready(&r->ring) == 0)
        return 0;
    timeline_call(r->timeline, CALL_SUBMIT);
    do
        taken = io_uring_submit(&r->ring);
    while (taken == -EINTR);
    timeline_return(r->timeline);

    /* No room in the kernel just now, as in chapter 13. */
    if ((taken == -EAGAIN || taken == -EBUSY) &&
        r->in_flight > io_uring_sq_ready(&r->ring))
        return 0;
    check(taken, "submitting reads");
    return (unsigned)taken;
}

static void wait_for_one(struct reader *r)
{
    struct io_uring_cqe *cqe;

    timeline_call(r->timeline, CALL_WAIT);
    int result = io_uring_wait_cqe(&r->ring, &cqe);
    timeline_return(r->timeline);
    if (result != -EBUSY) /* Reap first, then it passes. */
        check(result, "waiting for a read");
}

static void complete(struct reader *r, const struct io_uring_cqe *cqe)
{
    unsigned i = (unsigned)io_uring_cqe_get_data64(cqe);
    struct request *request = &r->requests[i];

    request->in_flight = false;
    r->in_flight--;
    if (cqe->res == -EINTR) { /* fill() asks again. */
        timeline_partly(r->timeline);
        return;
    }
    if (cqe->res <= 0)
        blocks_failed(r->blocks, i, cqe->res);

    request->done += (size_t)cqe->res;
    if (request->done < r->blocks->block[i].length) {
        timeline_partly(r->timeline); /* fill() asks for the rest. */
        return;
    }
    timeline_completed(r->timeline, i);
    r->finished++;
}

/* Take all completions that are there, and say how many. */
static unsigned reap(struct reader *r)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    /* cqe points into the ring, at memory that the kernel writes: it is a
       loan, not a copy. The loan ends with io_uring_cq_advance(), so that comes
       last; a CQE looked at after it may be the next one already. */
    io_uring_for_each_cqe(&r->ring, head, cqe)
    {
        complete(r, cqe);
        n++;
    }
    io_uring_cq_advance(&r->ring, n);
    return n;
}

static void read_all(const struct blocks *blocks, struct timeline *timeline,
                     void *context)
{
    struct reader *r = context;

    r->blocks = blocks;
    r->timeline = timeline;
    while (r->finished < blocks->count) {
        unsigned moved = fill(r);
        moved += submit(r);
        moved += reap(r);
        if (moved == 0) /* All is handed over that the rings have room for. */
            wait_for_one(r);
    }
}

int main(int argc, char **argv)
{
    struct job *job = job_open(argc, argv, &program);
    struct reader reader = {0};

    int result = io_uring_queue_init(job_options.entries, &reader.ring, 0);
    if (result < 0)
        refused(URING_SETUP, -result);
    ready_enter(reader.ring.ring_fd);
    ready_to_read(reader.ring.features);
    job_watch(job, (struct ring_counters){(void *)reader.ring.sq.khead,
                                          (void *)reader.ring.cq.khead,
                                          (void *)reader.ring.cq.ktail});
    job_pass(job, "liburing", read_all, &reader);
    io_uring_queue_exit(&reader.ring);

    job_show(job);
    count_print(__FILE__, (const char *[]){"liburing-read.c",
                                           "../13-uring-read/uring-read.c",
                                           "../../common/ring.c", NULL});
    return job_close(job);
}
