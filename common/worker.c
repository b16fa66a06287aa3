#include "worker.h"

#include "args.h"
#include "ring.h"
#include "why.h"

#include <err.h>
#include <errno.h>

void worker_needed(const char *what)
{
    struct ring ring;
    unsigned taken = 0;

    if (ring_open(&ring, 1))
        uring_refused(errno);
    /* With this flag it goes to a worker, whatever it is. */
    ring.sqes[0] =
        (struct io_uring_sqe){.opcode = IORING_OP_NOP, .flags = IOSQE_ASYNC};
    ring.sq_array[0] = 0;
    atomic_store_explicit(ring.sq_tail, 1, memory_order_release);
    while (atomic_load_explicit(ring.cq_tail, memory_order_acquire) == 0) {
        int result = ring_enter(&ring, 1 - taken, 1);
        if (result < 0 && errno != EINTR)
            err(1, "asking for a thread of the kernel's");
        taken += result > 0 ? (unsigned)result : 0;
    }
    int res = ring.cqes[0].res;
    ring_close(&ring);
    if (res == -ECANCELED)
        cannot_show("%s: %s", what, request_error(ECANCELED));
}
