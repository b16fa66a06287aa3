/**
 * @file scratch.h
 * A file to write to, that nobody misses.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

/**
 * Where scratch files go: `$TMPDIR`, or else /var/tmp, since /tmp is often in
 * memory only.
 */
const char *scratch_folder(void);

/**
 * Create a file without a name: it is gone with its last descriptor. Exits with
 * a message on errors.
 *
 * @param flags  Besides O_RDWR and O_CLOEXEC; such as O_DSYNC.
 * @return its descriptor.
 */
int scratch_open(int flags);

#endif
