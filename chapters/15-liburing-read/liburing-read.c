/*
 * 15 · The same with liburing
 *
 * Reads the eight blocks through io_uring, as chapter 13 does, and leaves the ring
 * to liburing. What remains is the job: which reads, how much of each is done, and
 * what went wrong.
 *
 * Watch for: the same facts as in chapter 13, because the system calls are the
 * same. The last line counts what the library saved.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/15-liburing-read/liburing-read.c common/?*.c -luring -lz \
 *           -o 15-liburing-read
 *
 * Needs: Linux 5.6, for IORING_OP_READ; liburing 2.3.
 * Manual pages: io_uring_queue_init(3), io_uring_get_sqe(3), io_uring_submit(3),
 *     io_uring_wait_cqe(3), io_uring_for_each_cqe(3), io_uring_cq_advance(3).
 */
#include "count.h"
#include "job.h"
#include "ready.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <liburing.h>

static const struct program program = {
    .name = "15-liburing-read",
    .does = "Reads blocks of a file through io_uring, with liburing.",
    .ready = ready_uring_read,
    .main_lanes = true,
    .facts = FACT_CALLS | FACT_SLEEPS_IN_SUBMIT | FACT_IN_FLIGHT |
             FACT_THREADS | FACT_COMPLETED | FACT_ORDER,
    .options = (const struct program_option[]){JOB_ENTRIES, JOB_WARM, JOB_LANES,
                                               OPTION_END},
};

struct reader {
    struct io_uring ring;
    const struct blocks *blocks;
    struct timeline *timeline;

    /* A block wants bytes when it is neither full nor asked for. */
    struct request {
        size_t done; /* Bytes read so far. */
        bool asked;  /* A request asks for the rest. */
    } request[MAX_BLOCKS];
    unsigned
        unanswered; /* Requests that we filled, and whose CQE is not read. */
    unsigned full;  /* The number of blocks that are full. */
};

/* liburing returns -errno. errno itself may hold anything: on most machines liburing
   does not touch it. perror() would print whatever went wrong before, or "Success". So
   this is the one place that makes errno of the result. -EINTR is no error: the loop
   comes back. */
static int check(int result, const char *what)
{
    if (result >= 0 || result == -EINTR)
        return result;
    errno = -result;
    err(1, "%s", what);
}

/* Ask for what the blocks want, while there is room. Two queues set a limit, as in
   chapter 13.

   The SQ: when it is full, io_uring_get_sqe() returns NULL. That is no error. The
   other blocks go next time, when the kernel has taken these. A program that does not
   look writes to address 0.

   The CQ: it needs a slot for each answer. liburing does not look whether there is one.
   So we count the requests that are not answered yet. */
static unsigned fill(struct reader *r)
{
    unsigned filled = 0;

    for (unsigned i = 0; i < r->blocks->count; i++) {
        const struct block *block = &r->blocks->block[i];
        struct request *request = &r->request[i];

        if (request->asked || request->done == block->length)
            continue;
        if (r->unanswered == r->ring.cq.ring_entries)
            break;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
        if (!sqe)
            break;

        /* The whole block at first, the rest of it after a short read. */
        io_uring_prep_read(sqe, r->blocks->fd, block->data + request->done,
                           (unsigned)(block->length - request->done),
                           (uint64_t)block->offset + request->done);
        io_uring_sqe_set_data64(sqe, i);
        request->asked = true;
        r->unanswered++;
        filled++;
        timeline_submitted(r->timeline, i);
    }
    return filled;
}

/* Hand over what is in the SQ. liburing has counted the entries, and stores the tail
   before it enters the kernel. It returns how many the kernel took. What the kernel does
   not take stays in the SQ, and the loop comes back for it.

   -EINTR: a signal came first. Nothing has moved, but the loop must not wait now: the
   entries are still here. So we say that it goes on.

   -EAGAIN, or 0: the kernel has no memory for a request. -EBUSY, in older kernels: no
   room for completions. Both pass when something has completed that the kernel is at
   work on. `unanswered` counts the entries in the SQ as well. So if it is no more than
   `n`, the kernel has nothing, no completion will come, and it is an error. */
static unsigned submit(struct reader *r)
{
    unsigned n = io_uring_sq_ready(&r->ring);

    if (n == 0)
        return 0;
    timeline_call(r->timeline, CALL_SUBMIT);
    int taken = io_uring_submit(&r->ring);
    timeline_return(r->timeline);

    if (taken > 0)
        return (unsigned)taken;
    if (taken == -EINTR)
        return 1;
    if (taken == 0)
        taken = -EAGAIN; /* It took none, and does not say why. */
    if ((taken == -EAGAIN || taken == -EBUSY) && r->unanswered > n)
        return 0;
    check(taken, "submitting reads");
    return 0;
}

/* A result. Less than we asked for is a success, and fill() asks for the rest. After
   -EINTR it asks once more. 0 is the end of the file. */
static void complete(struct reader *r, unsigned i, int res)
{
    struct request *request = &r->request[i];

    request->asked = false;
    r->unanswered--;
    if (res <= 0 && res != -EINTR)
        blocks_failed(r->blocks, i, res);
    if (res > 0)
        request->done += (size_t)res;
    if (request->done < r->blocks->block[i].length) {
        timeline_partly(r->timeline);
        return;
    }
    timeline_completed(r->timeline, i);
    r->full++;
}

/* Take all CQEs that are there. `cqe` points into the ring, at memory that the kernel
   writes: it is on loan. io_uring_cq_advance() gives it back, so that comes last. After
   it the kernel may write the next CQE into that slot. */
static unsigned reap(struct reader *r)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&r->ring, head, cqe)
    {
        complete(r, (unsigned)io_uring_cqe_get_data64(cqe), cqe->res);
        n++;
    }
    io_uring_cq_advance(&r->ring, n);
    return n;
}

/* io_uring_wait_cqe() looks first, and enters the kernel only if no CQE is there. It
   hands us one. We leave it, because reap() takes all of them. -EBUSY passes when we
   have reaped. */
static void wait_for_one(struct reader *r)
{
    struct io_uring_cqe *cqe;

    timeline_call(r->timeline, CALL_WAIT);
    int result = io_uring_wait_cqe(&r->ring, &cqe);
    timeline_return(r->timeline);
    if (result != -EBUSY)
        check(result, "waiting for a read");
}

/* The loop of chapter 13. Wait only when nothing moves any more: until then the disk
   could have the next request already. */
static void read_all(const struct blocks *blocks, struct timeline *timeline,
                     void *context)
{
    struct reader *r = context;

    r->blocks = blocks;
    r->timeline = timeline;
    while (r->full < blocks->count) {
        unsigned moved = fill(r);
        moved += submit(r);
        moved += reap(r);
        if (moved == 0)
            wait_for_one(r);
    }
}

/* Where the counters are, for the timeline to look on. */
static struct ring_counters counters_of(const struct io_uring *ring)
{
    return (struct ring_counters){
        (void *)ring->sq.khead, (void *)ring->cq.khead, (void *)ring->cq.ktail};
}

int main(int argc, char **argv)
{
    struct job *job = job_open(argc, argv, &program);
    struct reader reader = {0};

    /* The system call and the mmaps of chapter 12. */
    int result = io_uring_queue_init(job_options.entries, &reader.ring, 0);
    if (result < 0)
        refused(URING_SETUP, -result);
    ready_enter(reader.ring.ring_fd); /* Refused? Before anything is shown. */
    ready_to_read(reader.ring.features);

    job_watch(job, counters_of(&reader.ring));
    job_pass(job, "liburing", read_all, &reader);
    io_uring_queue_exit(&reader.ring);

    job_show(job);
    count_print_rings(__FILE__,
                      (const char *[]){"liburing-read.c",
                                       "../13-uring-read/uring-read.c",
                                       "../../common/ring.c", NULL});
    return job_close(job);
}
