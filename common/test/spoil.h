/*
 * spoil: the kernel may overwrite a CQE as soon as its slot is given back. It hardly
 * ever does so at once, and a program that reads it too late gets away with it. Here
 * the slot is overwritten at once.
 *
 *     cc -include common/test/spoil.h -D_FILE_OFFSET_BITS=64 -Icommon \
 *         chapters/15-liburing-read/liburing-read.c common/?*.c -luring -lz
 */
#define _GNU_SOURCE
#include <liburing.h>
#include <string.h>

static inline void spoil_cq_advance(struct io_uring *ring, unsigned n)
{
    unsigned head = *ring->cq.khead, mask = ring->cq.ring_entries - 1;

    /* Before the head moves: after it, the slots are the kernel's. */
    for (unsigned i = 0; i < n; i++)
        memset(&ring->cq.cqes[(head + i) & mask], 0xee, sizeof(*ring->cq.cqes));
    io_uring_cq_advance(ring, n);
}

#define io_uring_cq_advance          spoil_cq_advance
#define io_uring_cqe_seen(ring, cqe) spoil_cq_advance(ring, (cqe) ? 1 : 0)
