/**
 * @file ring.h
 * io_uring's two rings, set up and mapped the way chapter 12 teaches it. What
 * is done with them (head, tail, entries) is for the chapters to show.
 */
#ifndef RING_H
#define RING_H

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stddef.h>

/**
 * The rings, mapped. Pointers lead into memory shared with the kernel; those
 * to _Atomic are written on one side and read on the other.
 */
struct ring {
    int fd;
    unsigned features; /**< IORING_FEAT_ bits of this kernel. */

    /* The submission queue: we write the tail, the kernel writes the head. */
    _Atomic unsigned *sq_head, *sq_tail;
    unsigned sq_mask, sq_entries;
    unsigned *sq_array;        /**< Slot in the ring to index in `sqes`. */
    struct io_uring_sqe *sqes; /**< The entries themselves: `sq_entries`. */

    /* The completion queue: the kernel writes the tail, we write the head. */
    _Atomic unsigned *cq_head, *cq_tail;
    unsigned cq_mask, cq_entries;
    struct io_uring_cqe *cqes;

    void *sq_map, *cq_map; /**< The same where IORING_FEAT_SINGLE_MMAP. */
    size_t sq_bytes, cq_bytes;
};

/**
 * Set up a ring and map it. Source: io_uring_setup(2), io_uring(7).
 *
 * @param[out] ring     To be given back with ring_close().
 * @param      entries  Submission queue entries; the kernel rounds up to a
 *                      power of two.
 * @return 0, or -1 with errno from io_uring_setup(2) or mmap(2).
 */
int ring_open(struct ring *ring, unsigned entries);

/**
 * io_uring_enter(2): submit, wait, or both. glibc has no wrapper for it.
 *
 * @param to_submit  How many published entries the kernel shall take.
 * @param wait_for   Return once this many completions are in the ring; 0 does
 *                   not wait.
 * @return how many entries the kernel took, or -1 with errno.
 */
int ring_enter(const struct ring *ring, unsigned to_submit, unsigned wait_for);

/** Unmap and close. */
void ring_close(struct ring *ring);

#endif
