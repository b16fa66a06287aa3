/*
 * What chapter 12 prints: the memory of a ring, and its counters step by step.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "ring.h"

/* Draw the fields of both rings where they are, from the offsets that the kernel
   gave, with their values and who writes them. */
void layout_draw(const struct ring *ring, const struct io_uring_params *p);

/* The head of the table of counters. With `step` the frames of step.h take the
   place of its rows. */
void layout_begin(const struct ring *ring, unsigned step);

/* A row of that table: what has just happened, and the four counters. */
void layout_row(struct ring *ring, const char *what);

#endif
