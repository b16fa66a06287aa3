/*
 * The verdict of 00: how many of the programs, and then a paragraph for each reason, with
 * all that gave it. Where many programs lack the same, that is one paragraph.
 *
 * It fits on a screen of 24 lines, whatever is missing. What has no room is counted.
 */
#define _GNU_SOURCE /* open_memstream() */
#include "ask.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 80,
    INDENT = 4,       /* Of a line that goes on with the one above it. */
    ROOM = 24 - 2 - 4 /* Lines, less the first two, and the last four. */
};

/* A word that does not fit begins the next line. A word that fits no line, such as a
   long path, has one to itself and is not cut: somebody may want to copy it. */
unsigned say(bool print, const char *name, const char *value)
{
    size_t column = strlen(name) + 1;
    unsigned lines = 1;

    if (print)
        printf("%s:", name);
    for (const char *word = value; *word; word += strspn(word, " \n")) {
        size_t length = strcspn(word, " \n");
        if (column + 1 + length > WIDTH && column > INDENT) {
            column = INDENT - 1;
            lines++;
            if (print)
                printf("\n%*s", INDENT - 1, "");
        }
        if (print)
            printf(" %.*s", (int)length, word);
        column += 1 + length;
        word += length;
    }
    if (print)
        putchar('\n');
    return lines;
}

/* Two programs gave the same answer if they gave the same words. A NULL is no remedy. */
static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* One paragraph: the reason of `first`, and all after it that gave the same. They are
   told from then on, even if this only counts the lines. Returns how many there are,
   with the blank one above. */
static unsigned tell(bool print, struct question *first,
                     const struct question *end)
{
    char *names = NULL;
    size_t size;
    FILE *list = open_memstream(&names, &size);
    unsigned lines = 1;

    for (struct question *q = first; list && q < end; q++) {
        if (q->yes || !same(q->reason, first->reason) ||
            !same(q->remedy, first->remedy))
            continue;
        fprintf(list, "%s%s", q == first ? "" : ", ", q->name);
        q->told = true;
    }
    if (!list || fclose(list))
        err(1, "listing what is missing");
    /* Name and value in each line, so that whoever sends this to somebody else can be
       asked for one of them. */
    if (print)
        putchar('\n');
    lines += say(print, "missing", names);
    lines += say(print, "because", first->reason);
    if (first->remedy)
        lines += say(print, "what helps", first->remedy);
    free(names);
    return lines;
}

/* A no is not always a lack. Of a file that is not ours nobody tells, so nothing can be
   shown with it. The reason says which of the two it is. */
static const char *yes_or_no(const struct question *q)
{
    return q->yes ? "yes" : "no";
}

/* The first line answers "can I go on?", and the second "with this file?". Whoever reads
   no further knows that. */
void verdict(struct question *q, unsigned programs, const char *file, bool all)
{
    struct question *end = q + programs + OF_FILE;
    unsigned ready = 0, used = 0, left_out = 0;
    const char *slash = strrchr(file, '/');

    /* The two questions of the file come last, and count as no programs. */
    for (unsigned i = 0; i < programs; i++)
        ready += q[i].yes;
    if (programs == 0)
        puts("No other program is built here; ./tour builds them.");
    else if (ready == programs)
        printf("This machine can show all %u programs.\n", programs);
    else
        printf("This machine can show %u of %u programs.\n", ready, programs);
    printf("Reads of %s: cold %s, direct %s.\n", slash ? slash + 1 : file,
           yes_or_no(end - 2), yes_or_no(end - 1));

    /* A reason with no room is counted, once for all that gave it. A shorter one after
       it may still fit. tell() is called twice: to count its lines, and to print. */
    for (; q < end; q++) {
        if (q->yes || q->told)
            continue;
        unsigned lines = tell(false, q, end);
        if (!all && used + lines > ROOM) {
            left_out++;
            continue;
        }
        used += lines;
        tell(true, q, end);
    }
    if (left_out)
        printf("\n%u more reasons, which --all shows.\n", left_out);
    if (!all)
        puts("\nNext: ./tour 01. All that can be found out: ./tour 00 --all");
}
