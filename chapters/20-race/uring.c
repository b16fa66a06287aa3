/* uring: a ring by hand, as in chapter 13. One call submits what is queued and
   waits for what comes. */
#include "race.h"

#include "ring.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void uring_close(struct heat *heat)
{
    ring_close(heat->own);
    free(heat->own);
}

static bool uring_open(struct heat *heat)
{
    struct ring *ring = heat_own(heat, sizeof(*ring));

    if (ring_open(ring, heat->course->depth)) {
        int error = errno;
        free(ring);
        return heat_refused_by(heat, URING_SETUP, error);
    }
    /* Nothing to submit, nothing to wait for: may it be entered at all? */
    int error = ring_enter(ring, 0, 0) < 0 ? errno : 0;
    bool can_read = ring->features & IORING_FEAT_RW_CUR_POS;
    if (can_read && !why_refused(URING_ENTER, error))
        return true;
    uring_close(heat);
    if (!can_read) /* That feature came with the same kernel. */
        return heat_refused(heat, "IORING_OP_READ needs Linux 5.6");
    return heat_refused_by(heat, URING_ENTER, error);
}

/* There is room: the ring has an entry for each slot. */
static void queue(struct lane *lane, struct slot *slot)
{
    struct heat *heat = lane->heat;
    struct ring *ring = heat->own;
    unsigned tail = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
    unsigned place = tail & ring->sq_mask;

    if (!lane_begin(lane, slot))
        return;
    ring->sqes[place] = (struct io_uring_sqe){
        .opcode = IORING_OP_READ,
        .fd = heat->course->fd,
        .addr = (uintptr_t)slot->data,
        .len = heat->course->size,
        .off = (uint64_t)slot->offset,
        .user_data = (uint64_t)(slot - heat->slots),
    };
    ring->sq_array[place] = place;
    atomic_store_explicit(ring->sq_tail, tail + 1, memory_order_release);
}

static unsigned unsubmitted(const struct ring *ring)
{
    return atomic_load_explicit(ring->sq_tail, memory_order_relaxed) -
           atomic_load_explicit(ring->sq_head, memory_order_acquire);
}

static void enter(struct lane *lane, const struct ring *ring)
{
    int taken = ring_enter(ring, unsubmitted(ring), 1);

    lane->calls++;
    /* Short of room: what is in flight makes some (chapter 13). After an error
       the call has not waited. */
    if (taken < 0 && (errno == EAGAIN || errno == EBUSY) &&
        lane->in_flight > unsubmitted(ring)) {
        taken = ring_enter(ring, 0, 1);
        lane->calls++;
    }
    if (taken < 0 && errno != EINTR)
        err(1, "uring: submitting reads");
}

static void reap(struct lane *lane, struct ring *ring)
{
    unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(ring->cq_tail, memory_order_acquire);

    unsigned max = head + lane->heat->course->batch;
    for (; head != tail && head != max; head++) {
        const struct io_uring_cqe *cqe = &ring->cqes[head & ring->cq_mask];
        struct slot *slot = &lane->heat->slots[cqe->user_data];
        lane_end(lane, slot, cqe->res);
        queue(lane, slot);
    }
    atomic_store_explicit(ring->cq_head, head, memory_order_release);
}

static void uring_run(struct heat *heat)
{
    struct lane *lane = &heat->lanes[0];

    lane_look(lane);
    for (unsigned i = 0; i < heat->course->depth; i++)
        queue(lane, &heat->slots[i]);
    while (lane->in_flight > 0) {
        enter(lane, heat->own);
        lane_look(lane);
        reap(lane, heat->own);
    }
}

const struct engine engine_uring = {"uring", uring_open, uring_run,
                                    uring_close};
