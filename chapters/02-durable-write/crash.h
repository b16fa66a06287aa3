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

/* That as a word. */
const char *crash_word(char found);

/* Make the disk, if this user may make one and mount it, and print whether so. To be
   called once, before the others. True: there is one. */
bool crash_begin(void);
void crash_end(void);

/* An empty folder: the root of a new copy of that disk, mounted with this option if it
   is not NULL. Without a disk, a scratch folder, which may stay where it is. */
int crash_folder(const char *option, bool keep);
void crash_folder_close(int folder);

/* What does the name lead to now, for everybody who opens it? (It stays open until the
   folder is closed.) */
char crash_look(int folder);

/* The power goes now; or some seconds go by before it does. What would be found on the
   disk that this folder is on? 0 without one. */
char crash_now(int folder);
char crash_later(int folder);

#endif
