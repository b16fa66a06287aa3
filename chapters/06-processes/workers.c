/*
 * 06-workers · A process dies
 *
 * Four workers read eight blocks. In the first table one of them dies, and the parent
 * asks waitpid(2) what happened. In the second table the parent dies, and we count what
 * the workers do after that.
 *
 * Watch for: a block is missing whenever a worker died. waitpid() says so, unless
 * SIGCHLD is ignored. And workers that asked for a signal too late go on without a
 * parent.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/06-processes/workers.c \
 *           chapters/06-processes/start.c common/?*.c -lz -o 06-workers
 *
 * Needs: Linux 3.4, for PR_SET_CHILD_SUBREAPER.
 * Manual pages: wait(2), prctl(2), getppid(2), signal(7).
 */
#include "args.h"
#include "blocks.h"
#include "ready.h"
#include "start.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* How a worker ends that has taken the block VICTIM. */
enum death { LIVES, EXITS, IS_KILLED };

/* What workers do so as not to live longer than their parent. */
enum care { NOTHING, ASK, ASK_LATE, ASK_LATE_AND_LOOK };

enum { WORKERS = 4, NOBODY = -1 };

static void ready(const struct args *args)
{
    (void)args;
    ready_threads(WORKERS + 1);
}

static const struct program program = {
    .name = "06-workers",
    .page = "06-processes",
    .does = "Lets a worker process die, and then the parent of the workers.",
    .takes_file = true,
    .ready = ready,
};

/* In memory that the processes share: see the lesson. Both only grow, and several
   processes add to them. */
struct shared {
    atomic_uint taken; /* Blocks that a worker has taken. */
    atomic_uint full;  /* Blocks that are read. */
    struct {
        atomic_int block; /* The one that this worker is at, or NOBODY's. */
        int64_t res;      /* What its last read has returned. */
        pid_t pid;
    } worker[WORKERS];
};

struct crew {
    const struct blocks *blocks;
    struct shared *shared;
    enum death death;
    enum care care;
    struct start start;
};

/* --- A worker -------------------------------------------------------------- */

__attribute__((noreturn)) static void give_up(const char *doing)
{
    warn("%s", doing);
    _exit(2);
}

/* The kernel sends us SIGKILL when the parent ends. It does so for a parent that ends
   from now on. If the parent is dead already, it does nothing, and this is no error. */
static void ask_for_signal(void)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL))
        give_up("asking for a signal when the parent dies");
}

/* Whoever takes the block in the middle dies with it, if somebody shall die. A real
   worker dies of a bug, or the kernel kills one when memory is short. It has no time to
   tell anybody. */
static void read_blocks(struct crew *c, unsigned w)
{
    unsigned i, victim = c->blocks->count / 2;

    while ((i = atomic_fetch_add(&c->shared->taken, 1)) < c->blocks->count) {
        atomic_store(&c->shared->worker[w].block, (int)i);
        if (i == victim && c->death == EXITS)
            _exit(3);
        if (i == victim && c->death == IS_KILLED)
            raise(SIGKILL);
        c->shared->worker[w].res = blocks_read(c->blocks, i);
        if (c->shared->worker[w].res <= 0)
            _exit(2); /* The parent says what was wrong. */
        atomic_fetch_add(&c->shared->full, 1);
        atomic_store(&c->shared->worker[w].block, NOBODY);
    }
}

/* The order is the point. A worker that asks before it is ready has asked while its
   parent lives, because the parent waits for all to be ready. One that asks after the
   start finds another parent by then: an orphan goes to the next process above it that
   is a subreaper, or to process 1. getppid() tells, if one looks after one has asked.
   The same look before the call would leave a gap between the two. */
__attribute__((noreturn)) static void work(struct crew *c, unsigned w,
                                           pid_t parent)
{
    if (c->care == ASK)
        ask_for_signal();
    if (!start_wait(&c->start))
        give_up("waiting for the start");
    if (c->care == ASK_LATE || c->care == ASK_LATE_AND_LOOK)
        ask_for_signal();
    if (c->care == ASK_LATE_AND_LOOK && getppid() != parent)
        _exit(1);
    read_blocks(c, w);
    _exit(0);
}

/* --- Its parent ------------------------------------------------------------ */

static void prepare(struct crew *c)
{
    start_prepare(&c->start);
    atomic_store(&c->shared->taken, 0);
    atomic_store(&c->shared->full, 0);
}

/* If we fail here, those that are there read their blocks and end: our end of `go` is
   closed with us. So nobody waits for ever. */
static void start_workers(struct crew *c)
{
    pid_t parent = getpid();

    for (unsigned w = 0; w < WORKERS; w++) {
        atomic_store(&c->shared->worker[w].block, NOBODY);
        c->shared->worker[w].res = 1; /* Nothing has failed. */
        pid_t pid = fork();
        if (pid < 0)
            errx(1, "forking worker %u: %s%s", w, strerror(errno),
                 why_no_thread(errno));
        if (pid == 0)
            work(c, w, parent);
        c->shared->worker[w].pid = pid;
    }
}

/* How has this worker ended? False: nobody can tell, see errno. We ask for one after the
   other, since all are to end here. Whoever exec'ed us may have had children of his own,
   and waitpid(-1) would wait for those as well. */
static bool how_it_ended(const struct crew *c, unsigned w, int *status)
{
    pid_t pid = c->shared->worker[w].pid;

    while (waitpid(pid, status, 0) < 0)
        if (errno != EINTR)
            return false;
    if (c->shared->worker[w].res <= 0)
        blocks_failed(c->blocks,
                      (unsigned)atomic_load(&c->shared->worker[w].block),
                      c->shared->worker[w].res);
    return true;
}

/* --- The first table: a worker dies ---------------------------------------- */

/* The status of a process says how it ended: by itself, with a number of its choice, or
   by a signal. It can't say what the process was at. Our worker has stored that where we
   can see it. */
static void worker_dies(struct crew *c, const char *how, enum death death)
{
    char says[80];
    int status;

    snprintf(says, sizeof(says), "each: exit status 0");
    c->death = death;
    prepare(c);
    start_workers(c);
    start_when_ready(&c->start);
    if (!start_now(&c->start))
        err(1, "starting the workers");
    for (unsigned w = 0; w < WORKERS; w++) {
        if (!how_it_ended(c, w, &status)) {
            snprintf(says, sizeof(says), "%s", strerror(errno));
            continue;
        }
        int block = atomic_load(&c->shared->worker[w].block);
        if (WIFSIGNALED(status))
            snprintf(says, sizeof(says), "at block %d: %s", block,
                     strsignal(WTERMSIG(status)));
        else if (status != 0)
            snprintf(says, sizeof(says), "at block %d: exit status %d", block,
                     WEXITSTATUS(status));
    }
    printf("%-36s%-30s%6u of %u\n", how, says, atomic_load(&c->shared->full),
           c->blocks->count);
}

/* --- The second table: their parent dies ----------------------------------- */

/* The workers' parent is a child of ours, which waits at `go`, too. When the workers are
   ready we kill it. Once waitpid() has returned, it is dead, and its workers have got
   their signals, if they had asked. They have also got us as their new parent: main() has
   made us a subreaper. Only then we let them start. */
static void parent_dies(struct crew *c, const char *what, enum care care)
{
    unsigned full = 0, killed = 0, gave_up = 0;
    int status;

    c->death = LIVES;
    c->care = care;
    prepare(c);
    pid_t parent = fork();
    if (parent < 0)
        errx(1, "forking the workers' parent: %s%s", strerror(errno),
             why_no_thread(errno));
    if (parent == 0) {
        start_workers(c);
        _exit(!start_wait(&c->start));
    }
    start_when_ready(&c->start);
    if (kill(parent, SIGKILL) || waitpid(parent, &status, 0) != parent)
        err(1, "killing the workers' parent");
    if (!start_now(&c->start))
        err(1, "starting the workers");
    for (unsigned w = 0; w < WORKERS; w++) {
        if (!how_it_ended(c, w, &status))
            err(1, "waiting for the workers");
        full += status == 0;
        killed += WIFSIGNALED(status);
        gave_up += WIFEXITED(status) && status != 0;
    }
    printf("%-36s%8u%8u%10u%11u of %u\n", what, full, killed, gave_up,
           atomic_load(&c->shared->full), c->blocks->count);
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
    struct crew crew = {.blocks = &blocks};

    blocks_open(&blocks, &args);
    crew.shared = share(sizeof(*crew.shared));
    if (prctl(PR_SET_CHILD_SUBREAPER, 1))
        err(1, "becoming the parent of orphans");

    printf(
        "%d workers. One of them dies, with a block that it has not read.\n\n",
        WORKERS);
    printf("%-36s%-30s%11s\n", "the worker", "waitpid() says", "blocks read");
    worker_dies(&crew, "does not die", LIVES);
    worker_dies(&crew, "calls _exit(3)", EXITS);
    worker_dies(&crew, "is killed", IS_KILLED);
    on_child_end(SIG_IGN);
    worker_dies(&crew, "is killed, and SIGCHLD is ignored", IS_KILLED);
    on_child_end(SIG_DFL);

    printf(
        "\nTheir parent is killed while they wait. Then they may start.\n\n");
    printf("%-36s%8s%8s%10s%15s\n", "the workers", "finish", "killed",
           "give up", "blocks read");
    parent_dies(&crew, "do nothing about it", NOTHING);
    parent_dies(&crew, "ask for a signal before the start", ASK);
    parent_dies(&crew, "ask for a signal after the start", ASK_LATE);
    parent_dies(&crew, "ask after it, then look for a parent",
                ASK_LATE_AND_LOOK);

    if (munmap(crew.shared, sizeof(*crew.shared)))
        err(1, "unmapping the shared memory");
    blocks_close(&blocks);
    return 0;
}
