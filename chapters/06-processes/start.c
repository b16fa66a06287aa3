/*
 * Shared memory, and a start that all workers wait for. See start.h.
 *
 * Why pipes, and not a barrier? If a worker is killed, the others wait at a barrier for
 * ever. A pipe does not wait: the kernel closes the end that the dead worker had.
 */
#define _GNU_SOURCE /* pipe2() */
#include "start.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
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

/* What is in stdout's buffer at the fork would be in each child's buffer, too, and come
   out once more. So it goes out before. */
void start_prepare(struct start *start)
{
    if (pipe2(start->ready, O_CLOEXEC) || pipe2(start->go, O_CLOEXEC))
        err(1, "making a pipe");
    fflush(stdout);
}

/* fork() has copied the writing ends as well. A worker that kept its own copy of `go`
   would wait for itself, for ever. To close `ready` says that this worker is there. */
bool start_wait(struct start *start)
{
    return !close(start->go[1]) && !close(start->ready[1]) &&
           end_of(start->go[0]);
}

/* The parent could write to `ready`, too. So it closes its own end first. */
void start_when_ready(struct start *start)
{
    if (close(start->ready[1]) || !end_of(start->ready[0]) ||
        close(start->ready[0]) || close(start->go[0]))
        err(1, "waiting for the workers to be ready");
}

/* No other process has this end still. So this is the last close, and all workers
   run. */
bool start_now(struct start *start)
{
    return !close(start->go[1]);
}
