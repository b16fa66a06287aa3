/* liburing-sqpoll: a thread of the kernel's finds what is queued, as in chapter
   18, and we find in memory what has come. */
#include "liburing-engines.h"

#include "cost.h"

#include <stdatomic.h>

/* How long we look before we wait: far longer than a read from a disk takes. */
enum { SPIN = 1000 * 1000 };

static bool sqpoll_open(struct heat *heat)
{
    if (!liburing_set_up(heat, IORING_SETUP_SQPOLL, "chapter 00 tells more"))
        return false;
    struct liburing *own = heat->own;
    if (own->ring.features & IORING_FEAT_NATIVE_WORKERS)
        return liburing_register(heat);
    liburing_close(heat);
    return heat_refused(heat, "a poller that is a thread of ours needs Linux "
                              "5.12");
}

/* io_uring_submit() by hand, for it does not say whether it made a system call.
   Why the fence has to be a full one: chapter 18. */
static unsigned publish(struct io_uring_sq *sq)
{
    _Atomic unsigned *tail = (_Atomic unsigned *)sq->ktail;
    _Atomic unsigned *flags = (_Atomic unsigned *)sq->kflags;

    atomic_store_explicit(tail, sq->sqe_tail, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(flags, memory_order_relaxed) &
                   IORING_SQ_NEED_WAKEUP
               ? IORING_ENTER_SQ_WAKEUP
               : 0;
}

static void enter(struct lane *lane, unsigned wait_for, unsigned flags)
{
    struct liburing *own = lane->heat->own;

    lane->calls++;
    liburing_check(lane, io_uring_enter((unsigned)own->ring.ring_fd, 0,
                                        wait_for, flags, NULL));
}

static void sqpoll_run(struct heat *heat)
{
    struct liburing *own = heat->own;
    struct lane *lane = &heat->lanes[0];

    lane_look(lane);
    for (unsigned i = 0; i < heat->course->depth; i++)
        liburing_queue(lane, &heat->slots[i]);
    while (lane->in_flight > 0) {
        unsigned wake = publish(&own->ring.sq), looks = 0;
        if (wake)
            enter(lane, 0, wake);
        while (io_uring_cq_ready(&own->ring) == 0 && looks++ < SPIN)
            continue;
        /* The flag once more: a signal may have come before the wake-up. */
        if (io_uring_cq_ready(&own->ring) == 0)
            enter(lane, 1, wake | IORING_ENTER_GETEVENTS);
        lane_look(lane);
        liburing_reap(lane);
    }
}

static void sqpoll_close(struct heat *heat)
{
    struct cost now;

    cost_look(&now);
    liburing_close(heat);
    cost_await_threads(now.threads - 1); /* The poller's end. */
}

const struct engine engine_liburing_sqpoll = {"liburing-sqpoll", sqpoll_open,
                                              sqpoll_run, sqpoll_close};
