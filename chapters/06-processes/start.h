/*
 * What processes need before they can work together: memory that all of them see, and a
 * start that all of them wait for.
 */
#ifndef START_H
#define START_H

#include <stdbool.h>
#include <stddef.h>

/* Memory that a child shares with its parent, all zeros. To be unmapped. It ends the
   program if there is none. */
void *share(size_t bytes);

/* Two pipes. Closing is the message. `ready` closed by all workers means that all are
   ready. `go` closed by the parent means: begin. */
struct start {
    int ready[2], go[2];
};

/* The parent, before it forks. It ends the program if there are no pipes. */
void start_prepare(struct start *start);

/* A worker: I am ready. It returns when the parent says so. False: an error, see
   errno. */
bool start_wait(struct start *start);

/* The parent: wait until all workers are ready. It ends the program on errors. */
void start_when_ready(struct start *start);

/* The parent: now. False: an error, see errno. */
bool start_now(struct start *start);

#endif
