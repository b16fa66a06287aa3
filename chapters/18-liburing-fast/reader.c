/*
 * 18 · The options of a ring: what each of them changes in the code.
 */
#include "reader.h"

#include "blocks.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* --- The options ------------------------------------------------------------ */

bool reader_open(struct reader *r, char why[WHY])
{
    struct io_uring_params params = {.sq_thread_idle = 1000}; /* ms */
    struct iovec buffers[MAX_BLOCKS];
    const char *what = "setting up the ring", *hint = "";

    if (r->options & DEFER_TASKRUN)
        params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    if (r->options & SQPOLL)
        params.flags = IORING_SETUP_SQPOLL;
    if (r->options & IOPOLL)
        params.flags = IORING_SETUP_IOPOLL;
    /* Twice the room: a poller completes reads before it gives their entries
       back, and by then we may have queued as many again. */
    int result = io_uring_queue_init_params(2 * r->batch, &r->ring, &params);
    bool set_up = result == 0;
    if (result == -EINVAL && r->options & DEFER_TASKRUN)
        hint = "; it needs Linux 6.1";
    if (result == -EAGAIN && r->options & SQPOLL)
        hint = "; see ulimit -u, and pids.max of the cgroup";

    /* Before, the poller is no thread of ours, nor its time in our bill. */
    if (result == 0 && r->options & SQPOLL &&
        !(params.features & IORING_FEAT_NATIVE_WORKERS)) {
        result = -EINVAL;
        hint = "; it needs Linux 5.12";
    }
    if (result == 0 && r->options & REGISTERED_FILE) {
        what = "registering the file";
        result = io_uring_register_files(&r->ring, &r->fd, 1);
    }
    if (result == 0 && r->options & REGISTERED_BUFFERS) {
        for (unsigned i = 0; i < r->batch; i++)
            buffers[i] =
                (struct iovec){r->requests[i].data, r->requests[i].length};
        what = "registering the buffers";
        result = io_uring_register_buffers(&r->ring, buffers, r->batch);
        hint = result == -ENOMEM ? "; see ulimit -l" : "";
    }
    if (result == 0)
        return true;
    snprintf(why, WHY, "%s: %s%s", what, strerror(-result), hint);
    if (set_up)
        io_uring_queue_exit(&r->ring);
    return false;
}

/* Queue a read, or what is still missing of it. */
static void queue(struct reader *r, unsigned i)
{
    struct request *q = &r->requests[i];
    unsigned char *to = q->data + q->done;
    unsigned length = (unsigned)(q->length - q->done);
    uint64_t from = (uint64_t)r->offsets[q->operation] + q->done;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);

    if (!sqe)
        errx(1, "no room in a ring with twice as many entries as reads");
    if (r->options & REGISTERED_BUFFERS)
        io_uring_prep_read_fixed(sqe, r->fd, to, length, from, (int)i);
    else
        io_uring_prep_read(sqe, r->fd, to, length, from);
    if (r->options & REGISTERED_FILE) {
        sqe->fd = 0; /* Now a place among the files registered. */
        io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    }
    io_uring_sqe_set_data64(sqe, i);
    r->in_flight++;
}

/* --- Into the kernel, or not ---------------------------------------------- */

static void check(int result, const char *what)
{
    if (result >= 0 || result == -EINTR) /* The loop comes back. */
        return;
    errno = -result;
    err(1, "%s", what);
}

/* Did a submit fail for want of room, and is something in flight whose end makes
   some (chapter 13)? Then wait for that: after an error no call has waited. */
static bool short_of_room(const struct reader *r, int result)
{
    return (result == -EAGAIN || result == -EBUSY) &&
           r->in_flight > io_uring_sq_ready(&r->ring);
}

/* What io_uring_submit() does where there is a poller, by hand. We publish, then
   look at the flag. The poller, before it sleeps, sets the flag, then looks for
   entries. Only a full fence keeps a load behind a store that is in front of it.
   Without one on each side both can look too early: we see nobody asleep, it
   sees nothing to do, and the reads lie there for ever. */
static bool publish_and_look(struct io_uring_sq *sq)
{
    _Atomic unsigned *tail = (_Atomic unsigned *)sq->ktail;
    _Atomic unsigned *flags = (_Atomic unsigned *)sq->kflags;

    atomic_store_explicit(tail, sq->sqe_tail, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(flags, memory_order_relaxed) &
           IORING_SQ_NEED_WAKEUP;
}

static void enter(struct reader *r, unsigned wait_for, unsigned flags)
{
    unsigned fd = (unsigned)r->ring.ring_fd;

    r->calls++;
    check(io_uring_enter(fd, 0, wait_for, flags, NULL),
          "waking the poller, or waiting for it");
}

static void leave_to_poller(struct reader *r)
{
    unsigned wake = publish_and_look(&r->ring.sq) ? IORING_ENTER_SQ_WAKEUP : 0;

    if (wake)
        enter(r, 0, wake);
    /* Look for completions, but not for ever: the poller may be waiting for the
       very processor that we are looking on. */
    for (unsigned looks = 0; looks < r->spin; looks++)
        if (io_uring_cq_ready(&r->ring) > 0)
            return;
    /* The flag once more: a signal may have come before the wake-up. */
    enter(r, 1, wake | IORING_ENTER_GETEVENTS);
}

/* Submit first and wait then, so that the timeline can tell them apart. */
static void submit_drawn(struct reader *r)
{
    struct io_uring_cqe *cqe;
    bool refused = false;

    if (io_uring_sq_ready(&r->ring) > 0) {
        timeline_call(r->timeline, CALL_SUBMIT);
        int taken = io_uring_submit(&r->ring);
        timeline_return(r->timeline);
        refused = short_of_room(r, taken);
        if (!refused)
            check(taken, "submitting reads");
    }
    /* Not while there is something to hand over: chapter 13. */
    if (io_uring_cq_ready(&r->ring) == 0 &&
        (refused || io_uring_sq_ready(&r->ring) == 0)) {
        timeline_call(r->timeline, CALL_WAIT);
        int result = io_uring_wait_cqe(&r->ring, &cqe);
        timeline_return(r->timeline);
        check(result, "waiting for a read");
    }
}

/* Hand over what is queued, and come back when there are completions. */
static void submit(struct reader *r)
{
    if (r->timeline) {
        submit_drawn(r);
    } else if (r->options & SQPOLL) {
        leave_to_poller(r);
    } else { /* Wait for the whole batch: one call for all of it. */
        struct io_uring_cqe *cqe;
        int result = io_uring_submit_and_wait(&r->ring, r->in_flight);
        r->calls++;
        if (short_of_room(r, result)) {
            r->calls += io_uring_cq_ready(&r->ring) == 0;
            result = io_uring_wait_cqe(&r->ring, &cqe);
        }
        check(result, "submitting reads");
    }
}

/* --- The reads ------------------------------------------------------------ */

uint64_t reader_sum(const unsigned char *data, unsigned operation)
{
    uint64_t sum = 0, word;

    for (size_t at = 0; at < SMALL; at += 64) {
        memcpy(&word, data + at, sizeof(word));
        sum += word;
    }
    return sum * (2 * (uint64_t)operation + 1);
}

/* A CQE has come. Is the whole read there? */
static bool arrived(struct reader *r, const struct io_uring_cqe *cqe)
{
    unsigned i = (unsigned)io_uring_cqe_get_data64(cqe);
    struct request *q = &r->requests[i];

    r->in_flight--;
    if (cqe->res == -EOPNOTSUPP && r->options & IOPOLL)
        return r->not_polled = true;
    if (cqe->res == 0)
        errx(1, "reading %s: it ends sooner than its size said", r->path);
    if (cqe->res < 0 && cqe->res != -EINTR)
        errx(1, "reading %s: %s", r->path, request_error(-cqe->res));
    q->done += cqe->res > 0 ? (size_t)cqe->res : 0;
    if (q->done < q->length) { /* A short read, or none yet: ask again. */
        queue(r, i);
        return false;
    }
    if (r->timeline)
        timeline_completed(r->timeline, q->operation);
    r->sum += reader_sum(q->data, q->operation);
    return true;
}

void reader_read(struct reader *r)
{
    unsigned unused[MAX_BLOCKS], n_unused = 0; /* Requests, as a stack. */
    unsigned head, next = 0, finished = 0;
    struct io_uring_cqe *cqe;

    while (n_unused < r->batch) {
        unused[n_unused] = r->batch - 1 - n_unused;
        n_unused++;
    }
    while (finished < r->operations) {
        for (; n_unused > 0 && next < r->operations; next++) {
            unsigned i = unused[--n_unused];
            r->requests[i].operation = next;
            r->requests[i].done = 0;
            if (r->timeline)
                timeline_submitted(r->timeline, next);
            queue(r, i);
        }
        submit(r);

        unsigned n = 0;
        io_uring_for_each_cqe(&r->ring, head, cqe)
        {
            if (arrived(r, cqe)) {
                unused[n_unused++] = (unsigned)io_uring_cqe_get_data64(cqe);
                finished++;
            }
            n++;
        }
        io_uring_cq_advance(&r->ring, n);
    }
}
