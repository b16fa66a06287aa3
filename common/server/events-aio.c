/*
 * 10 · An event source made of IOCB_CMD_POLL
 *
 * A poll request is one-shot: it completes once, and is gone. So each watch has
 * a request, which is submitted again after each event. Those that are due go
 * to the kernel together, just before the next wait.
 */
#include "aio.h"
#include "args.h"
#include "events.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- The system calls ---------------------------------------------------- */

int io_setup(unsigned requests, aio_context_t *context)
{
    return (int)syscall(SYS_io_setup, requests, context);
}

int io_submit(aio_context_t context, long n, struct iocb **iocbs)
{
    return (int)syscall(SYS_io_submit, context, n, iocbs);
}

int io_getevents(aio_context_t context, long min, long max,
                 struct io_event *events, struct timespec *timeout)
{
    return (int)syscall(SYS_io_getevents, context, min, max, events, timeout);
}

int io_cancel(aio_context_t context, struct iocb *iocb, struct io_event *event)
{
    return (int)syscall(SYS_io_cancel, context, iocb, event);
}

int io_destroy(aio_context_t context)
{
    return (int)syscall(SYS_io_destroy, context);
}

/* No request: a filter that refuses the call refuses this one too. */
void try_submit(aio_context_t context)
{
    if (io_submit(context, 0, NULL) < 0)
        poll_refused();
}

void poll_refused(void)
{
    if (errno == EINVAL)
        cannot_show("IOCB_CMD_POLL: %s: it needs Linux 4.19 or later",
                    strerror(EINVAL));
    refused(AIO_SUBMIT, errno);
}

/* --- The ring, read in user space ---------------------------------------- */

/* The context that io_setup() returns is an address, and there the kernel has
   mapped the ring that it puts events in. No header that programs see has this
   structure; it is in the kernel's fs/aio.c. libaio reads it too, so it can't
   change without a change of these numbers. */
struct aio_ring {
    unsigned id;
    unsigned nr;           /* How many events there is room for. */
    _Atomic unsigned head; /* The next event to take: ours to write. */
    _Atomic unsigned tail; /* The next event to fill: the kernel's. */
    unsigned magic;
    unsigned compat_features;
    unsigned incompat_features;
    unsigned header_length;
    struct io_event events[];
};

static aio_context_t context;
static struct aio_ring *ring; /* NULL: not to be relied on. */
unsigned events_aio_no_ring;

static struct aio_ring *ring_of(aio_context_t at)
{
    struct aio_ring *found = (struct aio_ring *)at;

    if (events_aio_no_ring || found->magic != 0xa10a10a1 ||
        found->incompat_features != 0 ||
        found->header_length != sizeof(struct aio_ring))
        return NULL;
    return found;
}

/* Take the events that are there. Not a system call in sight. */
static int take_from_ring(struct io_event *events, int max)
{
    unsigned head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    /* Acquire: an event is read only after the tail that announces it. */
    unsigned tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    int n = 0;

    for (; n < max && head != tail; n++) {
        events[n] = ring->events[head];
        head = (head + 1) % ring->nr;
    }
    /* Release: the kernel may overwrite what we have read, but not before. */
    atomic_store_explicit(&ring->head, head, memory_order_release);
    return n;
}

/* --- Requests ------------------------------------------------------------ */

/* One watch's request. It is either on the list `due`, or in flight: then the
   kernel will hand its address back to us, whatever becomes of the watch. So
   it has a life of its own. */
struct request {
    struct iocb iocb;    /* First, so that an iocb leads to its request. */
    struct watch *watch; /* NULL: the watch is gone, free this as well. */
    bool in_flight;
};

/* Room for twice as many: those that were canceled come back as well. */
static struct iocb *due[2 * MAX_WATCHES];
static unsigned due_count, in_flight;

static void aio_add(struct watch *watch)
{
    struct request *request = calloc(1, sizeof(*request));

    if (!request)
        err(1, "allocating a request");
    request->watch = watch;
    request->iocb = (struct iocb){
        .aio_data = (uintptr_t)request,
        .aio_lio_opcode = IOCB_CMD_POLL,
        .aio_fildes = (uint32_t)watch->fd,
    };
    watch->request = request;
    due[due_count++] = &request->iocb;
}

/* Have a request in flight come back. io_cancel(2) has it that the event is
   then in the last argument; since Linux 3.12 it is not. Either the call says
   EINPROGRESS, and the event will come through the ring; or it says EINVAL,
   since the request was complete, and then it is in the ring already. */
static void cancel(struct request *request)
{
    struct io_event unused;

    if (COUNTED(io_cancel(context, &request->iocb, &unused)) < 0 &&
        errno != EINPROGRESS && errno != EINVAL)
        err(1, "canceling a poll request");
}

static void aio_change(struct watch *watch, short want)
{
    watch->want = want; /* Its request is due, and will be submitted with it. */
}

/* The request must not be freed here, and must not be left alone: as long as
   it is in flight, it also keeps the socket open. */
static void aio_remove(struct watch *watch)
{
    watch->request->watch = NULL;
    if (watch->request->in_flight)
        cancel(watch->request);
}

static void submit_due(void)
{
    static bool works; /* A submit has been taken: the kernel has this. */
    unsigned n = 0, done = 0;

    for (unsigned i = 0; i < due_count; i++) {
        struct request *request = (struct request *)due[i];
        if (request->watch) {
            request->iocb.aio_buf = (uint16_t)request->watch->want;
            due[n++] = due[i];
        } else {
            free(request);
        }
    }
    while (done < n) {
        int taken = COUNTED(io_submit(context, (long)(n - done), due + done));
        if (taken < 0 && works)
            err(1, "submitting poll requests");
        if (taken < 0)
            poll_refused();
        works = true;
        for (int k = 0; k < taken; k++)
            ((struct request *)due[done++])->in_flight = true;
        in_flight += (unsigned)taken;
    }
    due_count = 0;
}

static unsigned aio_wait(struct watch **ready)
{
    static struct io_event events[MAX_WATCHES];
    unsigned count = 0;

    submit_due();
    int n = ring ? take_from_ring(events, MAX_WATCHES) : 0;
    while (n <= 0) {
        n = COUNTED(io_getevents(context, 1, MAX_WATCHES, events, NULL));
        if (n < 0 && errno != EINTR)
            err(1, "waiting for events");
    }
    for (int k = 0; k < n; k++) {
        struct request *request = (struct request *)(uintptr_t)events[k].data;

        request->in_flight = false;
        in_flight--;
        due[due_count++] = &request->iocb; /* One-shot: once more. */
        /* A request that was canceled comes back with no event in res. */
        if (request->watch && events[k].res != 0)
            ready[count++] = request->watch;
    }
    return count;
}

static void aio_open(void)
{
    context = 0;
    if (io_setup(2 * MAX_WATCHES, &context))
        refused(AIO_SETUP, errno);
    try_submit(context);
    ring = ring_of(context);
}

static void aio_close(void)
{
    static struct watch *none[MAX_WATCHES];

    while (in_flight > 0)
        aio_wait(none);
    submit_due(); /* There is nothing to submit, only to free. */
    if (COUNTED(io_destroy(context)))
        err(1, "destroying the AIO context");
}

const struct events events_aio = {
    "aio", aio_open, aio_add, aio_change, aio_remove, aio_wait, aio_close,
};
