/**
 * @file cost.h
 * What work costs: time on the wall, and time of the processors.
 */
#ifndef COST_H
#define COST_H

/** Seconds on the wall: CLOCK_MONOTONIC. */
double cost_wall(void);

/**
 * Seconds of the processors that all threads of this process have had so far.
 * Threads that the kernel makes for an io_uring (`iou-sqp`, `iou-wrk`) are among
 * them since Linux 5.12; a thread that has ended is not.
 *
 * CLOCK_PROCESS_CPUTIME_ID would lag behind: the kernel adds what a thread on
 * another processor has used once a tick. A thread's own clock is exact. Where
 * /proc is not mounted, the clock of the process it is.
 *
 * @param[out] threads  How many threads; 1 where /proc is not mounted.
 */
double cost_processors(unsigned *threads);

/**
 * The median, the upper one of two.
 *
 * @param values  Will be sorted.
 * @param count   How many, at least 1.
 */
double cost_median(double *values, unsigned count);

#endif
