/**
 * @file step.h
 * A ring in slow motion: at each step both queues are drawn from their real
 * memory: which entry is in which slot, in square brackets where it is queued, and
 * what it was where not. Below it is said what has moved, and who moved it.
 *
 * The steps are made at full speed, and the frames are kept. step_play() shows them.
 * So nobody who reads a frame gives the disk time to finish. On a terminal each frame
 * takes the screen, and waits for Enter; a number and Enter shows that step, and after
 * q and Enter the rest comes without waiting. Otherwise all frames come at once, and a form feed is before each.
 */
#ifndef STEP_H
#define STEP_H

#include "args.h"
#include "ring.h"

#include <stdbool.h>

/** The most entries that a frame of 24 lines can show. */
enum { STEP_MAX_ENTRIES = 8 };

/**
 * To be called before anything is printed: is the ring small enough? Exits with status
 * 2 where it has more than STEP_MAX_ENTRIES entries.
 *
 * @param program  As args_parse() had it.
 */
void step_check(const struct program *program, const struct ring *ring);

/**
 * The frames to come are of this ring.
 *
 * @param ring   Mapped; both queues are drawn from it at each step.
 * @param title  Stands in the first line of each frame; not copied.
 */
void step_begin(const struct ring *ring, const char *title);

/**
 * Draw a frame, for step_play(). Exits where memory is short.
 *
 * @param ring   A struct ring, as `step` in struct timeline wants it.
 * @param what   What has just happened: a sentence without its period.
 * @param store  It was a store to one of our counters: no frame where both are what
 *               they were.
 */
void step_show(void *ring, const char *what, bool store);

/** Show all frames that were drawn, and forget them. */
void step_play(void);

#endif
