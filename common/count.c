#include "count.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The line without its comments, to `code`: does it hold anything besides blanks?
   `comment` carries over from line to line. A quoted comment sign counts as
   comment: no source here has one. */
static bool has_code(const char *line, bool *comment, char *code)
{
    bool any = false;

    for (const char *c = line; *c; c++) {
        if (*comment && c[0] == '*' && c[1] == '/') {
            *comment = false;
            c++;
        } else if (!*comment && c[0] == '/' && c[1] == '*') {
            *comment = true;
            c++;
        } else if (!*comment) {
            any = any || !isspace((unsigned char)*c);
            *code++ = *c;
        }
    }
    *code = 0;
    return any;
}

static bool has_word(const char *code, const char *const *words)
{
    for (; words && *words; words++)
        if (strstr(code, *words))
            return true;
    return !words;
}

static long count_file(const char *path, const char *const *words)
{
    char line[512], code[512];
    bool comment = false;
    long lines = 0;

    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    while (fgets(line, sizeof(line), file))
        lines += has_code(line, &comment, code) && has_word(code, words);
    bool failed = ferror(file);
    fclose(file);
    return failed ? -1 : lines;
}

static void print(const char *self, const char *const *words,
                  const char *const *paths)
{
    const char *slash = strrchr(self, '/');
    int folder = slash ? (int)(slash - self) + 1 : 0;

    for (; *paths; paths++) {
        char path[PATH_MAX];
        const char *name = strrchr(*paths, '/');

        snprintf(path, sizeof(path), "%.*s%s", folder, self, *paths);
        long lines = count_file(path, words);
        if (lines < 0)
            printf(" unknown");
        else
            printf(" %ld", lines);
        printf(" in %s%s", name ? name + 1 : *paths, paths[1] ? "," : "\n");
    }
}

void count_print(const char *self, const char *const *paths)
{
    fputs("lines of code:", stdout);
    print(self, NULL, paths);
}

void count_print_rings(const char *self, const char *const *paths)
{
    static const char *const words[] = {"sqe",    "cqe",    "sq_", "cq_",
                                        "ring->", "->ring", NULL};

    fputs("lines that name a ring:", stdout);
    print(self, words, paths);
}
