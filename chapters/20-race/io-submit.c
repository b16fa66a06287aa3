/* io-submit: Linux AIO, as in chapters 08 and 09. All that has come is replaced
   with one io_submit(2), which has to wait if the file is not O_DIRECT. */
#include "race.h"

#include <err.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct context {
    aio_context_t id;
    struct iocb iocb[MAX_DEPTH];
    struct iocb *queued[MAX_DEPTH];
    unsigned n_queued;
};

static void io_submit_close(struct heat *heat)
{
    struct context *context = heat->own;

    if (syscall(SYS_io_destroy, context->id))
        err(1, "io-submit: giving the context back");
    free(context);
}

static bool io_submit_open(struct heat *heat)
{
    struct context *context = heat_own(heat, sizeof(*context));

    if (syscall(SYS_io_setup, heat->course->depth, &context->id)) {
        int error = errno;
        free(context);
        return heat_refused_by(heat, AIO_SETUP, error);
    }
    /* No request: may it be called at all? */
    int error = syscall(SYS_io_submit, context->id, 0L, NULL) < 0 ? errno : 0;
    if (!why_refused(AIO_SUBMIT, error))
        return true;
    io_submit_close(heat);
    return heat_refused_by(heat, AIO_SUBMIT, error);
}

static void queue(struct lane *lane, struct slot *slot)
{
    struct heat *heat = lane->heat;
    struct context *context = heat->own;
    unsigned i = (unsigned)(slot - heat->slots);

    if (!lane_begin(lane, slot))
        return;
    context->iocb[i] = (struct iocb){.aio_data = i,
                                     .aio_lio_opcode = IOCB_CMD_PREAD,
                                     .aio_fildes = (uint32_t)heat->course->fd,
                                     .aio_buf = (uintptr_t)slot->data,
                                     .aio_nbytes = heat->course->size,
                                     .aio_offset = slot->offset};
    context->queued[context->n_queued++] = &context->iocb[i];
}

/* It may take fewer than it is given, and none while it has no room: then what
   is in flight makes some. */
static void submit(struct lane *lane)
{
    struct context *context = lane->heat->own;
    unsigned done = 0;

    while (done < context->n_queued) {
        long taken =
            syscall(SYS_io_submit, context->id,
                    (long)(context->n_queued - done), context->queued + done);
        lane->calls++;
        if (taken < 0 && errno == EAGAIN &&
            lane->in_flight > context->n_queued - done)
            break;
        if (taken < 0)
            err(1, "io-submit: submitting reads");
        done += (unsigned)taken;
    }
    context->n_queued -= done;
    memmove(context->queued, context->queued + done,
            context->n_queued * sizeof(*context->queued));
}

static void io_submit_run(struct heat *heat)
{
    struct context *context = heat->own;
    struct lane *lane = &heat->lanes[0];
    struct io_event events[MAX_DEPTH];

    lane_look(lane);
    for (unsigned i = 0; i < heat->course->depth; i++)
        queue(lane, &heat->slots[i]);
    while (lane->in_flight > 0) {
        submit(lane);
        long n = syscall(SYS_io_getevents, context->id, 1L,
                         (long)heat->course->batch, events, NULL);
        lane->calls++;
        if (n < 0 && errno != EINTR)
            err(1, "io-submit: waiting for reads");
        lane_look(lane);
        for (long k = 0; k < n; k++) {
            struct slot *slot = &heat->slots[events[k].data];
            lane_end(lane, slot, events[k].res);
            queue(lane, slot);
        }
    }
}

const struct engine engine_io_submit = {"io-submit", io_submit_open,
                                        io_submit_run, io_submit_close};
