/**
 * @file timeline.h
 * What happened when: a lane for the main thread and one for each block.
 *
 * A chapter says when it hands a block's request over and when it has the
 * result, and marks the system calls of its main thread. From that this helper
 * draws the timeline, prints the facts, and writes the trace.
 *
 * Whether a call waited is not for the chapter to claim: the kernel counts how
 * often a thread gave up the processor to wait (voluntary context switches,
 * getrusage(2)), and a call in which that count grew is a call that waited.
 */
#ifndef TIMELINE_H
#define TIMELINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/** A system call of the main thread, for the main lane. */
enum call {
    CALL_SUBMIT, /**< Hands requests over; a wait in here is nobody's choice. */
    CALL_LOOK,   /**< Asks for results and does not wait for them. */
    CALL_WAIT,   /**< Waits for results, by choice. */
    OWN_WORK /**< No call at all: the program's own work. Marking it makes no
                      system call either, where the clock needs none. */
};

/** What the main thread did when a completion came. */
enum came {
    IN_SUBMIT, /**< It was in a call that hands requests over. */
    IN_WAIT,   /**< It was in a call that waits. */
    AT_WORK,   /**< It was in work of its own. */
    BETWEEN,   /**< It was in none of these. */
    CAME       /**< How many these are. */
};

/**
 * What timeline_facts() prints. docs/facts.md says what each means. The time of the
 * pass and the checksum are always printed.
 */
enum fact {
    FACT_WORK = 1 << 0,             /**< `work` */
    FACT_CALLS = 1 << 1,            /**< `calls` */
    FACT_SLEEPS = 1 << 2,           /**< `sleeps` */
    FACT_IN_FLIGHT = 1 << 3,        /**< `most in flight` */
    FACT_BLOCKED = 1 << 4,          /**< `main thread blocked` */
    FACT_SLEEPS_IN_SUBMIT = 1 << 5, /**< `sleeps in submit` */
    FACT_THREADS = 1 << 6,          /**< `threads` */
    FACT_COMPLETED = 1 << 7,        /**< `completed` */
    FACT_ORDER = 1 << 8,            /**< `completed in the order` */
    /** No line: the program works on its own, and the legend has the sign for it.
     *  FACT_WORK says so, too. */
    FACT_OWN_WORK = 1 << 9,
    FACT_TIME = 1 << 10, /**< `time` */
    /** No line: a lane stands above the drawing, with a dot in each column in which a
     *  CALL_LOOK has returned, however many have. The legend says what a dot is. */
    FACT_TICKS = 1 << 11,
    /** What is printed where nobody says otherwise. */
    FACTS = FACT_IN_FLIGHT | FACT_BLOCKED | FACT_SLEEPS_IN_SUBMIT |
            FACT_THREADS | FACT_COMPLETED | FACT_ORDER
};

/** How many facts of its own a pass may have. */
enum { TIMELINE_OWN_FACTS = 4 };

/** One bar in a lane. */
struct bar {
    int64_t begin;  /**< Nanoseconds since the start. */
    int64_t end;    /**< Nanoseconds since the start. */
    enum call call; /**< In the main lane only. */
    long sleeps;    /**< In the main lane only: voluntary context switches. */
    unsigned past;  /**< In a block's lane only: `past` when it began. */
};

/** Where a ring has its counters, for timeline_watch(). */
struct ring_counters {
    const _Atomic unsigned *sq_head; /**< Entries that the kernel has taken. */
    const _Atomic unsigned *cq_head; /**< Entries that the program has taken. */
    const _Atomic unsigned *cq_tail; /**< Entries that the kernel has posted. */
};

/** A fact that only the chapter can count. */
struct own_fact {
    const char *name; /**< NULL after the last. */
    int64_t value;    /**< What it counted, or nanoseconds. */
    bool time;        /**< Which of the two. */
};

/** The record of one pass over the blocks. */
struct timeline {
    const char *title; /**< Names this pass, where there are several. */
    int64_t start;     /**< CLOCK_MONOTONIC, nanoseconds. */
    int64_t total;     /**< Nanoseconds from start to stop. */
    unsigned blocks;   /**< How many blocks, and so lanes. */
    struct bar *block; /**< One bar for each block. */
    struct bar *main;  /**< The main thread's calls, in their order. */
    unsigned calls;    /**< How many of them. */
    unsigned room;     /**< How many fit into `main`. */
    unsigned threads;  /**< Most threads seen by timeline_threads(). */
    unsigned facts;    /**< FACT_ bits: what timeline_facts() prints. */
    long sleeps;       /**< Voluntary context switches from start to stop. */
    struct own_fact own[TIMELINE_OWN_FACTS + 1]; /**< See timeline_fact(). */
    unsigned work;                               /**< Pieces of own work. */
    unsigned meanwhile;  /**< How many of them while blocks were in flight. */
    unsigned past;       /**< Submits and waits that have returned. */
    unsigned open;       /**< Blocks handed over, and not found complete yet. */
    unsigned submitted;  /**< The block that was handed over last. */
    unsigned came[CAME]; /**< Blocks, by when their last completion came. */
    /** @name Only where timeline_watch() was called */
    /** @{ */
    struct ring_counters ring; /**< As it was given. */
    unsigned char *origin; /**< When each completion came, in their order. */
    unsigned origins;      /**< How many have come. */
    unsigned reaped;       /**< How many of them the program has taken. */
    unsigned before;       /**< The CQ's tail at first. */
    unsigned origin_room;  /**< How many fit into `origin`. */
    unsigned in_flight;    /**< Most requests in flight after a submit. */
    /** @} */
    /** Called at each mark with what has happened, where somebody wants to see the
     *  pass in slow motion; or NULL. */
    void (*step)(void *context, const char *what, bool store);
    void *step_context; /**< For `step`. */
};

/**
 * Make an empty record.
 *
 * @param title   Names the pass, in 9 letters at most; not copied.
 * @param blocks  How many blocks: a lane for each.
 * @return to be given back with timeline_free(). Exits where memory is short.
 */
struct timeline *timeline_new(const char *title, unsigned blocks);

/** Give the memory back. */
void timeline_free(struct timeline *timeline);

/** The pass begins: all times count from here. */
void timeline_start(struct timeline *timeline);
/** The pass is over. */
void timeline_stop(struct timeline *timeline);

/** The request for this block is about to be handed over. After a short read, the
 *  request for the rest of it: its bar began with the first. */
void timeline_submitted(struct timeline *timeline, unsigned block);
/**
 * The whole block is there. It counts as come when its completion came: in submit
 * (nothing but its own submit has returned since it was handed over, and looks),
 * in wait (in a call that waits), at work, or between those. Without
 * timeline_watch() the timeline knows only which call came last.
 */
void timeline_completed(struct timeline *timeline, unsigned block);
/** One call has made all blocks complete, at the same time. */
void timeline_completed_all(struct timeline *timeline);

/**
 * The whole block is there, and another thread may have read it. It was in flight while
 * that thread was at it, and it counts as come when that thread had it, by what the main
 * thread did at that time. To be called by the thread that the timeline belongs to, in
 * place of timeline_submitted() and timeline_completed().
 *
 * @param begin  When the read was handed over to the kernel, by timeline_now().
 * @param end    When it was done.
 */
void timeline_read(struct timeline *timeline, unsigned block, int64_t begin,
                   int64_t end);

/** A completion was taken that does not end a block: a short read, say. To be
 *  called where timeline_watch() was. */
void timeline_partly(struct timeline *timeline);

/**
 * Let the timeline see completions come, and requests go, at both ends of each
 * mark: it looks at the counters of the ring, and makes no system call. Each
 * request is to give one completion, and those are to be taken in their order.
 *
 * @param ring  Where the counters are, as long as the pass lasts.
 */
void timeline_watch(struct timeline *timeline, struct ring_counters ring);

/** The main thread is about to make a system call, or to work. */
void timeline_call(struct timeline *timeline, enum call call);
/** That call has returned, or the work is done. Leaves errno as it is. */
void timeline_return(struct timeline *timeline);

/** A piece of own work is done. Makes no system call. */
void timeline_worked(struct timeline *timeline);

/** The program has stored a counter of its ring, `which`: "SQ tail". Nothing is
 *  recorded; it is a moment to look at, for `step`. */
void timeline_stored(struct timeline *timeline, const char *which);

/** The clock of all times here: CLOCK_MONOTONIC, in nanoseconds. It is the same
 * in every thread and process, so that another one can time a block as well. */
int64_t timeline_now(void);

/** How often this thread has slept so far: voluntary context switches. */
long timeline_sleeps(void);

/**
 * How often this process was switched away from so far: all its threads, and
 * both kinds. A thread that is woken may push aside the one that has woken it,
 * which then can't go to sleep by itself any more.
 */
long timeline_switches(void);

/** Count this process's threads now (/proc/self/task); the most are kept. */
void timeline_threads(struct timeline *timeline);

/**
 * Draw the timeline on stdout, to scale, in a width of at most 80 columns and
 * never more than the terminal has. Colors on a terminal only, and not with
 * NO_COLOR set; plain ASCII where the locale has no UTF-8.
 *
 * @param timeline  A pass that has stopped.
 * @param scale     Another pass that it is to be compared with by eye: the longer
 *                  of the two takes the full width. Or `timeline` itself.
 */
void timeline_draw(const struct timeline *timeline,
                   const struct timeline *scale);

/**
 * Draw the main lanes alone, one for each pass and all to one scale, as
 * timeline_draw() does. For passes whose blocks have no story to tell.
 *
 * @param timelines  The passes, NULL behind the last.
 */
void timeline_draw_main(struct timeline *const *timelines);

/**
 * Print those facts that `facts` names, `name: value` a line.
 *
 * @param timeline  A pass that has stopped.
 * @param checksum  blocks_checksum() of what it read.
 */
void timeline_facts(const struct timeline *timeline, uint32_t checksum);

/**
 * A fact that only the chapter can count: what happened in other processes, say. It
 * is printed after those that `facts` names. docs/facts.md says what each means.
 *
 * @param name  Before the colon; not copied.
 */
void timeline_fact(struct timeline *timeline, const char *name, long value);

/** The same for a time. It is printed in milliseconds. */
void timeline_fact_time(struct timeline *timeline, const char *name,
                        int64_t nanoseconds);

/**
 * Two such facts: how many calls of CALL_LOOK there were, which are dots in the row of
 * FACT_TICKS, and how many of them began while a block was in flight. To be called when
 * all blocks are complete.
 */
void timeline_facts_of_ticks(struct timeline *timeline);

/** How often the main thread slept in calls of this kind. */
long timeline_slept(const struct timeline *timeline, enum call call);

/**
 * Write passes as Chrome trace events (JSON), for Perfetto to open: a process
 * for each pass, a thread for each lane, times in microseconds. The format is
 * Google's "Trace Event Format". Does nothing when `path` is NULL; exits with a
 * message on errors, and before it writes anything where stdout can't take what
 * was printed.
 *
 * @param path       The file to write, whole or not at all.
 * @param timelines  The passes, NULL behind the last.
 */
void timeline_trace(const char *path, struct timeline *const *timelines);

#endif
