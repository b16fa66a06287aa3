/*
 * 12 · Setting up a ring
 *
 * Sets up an io_uring by hand: one io_uring_setup(2), then mmap(2) for the two
 * rings and for the submission queue entries. Draws what it got, and sends one
 * request that does nothing through it.
 *
 * Watch for: four counters, two in each ring. Each is written on one side only,
 * and in one round each of them goes up by one.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/12-uring-setup/uring-setup.c common/?*.c -lz \
 *           -o 12-uring-setup
 *
 * Needs: Linux 5.1; 5.4 for both rings in one mmap.
 * Manual pages: io_uring(7), io_uring_setup(2), io_uring_enter(2), mmap(2).
 */
#include "args.h"
#include "ready.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned entries = 8, maps = 1;

static const struct program program = {
    .name = "12-uring-setup",
    .does = "Sets up an io_uring by hand and sends one NOP through it.",
    .ready = ready_uring,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("entries", "submission queue entries to ask for",
                          &entries, 1, 32768),
            OPTION_NUMBER("maps", "how many mmap() calls for the two rings",
                          &maps, 1, 2),
            OPTION_END},
};

/* A piece of memory that we and the kernel both see. */
struct map {
    char *at;
    size_t bytes;
};

struct ring {
    int fd;
    struct io_uring_params params; /* What we asked for, and what we got. */
    struct map sq, cq, sqes;
};

/* --- Set up and map ------------------------------------------------------ */

static struct map map_ring(int fd, size_t bytes, off_t which)
{
    /* A ring's descriptor can be mapped at three places, each a different
       piece of the ring's memory. MAP_SHARED, since a private copy would never
       reach the kernel; MAP_POPULATE fetches the pages now instead of one by
       one as they are touched. */
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, fd, which);

    if (at == MAP_FAILED)
        refused(URING_SETUP, errno);
    return (struct map){at, bytes};
}

static void set_up(struct ring *ring)
{
    struct io_uring_params *p = &ring->params;

    memset(p, 0, sizeof(*p)); /* All flags off; the kernel refuses garbage. */
    ring->fd = (int)syscall(SYS_io_uring_setup, entries, p);
    if (ring->fd < 0)
        refused(URING_SETUP, errno);
}

static void map_rings(struct ring *ring)
{
    const struct io_uring_params *p = &ring->params;

    /* Each ring ends with its array. So the array's offset and its length tell
       how many bytes there are to be mapped. */
    size_t sq_bytes = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    size_t cq_bytes =
        p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);

    /* Since 5.4 the kernel keeps both rings in one piece of memory and says so
       with IORING_FEAT_SINGLE_MMAP: map the longer one, and the other is in it.
       Mapping each on its own works everywhere. */
    if (p->features & IORING_FEAT_SINGLE_MMAP && maps == 1) {
        size_t bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
        ring->sq = map_ring(ring->fd, bytes, IORING_OFF_SQ_RING);
        ring->cq = ring->sq;
    } else {
        ring->sq = map_ring(ring->fd, sq_bytes, IORING_OFF_SQ_RING);
        ring->cq = map_ring(ring->fd, cq_bytes, IORING_OFF_CQ_RING);
    }
    ring->sqes = map_ring(ring->fd, p->sq_entries * sizeof(struct io_uring_sqe),
                          IORING_OFF_SQES);
}

static void tear_down(struct ring *ring)
{
    if (munmap(ring->sqes.at, ring->sqes.bytes))
        err(1, "unmapping the submission queue entries");
    if (ring->cq.at != ring->sq.at && munmap(ring->cq.at, ring->cq.bytes))
        err(1, "unmapping the completion queue");
    if (munmap(ring->sq.at, ring->sq.bytes))
        err(1, "unmapping the submission queue");
    if (close(ring->fd))
        err(1, "closing the ring");
}

/* --- Draw what we got ---------------------------------------------------- */

struct field {
    const char *name;
    unsigned offset;
    size_t array; /* Bytes; 0 for a single number of four. */
    const char *writer;
};

static int by_offset(const void *a, const void *b)
{
    const struct field *x = a, *y = b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Memory, from low to high: numbers with their value, arrays with their size.
 */
static void draw(const struct map *map, const char *title, struct field *fields,
                 size_t n)
{
    static const char edge[] =
        "        +-----------------------------------------------+";

    qsort(fields, n, sizeof(*fields), by_offset);
    printf("\n%s: %zu bytes\n    byte\n%s\n", title, map->bytes, edge);
    for (size_t i = 0; i < n; i++) {
        const struct field *f = &fields[i];
        char value[32];

        if (f->array)
            snprintf(value, sizeof(value), "%zu bytes", f->array);
        else
            snprintf(value, sizeof(value), "= %u",
                     *(unsigned *)(map->at + f->offset));
        printf("%7u | %-20s %-13s %-11s|\n", f->offset, f->name, value,
               f->writer);
    }
    puts(edge);
}

static void draw_all(const struct ring *ring)
{
    const struct io_uring_params *p = &ring->params;
    const struct io_sqring_offsets *sq = &p->sq_off;
    const struct io_cqring_offsets *cq = &p->cq_off;
    const char *us = "we write", *kernel = "kernel", *fixed = "fixed";
    struct field fields[] = {
        {"SQ head", sq->head, 0, kernel},
        {"SQ tail", sq->tail, 0, us},
        {"SQ ring_mask", sq->ring_mask, 0, fixed},
        {"SQ ring_entries", sq->ring_entries, 0, fixed},
        {"SQ flags", sq->flags, 0, kernel},
        {"SQ dropped", sq->dropped, 0, kernel},
        {"SQ array of indices", sq->array, p->sq_entries * sizeof(unsigned),
         us},
        {"CQ head", cq->head, 0, us},
        {"CQ tail", cq->tail, 0, kernel},
        {"CQ ring_mask", cq->ring_mask, 0, fixed},
        {"CQ ring_entries", cq->ring_entries, 0, fixed},
        {"CQ overflow", cq->overflow, 0, kernel},
        {"CQ array of CQEs", cq->cqes,
         p->cq_entries * sizeof(struct io_uring_cqe), kernel},
    };
    /* Left out: the CQ's flags, which came with 5.8 and are not used here. */
    const size_t sq_fields = 7, all = sizeof(fields) / sizeof(*fields);

    if (ring->cq.at == ring->sq.at) {
        draw(&ring->sq, "both rings, one mmap at IORING_OFF_SQ_RING", fields,
             all);
    } else {
        draw(&ring->sq, "SQ ring, an mmap at IORING_OFF_SQ_RING", fields,
             sq_fields);
        draw(&ring->cq, "CQ ring, an mmap at IORING_OFF_CQ_RING",
             fields + sq_fields, all - sq_fields);
    }
    draw(&ring->sqes, "the SQEs, an mmap at IORING_OFF_SQES",
         &(struct field){"SQEs", 0, ring->sqes.bytes, us}, 1);
}

/* --- One round ------------------------------------------------------------ */

/* What one round needs of the shared memory. The counters are _Atomic, because
   the kernel may write some of them while we look. The kernel's headers know no
   _Atomic; a plain unsigned looks the same in memory, so a cast will do. */
struct queues {
    _Atomic unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask;
    unsigned *sq_array;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

static struct queues find_queues(const struct ring *ring)
{
    const struct io_sqring_offsets *sq = &ring->params.sq_off;
    const struct io_cqring_offsets *cq = &ring->params.cq_off;

    return (struct queues){
        .sq_head = (void *)(ring->sq.at + sq->head),
        .sq_tail = (void *)(ring->sq.at + sq->tail),
        .cq_head = (void *)(ring->cq.at + cq->head),
        .cq_tail = (void *)(ring->cq.at + cq->tail),
        .sq_mask = *(unsigned *)(ring->sq.at + sq->ring_mask),
        .cq_mask = *(unsigned *)(ring->cq.at + cq->ring_mask),
        .sq_array = (void *)(ring->sq.at + sq->array),
        .sqes = (void *)ring->sqes.at,
        .cqes = (void *)(ring->cq.at + cq->cqes),
    };
}

static void print_counters(const struct queues *q, const char *when)
{
    printf("%-28s %8u %8u %8u %8u\n", when, atomic_load(q->sq_head),
           atomic_load(q->sq_tail), atomic_load(q->cq_head),
           atomic_load(q->cq_tail));
}

static void fill(const struct queues *q)
{
    /* Nobody but us writes the SQ tail: a relaxed load is enough. */
    unsigned tail = atomic_load_explicit(q->sq_tail, memory_order_relaxed);
    unsigned slot = tail & q->sq_mask;

    /* Fill the entry, put its index where the tail stands, and only then move
       the tail. Release: whoever sees the new tail sees the entry as well. */
    q->sqes[slot] =
        (struct io_uring_sqe){.opcode = IORING_OP_NOP, .user_data = 0xC1C1E};
    q->sq_array[slot] = slot;
    atomic_store_explicit(q->sq_tail, tail + 1, memory_order_release);
}

static bool completed(const struct queues *q)
{
    /* Acquire: the tail is loaded first, the entry that it announces after. */
    return atomic_load_explicit(q->cq_tail, memory_order_acquire) !=
           atomic_load_explicit(q->cq_head, memory_order_relaxed);
}

/* Submit one, wait for one. A signal can end the call early. Before the kernel
   has taken the entry, that is EINTR; after it, the call returns 1 as if
   nothing had happened, and the completion may not be there yet. So the CQ is
   asked whether it is, and not the return value. */
static void submit_and_wait(const struct ring *ring, const struct queues *q)
{
    unsigned to_submit = 1;

    while (!completed(q)) {
        int taken = (int)syscall(SYS_io_uring_enter, ring->fd, to_submit, 1,
                                 IORING_ENTER_GETEVENTS, NULL, 0UL);
        if (taken < 0 && errno != EINTR)
            err(1, "submitting a NOP");
        if (taken > 0)
            to_submit -= (unsigned)taken;
    }
}

static void reap(const struct queues *q, struct io_uring_cqe *copy)
{
    unsigned head = atomic_load_explicit(q->cq_head, memory_order_relaxed);

    *copy = q->cqes[head & q->cq_mask];
    /* Release: the kernel may use the slot again once it sees the new head, and
       by then we have read the entry. */
    atomic_store_explicit(q->cq_head, head + 1, memory_order_release);
}

static void one_round(const struct ring *ring)
{
    struct queues q = find_queues(ring);
    struct io_uring_cqe cqe;

    printf("\n%-28s %8s %8s %8s %8s\n", "one NOP", "SQ head", "SQ tail",
           "CQ head", "CQ tail");
    print_counters(&q, "before");
    fill(&q);
    print_counters(&q, "SQE filled, SQ tail stored");
    submit_and_wait(ring, &q);
    print_counters(&q, "io_uring_enter() returned");
    reap(&q, &cqe);
    print_counters(&q, "CQE read, CQ head stored");

    printf("\nthe CQE: user_data 0x%llX, res %d\n",
           (unsigned long long)cqe.user_data, cqe.res);
    if (cqe.res < 0)
        errx(1, "running a NOP: %s", strerror(-cqe.res));
}

int main(int argc, char **argv)
{
    struct ring ring;

    args_parse(argc, argv, &program);
    set_up(&ring);
    map_rings(&ring);
    ready_enter(ring.fd); /* Refused? Then before anything is shown. */
    const struct io_uring_params *p = &ring.params;
    printf("asked for %u entries: the SQ has %u, the CQ %u\n", entries,
           p->sq_entries, p->cq_entries);
    printf("IORING_FEAT_SINGLE_MMAP: %s\n",
           p->features & IORING_FEAT_SINGLE_MMAP ? "yes" : "no");
    draw_all(&ring);
    one_round(&ring);
    tear_down(&ring);
    return 0;
}
