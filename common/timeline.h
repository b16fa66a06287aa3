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

#include <stdbool.h>
#include <stdint.h>

/** A system call of the main thread, for the main lane. */
enum call {
    CALL_SUBMIT, /**< Hands requests over; a wait in here is nobody's choice. */
    CALL_LOOK,   /**< Asks for results and does not wait for them. */
    CALL_WAIT,   /**< Waits for results: there is nothing better to do. */
    OWN_WORK /**< No call at all: the program's own work. Marking it makes no
                      system call either, where the clock needs none. */
};

/** What the main thread did when a completion came. */
enum came {
    IN_SUBMIT, /**< It was in a call that hands requests over. */
    ASLEEP,    /**< It was in a call that waits. */
    AT_WORK,   /**< It was in work of its own. */
    BETWEEN,   /**< It was in none of these. */
    CAME       /**< How many these are. */
};

/** One bar in a lane. */
struct bar {
    int64_t begin;  /**< Nanoseconds since the start. */
    int64_t end;    /**< Nanoseconds since the start. */
    enum call call; /**< In the main lane only. */
    long sleeps;    /**< In the main lane only: voluntary context switches. */
    unsigned past;  /**< In a block's lane only: `past` when it began. */
};

/** The record of one pass over the blocks. */
struct timeline {
    const char *title;   /**< Names this pass, where there are several. */
    int64_t start;       /**< CLOCK_MONOTONIC, nanoseconds. */
    int64_t total;       /**< Nanoseconds from start to stop. */
    unsigned blocks;     /**< How many blocks, and so lanes. */
    struct bar *block;   /**< One bar for each block. */
    struct bar *main;    /**< The main thread's calls, in their order. */
    unsigned calls;      /**< How many of them. */
    unsigned room;       /**< How many fit into `main`. */
    unsigned threads;    /**< Most threads seen by timeline_threads(). */
    unsigned past;       /**< Submits and waits that have returned. */
    unsigned submitted;  /**< The block that was handed over last. */
    unsigned came[CAME]; /**< Blocks, by when their last completion came. */
    /** @name Only where timeline_watch() was called */
    /** @{ */
    unsigned (*arrived)(const void *context); /**< As it was given. */
    const void *context;                      /**< As it was given. */
    unsigned char *origin; /**< When each completion came, in their order. */
    unsigned origins;      /**< How many have come. */
    unsigned reaped;       /**< How many of them the program has taken. */
    unsigned before;       /**< What `arrived` said at first. */
    unsigned origin_room;  /**< How many fit into `origin`. */
    /** @} */
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

/** The request for this block is about to be handed over. */
void timeline_submitted(struct timeline *timeline, unsigned block);
/**
 * The whole block is there. It counts as come when its completion came: in submit
 * (nothing but its own submit has returned since it was handed over, and looks),
 * asleep (in a call that waits), at work, or between those. Without
 * timeline_watch() the timeline knows only which call came last.
 */
void timeline_completed(struct timeline *timeline, unsigned block);

/** A completion was taken that does not end a block: a short read, say. To be
 *  called where timeline_watch() was. */
void timeline_partly(struct timeline *timeline);

/**
 * Let the timeline see completions come, at both ends of each mark.
 *
 * @param arrived  Returns how many have come so far, and makes no system call: a
 *                 ring's tail. They are taken in that order. It may wrap.
 * @param context  For `arrived`.
 */
void timeline_watch(struct timeline *timeline,
                    unsigned (*arrived)(const void *context),
                    const void *context);

/** The main thread is about to make a system call, or to work. */
void timeline_call(struct timeline *timeline, enum call call);
/** That call has returned, or the work is done. Leaves errno as it is. */
void timeline_return(struct timeline *timeline);

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
 * Print one more lane, to be drawn right above timeline_draw() of the same pass:
 * a dot wherever a call of this kind has returned.
 */
void timeline_dots(const struct timeline *timeline, const char *label,
                   enum call call);

/**
 * Print the facts, `name: value` a line.
 *
 * @param timeline  A pass that has stopped.
 * @param checksum  blocks_checksum() of what it read.
 */
void timeline_facts(const struct timeline *timeline, uint32_t checksum);

/** Nanoseconds that the main thread spent in calls that waited. */
int64_t timeline_waited(const struct timeline *timeline);

/** How often it slept in calls, of all kinds. */
long timeline_slept(const struct timeline *timeline);

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
