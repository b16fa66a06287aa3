/**
 * @file scratch.h
 * A file to write to, that nobody misses.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdbool.h>

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

/**
 * Create a folder, for files that need a name. It is there until scratch_dir_close(),
 * or the end of the program, and so are signals blocked: one that ended us now would
 * leave it behind. So nothing in between may take long. Exits with a message on errors.
 *
 * @param keep  Leave it there, and print its name, when it would be removed.
 * @return its descriptor, O_CLOEXEC, which scratch_dir_close() closes.
 */
int scratch_dir(bool keep);

/** Remove the folder with all files in it, and let signals in again. */
void scratch_dir_close(void);

#endif
