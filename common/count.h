/**
 * @file count.h
 * How long programs are: counted from their sources, never typed in.
 */
#ifndef COUNT_H
#define COUNT_H

/**
 * Print the fact `lines of code`: for each source, how many of its lines hold
 * code, and are not blank and not comment alone. Where a source can't be read,
 * since the tree has moved after it was built, say so instead.
 *
 * @param self   `__FILE__` of the caller.
 * @param words  NULL; or words, NULL behind the last: only lines of code that have one
 *               of them in it count. The fact is `lines that name W`, with the first
 *               of them for W.
 * @param paths  The sources, relative to the folder of `self`; NULL behind the
 *               last.
 */
void count_print(const char *self, const char *const *words,
                 const char *const *paths);

#endif
