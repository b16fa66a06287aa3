/*
 * 00 · Your machine
 *
 * Says which programs of this book this machine can show, and what helps with the
 * rest. It does not look up what a kernel of this release should have. It tries.
 *
 * Watch for: who is asked, and where. Each program beside this one is asked by itself,
 * in a process of its own (child.c), because some answers kill whoever asks.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/00-your-machine/?*.c common/?*.c -lz \
 *           -o 00-your-machine
 *
 * Needs: any Linux.
 * Manual pages: fork(2), pipe(7), waitpid(2), prctl(2), seccomp(2), io_uring_setup(2).
 */
#define _GNU_SOURCE /* strsignal() */
#include "ask.h"

#include "args.h"
#include "blocks.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned all;

static const struct program program = {
    .name = "00-your-machine",
    .does =
        "Says which programs this machine can show, and what helps with the "
        "rest.",
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_SWITCH("all", "all that it can find out", &all), OPTION_END},
};

enum {
    TRIES = 6,          /* Where memory is short. */
    NAP = 50 * 1000000, /* Nanoseconds between two tries. */
    MOST = 128          /* Questions. */
};

/* --- What an answer means ------------------------------------------------------- */

/* What a child has said: a reason in the first line, what helps in the second. A program
   begins its first line with its name. */
static void take_words(struct question *q)
{
    char *save = NULL;

    q->reason = strtok_r(q->text, "\n", &save);
    q->remedy = strtok_r(NULL, "\n", &save);
    if (q->reason && is_program(q->reason) && strstr(q->reason, ": "))
        q->reason = strstr(q->reason, ": ") + 2;
}

/* A signal has ended it, so what it said before is not the reason. A filter kills with
   SIGSYS, and the alarm with SIGALRM. strsignal(3) may give the same memory to the next
   who asks, so its words are copied. */
static void explain_death(struct question *q, int killer)
{
    snprintf(q->text, TEXT_SIZE, "%s",
             killer == SIGSYS    ? "a seccomp filter kills it (SIGSYS)"
             : killer == SIGALRM ? "it does not come to an end"
                                 : strsignal(killer));
    q->reason = q->text;
    q->remedy = killer == SIGSYS ? CONTAINER_WAY_OUT : NULL;
}

/* How the child has ended says what its words mean. There are three ways:

   - A signal killed it: no. Look for that first. For a killed child WEXITSTATUS() means
     nothing and happens to be 0, and we would take that for a yes.

   - It returned, with status 0: yes. Its words are what it has found out.

   - It returned, with another status: no. 77 says that a reason and a remedy are there.
     Any other number is a no as well. A policy may answer in a way that nobody has
     thought of, and then a program ends with a plain error. That error is the reason,
     and its second line is no remedy. */
static void judge(struct question *q, int status, bool late)
{
    take_words(q);
    q->yes = false;
    if (WIFSIGNALED(status)) {
        int killer = WTERMSIG(status);
        explain_death(q, late && killer == SIGKILL ? SIGALRM : killer);
        return;
    }
    q->yes = WEXITSTATUS(status) == 0;
    if (q->yes) {
        q->found = q->reason;
        return;
    }
    if (WEXITSTATUS(status) != EXIT_CANNOT_SHOW)
        q->remedy =
            why_filtered() ? FILTER_IN_FORCE " " CONTAINER_WAY_OUT : NULL;
    if (!q->reason)
        q->reason = "it ended with an error, and gave no reason";
}

/* --- One question ----------------------------------------------------------------- */

/* The life of a question. The child tries, and talks into the pipe. We read until the
   pipe ends, so we have heard all. Only then we wait for the child. How it ended says
   what its words mean. */
static void ask_once(struct question *q)
{
    int pipe_end, status;
    pid_t child = start_child(q, &pipe_end);

    if (child < 0) {
        take_words(q);
        return;
    }
    bool late = !listen_to(pipe_end, q->text);
    close(pipe_end);
    late = end_child(child, late, &status);
    judge(q, status, late);
}

/* A no can be false. The kernel takes some time to give the memory of a closed ring
   back, and until then it counts against the memlock limit. So a program that has just
   ended can take the memory away from the next. Who finds no memory is asked again. */
void ask(struct question *q)
{
    ask_once(q);
    for (int i = 1; i < TRIES && !q->yes && strstr(q->reason, strerror(ENOMEM));
         i++) {
        nanosleep(&(struct timespec){.tv_nsec = NAP}, NULL);
        ask_once(q);
    }
}

/* --- Around it ---------------------------------------------------------------- */

int main(int argc, char **argv)
{
    static struct question questions[MOST];
    struct args args = args_parse(argc, argv, &program);
    const char *file = args.file;
    off_t size;

    begin_clean();
    /* That there is no sample file yet is one more thing to say. Any other file was
       asked for, and has to be there. */
    if (!args.sample || access(args.file, F_OK) == 0)
        close(blocks_open_file(args.file, args.sample, &size));
    else
        file = NULL;
    unsigned programs = list_programs(questions, MOST - FILE_QUESTIONS);
    questions[programs] = (struct question){
        .name = "cold reads", .find_out = find_cold, .path = file};
    questions[programs + 1] = (struct question){
        .name = "direct reads", .find_out = find_direct, .path = file};
    for (unsigned i = 0; i < programs + FILE_QUESTIONS; i++)
        ask(&questions[i]);
    verdict(questions, programs, args.file, all);
    if (all)
        report(file);
    return 0;
}
