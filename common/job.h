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

/** How a chapter reads all blocks. The clock runs meanwhile. It gets the context
 *  that job_pass() got. */
typedef void read_all_fn(const struct blocks *blocks, struct timeline *timeline,
                         void *context);

/**
 * Make one pass from a cold cache: drop the pages, zero the memory, start the
 * clock, call `read_all`, stop it. The first pass prints the line about the job.
 * Drawing and facts wait for job_show(), because all passes are drawn to one
 * scale.
 *
 * @param title  Names the pass, in 9 letters at most; not copied.
 */
void job_pass(struct job *job, const char *title, read_all_fn *read_all,
              void *context);

/** `--entries N`, for a program whose job has a ring. */
extern const struct program_option job_ring_options[];

/**
 * ring_open() with as many entries as the command line says. Exits with status
 * 77 and the reason where this machine has no io_uring, or none that knows
 * IORING_OP_READ (Linux 5.6). job_close() closes it.
 */
struct ring *job_ring(struct job *job);

/** How many entries `--entries` asks for, for a program that sets up a ring of its
 *  own. */
unsigned job_ring_entries(void);

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
