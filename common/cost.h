/**
 * @file cost.h
 * What work costs: time of the processors.
 */
#ifndef COST_H
#define COST_H

/** How many threads can be looked at. */
enum { MAX_COST_THREADS = 1024 };

/** What one thread has cost so far. */
struct thread_cost {
    int id;         /**< As gettid(2) has it. */
    double seconds; /**< Of the processors. */
};

/** What each thread of this process has cost so far. */
struct cost {
    double process;   /**< Seconds of all, those included that have ended. */
    unsigned threads; /**< How many; 1 where /proc is not mounted. */
    struct thread_cost thread[MAX_COST_THREADS]; /**< So many of them. */
};

/**
 * Look what each thread has cost so far. Threads that the kernel makes for an
 * io_uring (`iou-sqp`, `iou-wrk`) are among them since Linux 5.12.
 *
 * CLOCK_PROCESS_CPUTIME_ID alone would lag behind: the kernel adds what a
 * thread on another processor has used once a tick. A thread's own clock is
 * exact, but gone with the thread. So there are both. Where /proc is not
 * mounted, the clock of the process it is.
 */
void cost_look(struct cost *cost);

/**
 * Seconds of the processors between two looks. Of threads that have ended
 * meanwhile nothing is missing; where there are such, what a running one has
 * used since the last tick (of 1 to 10 ms) may be.
 */
double cost_between(const struct cost *before, const struct cost *after);

/**
 * Wait until this process has no more than so many threads, but not for more
 * than some seconds. The kernel's thread of a ring with SQPOLL ends milliseconds
 * after its ring; until then it would take the processors from what comes next.
 */
void cost_await_threads(unsigned max);

/**
 * The median, the upper one of two.
 *
 * @param values  Will be sorted.
 * @param count   How many, at least 1.
 */
double cost_median(double *values, unsigned count);

#endif
