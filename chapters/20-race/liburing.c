/* liburing: as in chapter 15, with submit and wait in one call. */
#include "liburing-engines.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool liburing_set_up(struct heat *heat, unsigned flags, const char *needs)
{
    struct liburing *own = heat_own(heat, sizeof(*own));
    struct io_uring_params params = {.flags = flags, .sq_thread_idle = 1000};
    /* Twice the room: a poller completes reads before it gives their entries
       back (chapter 18). */
    int result = io_uring_queue_init_params(2 * heat->course->depth, &own->ring,
                                            &params);

    if (result < 0) {
        free(own);
        if (result != -EINVAL && result != -EAGAIN)
            return heat_refused_by(heat, URING_SETUP, -result);
        return heat_refused(
            heat, "setting up a ring: %s; %s", strerror(-result),
            result == -EINVAL ? needs : "see ulimit -u, and pids.max");
    }
    /* Nothing to submit, nothing to wait for: may it be entered at all? */
    result = io_uring_enter((unsigned)own->ring.ring_fd, 0, 0, 0, NULL);
    bool can_read = own->ring.features & IORING_FEAT_RW_CUR_POS;
    if (can_read && !why_refused(URING_ENTER, -result))
        return true;
    liburing_close(heat);
    if (!can_read) /* That feature came with the same kernel. */
        return heat_refused(heat, "IORING_OP_READ needs Linux 5.6");
    return heat_refused_by(heat, URING_ENTER, -result);
}

bool liburing_register(struct heat *heat)
{
    struct liburing *own = heat->own;
    struct iovec memory[MAX_DEPTH];
    unsigned depth = heat->course->depth;
    const char *what = "registering the file", *hint = "";
    int result = io_uring_register_files(&own->ring, &heat->course->fd, 1);

    for (unsigned i = 0; i < depth; i++)
        memory[i] = (struct iovec){heat->slots[i].data, heat->course->size};
    if (result == 0) {
        what = "registering the buffers";
        result = io_uring_register_buffers(&own->ring, memory, depth);
        hint = result == -ENOMEM ? "; see ulimit -l" : "";
    }
    own->fixed = result == 0;
    if (own->fixed)
        return true;
    liburing_close(heat);
    return heat_refused(heat, "%s: %s%s", what, strerror(-result), hint);
}

void liburing_queue(struct lane *lane, struct slot *slot)
{
    struct heat *heat = lane->heat;
    const struct course *course = heat->course;
    struct liburing *own = heat->own;
    int i = (int)(slot - heat->slots);

    if (!lane_begin(lane, slot))
        return;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&own->ring);
    if (!sqe)
        errx(1, "%s: no room in a ring with twice as many entries as reads",
             heat->name);
    if (own->fixed) { /* The file is the first in its table: 0. */
        io_uring_prep_read_fixed(sqe, 0, slot->data, course->size,
                                 (uint64_t)slot->offset, i);
        io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    } else {
        io_uring_prep_read(sqe, course->fd, slot->data, course->size,
                           (uint64_t)slot->offset);
    }
    io_uring_sqe_set_data(sqe, slot);
}

void liburing_reap(struct lane *lane)
{
    struct liburing *own = lane->heat->own;
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&own->ring, head, cqe)
    {
        struct slot *slot = io_uring_cqe_get_data(cqe);
        lane_end(lane, slot, cqe->res);
        liburing_queue(lane, slot);
        if (++n == lane->heat->course->batch)
            break;
    }
    io_uring_cq_advance(&own->ring, n);
}

void liburing_check(const struct lane *lane, int result)
{
    if (result >= 0 || result == -EINTR)
        return;
    errno = -result;
    err(1, "%s: submitting reads", lane->heat->name);
}

void liburing_run(struct heat *heat)
{
    struct liburing *own = heat->own;
    struct lane *lane = &heat->lanes[0];
    struct io_uring_cqe *cqe;

    lane_look(lane);
    for (unsigned i = 0; i < heat->course->depth; i++)
        liburing_queue(lane, &heat->slots[i]);
    while (lane->in_flight > 0) {
        int result = io_uring_submit_and_wait(&own->ring, 1);
        lane->calls++;
        /* Short of room: what is in flight makes some (chapter 13). After an
           error the call has not waited. */
        if ((result == -EAGAIN || result == -EBUSY) &&
            lane->in_flight > io_uring_sq_ready(&own->ring)) {
            lane->calls += io_uring_cq_ready(&own->ring) == 0;
            result = io_uring_wait_cqe(&own->ring, &cqe);
        }
        liburing_check(lane, result);
        lane_look(lane);
        liburing_reap(lane);
    }
}

void liburing_close(struct heat *heat)
{
    struct liburing *own = heat->own;

    /* A ring is taken down some time after it is closed. Until then its memory
       would count against the limit of the next one's. */
    if (own->fixed)
        io_uring_unregister_buffers(&own->ring);
    io_uring_queue_exit(&own->ring);
    free(own);
}

static bool plain_open(struct heat *heat)
{
    return liburing_set_up(heat, 0, "chapter 00 tells more");
}

const struct engine engine_liburing = {"liburing", plain_open, liburing_run,
                                       liburing_close};
