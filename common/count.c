#include "count.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Does the line hold anything besides blanks and comment? `comment` carries
   over from line to line. A quoted comment sign counts as comment: no source
   here has one. */
static bool has_code(const char *line, bool *comment)
{
    bool code = false;

    for (const char *c = line; *c; c++) {
        if (*comment && c[0] == '*' && c[1] == '/') {
            *comment = false;
            c++;
        } else if (!*comment && c[0] == '/' && c[1] == '*') {
            *comment = true;
            c++;
        } else if (!*comment && !isspace((unsigned char)*c)) {
            code = true;
        }
    }
    return code;
}

long count_code_lines(const char *self, const char *path)
{
    const char *slash = strrchr(self, '/');
    int folder = slash ? (int)(slash - self) + 1 : 0;
    char full[PATH_MAX], line[512];
    bool comment = false;
    long lines = 0;

    snprintf(full, sizeof(full), "%.*s%s", folder, self, path);
    FILE *file = fopen(full, "re");
    if (!file)
        return -1;
    while (fgets(line, sizeof(line), file))
        lines += has_code(line, &comment);
    bool failed = ferror(file);
    fclose(file);
    return failed ? -1 : lines;
}
