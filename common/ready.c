#include "ready.h"

#include "ring.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool left_to_the_run(const struct args *args)
{
    return args && !args->check;
}

/* A request that does nothing, through a ring of its own. Returns its result, and
   the ring's features. */
static int run_nop(unsigned char flags, unsigned *features)
{
    struct ring ring;
    unsigned taken = 0;

    if (ring_open(&ring, 1))
        uring_refused(errno);
    *features = ring.features;
    ring.sqes[0] =
        (struct io_uring_sqe){.opcode = IORING_OP_NOP, .flags = flags};
    ring.sq_array[0] = 0;
    atomic_store_explicit(ring.sq_tail, 1, memory_order_release);
    while (atomic_load_explicit(ring.cq_tail, memory_order_acquire) == 0) {
        int result = ring_enter(&ring, 1 - taken, 1);
        if (result < 0 && errno != EINTR)
            uring_refused(errno);
        taken += result > 0 ? (unsigned)result : 0;
    }
    int res = ring.cqes[0].res;
    ring_close(&ring);
    return res;
}

void ready_uring(const struct args *args)
{
    unsigned features;

    if (left_to_the_run(args))
        return;
    run_nop(0, &features);
}

/* This feature came with the same kernel as the two requests. */
static void need_read(unsigned features)
{
    if (!(features & IORING_FEAT_RW_CUR_POS))
        cannot_show("IORING_OP_READ: it needs Linux 5.6 or later");
}

void ready_uring_read(const struct args *args)
{
    unsigned features;

    if (left_to_the_run(args))
        return;
    run_nop(0, &features);
    need_read(features);
}

void ready_uring_worker(const char *what)
{
    unsigned features;

    /* With this flag it goes to a thread of the kernel's, whatever it is. */
    if (run_nop(IOSQE_ASYNC, &features) == -ECANCELED)
        cannot_show("%s: %s", what, request_error(ECANCELED));
    need_read(features);
}

void ready_aio(const struct args *args)
{
    aio_context_t context = 0;

    if (left_to_the_run(args))
        return;
    if (syscall(SYS_io_setup, 1, &context))
        aio_refused(errno);
    /* No request: a filter that refuses the call refuses this one too. */
    if (syscall(SYS_io_submit, context, 0L, NULL) < 0)
        aio_refused(errno);
    if (syscall(SYS_io_destroy, context))
        err(1, "destroying the AIO context");
}
