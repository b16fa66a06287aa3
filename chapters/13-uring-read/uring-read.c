/*
 * 13 · Reading through a ring
 *
 * The program has two things to do: read eight blocks, and compute 1000 checksums
 * of its own. It does both twice. "in turn": it sleeps until the blocks are
 * there, then it computes. "together": it hands the reads to the kernel, and
 * computes while the disk works.
 *
 * Watch for: where the completions come. "in turn" has them "in wait". "together"
 * has them "at work": the thread makes no system call after its submit, and the
 * results turn up in its memory all the same.
 *
 * The calls of timeline_...() record what the picture shows. They have no part in
 * the reading.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/13-uring-read/uring-read.c common/?*.c -lz \
 *           -o 13-uring-read
 *
 * Needs: Linux 5.6, for IORING_OP_READ.
 * Manual pages: io_uring(7), io_uring_enter(2).
 */
#include "job.h"
#include "ready.h"

#include <err.h>
#include <errno.h>

static unsigned pieces = 1000;

static const struct program program = {
    .name = "13-uring-read",
    .does =
        "Reads blocks through an io_uring set up by hand, and works meanwhile.",
    .ready = ready_uring_read,
    .main_lanes = true,
    .facts = FACT_WORK | FACT_CALLS | FACT_SLEEPS | FACT_SLEEPS_IN_SUBMIT |
             FACT_IN_FLIGHT | FACT_THREADS | FACT_COMPLETED | FACT_ORDER |
             FACT_TIME,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("work", "pieces of own work, 4 KiB summed in each",
                          &pieces, 0, 1000000),
            JOB_ENTRIES, JOB_WARM, JOB_LANES, JOB_STEP, OPTION_END},
};

/* How far a block has come. */
struct request {
    size_t done; /* Bytes read so far. */
    bool asked;  /* An SQE asks for the rest, and its CQE is not read yet. */
};

/* One pass over the blocks. */
struct reader {
    struct ring *ring; /* Set up and mapped as in chapter 12. */
    bool together;     /* Work while the reads are in flight? */
    const struct blocks *blocks;
    struct timeline *timeline;
    struct request request[MAX_BLOCKS];
    unsigned pieces_left; /* How much of its own work is still to do. */
    unsigned blocks_full; /* The number of blocks that are full. */
};

static unsigned fill(struct reader *r);
static unsigned submit(struct reader *r);
static unsigned reap(struct reader *r);
static void work(struct reader *r);
static void sleep_until_completion(struct reader *r);

/* The lesson is this loop. fill(), submit() and reap() return how many requests they
   moved.

   As long as something moves, go round again: the disk could have the next
   request already. When nothing moves, there is nothing for this thread to do
   about the reads, and it may turn to its work. When there is no work left, it
   sleeps. Looking again and again would only use up processor time. */
static void read_all(const struct blocks *blocks, struct timeline *timeline,
                     void *context)
{
    struct reader *r = context;

    r->blocks = blocks;
    r->timeline = timeline;
    while (r->blocks_full < blocks->count) {
        unsigned moved = fill(r); /* Blocks that want bytes: into the SQ. */
        moved += submit(r);       /* The SQ: to the kernel. */
        moved += reap(r);         /* The CQ: back to the blocks. */
        if (moved > 0)
            continue;
        if (r->together && r->pieces_left > 0)
            work(r);
        else
            sleep_until_completion(r);
    }
    if (r->pieces_left > 0)
        work(r); /* Nothing is in flight now, so it does all the rest. */
}

/* --- What the counters know ---------------------------------------------- */

/* Each queue has a head and a tail. They count, from 0, and never go back. We
   write the SQ's tail and the CQ's head, the kernel writes the other two. The
   difference of two counters is the number of requests between two steps. So this
   program counts no requests itself, and after a signal or an error no count of
   ours can be wrong.

   Acquire, when we load a counter that the kernel writes (chapter 11):

   1. The CQ's tail. What the kernel stored before it moved this tail, we see after
      the load: the CQE, and the bytes of the block.
   2. The SQ's head. The kernel has read the entries below it. So we may write over
      their slots. In this ring the kernel moves the head only inside our own call,
      and nothing could go wrong. In another kind of ring it may move it at any time
      (chapter 18). */

/* Requests that we have published and the kernel has not taken. */
static unsigned to_submit(const struct ring *ring)
{
    return atomic_load_explicit(ring->sq_tail, memory_order_relaxed) -
           atomic_load_explicit(ring->sq_head, memory_order_acquire);
}

/* Requests that the kernel has completed and whose CQEs we have not read. This
   looks into memory. It is no system call. */
static unsigned to_reap(const struct ring *ring)
{
    return atomic_load_explicit(ring->cq_tail, memory_order_acquire) -
           atomic_load_explicit(ring->cq_head, memory_order_relaxed);
}

/* Requests that the kernel has taken and whose CQEs we have not read. That is true
   of requests that give one CQE each, as reads do. */
static unsigned in_flight(const struct ring *ring)
{
    return atomic_load_explicit(ring->sq_head, memory_order_acquire) -
           atomic_load_explicit(ring->cq_head, memory_order_relaxed);
}

/* --- Fill: we produce SQEs ------------------------------------------------ */

/* How many more SQEs may we fill? After filling, both of these must hold:

       to_submit             <= sq_entries
       to_submit + in_flight <= cq_entries

   The SQ has so many slots. An entry that the kernel has not taken is still in
   its slot. Whoever overwrites it loses a read.

   The CQ must have a slot for each answer: for requests in flight, and for entries
   that wait in the SQ. If it has none, the kernel keeps the CQE until we call it to
   get events (since 5.5). A thread that works does not call.

   The SQ's head is loaded more than once. It can't move in between: in this ring the
   kernel moves it only inside our call. */
static unsigned room(const struct ring *ring)
{
    unsigned sq = ring->sq_entries - to_submit(ring);
    unsigned cq = ring->cq_entries - to_submit(ring) - in_flight(ring);

    return sq < cq ? sq : cq;
}

/* A block *wants* bytes when it is neither full nor asked for. */
static bool wants(const struct reader *r, unsigned i)
{
    return r->request[i].done < r->blocks->block[i].length &&
           !r->request[i].asked;
}

/* Write the SQE for block i. It asks for all that the block still wants: the whole
   block at first, the rest of it after a short read.

   user_data is ours. The kernel copies it into the CQE and does not look at it. It
   has to say whose result that is, because results come in any order. */
static void ask(struct reader *r, unsigned i, unsigned slot)
{
    const struct block *block = &r->blocks->block[i];
    struct request *request = &r->request[i];

    r->ring->sqes[slot] = (struct io_uring_sqe){
        .opcode = IORING_OP_READ,
        .fd = r->blocks->fd,
        .addr = (uintptr_t)(block->data + request->done),
        .len = (unsigned)(block->length - request->done),
        .off = (uint64_t)block->offset + request->done,
        .user_data = i,
    };
    r->ring->sq_array[slot] = slot; /* Slot n of the queue means SQE n. */
    request->asked = true;
    timeline_submitted(r->timeline, i);
}

static unsigned fill(struct reader *r)
{
    struct ring *ring = r->ring;
    unsigned tail = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
    unsigned most = room(ring), filled = 0;

    for (unsigned i = 0; i < r->blocks->count && filled < most; i++)
        if (wants(r, i))
            ask(r, i, (tail + filled++) & ring->sq_mask);

    /* One store publishes all of them. Release: a kernel that sees the new tail
       sees every SQE that we filled above. */
    atomic_store_explicit(ring->sq_tail, tail + filled, memory_order_release);
    timeline_stored(r->timeline, "SQ tail");
    return filled;
}

/* --- Submit: the one call into the kernel --------------------------------- */

/* Hand over what fill() has published, and wait for nothing: that is the 0. One call
   could submit and wait, but then we could not see how long each of them takes.

   EINTR: a signal came, and the kernel has taken nothing. Call again, because
   sleep_until_completion() would wait for reads that nobody has.

   The kernel may take fewer entries than we offer. The counters know what is left,
   and read_all() comes back for it.

   EAGAIN: the kernel has no memory for another request. It passes when something in
   flight has completed and we have reaped it. With nothing in flight no completion
   will ever come, and a program that waited for one would hang. So then it is an
   error. EBUSY: completions wait for room in the CQ. room() sees to it that none has
   to, so this is a safety net. */
static unsigned submit(struct reader *r)
{
    unsigned n = to_submit(r->ring);
    int taken;

    if (n == 0)
        return 0;
    do {
        timeline_call(r->timeline, CALL_SUBMIT);
        taken = ring_enter(r->ring, n, 0);
        timeline_return(r->timeline);
    } while (taken < 0 && errno == EINTR);

    if (taken > 0)
        return (unsigned)taken;
    if (taken == 0)
        errno = EAGAIN; /* It took none, and does not say why. */
    if ((errno == EAGAIN || errno == EBUSY) && in_flight(r->ring) > 0)
        return 0;
    err(1, "submitting %u reads", n);
}

/* --- Reap: we consume CQEs ------------------------------------------------ */

/* res is what pread() would have returned, or -errno. errno itself belongs to
   system calls, and this was none. 0 is the end of the file.

   Fewer bytes than we asked for is a success: the block wants bytes again, and
   the next fill() asks for the rest.

   -EINTR: a signal came first. The kernel may restart a pread() by itself then
   (SA_RESTART). It never restarts a request of a ring. The next fill() does. */
static void complete(struct reader *r, const struct io_uring_cqe *cqe)
{
    unsigned i = (unsigned)cqe->user_data;
    struct request *request = &r->request[i];

    request->asked = false;
    if (cqe->res > 0)
        request->done += (size_t)cqe->res;
    else if (cqe->res != -EINTR)
        blocks_failed(r->blocks, i, cqe->res); /* Ends the program. */
    if (wants(r, i)) {
        timeline_partly(r->timeline);
        return;
    }
    timeline_completed(r->timeline, i);
    r->blocks_full++;
}

/* Read all CQEs that are there, then give their slots back with one store.
   Release: a kernel that sees the new head may overwrite the slots. By then we
   have read them. */
static unsigned reap(struct reader *r)
{
    struct ring *ring = r->ring;
    unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    unsigned n = to_reap(ring);

    for (unsigned i = 0; i < n; i++)
        complete(r, &ring->cqes[(head + i) & ring->cq_mask]);
    atomic_store_explicit(ring->cq_head, head + n, memory_order_release);
    timeline_stored(r->timeline, "CQ head");
    return n;
}

/* --- Meanwhile ------------------------------------------------------------ */

/* Work until a completion is there, or the work is done. Nothing in this loop
   enters the kernel: to_reap() loads two numbers, job_work() computes a checksum.

   The kernel comes to us. When pages arrive that a read waits for, it interrupts
   this thread and copies the bytes. After the last of them it fills a CQE and
   moves the tail. Then our work goes on where it was. That is no signal: no handler
   runs.

   That holds since Linux 5.9, where the file system can tell a request that its
   pages are there, and in a ring without flags. With IORING_SETUP_DEFER_TASKRUN the
   kernel fills no CQE before we call it to get events. */
static void work(struct reader *r)
{
    timeline_call(r->timeline, OWN_WORK);
    while (r->pieces_left > 0 && to_reap(r->ring) == 0) {
        job_work(r->timeline);
        r->pieces_left--;
    }
    timeline_return(r->timeline);
}

/* The 1: return when one completion is there. For that ring_enter() sets
   IORING_ENTER_GETEVENTS. Often there are more by then, and reap() takes all.

   Returning early does no harm. After EINTR (a signal) and EBUSY (the CQ is full)
   the loop looks at the CQ, and comes back here if need be. */
static void sleep_until_completion(struct reader *r)
{
    timeline_call(r->timeline, CALL_WAIT);
    int result = ring_enter(r->ring, 0, 1);
    timeline_return(r->timeline);
    if (result < 0 && errno != EINTR && errno != EBUSY)
        err(1, "waiting for a read");
}

/* --- Two passes over one ring: its counters just go on --------------------- */

int main(int argc, char **argv)
{
    struct job *job = job_open(argc, argv, &program);
    struct ring *ring = job_ring(job); /* Or exit 77: no io_uring here. */
    struct reader in_turn = {.ring = ring, .pieces_left = pieces};
    struct reader together = {
        .ring = ring, .pieces_left = pieces, .together = true};

    job_pass(job, "in turn", read_all, &in_turn);
    job_pass(job, "together", read_all, &together);
    return job_close(job);
}
