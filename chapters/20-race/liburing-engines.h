/*
 * 20 · The race: what the three engines with liburing share, in liburing.c.
 */
#ifndef LIBURING_ENGINES_H
#define LIBURING_ENGINES_H

#include "race.h"

#include <liburing.h>

/* heat->own of these engines. */
struct liburing {
    struct io_uring ring;
    bool fixed; /* File and memory are registered. */
};

/* Set up a ring with these flags. `needs`: the kernel that knows them. */
bool liburing_set_up(struct heat *heat, unsigned flags, const char *needs);

/* Register the file and the memory of all slots. Without them, no heat. */
bool liburing_register(struct heat *heat);

/* Begin the next read and queue it, if the heat is not over. */
void liburing_queue(struct lane *lane, struct slot *slot);

/* End the reads that have come, and queue a new one for each. */
void liburing_reap(struct lane *lane);

/* Exits with a message, but after EINTR: then the caller comes back. */
void liburing_check(const struct lane *lane, int result);

void liburing_run(struct heat *heat);
void liburing_close(struct heat *heat);

#endif
