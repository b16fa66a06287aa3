/*
 * 13 · Reading through a ring
 *
 * Reads the eight blocks through io_uring, by hand: eight entries filled, one
 * store to the tail, one io_uring_enter(2), and the results picked up from
 * shared memory in whatever order they come.
 *
 * Watch for: the main thread is out of submit almost at once, and "completed
 * before submit returned" is not eight. It is the same file as in chapter 08,
 * cold and without O_DIRECT, where io_submit(2) had done all eight itself.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/13-uring-read/uring-read.c \
 *           common/{args,blocks,ring,save,terminal,timeline,why}.c \
 *           -lz -o 13-uring-read
 *
 * Needs: Linux 5.6, for IORING_OP_READ.
 * Manual pages: io_uring(7), io_uring_enter(2).
 */
#include "args.h"
#include "blocks.h"
#include "ready.h"
#include "ring.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned entries = 8;

static const struct program program = {
    .name = "13-uring-read",
    .does = "Reads blocks of a file through an io_uring set up by hand.",
    .ready = ready_uring_read,
    .reads_blocks = true,
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("entries", "slots in the submission queue", &entries,
                          1, 4096),
            OPTION_END},
};

/* One block's way through the ring. */
struct request {
    size_t done;    /* Bytes read so far. */
    bool in_flight; /* In the ring, or in the kernel. */
};

struct reader {
    const struct blocks *blocks;
    struct timeline *timeline;
    struct ring ring;
    struct request *requests; /* One for each block. */
    unsigned in_flight, finished;
};

/* --- The submission queue: we are the producer --------------------------- */

/* Entries that we have published and the kernel has not taken: chapter 11. */
static unsigned unsubmitted(const struct ring *ring)
{
    return atomic_load_explicit(ring->sq_tail, memory_order_relaxed) -
           atomic_load_explicit(ring->sq_head, memory_order_acquire);
}

/* Fill entries for the blocks that want bytes, while there is room, then make
   them all visible with one store to the tail. Returns how many. */
static unsigned fill(struct reader *r)
{
    struct ring *ring = &r->ring;
    unsigned tail = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
    unsigned room = ring->sq_entries - unsubmitted(ring), filled = 0;

    for (unsigned i = 0; i < r->blocks->count && filled < room; i++) {
        const struct block *block = &r->blocks->block[i];
        struct request *request = &r->requests[i];

        if (request->in_flight || request->done == block->length)
            continue;
        /* No more in flight than the completion queue can hold. The kernel
           keeps what overflows (since 5.5), but that is a safety net. */
        if (r->in_flight == ring->cq_entries)
            break;

        unsigned slot = (tail + filled) & ring->sq_mask;
        ring->sqes[slot] = (struct io_uring_sqe){
            .opcode = IORING_OP_READ,
            .fd = r->blocks->fd,
            .addr = (uintptr_t)(block->data + request->done),
            .len = (unsigned)(block->length - request->done),
            .off = (uint64_t)block->offset + request->done,
            .user_data = i, /* Comes back in the CQE. */
        };
        ring->sq_array[slot] = slot;
        filled++;

        if (request->done == 0)
            timeline_submitted(r->timeline, i);
        request->in_flight = true;
        r->in_flight++;
    }

    /* Release: the kernel, which loads the tail with acquire, sees all the
       stores above once it sees this one. */
    atomic_store_explicit(ring->sq_tail, tail + filled, memory_order_release);
    return filled;
}

/* --- Into the kernel ----------------------------------------------------- */

/* io_uring_enter() can submit and wait in one call. Here it does one or the
   other, so that the timeline can tell them apart. Returns how many entries the
   kernel took. */
static unsigned submit(struct reader *r)
{
    unsigned n = unsubmitted(&r->ring);
    int taken;

    if (n == 0)
        return 0;
    timeline_call(r->timeline, CALL_SUBMIT);
    do /* EINTR: a signal came before an entry was taken. */
        taken = ring_enter(&r->ring, n, 0);
    while (taken < 0 && errno == EINTR);
    timeline_return(r->timeline);

    /* Fewer than n may be taken; the counters know, and the loop comes back
       for the others. */
    if (taken >= 0)
        return (unsigned)taken;
    /* EAGAIN: no memory for a request. EBUSY: completions wait for room in the
       ring. Both pass once something in flight has completed and is reaped.
       With nothing in flight they never would. */
    if ((errno == EAGAIN || errno == EBUSY) && r->in_flight > n)
        return 0;
    err(1, "submitting %u reads", n);
}

static void wait_for_one(struct reader *r)
{
    timeline_call(r->timeline, CALL_WAIT);
    int result = ring_enter(&r->ring, 0, 1);
    timeline_return(r->timeline);
    if (result < 0 && errno != EINTR && errno != EBUSY)
        err(1, "waiting for a read");
}

/* --- The completion queue: we are the consumer --------------------------- */

static void complete(struct reader *r, const struct io_uring_cqe *cqe)
{
    unsigned i = (unsigned)cqe->user_data;
    const struct block *block = &r->blocks->block[i];
    struct request *request = &r->requests[i];

    request->in_flight = false;
    r->in_flight--;

    /* res is what pread() would have returned, or -errno. The kernel can't
       restart a request that a signal has cut short, as it can a system call:
       fill() asks again. */
    if (cqe->res == -EINTR)
        return;
    if (cqe->res <= 0)
        blocks_failed(r->blocks, i, cqe->res);

    /* After a short read fill() asks for the rest. */
    request->done += (size_t)cqe->res;
    if (request->done < block->length)
        return;
    timeline_completed(r->timeline, i);
    r->finished++;
}

/* Take all completions that are there, and say how many. No system call: the
   kernel has written them to memory that we can read. */
static unsigned reap(struct reader *r)
{
    struct ring *ring = &r->ring;
    unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    /* Acquire: an entry is read only after the tail that announces it. */
    unsigned tail = atomic_load_explicit(ring->cq_tail, memory_order_acquire);

    for (unsigned i = head; i != tail; i++)
        complete(r, &ring->cqes[i & ring->cq_mask]);

    /* Release: the kernel may overwrite these slots once it sees the new head,
       and by then we have read them. */
    atomic_store_explicit(ring->cq_head, tail, memory_order_release);
    return tail - head;
}

static void read_all(struct reader *r)
{
    blocks_clear(r->blocks);
    timeline_start(r->timeline);
    while (r->finished < r->blocks->count) {
        unsigned moved = fill(r); /* Blocks that want bytes: into the SQ. */
        moved += submit(r);       /* The SQ: to the kernel. */
        moved += reap(r);         /* The CQ: back to the blocks. */
        /* Not before all is handed over that the rings have room for: the disk
           could be at it already. */
        if (moved == 0)
            wait_for_one(r);
    }
    timeline_stop(r->timeline);
    timeline_threads(r->timeline);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct reader r = {0};

    if (ring_open(&r.ring, entries)) /* Chapter 12. */
        refused(URING_SETUP, errno);
    ready_enter(r.ring.fd);
    /* This feature came with the same kernel as IORING_OP_READ. */
    if (!(r.ring.features & IORING_FEAT_RW_CUR_POS))
        cannot_show("IORING_OP_READ: it needs Linux 5.6 or later");
    struct blocks blocks;
    blocks_open(&blocks, &args);
    r.blocks = &blocks;
    r.timeline = timeline_new("io_uring", blocks.count);
    r.requests = calloc(blocks.count, sizeof(*r.requests));
    if (!r.requests)
        err(1, "allocating %u requests", blocks.count);

    blocks_drop(&blocks);
    blocks_announce(&blocks);
    read_all(&r);
    timeline_draw(r.timeline, r.timeline);
    timeline_facts(r.timeline, blocks_checksum(&blocks));

    timeline_trace(args.trace, (struct timeline *[]){r.timeline, NULL});
    free(r.requests);
    timeline_free(r.timeline);
    blocks_close(&blocks);
    ring_close(&r.ring);
    return 0;
}
