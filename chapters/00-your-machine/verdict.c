/*
 * The verdict of 00: how many of the programs, and then a paragraph for each reason, with
 * all that gave it. Where many programs lack the same, that is one paragraph.
 *
 * It fits on a screen of 24 lines, whatever is missing. What has no room is counted.
 */
#define _GNU_SOURCE /* open_memstream() */
#include "ask.h"

#include <err.h>
#include <limits.h>
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
void say(FILE *to, const char *name, const char *value)
{
    size_t column = strlen(name) + 1;

    fprintf(to, "%s:", name);
    for (const char *word = value; *word; word += strspn(word, " \n")) {
        size_t length = strcspn(word, " \n");
        if (column + 1 + length > WIDTH && column > INDENT) {
            column = INDENT - 1;
            fprintf(to, "\n%*s", INDENT - 1, "");
        }
        fprintf(to, " %.*s", (int)length, word);
        column += 1 + length;
        word += length;
    }
    fputc('\n', to);
}

/* Two programs gave the same answer if they gave the same words. A NULL is no remedy. */
static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The names of `first` and of all after it that gave the same reason. They are told
   from then on. */
static void say_missing(FILE *to, struct question *first,
                        const struct question *end)
{
    char *names = NULL;
    size_t size;
    FILE *list = open_memstream(&names, &size);

    for (struct question *q = first; list && q < end; q++) {
        if (q->yes || !same(q->reason, first->reason) ||
            !same(q->remedy, first->remedy))
            continue;
        fprintf(list, "%s%s", q == first ? "" : ", ", q->name);
        q->told = true;
    }
    if (!list || fclose(list))
        err(1, "listing what is missing");
    say(to, "missing", names);
    free(names);
}

/* One paragraph, with the blank line above it. Name and value are in each line, so that
   whoever sends this to somebody else can be asked for one of them. */
static char *paragraph(struct question *first, const struct question *end)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);

    if (!to)
        err(1, "writing a reason");
    fputc('\n', to);
    say_missing(to, first, end);
    say(to, "because", first->reason);
    if (first->remedy)
        say(to, "what helps", first->remedy);
    if (fclose(to))
        err(1, "writing a reason");
    return text;
}

static unsigned lines_in(const char *text)
{
    unsigned lines = 0;

    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

/* A no is not always a lack. Of a file that is not ours nobody tells, so nothing can be
   shown with it. The reason says which of the two it is. */
static const char *yes_or_no(const struct question *q)
{
    return q->yes ? "yes" : "no";
}

/* A newline in a name would begin another line of the answer, and an escape sequence
   would reach the terminal. So both become a "?", as with ls(1). */
const char *file_name(const char *path)
{
    static char name[NAME_MAX + 1];
    const char *slash = strrchr(path, '/');

    snprintf(name, sizeof(name), "%s", slash ? slash + 1 : path);
    for (char *c = name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return name;
}

/* The first line answers "can I go on?", and the second "with this file?". Whoever reads
   no further knows that. */
void verdict(struct question *q, unsigned programs, const char *file, bool all)
{
    struct question *end = q + programs + OF_FILE;
    unsigned ready = 0, used = 0, left_out = 0;
    /* The two questions of the file come last, and count as no programs. */
    for (unsigned i = 0; i < programs; i++)
        ready += q[i].yes;
    if (programs == 0)
        puts("No other program is built here; ./tour builds them.");
    else if (ready == programs)
        printf("This machine can show all %u programs.\n", programs);
    else
        printf("This machine can show %u of %u programs.\n", ready, programs);
    printf("Reads of %s: cold %s, direct %s.\n", file_name(file),
           yes_or_no(end - 2), yes_or_no(end - 1));

    /* A reason with no room is counted, once for all that gave it. A shorter one after
       it may still fit. */
    for (; q < end; q++) {
        if (q->yes || q->told)
            continue;
        char *text = paragraph(q, end);
        if (all || used + lines_in(text) <= ROOM) {
            used += lines_in(text);
            fputs(text, stdout);
        } else {
            left_out++;
        }
        free(text);
    }
    if (left_out == 1)
        puts("\n1 more reason, which --all shows.");
    else if (left_out)
        printf("\n%u more reasons, which --all shows.\n", left_out);
    if (!all)
        puts("\nNext: ./tour 01. All that can be found out: ./tour 00 --all");
}
