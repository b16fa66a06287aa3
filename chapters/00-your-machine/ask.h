/*
 * A question to this machine. your-machine.c asks it, verdict.c says what came of it,
 * and report.c and file.c have more of them.
 */
#ifndef ASK_H
#define ASK_H

#include <stdbool.h>
#include <stdio.h>

enum {
    TEXT = 1024,
    OF_FILE = 2 /* Questions of the verdict that are about the file. */
};

struct question {
    const char *name;
    /* Runs in a process of its own. It prints what it has found on stderr and
       returns. Or the answer is no. Then it ends the process: with exit status 77, a
       line with the reason and a line with what helps, or as it likes. */
    void (*find_out)(const struct question *question);
    const char *path; /* Of the file or the folder that it is about, or NULL. */

    /* The answer. */
    bool yes;
    const char *reason; /* Why not; if yes, what was found out, or NULL. */
    const char *remedy; /* What helps, or NULL. */
    bool told;          /* The verdict has it. */
    char text[TEXT];    /* Where reason and remedy stand. */
};

/* Ask, and wait for the answer. */
void ask(struct question *question);

/* Print `name: value` in lines of at most 80 columns. */
void say(FILE *to, const char *name, const char *value);

/* What a file is called here: the last part of its path, valid until the next call. */
const char *file_name(const char *path);

/* In find_out(), stderr is the way to whoever asks. */
#define found(...) fprintf(stderr, __VA_ARGS__)

/* find_out() for what is about the file: file.c. The first two are in the verdict. */
void find_cold(const struct question *question);
void find_direct(const struct question *question);
void find_file_system(const struct question *question);
void find_alignment(const struct question *question);

/* Print what came of the questions: so many programs, and after them those of the
   file. */
void verdict(struct question *questions, unsigned programs, const char *file,
             bool all);

/* Ask and print all the rest. */
void report(const char *path);

#endif
