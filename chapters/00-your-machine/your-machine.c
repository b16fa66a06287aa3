/*
 * 00 · Your machine
 *
 * Says which programs of this book this machine can show, and what helps with the
 * rest. It does not look up what a kernel of this release should have. It tries.
 *
 * Watch for: who is asked, and where. Each program beside this one is asked by itself,
 * in a process of its own, because some answers kill whoever asks.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/00-your-machine/?*.c common/?*.c -lz \
 *           -o 00-your-machine
 *
 * Needs: any Linux.
 * Manual pages: fork(2), pipe(7), waitpid(2), prctl(2), seccomp(2), io_uring_setup(2).
 */
#define _GNU_SOURCE /* pipe2() */
#include "ask.h"

#include "args.h"
#include "blocks.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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
    PATIENCE = 10,      /* Seconds for an answer. */
    TRIES = 6,          /* Where memory is short. */
    NAP = 50 * 1000000, /* Nanoseconds between two tries. */
    MOST = 128          /* Questions. */
};

/* --- Asking, in a child ---------------------------------------------------- */

/* This is the child. Its stderr is the pipe, so what it prints there is its answer.
   What it tries may go wrong in any way, and that must harm nobody else. */
__attribute__((noreturn)) static void answer(const struct question *question,
                                             int pipe_end, pid_t parent)
{
    sigset_t none;

    /* It must not live on when we are gone. The kernel kills it when its parent dies. If
       the parent died before the kernel was asked to, there is another parent by now. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    /* What it starts is in a process group with it, so we can end them all. */
    setpgid(0, 0);
    /* It must not take for ever. An alarm that nobody handles kills, and execve(2)
       leaves it on. But execve(2) also leaves a signal ignored or blocked that was so
       before. So both are undone first. */
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(PATIENCE);
    /* A process that SIGSYS kills would leave a core file. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    /* The copy that dup2(2) makes is not closed by execve(2), as the pipe is. */
    if (dup2(pipe_end, STDERR_FILENO) < 0)
        _exit(1);
    question->find_out(question);
    _exit(0);
}

static int64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Wait until there is something to read, or the pipe has ended. False: by the clock it
   is `end`. */
static bool readable_before(int pipe_end, int64_t end)
{
    struct pollfd from = {.fd = pipe_end, .events = POLLIN};

    for (int64_t left; (left = end - milliseconds()) > 0;) {
        int n = poll(&from, 1, (int)left);

        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            err(1, "waiting for an answer");
    }
    return false;
}

/* Keep what fits, and go on reading all the same. A pipe holds 64 KiB. Suppose that we
   waited for the child first. It writes more than that, and waits until we read. We
   wait until it ends. Neither goes on.

   read(2) returns 0 when nobody can write to the pipe any more. That may be long after
   the child has ended: what it has started holds the pipe as well. So there is a limit,
   a second after the child's own. Returns whether the pipe has ended by then. */
static bool listen_to(int pipe_end, char text[TEXT_SIZE])
{
    int64_t end = milliseconds() + (PATIENCE + 1) * 1000;
    char piece[TEXT_SIZE];
    size_t used = 0;
    ssize_t n = -1;

    while (n != 0 && readable_before(pipe_end, end)) {
        n = read(pipe_end, piece, sizeof(piece));
        if (n < 0 && errno != EINTR)
            err(1, "reading an answer");
        if (n > 0) {
            size_t room = TEXT_SIZE - 1 - used;
            size_t keep = (size_t)n < room ? (size_t)n : room;
            memcpy(text + used, piece, keep);
            used += keep;
        }
    }
    text[used] = '\0';
    return n == 0;
}

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

/* Make a pipe, and a child that has its writing end. Returns the child, and our end of
   the pipe in *pipe_end. If no child can be made, that is a no, too, and the reason is
   ours. Then it returns -1. */
static pid_t start_child(struct question *q, int *pipe_end)
{
    int ends[2];
    pid_t parent = getpid();

    args_flush(); /* Else the child has a copy of what is not printed yet. */
    if (pipe2(ends, O_CLOEXEC))
        err(1, "making a pipe to ask %s", q->name);
    pid_t child = fork();
    if (child == 0)
        answer(q, ends[1], parent);
    if (child < 0) {
        snprintf(q->text, TEXT_SIZE, "making a process: %s%s", strerror(errno),
                 why_no_thread(errno));
        take_words(q);
        close(ends[0]);
    }
    /* As long as we hold the writing end, read() never returns 0. */
    if (close(ends[1]))
        err(1, "closing our end of the pipe to %s", q->name);
    *pipe_end = ends[0];
    return child;
}

/* The life of a question. The child tries, and talks into the pipe. We read until the
   pipe ends, so we have heard all. Only then we wait for the child. How it ended says
   what its words mean. */
static void ask_once(struct question *q)
{
    int pipe_end, status;
    pid_t child = start_child(q, &pipe_end);

    if (child < 0)
        return;
    bool late = !listen_to(pipe_end, q->text);
    close(pipe_end);
    if (late) /* The child, and all that it has started. */
        kill(-child, SIGKILL);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            err(1, "waiting for %s", q->name);
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

/* We inherit signals and descriptors. Put them in order first. With SIGCHLD ignored
   there is nobody to wait for: waitpid(2) fails with ECHILD. And where one of the
   first three descriptors is closed, a pipe would get its number. (Read only: that the
   output can't be written is still found out.) */
static void begin_clean(void)
{
    int fd;

    signal(SIGCHLD, SIG_DFL);
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

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
