/*
 * 12 · Setting up a ring
 *
 * Sets up an io_uring by hand: one io_uring_setup(2), then mmap(2) for the two
 * queues and for the submission queue entries. Then it sends a request through it
 * that does nothing, and shows how the four counters move.
 *
 * Watch for: each counter has one writer, and each of our steps moves one counter.
 * The kernel moves its two in the one system call.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/12-uring-setup/uring-setup.c \
 *           chapters/12-uring-setup/layout.c common/?*.c -lz \
 *           -o 12-uring-setup
 *
 * Needs: Linux 5.1; 5.4 for both rings in one mmap.
 * Manual pages: io_uring(7), io_uring_setup(2), io_uring_enter(2), mmap(2).
 */
#include "layout.h"

#include "args.h"
#include "ready.h"
#include "ring.h"
#include "step.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned entries = 8, maps = 1, nops = 1, step;

static const struct program program = {
    .name = "12-uring-setup",
    .does = "Sets up an io_uring by hand and sends a NOP through it.",
    .ready = ready_uring,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("entries", "submission queue entries to ask for",
                          &entries, 1, 65536),
            OPTION_NUMBER("maps", "how many mmap() calls for the two queues",
                          &maps, 1, 2),
            OPTION_NUMBER("nops", "how many requests, one after the other",
                          &nops, 1, 1000),
            OPTION_SWITCH("step", "show both queues after each step", &step),
            OPTION_END},
};

/* --- Set up ---------------------------------------------------------------- */

/* One call makes the ring. The kernel fills in the rest of the struct: how long
   the queues became, and at which byte each field is.

   All that we leave 0 is off. The kernel refuses a flag that it does not know, so
   a struct that was not zeroed works today and not tomorrow. */
static void set_up(struct ring *ring, struct io_uring_params *p)
{
    memset(p, 0, sizeof(*p));
    ring->fd = (int)syscall(SYS_io_uring_setup, entries, p);
    if (ring->fd < 0 && errno == EINVAL && entries > 32768)
        err(1, "setting up a ring of %u entries", entries);
    if (ring->fd < 0)
        refused(URING_SETUP, errno);
    ring->features = p->features;
    /* What we got. It may be more than we asked for: a power of two. */
    ring->sq_entries = p->sq_entries;
    ring->cq_entries = p->cq_entries;
}

/* --- Map ------------------------------------------------------------------- */

/* A ring's descriptor can be mapped at three offsets. Each is another piece of
   the ring's memory. MAP_SHARED, because a private copy would never reach the
   kernel. */
static void *map(const struct ring *ring, size_t bytes, off_t which)
{
    void *at =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, which);

    if (at == MAP_FAILED)
        refused(URING_SETUP, errno);
    return at;
}

/* Each queue ends with its array. So the offset of the array and its length say
   how many bytes there are to map.

   Since 5.4 the kernel keeps both queues in one piece of memory, and says so with
   IORING_FEAT_SINGLE_MMAP. Map the longer one, and the other is in it. */
static void map_all(struct ring *ring, const struct io_uring_params *p)
{
    bool single = p->features & IORING_FEAT_SINGLE_MMAP && maps == 1;

    ring->sq_bytes = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    ring->cq_bytes =
        p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    if (single && ring->sq_bytes < ring->cq_bytes)
        ring->sq_bytes = ring->cq_bytes;
    ring->sq_map = map(ring, ring->sq_bytes, IORING_OFF_SQ_RING);
    ring->cq_map =
        single ? ring->sq_map : map(ring, ring->cq_bytes, IORING_OFF_CQ_RING);
    ring->sqes =
        map(ring, p->sq_entries * sizeof(*ring->sqes), IORING_OFF_SQES);
}

/* Where is each field? The kernel knows, and nobody else: the places differ from
   version to version. The counters are _Atomic, because the kernel may write its
   own while we look. Its headers have plain unsigned, which looks the same in
   memory. */
static void find_fields(struct ring *ring, const struct io_uring_params *p)
{
    char *sq = ring->sq_map, *cq = ring->cq_map;

    ring->sq_head = (void *)(sq + p->sq_off.head);
    ring->sq_tail = (void *)(sq + p->sq_off.tail);
    ring->sq_mask = *(unsigned *)(void *)(sq + p->sq_off.ring_mask);
    ring->sq_array = (void *)(sq + p->sq_off.array);
    ring->cq_head = (void *)(cq + p->cq_off.head);
    ring->cq_tail = (void *)(cq + p->cq_off.tail);
    ring->cq_mask = *(unsigned *)(void *)(cq + p->cq_off.ring_mask);
    ring->cqes = (void *)(cq + p->cq_off.cqes);
}

/* --- One request ----------------------------------------------------------- */

/* Fill an entry, put its index into the slot at the tail, and only then move the
   tail.

   Nobody but us writes the tail: a relaxed load is enough. Release, when we store
   it: who sees the new tail sees the entry. Here the kernel looks in our own system
   call, so nothing could go wrong. With IORING_SETUP_SQPOLL a thread of the
   kernel looks whenever it likes. */
static void fill(struct ring *ring, unsigned user_data)
{
    unsigned tail = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
    unsigned slot = tail & ring->sq_mask;

    ring->sqes[slot] =
        (struct io_uring_sqe){.opcode = IORING_OP_NOP, .user_data = user_data};
    ring->sq_array[slot] = slot;
    layout_row(ring, "We filled an SQE");
    atomic_store_explicit(ring->sq_tail, tail + 1, memory_order_release);
    layout_row(ring, "We stored the SQ tail");
}

/* Is there a CQE? Acquire, when we load what the kernel writes: first the tail,
   then the entry that it announces. The head is our own. */
static bool completed(const struct ring *ring)
{
    return atomic_load_explicit(ring->cq_tail, memory_order_acquire) !=
           atomic_load_explicit(ring->cq_head, memory_order_relaxed);
}

/* Submit one, wait for one. A signal can end the call early: with EINTR before the
   entry was taken, with 1 after that. So ask the queue what has happened, and not
   the return value. */
static void submit_and_wait(struct ring *ring)
{
    while (!completed(ring)) {
        unsigned n = atomic_load_explicit(ring->sq_tail, memory_order_relaxed) -
                     atomic_load_explicit(ring->sq_head, memory_order_acquire);
        long taken = syscall(SYS_io_uring_enter, ring->fd, n, 1,
                             IORING_ENTER_GETEVENTS, NULL, 0UL);
        if (taken < 0 && errno != EINTR)
            err(1, "submitting a NOP");
        if (taken == 0 && n > 0)
            errx(1,
                 "submitting a NOP: the kernel took none, and says no reason");
    }
    layout_row(ring, "io_uring_enter() has returned");
}

/* Take the CQE out, and only then give its slot back. Release: a kernel that sees
   the new head may use the slot again, and by then we have read it. */
static void reap(struct ring *ring, struct io_uring_cqe *copy)
{
    unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);

    *copy = ring->cqes[head & ring->cq_mask];
    layout_row(ring, "We read the CQE");
    atomic_store_explicit(ring->cq_head, head + 1, memory_order_release);
    layout_row(ring, "We stored the CQ head");
}

static void tear_down(struct ring *ring)
{
    if (munmap(ring->sqes, ring->sq_entries * sizeof(*ring->sqes)) ||
        (ring->cq_map != ring->sq_map &&
         munmap(ring->cq_map, ring->cq_bytes)) ||
        munmap(ring->sq_map, ring->sq_bytes))
        err(1, "unmapping the ring");
    if (close(ring->fd))
        err(1, "closing the ring");
}

/* --- All of it, in a row --------------------------------------------------- */

int main(int argc, char **argv)
{
    struct ring ring = {.fd = -1};
    struct io_uring_params p;

    args_parse(argc, argv, &program);
    set_up(&ring, &p);
    map_all(&ring, &p);
    find_fields(&ring, &p);
    ready_enter(ring.fd); /* Refused? Then before anything is shown. */
    if (step)
        step_check(&program, &ring);

    printf("asked for %u entries: the SQ has %u, the CQ %u\n", entries,
           ring.sq_entries, ring.cq_entries);
    if (!step)
        layout_draw(&ring, &p);
    layout_begin(&ring, step);
    layout_row(&ring, "The ring is new");
    for (unsigned i = 0; i < nops; i++) {
        struct io_uring_cqe cqe;

        fill(&ring, 1000 + i);
        submit_and_wait(&ring);
        reap(&ring, &cqe);
        if (cqe.res < 0)
            errx(1, "running a NOP: %s", strerror(-cqe.res));
        if (!step)
            printf("the CQE: user_data %llu, res %d\n",
                   (unsigned long long)cqe.user_data, cqe.res);
    }
    if (step)
        step_play();
    if (maps == 2) /* The same byte of the other window. */
        printf("\nthe SQ tail, through the window of the CQ: %u\n",
               *(unsigned *)(void *)((char *)ring.cq_map + p.sq_off.tail));
    tear_down(&ring);
    return 0;
}
