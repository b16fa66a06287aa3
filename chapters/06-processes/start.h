/*
 * What processes need before they can work together: memory that all of them see, a birth
 * that ties them to their parent, and a start that all of them wait for.
 */
#ifndef START_H
#define START_H

#include "ready.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Memory that a child shares with its parent, all zeros. To be unmapped. It ends the
   program if there is none. */
void *share(size_t bytes);

/* The workers, and three pipes. Closing is the message. `ready` closed by all workers
   means that all are ready. `go` closed by the parent means: begin. `done` closed by all
   workers means that nobody works any more. */
struct start {
    pid_t pid[READY_MAX_THREADS];
    int ready[2], go[2], done[2];
};

/* The parent: fork so many workers, and wait until all are ready. Each one calls work()
   with its number, and ends when that returns. It ends the program on errors. */
void start_workers(struct start *start, unsigned workers,
                   void (*work)(void *context, unsigned w), void *context);

/* As err() for a worker, but it ends with _exit(). err() calls exit(). That would run the
   parent's exit handlers in here, and write out a copy of what is in the parent's stdout. */
__attribute__((noreturn)) void give_up(const char *doing);

/* A worker: I am ready. It returns when the parent says so. */
void start_wait(struct start *start);

/* The parent: now. It ends the program on errors. */
void start_now(struct start *start);

/* A worker: I am done. It returns when all are. */
void start_done(struct start *start);

/* The parent: wait until all workers are done, or dead. It ends the program on errors. */
void start_over(struct start *start);

#endif
