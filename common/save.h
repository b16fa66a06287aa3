/**
 * @file save.h
 * Write a file whole or not at all: under another name first, and under its
 * own only once all of it is written, and is on the disk unless the caller does
 * without. Chapter 02 teaches why each step.
 */
#ifndef SAVE_H
#define SAVE_H

#include <stdbool.h>
#include <stdio.h>

/**
 * Open a file for writing that becomes `path` with save_commit(), and not
 * before. On an error in between, and on every signal that ends the program but
 * SIGKILL, what is there already under `path` stays as it is and nothing else is
 * left: those signals that nobody handles or ignores get a handler. One file at
 * a time. A FIFO or a character device (/dev/full) is written to directly, a
 * block device is refused. A link is followed, and refused where it leads to
 * nothing; so is the file that stdout goes to. Exits with a message on errors.
 *
 * @param path  Where the file is to appear.
 * @return the stream to write to; save_commit() closes it.
 */
FILE *save_begin(const char *path);

/** Write it all to the disk and give it its name. Exits on errors. */
void save_commit(FILE *stream);

/**
 * save_begin() for who writes through a descriptor. The mode of a regular file
 * is 0600: what it shall be is for the caller to set before save_close().
 *
 * @return the descriptor, for writing; save_close() closes it.
 */
int save_open(const char *path);

/**
 * Give what save_open() opened its name. Exits on errors.
 *
 * @param fd    From save_open().
 * @param sync  Write it all to the disk before, and the folder after. Without,
 *              a crash of the machine may leave anything under the name: the
 *              old file, the new one, a part of it, or one of the full size
 *              whose end is zeros. Chapter 02.
 */
void save_close(int fd, bool sync);

#endif
