/**
 * @file terminal.h
 * What stdout can show.
 */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <stdbool.h>

/** Is stdout a terminal with colors, and NO_COLOR not set? Source of the
 *  latter: https://no-color.org */
bool terminal_in_color(void);

/** Does the locale have UTF-8? args_parse() has set it. */
bool terminal_in_utf8(void);

/** How many columns the terminal has; 0 where stdout is none. */
unsigned terminal_columns(void);

#endif
