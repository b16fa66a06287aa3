/*
 * The verdict of 00: how many of the programs, and then a paragraph for each reason, with
 * all that gave it. Where many programs lack the same, that is one paragraph.
 *
 * It fits on a screen of 24 lines, whatever is missing. What has no room is counted.
 */
#define _GNU_SOURCE /* asprintf(), open_memstream() */
#include "ask.h"

#include "why.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 80,
    INDENT = 4,        /* Of a line that goes on with the one above it. */
    ROOM = 24 - 2 - 4, /* Lines, less the first two, and the last four. */
    LONGEST_NAME = 40  /* Bytes of it. */
};

#define WHO_SET_THE_FILTER                                                     \
    "no container is seen here. Allow the call where the filter is set: "      \
    "systemd's SystemCallFilter=, or a sandbox"

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

/* There is no number for a reason. A program may die of something that nobody has thought
   of. So two programs gave the same answer if they gave the same words. A NULL is no
   remedy. */
static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Print the names of `first` and of all after it that gave the same reason. So none of
   them needs a paragraph of its own. The same reason with another remedy is another
   paragraph: else somebody would try the wrong one. */
static void say_missing(FILE *to, struct question *first,
                        const struct question *end)
{
    char *names = NULL;
    size_t size;
    FILE *list = open_memstream(&names, &size);

    /* Those before `first` are ready, or stand in an earlier paragraph. */
    for (struct question *q = first; list && q < end; q++) {
        if (q->yes || !same(q->reason, first->reason) ||
            !same(q->remedy, first->remedy))
            continue;
        fprintf(list, "%s%s", q == first ? "" : ", ", q->name);
        q->shown = true;
    }
    if (!list || fclose(list))
        err(1, "listing what is missing");
    say(to, "missing", names);
    free(names);
}

/* A program names Docker's option wherever there is a filter. It does not look who has set
   the filter. systemd and sandboxes set some, too, and there is no such option there. So
   where no container is seen, other words take its place. What stands before and after
   them stays. */
static void say_remedy(FILE *to, const char *remedy)
{
    const char *docker = strstr(remedy, CONTAINER_WAY_OUT);
    char *other = NULL;

    if (docker && !in_container() &&
        asprintf(&other, "%.*s%s%s", (int)(docker - remedy), remedy,
                 WHO_SET_THE_FILTER, docker + strlen(CONTAINER_WAY_OUT)) < 0)
        err(1, "writing what helps");
    say(to, "what helps", other ? other : remedy);
    free(other);
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
        say_remedy(to, first->remedy);
    if (fclose(to))
        err(1, "writing a reason");
    return text;
}

/* How much of the screen a paragraph takes. Nobody can know before it is written, since a
   long word moves to the next line. But say() has broken the lines already. */
static unsigned lines_in(const char *text)
{
    unsigned lines = 0;

    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

/* The last part of a path, so that it fits into one line. A newline in it would begin
   another line of the answer, and an escape sequence would reach the terminal. So both
   become a "?", as with ls(1). A long name is cut, but never inside of a letter: in
   UTF-8 a byte 10xxxxxx goes on with the letter before it. */
const char *file_name(const char *path)
{
    static char name[LONGEST_NAME + sizeof("...")];
    const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;
    size_t length = strlen(last), cut = length;

    if (length > LONGEST_NAME)
        for (cut = LONGEST_NAME; cut > 0 && (last[cut] & 0xc0) == 0x80;)
            cut--;
    snprintf(name, sizeof(name), "%.*s%s", (int)cut, last,
             cut < length ? "..." : "");
    for (char *c = name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return name;
}

/* A no may also mean that nobody tells. The paragraph of that question says which. */
static const char *yes_or_no(const struct question *q)
{
    return q->yes ? "yes" : "no";
}

/* The first line answers "can I go on?", and the second "with this file?". Whoever reads
   no further knows that. */
static void print_ready(const struct question *q, unsigned programs,
                        const char *file)
{
    unsigned ready = 0;

    for (unsigned i = 0; i < programs; i++)
        ready += q[i].yes;
    if (programs == 0)
        puts("No other program is built here; ./tour builds them.");
    else if (ready == programs)
        printf("This machine can show all %u programs.\n", programs);
    else
        printf("This machine can show %u of %u programs.\n", ready, programs);
    printf("Reads of %s: cold %s, direct %s.\n", file_name(file),
           yes_or_no(&q[programs]), yes_or_no(&q[programs + 1]));
}

/* A reason with no room is counted, once for all that gave it. A shorter one after it
   may still fit. */
static void print_reasons(struct question *q, const struct question *end,
                          bool all)
{
    unsigned used = 0, left_out = 0;

    for (; q < end; q++) {
        if (q->yes || q->shown)
            continue;
        /* Written into memory first, to see how many lines it has. */
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
}

/* Whoever runs this wants to go on, and not to read. So it goes from the general to the
   particular, and anybody may stop at any line: how much is there, then what is missing
   and what helps, then where to go from here. With --all the report comes next, and needs
   no line that says how to get it. */
void verdict(struct question *q, unsigned programs, const char *file, bool all)
{
    print_ready(q, programs, file);
    print_reasons(q, q + programs + FILE_QUESTIONS, all);
    if (!all)
        puts("\nNext: ./tour 01. All that can be found out: ./tour 00 --all");
}
