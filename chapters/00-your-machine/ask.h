/*
 * A question to this machine. your-machine.c asks it, and verdict.c prints the answer.
 * The questions are in programs.c, file.c and report.c.
 */
#ifndef ASK_H
#define ASK_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

enum {
    TEXT_SIZE = 1024,
    FILE_QUESTIONS = 2 /* So many of the verdict are about the file. */
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
    const char *found;  /* If yes: what was found out; NULL: it said nothing. */
    const char *reason; /* If no: why not. */
    const char *remedy; /* If no: what helps, or NULL. */
    char text[TEXT_SIZE]; /* Where those three stand. */
    bool shown;           /* The verdict has printed it. */
};

/* Ask, and wait for the answer. */
void ask(struct question *question);

/* The child that asks: child.c. Put signals and descriptors in order, once, before the
   first. */
void begin_clean(void);

/* Start the child. Returns it, with our end of the pipe in *pipe_end. -1: there is none,
   and the text says why. */
pid_t start_child(struct question *question, int *pipe_end);

/* Hear the child out. False: the deadline has come, and the pipe has not ended. */
bool listen_to(int pipe_end, char text[TEXT_SIZE]);

/* Wait for its end. Kill it, and all that it has started, if it is late or at the
   deadline. Returns whether that was so. */
bool end_child(pid_t child, bool late, int *status);

/* Is there a sign that this is a container? container.c. */
bool in_container(void);

/* Is that the name of a program, such as 13-uring-read? */
bool is_program(const char *name);

/* Make a question for each program beside this one. Returns how many there are; exits
   where there are more than `most`. */
unsigned list_programs(struct question *questions, int most);

/* Print `name: value` in lines of at most 80 columns. */
void say(FILE *to, const char *name, const char *value);

/* What a file is called here: the last part of its path, valid until the next call. */
const char *file_name(const char *path);

/* In find_out(), stderr is the way to whoever asks. */
#define tell(...) fprintf(stderr, __VA_ARGS__)

/* find_out() for what is about the file: file.c. The first two are in the verdict. */
void find_cold(const struct question *question);
void find_direct(const struct question *question);
void find_file_system(const struct question *question);
void find_alignment(const struct question *question);

/* Print the answers. The first `programs` questions are about programs, and the last
   FILE_QUESTIONS about the file. */
void verdict(struct question *questions, unsigned programs, const char *file,
             bool all);

/* Ask and print all the rest. */
void report(const char *path);

#endif
