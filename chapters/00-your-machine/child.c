/*
 * The child in which 00 asks a question, and how to be safe from it.
 *
 * What we try may kill whoever tries it, hang, talk without end, and leave processes
 * behind. None of that may harm us, or whoever runs us.
 */
#define _GNU_SOURCE /* pipe2() */
#include "ask.h"

#include "args.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 10 }; /* Seconds for an answer. */

/* --- In the child ----------------------------------------------------------- */

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

/* --- In this program ---------------------------------------------------------- */

/* Till when we have patience with the child that is asked now: a second longer than its
   own alarm. */
static int64_t deadline;

static int64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Make a pipe, and a child that has its writing end. Returns the child, and our end of
   the pipe in *pipe_end. If no child can be made, that is a no, too, and the reason is
   ours. Then it returns -1. */
pid_t start_child(struct question *q, int *pipe_end)
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
        close(ends[0]);
    }
    /* As long as we hold the writing end, read() never returns 0. */
    if (close(ends[1]))
        err(1, "closing our end of the pipe to %s", q->name);
    *pipe_end = ends[0];
    deadline = milliseconds() + (PATIENCE + 1) * 1000;
    return child;
}

/* Wait until there is something to read, or the pipe has ended. False: the deadline has
   come. */
static bool readable(int pipe_end)
{
    struct pollfd from = {.fd = pipe_end, .events = POLLIN};

    for (int64_t left; (left = deadline - milliseconds()) > 0;) {
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
   the child has ended: what it has started holds the pipe as well. So we listen until the
   deadline. Returns whether the pipe has ended by then. */
bool listen_to(int pipe_end, char text[TEXT_SIZE])
{
    char piece[TEXT_SIZE];
    size_t used = 0;
    ssize_t n = -1;

    while (n != 0 && readable(pipe_end)) {
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

/* Wait for SIGCHLD, which says that a child has ended. begin_clean() has blocked it. So
   it is kept for us, also if it comes before we wait. False: the deadline has come. */
static bool child_signals(void)
{
    sigset_t ended;
    int64_t left = deadline - milliseconds();

    if (left <= 0)
        return false;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    struct timespec patience = {left / 1000, left % 1000 * 1000000};
    return sigtimedwait(&ended, NULL, &patience) > 0 || errno == EINTR;
}

/* A pipe that has ended does not say that the child has. It may have closed its stderr,
   and ignore the alarm. waitpid(2) has no limit of time, so it only looks, until the
   deadline. SIGKILL can't be ignored. It goes to the group, and to the child by itself:
   that may have left the group. */
bool end_child(pid_t child, bool late, int *status)
{
    pid_t ended = 0;

    while (!late && (ended = waitpid(child, status, WNOHANG)) == 0)
        late = !child_signals();
    if (late) {
        kill(-child, SIGKILL);
        kill(child, SIGKILL);
        do
            ended = waitpid(child, status, 0);
        while (ended < 0 && errno == EINTR);
    }
    if (ended < 0)
        err(1, "waiting for a child");
    return late;
}

/* We inherit signals and descriptors. Put them in order first. With SIGCHLD ignored
   there is nobody to wait for: waitpid(2) fails with ECHILD. It is blocked, for
   child_signals(). And where one of the first three descriptors is closed, a pipe would
   get its number. (Read only: that the output can't be written is still found out.) */
void begin_clean(void)
{
    sigset_t ended;
    int fd;

    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}
