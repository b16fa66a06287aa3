/*
 * Shared memory, workers that end with their parent, and a start that all of them wait
 * for. See start.h.
 *
 * Why pipes, and not a barrier? If a worker is killed, the others wait at a barrier for
 * ever. A pipe does not wait: the kernel closes the end that the dead worker had.
 */
#define _GNU_SOURCE /* pipe2() */
#include "start.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* MAP_SHARED: a child gets these pages themselves, and no copies. MAP_ANONYMOUS: there
   is no file under them. They begin as zeros. */
void *share(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        err(1, "mapping %zu bytes of shared memory", bytes);
    return memory;
}

void give_up(const char *doing)
{
    warn("%s", doing);
    _exit(1);
}

/* A read from a pipe returns 0, the end, when every copy of its writing end is closed.
   Nobody writes here, so that is all a read can return. The last close() wakes everybody
   who reads. When a process dies, the kernel closes all that it had. */
static bool end_of(int pipe)
{
    char byte;
    ssize_t n;

    do
        n = read(pipe, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 0;
}

/* When the parent dies, even by SIGKILL, so shall we. The kernel sends a signal if we
   ask for it. But the parent may have died before we asked. Then prctl() succeeds, and
   no signal will ever come.

   So ask first, then look at getppid(). If it names another process, the parent has died.
   If we looked first, the parent could die between the two calls. */
static void end_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL))
        give_up("asking for a signal when the parent dies");
    if (getppid() != parent)
        _exit(1);
}

/* What is in stdout's buffer at the fork would be in each child's buffer, too, and come
   out once more. So it goes out before.

   When we give up, nobody has to stop the workers that are there: see end_with().

   The parent has each pipe's writing end, too. A pipe that it waits at would never end. So
   it closes its own ends of `ready` and `done` first. */
void start_workers(struct start *start, unsigned workers,
                   void (*work)(void *context, unsigned w), void *context)
{
    pid_t parent = getpid();

    if (pipe2(start->done, O_CLOEXEC) || pipe2(start->ready, O_CLOEXEC) ||
        pipe2(start->go, O_CLOEXEC))
        err(1, "making a pipe");
    fflush(stdout);
    for (unsigned w = 0; w < workers; w++) {
        start->pid[w] = fork();
        if (start->pid[w] < 0)
            errx(1, "forking worker %u: %s%s", w, strerror(errno),
                 why_no_thread(errno));
        if (start->pid[w] == 0) {
            end_with(parent);
            work(context, w);
            _exit(0);
        }
    }
    if (close(start->done[1]) || close(start->ready[1]) ||
        !end_of(start->ready[0]) || close(start->ready[0]) ||
        close(start->go[0]))
        err(1, "waiting for the workers to be ready");
}

/* fork() has copied the writing ends as well. A worker that kept its own copy of `go`
   would wait for itself, for ever. To close `ready` says that this worker is there. */
void start_wait(struct start *start)
{
    if (close(start->go[1]) || close(start->ready[1]) || !end_of(start->go[0]))
        give_up("waiting for the start");
}

/* No other process has this end still. So this is the last close, and all workers
   run. */
void start_now(struct start *start)
{
    if (close(start->go[1]))
        err(1, "starting the workers");
}

/* To end a process takes time on a processor. A worker that ended at once would take it
   from those that still read. */
void start_done(struct start *start)
{
    if (close(start->done[1]) || !end_of(start->done[0]))
        give_up("waiting for the other workers");
}

void start_over(struct start *start)
{
    if (!end_of(start->done[0]) || close(start->done[0]))
        err(1, "waiting for the workers");
}
