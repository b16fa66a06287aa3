#include "layout.h"

#include "step.h"

#include <stdio.h>
#include <stdlib.h>

/* --- The memory ----------------------------------------------------------- */

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

/* Memory, from low to high: numbers with their value, arrays with their size. */
static void draw(const void *map, size_t bytes, const char *title,
                 struct field *fields, size_t n)
{
    static const char edge[] =
        "        +-----------------------------------------------+";

    qsort(fields, n, sizeof(*fields), by_offset);
    printf("\n%s: %zu bytes\n    byte\n%s\n", title, bytes, edge);
    for (size_t i = 0; i < n; i++) {
        const struct field *f = &fields[i];
        char value[32];

        if (f->array)
            snprintf(value, sizeof(value), "%zu bytes", f->array);
        else
            snprintf(value, sizeof(value), "= %u",
                     *(const unsigned *)(const void *)((const char *)map +
                                                       f->offset));
        printf("%7u | %-20s %-13s %-11s|\n", f->offset, f->name, value,
               f->writer);
    }
    puts(edge);
}

void layout_draw(const struct ring *ring, const struct io_uring_params *p)
{
    const struct io_sqring_offsets *sq = &p->sq_off;
    const struct io_cqring_offsets *cq = &p->cq_off;
    const char *us = "we write", *kernel = "kernel", *fixed = "fixed";
    size_t indices = p->sq_entries * sizeof(unsigned);
    size_t cqes = p->cq_entries * sizeof(struct io_uring_cqe);
    struct field fields[] = {
        {"SQ head", sq->head, 0, kernel},
        {"SQ tail", sq->tail, 0, us},
        {"SQ ring_mask", sq->ring_mask, 0, fixed},
        {"SQ ring_entries", sq->ring_entries, 0, fixed},
        {"SQ flags", sq->flags, 0, kernel},
        {"SQ dropped", sq->dropped, 0, kernel},
        {"SQ array of indices", sq->array, indices, us},
        {"CQ head", cq->head, 0, us},
        {"CQ tail", cq->tail, 0, kernel},
        {"CQ ring_mask", cq->ring_mask, 0, fixed},
        {"CQ ring_entries", cq->ring_entries, 0, fixed},
        {"CQ overflow", cq->overflow, 0, kernel},
        {"CQ array of CQEs", cq->cqes, cqes, kernel},
        {"CQ flags", cq->flags, 0,
         us}, /* Since 5.8; before, its offset is 0. */
    };
    size_t all = sizeof(fields) / sizeof(*fields) - (cq->flags == 0), of_sq = 7;

    if (ring->cq_map == ring->sq_map) {
        draw(ring->sq_map, ring->sq_bytes,
             "both rings, one mmap at IORING_OFF_SQ_RING", fields, all);
    } else {
        draw(ring->sq_map, ring->sq_bytes,
             "SQ ring, an mmap at IORING_OFF_SQ_RING", fields, of_sq);
        draw(ring->cq_map, ring->cq_bytes,
             "CQ ring, an mmap at IORING_OFF_CQ_RING", fields + of_sq,
             all - of_sq);
    }
    size_t sqes = p->sq_entries * sizeof(struct io_uring_sqe);
    draw(ring->sqes, sqes, "the SQEs, an mmap at IORING_OFF_SQES",
         &(struct field){"SQEs", 0, sqes, us}, 1);
}

/* --- The counters --------------------------------------------------------- */

static bool in_steps;

void layout_begin(const struct ring *ring, unsigned step)
{
    in_steps = step;
    if (in_steps)
        step_begin(ring, "doing nothing");
    else
        printf("\n%-30s %8s %8s %8s %8s\n", "", "SQ head", "SQ tail", "CQ head",
               "CQ tail");
}

void layout_row(struct ring *ring, const char *what)
{
    if (in_steps)
        step_show(ring, what, false);
    else
        printf("%-30s %8u %8u %8u %8u\n", what, *ring->sq_head, *ring->sq_tail,
               *ring->cq_head, *ring->cq_tail);
}
