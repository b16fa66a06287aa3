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
    int fd;            /**< The ring's descriptor. */
    unsigned features; /**< IORING_FEAT_ bits of this kernel. */

    /** @name The submission queue: we write the tail, the kernel the head. */
    /** @{ */
    _Atomic unsigned *sq_head; /**< How many entries the kernel has taken. */
    _Atomic unsigned *sq_tail; /**< How many entries we have published. */
    unsigned sq_mask;          /**< Counter to slot: `counter & sq_mask`. */
    unsigned sq_entries;       /**< How many slots; a power of two. */
    unsigned *sq_array;        /**< Slot to index in `sqes`. */
    struct io_uring_sqe *sqes; /**< The entries themselves: `sq_entries`. */
    /** @} */

    /** @name The completion queue: the kernel writes the tail, we the head. */
    /** @{ */
    _Atomic unsigned *cq_head; /**< How many entries we have taken. */
    _Atomic unsigned *cq_tail; /**< How many entries the kernel has posted. */
    unsigned cq_mask;          /**< Counter to slot: `counter & cq_mask`. */
    unsigned cq_entries;       /**< How many slots; a power of two. */
    struct io_uring_cqe *cqes; /**< The entries: `cq_entries`. */
    /** @} */

    void *sq_map;    /**< What is to be unmapped. */
    void *cq_map;    /**< The same as `sq_map` with IORING_FEAT_SINGLE_MMAP. */
    size_t sq_bytes; /**< How long `sq_map` is. */
    size_t cq_bytes; /**< How long `cq_map` is, where it is one of its own. */
};

/**
 * Set up a ring and map it. Source: io_uring_setup(2), io_uring(7).
 *
 * @param[out] ring     To be given back with ring_close().
 * @param      entries  Submission queue entries; the kernel rounds up to a
 *                      power of two.
 * @return 0, or -1 with errno from io_uring_setup(2) or mmap(2); refused() says
 *         what it means. Nothing is left open then.
 */
int ring_open(struct ring *ring, unsigned entries);

/**
 * io_uring_enter(2): submit, wait, or both. glibc has no wrapper for it.
 *
 * @param ring       From ring_open().
 * @param to_submit  How many published entries the kernel shall take.
 * @param wait_for   Return once this many completions are in the ring; 0 does
 *                   not wait.
 * @return how many entries the kernel took, or -1 with errno.
 */
int ring_enter(const struct ring *ring, unsigned to_submit, unsigned wait_for);

/** Unmap and close. */
void ring_close(struct ring *ring);

#endif
