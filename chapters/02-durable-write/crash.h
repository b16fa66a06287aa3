/*
 * What a crash would leave of the file that 02-replace replaces: a folder for it, on a
 * disk that can be copied.
 */
#ifndef CRASH_H
#define CRASH_H

#include <stdbool.h>

/* How long the file is, the old one and the new one. */
enum { FILE_SIZE = 64 << 10 };

/* What somebody may find under the name "file". */
enum {
    FOUND_OLD = 'o',
    FOUND_NEW = 'n',
    FOUND_EMPTY = 'e',
    FOUND_NONE = '-',
    FOUND_ZEROS = '0',
    FOUND_OTHER = 'x'
};

/* As a word: "old". */
const char *crash_word(char found);

/* Try to make the disk and to mount it. Print whether that worked, and return it. To be
   called once, before the others. */
bool crash_begin(void);
void crash_end(void);

/* An empty folder: the root of a new copy of that disk, mounted with this option if it
   is not NULL. Without a disk, a scratch folder, which may stay where it is. */
int crash_folder(const char *option, bool keep);
void crash_folder_close(int folder);

/* What does the name lead to now, for everybody who opens it? (It stays open until the
   folder is closed.) */
char crash_look(int folder);

/* After a look: wait until the kernel has written what it has begun to write of that
   file. */
void crash_settle(void);

/* The power goes now; or some seconds go by before it does. What would be found on the
   disk? 0 without one. */
char crash_now(void);
char crash_later(int folder);

#endif
