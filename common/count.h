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
 * @param paths  The sources, relative to the folder of `self`; NULL after the
 *               last.
 */
void count_print(const char *self, const char *const *paths);

/**
 * The same, of lines of code that name a ring or what is in it: those with `sqe`,
 * `cqe`, `sq_`, `cq_`, `ring->` or `->ring`. The fact is `lines that name a ring`.
 */
void count_print_rings(const char *self, const char *const *paths);

#endif
