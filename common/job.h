/**
 * @file job.h
 * The job of a spine chapter: open the file, pick the blocks, drop their pages,
 * let the chapter read them, then show what happened.
 *
 *     struct job *job = job_open(argc, argv, &program);
 *     job_pass(job, "io_uring", read_all, &reader);
 *     return job_close(job);
 *
 * It stands on args.h, blocks.h and timeline.h, and adds no I/O of its own. Its
 * functions exit with a message on errors, as theirs do.
 */
#ifndef JOB_H
#define JOB_H

#include "args.h"
#include "blocks.h"
#include "ring.h"
#include "timeline.h"

/** How many passes a program may make. */
enum { JOB_MAX_PASSES = 4 };

/** A program's job; what is in it is nobody else's business. */
struct job;

/**
 * Read the command line and open the file.
 *
 * @param program  What the program says of itself. That it takes a FILE and
 *                 blocks goes without saying.
 * @return to be given back with job_close().
 */
struct job *job_open(int argc, char **argv, const struct program *program);

/** The job's blocks, for a chapter that wants them in memory of another kind:
 *  blocks_move(), before the first pass. */
struct blocks *job_blocks(struct job *job);

/** How a chapter reads all blocks. The clock runs meanwhile. It gets the context
 *  that job_pass() got. */
typedef void read_all_fn(const struct blocks *blocks, struct timeline *timeline,
                         void *context);

/**
 * Make one pass from a cold cache: drop the pages, but for the blocks that --warm
 * wants there, zero the memory, start the clock, call `read_all`, stop it. The first pass prints the line about the job.
 * Drawing and facts wait for job_show(), because all passes are drawn to one
 * scale.
 *
 * With --step there is no drawing: the rings are shown meanwhile (step.h), and then
 * the checksum.
 *
 * @param title  Names the pass, in 9 letters at most; not copied.
 */
void job_pass(struct job *job, const char *title, read_all_fn *read_all,
              void *context);

/** What the options below receive. */
struct job_options {
    unsigned entries; /**< Slots in the submission queue. */
    unsigned warm;    /**< How many of the last blocks are to be cached. */
    unsigned lanes;   /**< 1: a lane for each block. */
    unsigned step;    /**< 1: the rings in slow motion. */
};
extern struct job_options job_options; /**< As the command line has them. */

/** `--entries N`, for a program whose job has a ring. */
#define JOB_ENTRIES                                                            \
    OPTION_NUMBER("entries", "slots in the submission queue",                  \
                  &job_options.entries, 1, 4096)
/** `--warm N`: that many blocks are in the page cache when a pass begins. */
#define JOB_WARM                                                               \
    OPTION_NUMBER("warm", "so many of the last blocks are in the cache",       \
                  &job_options.warm, 0, MAX_BLOCKS)
/** `--lanes`, for a program that draws its main lanes alone. */
#define JOB_LANES                                                              \
    OPTION_SWITCH("lanes", "draw each pass, with a lane for each block",       \
                  &job_options.lanes)
/** `--step`, for a program with job_ring(): its rings in slow motion. */
#define JOB_STEP                                                               \
    OPTION_SWITCH("step", "show both rings after each step", &job_options.step)

/**
 * ring_open() with as many entries as the command line says. Exits with status
 * 77 and the reason where this machine has no io_uring, or none that knows
 * IORING_OP_READ (Linux 5.6). job_close() closes it.
 */
struct ring *job_ring(struct job *job);

/**
 * The passes from here on read through a ring: the timeline looks at its counters.
 * job_ring() has done so for its own.
 *
 * @param counters  Where they are, until job_close().
 */
void job_watch(struct job *job, struct ring_counters counters);

/**
 * A piece of work that has nothing to do with the reads: the CRC-32 of 4 KiB in
 * this program's own memory, a few microseconds. It makes no system call, and
 * the pass counts it.
 */
void job_work(struct timeline *timeline);

/** Draw the passes to one scale, and print the facts of each. For who prints more
 *  after it; else job_close() does it. */
void job_show(struct job *job);

/**
 * Show, write the trace once stdout has taken all of it, free everything.
 *
 * @return the program's exit status.
 */
int job_close(struct job *job);

#endif
