/*
 * 20 · The race: other programs that help it, fio and gnuplot.
 */
#ifndef TOOL_H
#define TOOL_H

#include "race.h"

/* Is there a program of that name in $PATH? */
bool tool_exists(const char *name);

/* Run a program, from its arguments (NULL behind the last), and return what it
   wrote to stdout, which free() gives back. `in` is its stdin. Exits with a
   message where it can't be run or fails. */
char *tool_run(const char *const arguments[], int in);

/* What fio calls this engine; NULL where it has none that does the same. */
const char *fio_name(const char *engine);

/* Have fio run a heat of this engine. Returns its reads a second. */
double fio_heat(const char *engine, const struct course *course);

#endif
