/*
 * 06-workers · A worker dies
 *
 * Four workers read eight blocks, four times. In three of them one worker dies, with a
 * block that it has taken and not read. The parent asks waitpid(2) what happened.
 *
 * Watch for: the block is missing whenever a worker died. waitpid() says so, unless
 * SIGCHLD is ignored.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/06-processes/workers.c \
 *           chapters/06-processes/start.c common/?*.c -lz -o 06-workers
 *
 * Needs: Linux 2.6.27, for pipe2(2).
 * Manual pages: wait(2), prctl(2), signal(7).
 */
#include "args.h"
#include "blocks.h"
#include "ready.h"
#include "start.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* How a worker ends that has taken the block in the middle. */
enum death { LIVES, EXITS, IS_KILLED };

enum { WORKERS = 4, NOBODY = -1 };

/* For --check: may there be so many processes? If not, it says so and ends. */
static void ready(const struct args *args)
{
    (void)args;
    ready_threads(WORKERS);
}

static const struct program program = {
    .name = "06-workers",
    .page = "06-processes",
    .does = "Lets a worker process die, and asks the kernel what happened.",
    .takes_file = true,
    .ready = ready,
};

/* In memory that the processes share: see the lesson. Several workers change `next` and
   `full`. The parent may look at `block` of a worker that died in the middle of a store:
   an atomic holds the old number then, or the new one. */
struct shared {
    atomic_uint next; /* The first block that nobody has taken. */
    atomic_uint full; /* How many blocks are read. */
    struct {
        atomic_int block; /* The one that this worker is at, or NOBODY's. */
        int64_t res;      /* What its last read has returned. */
    } worker[WORKERS];
};

struct reader {
    const struct blocks *blocks;
    struct shared *shared;
    enum death death;
    struct start start;
};

/* --- A worker -------------------------------------------------------------- */

/* Whoever takes the block in the middle dies with it, if somebody shall die. A real
   worker dies of a bug, or the kernel kills one when memory is short. It has no time to
   tell anybody. */
static void read_blocks(struct reader *r, unsigned w)
{
    unsigned i, victim = r->blocks->count / 2;

    while ((i = atomic_fetch_add(&r->shared->next, 1)) < r->blocks->count) {
        atomic_store(&r->shared->worker[w].block, (int)i);
        if (i == victim && r->death == EXITS)
            _exit(3);
        if (i == victim && r->death == IS_KILLED)
            raise(SIGKILL);
        r->shared->worker[w].res = blocks_read(r->blocks, i);
        if (r->shared->worker[w].res <= 0)
            _exit(1); /* The parent says what was wrong. */
        atomic_fetch_add(&r->shared->full, 1);
        atomic_store(&r->shared->worker[w].block, NOBODY);
    }
}

static void work(void *context, unsigned w)
{
    struct reader *r = context;

    start_wait(&r->start);
    read_blocks(r, w);
    start_done(&r->start);
}

/* --- Its parent ------------------------------------------------------------ */

static void start(struct reader *r)
{
    atomic_store(&r->shared->next, 0);
    atomic_store(&r->shared->full, 0);
    for (unsigned w = 0; w < WORKERS; w++) {
        atomic_store(&r->shared->worker[w].block, NOBODY);
        r->shared->worker[w].res = 1; /* Nothing has failed. */
    }
    start_workers(&r->start, WORKERS, work, r);
    start_now(&r->start);
    start_over(&r->start);
}

/* How has this worker ended? False: nobody can tell, see errno. We ask for one after the
   other, since all are to end here. The number of its block comes from shared memory. So
   look whether there is such a block. Whoever exec'ed us may have had children of his own,
   and waitpid(-1) would wait for those as well. */
static bool how_it_ended(const struct reader *r, unsigned w, int *status)
{
    while (waitpid(r->start.pid[w], status, 0) < 0)
        if (errno != EINTR)
            return false;
    unsigned block = (unsigned)atomic_load(&r->shared->worker[w].block);
    if (r->shared->worker[w].res <= 0 && block < r->blocks->count)
        blocks_failed(r->blocks, block, r->shared->worker[w].res);
    return true;
}

/* The status of a process says how it ended: by itself, with a number of its choice, or
   by a signal. It can't say what the process was at. Our worker has stored that where we
   can see it. */
static void describe(char *says, size_t bytes, int block, int status)
{
    if (WIFSIGNALED(status))
        snprintf(says, bytes, "at block %d: %s", block,
                 strsignal(WTERMSIG(status)));
    else if (status != 0)
        snprintf(says, bytes, "at block %d: exit status %d", block,
                 WEXITSTATUS(status));
}

/* A line of the table. */
static void worker_dies(struct reader *r, const char *how, enum death death)
{
    char says[80] = "each: exit status 0";
    int status;

    r->death = death;
    start(r);
    for (unsigned w = 0; w < WORKERS; w++)
        if (how_it_ended(r, w, &status))
            describe(says, sizeof(says),
                     atomic_load(&r->shared->worker[w].block), status);
        else
            snprintf(says, sizeof(says), "%s", strerror(errno));
    printf("%-36s%-30s%6u of %u\n", how, says, atomic_load(&r->shared->full),
           r->blocks->count);
}

/* SIG_IGN: the kernel forgets our dead children. SIG_DFL: it keeps them for waitpid(). */
static void on_child_end(void (*action)(int))
{
    if (signal(SIGCHLD, action) == SIG_ERR)
        err(1, "setting what SIGCHLD does");
}

int main(int argc, char **argv)
{
    on_child_end(SIG_DFL); /* See the lesson. */

    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;
    struct reader reader = {.blocks = &blocks};

    blocks_open(&blocks, &args);
    reader.shared = share(sizeof(*reader.shared));

    printf(
        "%d workers. One of them dies, with a block that it has not read.\n\n",
        WORKERS);
    printf("%-36s%-30s%11s\n", "the worker", "waitpid() says", "blocks read");
    worker_dies(&reader, "does not die", LIVES);
    worker_dies(&reader, "ends with status 3", EXITS);
    worker_dies(&reader, "is killed", IS_KILLED);
    on_child_end(SIG_IGN);
    worker_dies(&reader, "is killed, and SIGCHLD is ignored", IS_KILLED);

    if (munmap(reader.shared, sizeof(*reader.shared)))
        err(1, "unmapping the shared memory");
    blocks_close(&blocks);
    return 0;
}
