/**
 * @file count.h
 * How long a program is: counted from its source, never typed in.
 */
#ifndef COUNT_H
#define COUNT_H

/**
 * Count the lines of C in a source file that hold code: not blank, and not
 * comment alone.
 *
 * @param self  `__FILE__` of the caller.
 * @param path  The source, relative to the folder of `self`.
 * @return lines, or -1 where the source can't be read (the tree was moved
 *         since it was built).
 */
long count_code_lines(const char *self, const char *path);

#endif
