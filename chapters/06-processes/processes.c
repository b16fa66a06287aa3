/*
 * 06 · Processes
 *
 * Four worker processes read the eight blocks, twice. "plain": each worker takes a block,
 * reads it with pread(2), sleeps in there, and takes the next. "advised": before it
 * sleeps for its block, a worker also tells the kernel of the block that is four blocks
 * later.
 *
 * Watch for: "most in flight", which is 4 and then up to 8, and how often the workers
 * sleep. The main thread only waits for them.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/06-processes/processes.c \
 *           chapters/06-processes/start.c common/?*.c -lz -o 06-processes
 *
 * Needs: Linux 2.6.27, for pipe2(2).
 * Manual pages: fork(2), mmap(2), pipe(7), posix_fadvise(2), prctl(2), wait(2).
 */
#include "job.h"
#include "ready.h"
#include "start.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_WORKERS = READY_MAX_THREADS };

static unsigned workers = 4, distance = 4;

/* For --check: does the kernel take advice, and may there be so many processes? If not, it
   says so and ends. */
static void ready(const struct args *args)
{
    ready_advice(args);
    ready_threads(workers);
}

static const struct program program = {
    .name = "06-processes",
    .does = "Reads blocks of a file with several processes and advice ahead.",
    .ready = ready,
    .facts = FACT_IN_FLIGHT | FACT_SLEEPS_IN_SUBMIT,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("workers", "processes that read", &workers, 1,
                          MAX_WORKERS),
            OPTION_NUMBER("distance", "blocks to advise ahead", &distance, 1,
                          MAX_BLOCKS),
            JOB_WARM, OPTION_END},
};

/* --- What the processes share ---------------------------------------------- */

/* After a fork() each process has a copy of every variable. What one of them stores,
   the others do not see. This struct and the blocks' data lie in memory that is shared.

   What several workers write is atomic. What else is in here, one worker writes, and the
   parent reads it when that worker has ended. */
struct shared {
    atomic_uint next; /* The first block that nobody has taken. */
    struct worker {
        unsigned block; /* The last one that it has taken. */
        int64_t res;    /* What the read of that one has returned. */
        long sleeps;    /* Voluntary context switches. */
    } worker[MAX_WORKERS];
    struct {
        _Atomic int64_t advised, taken, full; /* When; 0 is never. */
    } block[MAX_BLOCKS];
};

/* If the compiler made this atomic with a lock, that lock might lie in memory that is not
   shared. So it has to be lock-free: C17, 7.17.5. */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "atomic_uint takes a lock here");

/* One pass over the blocks. */
struct reader {
    const struct blocks *blocks;
    struct shared *shared;
    unsigned distance; /* So many blocks ahead goes the advice; 0: no advice. */
    struct start start;
};

/* --- A worker -------------------------------------------------------------- */

/* Tell the kernel of the block that is `distance` blocks after this one: chapter 03. With
   four workers, the others are likely to take the three blocks between. So a distance of
   4 is about the next block that this worker will get.

   It is one call for each block. The first `distance` blocks get none. */
static void advise_ahead(struct reader *r, unsigned i)
{
    unsigned ahead = i + r->distance;

    if (r->distance == 0 || ahead >= r->blocks->count)
        return;
    const struct block *block = &r->blocks->block[ahead];
    r->shared->block[ahead].advised = timeline_now();
    errno = posix_fadvise(r->blocks->fd, block->offset, (off_t)block->length,
                          POSIX_FADV_WILLNEED);
    if (errno) /* It returns the error, and leaves errno alone. */
        give_up("giving advice on a block");
}

/* blocks_read() is the loop around pread() of chapter 01. It has to be pread(), and not
   read(). All workers have inherited one open file, and it has one position. Each
   read() would move it for all of them.

   If a read fails, this worker ends, and the parent says what was wrong with which
   block. So it is said once. */
static void read_block(struct reader *r, struct worker *me, unsigned i)
{
    r->shared->block[i].taken = timeline_now();
    me->block = i;
    me->res = blocks_read(r->blocks, i); /* Here it sleeps. */
    if (me->res <= 0)
        _exit(1);
    r->shared->block[i].full = timeline_now();
}

/* A new process sees the shared memory, and has no page tables for it. The kernel fills
   them in page by page, when the process first touches a page. In a virtual machine the
   hypervisor may have tables of its own to fill in then. So a first read takes longer
   than all later ones.

   A worker of a server has done that long ago. So ours reads each block once, before the
   clock starts. The parent drops the pages and the times that come of it. */
static void rehearse(struct reader *r, struct worker *me)
{
    for (unsigned i = 0; i < r->blocks->count; i++)
        read_block(r, me, i);
}

/* Nobody hands out the work. Each worker takes the next number from a counter that all of
   them see. atomic_fetch_add() reads the counter and adds one to it in a single step, so
   no two workers get the same number.

   First the advice, then the read, because the read sleeps. While this worker sleeps for
   block i, the disk can already bring in the other one. */
static void read_blocks(struct reader *r, struct worker *me)
{
    unsigned i;

    while ((i = atomic_fetch_add(&r->shared->next, 1)) < r->blocks->count) {
        advise_ahead(r, i);
        read_block(r, me, i);
    }
}

/* The life of a worker. start_done() waits for the others: to end takes time on a
   processor, and they may still need it. */
static void work(void *context, unsigned w)
{
    struct reader *r = context;
    struct worker *me = &r->shared->worker[w];

    rehearse(r, me);
    start_wait(&r->start);
    long before = timeline_sleeps();
    read_blocks(r, me);
    me->sleeps = timeline_sleeps() - before;
    start_done(&r->start);
}

/* --- The parent ------------------------------------------------------------ */

/* Worker `w` has ended. If its status is not 0, it has not done its work. The block that
   it had taken is not read, and nobody else will take it. It may even have died in the
   middle of a store to the shared memory, so the others must not go on, either.

   We still look at `res` and `block` of that worker, but only for the message. The number
   comes from memory that we do not trust any more. So look whether there is such a block. */
static void give_up_if_failed(const struct reader *r, unsigned w, int status)
{
    const struct worker *worker = &r->shared->worker[w];

    if (WIFSIGNALED(status))
        errx(1, "reading %s: worker %u: %s", r->blocks->path, w,
             strsignal(WTERMSIG(status)));
    if (worker->res <= 0 && worker->block < r->blocks->count)
        blocks_failed(r->blocks, worker->block, worker->res);
    if (status != 0)
        exit(1); /* It has said why. */
}

/* `workers` for a child that is none of ours. Whoever exec'ed us may have had some. */
static unsigned worker_of(const struct reader *r, pid_t pid)
{
    unsigned w = 0;

    while (w < workers && r->start.pid[w] != pid)
        w++;
    return w;
}

/* waitpid(-1): for any one of them. If we waited for worker 0 first, we would hear of
   worker 3's death only when 0 is done. And it is processes that we wait for, and not a
   number of blocks: the dead read no more.

   When waitpid() reports that a worker has ended, we see everything that it wrote. */
static void wait_for_workers(const struct reader *r, struct timeline *timeline)
{
    for (unsigned left = workers; left > 0;) {
        int status;

        timeline_call(timeline, CALL_WAIT);
        pid_t pid = waitpid(-1, &status, 0);
        timeline_return(timeline);
        if (pid < 0) {
            if (errno == EINTR)
                continue;
            err(1, "waiting for %u workers", left);
        }
        unsigned w = worker_of(r, pid);
        if (w == workers)
            continue;
        give_up_if_failed(r, w, status);
        left--;
    }
}

/* A block is in flight from when somebody hands its request over to the kernel. That is
   the advice or the read, whichever came first. */
static int64_t begin_of(const struct shared *shared, unsigned i)
{
    int64_t advised = shared->block[i].advised, taken = shared->block[i].taken;

    return advised > 0 && advised < taken ? advised : taken;
}

/* What the workers have noted, for the picture and the facts.

   `total` goes on until all workers have ended, and to end a process takes time. So when
   the last block was there is a fact of its own. */
static void record(const struct reader *r, struct timeline *timeline)
{
    const struct shared *shared = r->shared;
    long sleeps = 0;
    int64_t last = 0;

    for (unsigned i = 0; i < r->blocks->count; i++) {
        int64_t full = shared->block[i].full;
        timeline_read(timeline, i, begin_of(shared, i), full);
        if (full > last)
            last = full;
    }
    for (unsigned w = 0; w < workers; w++)
        sleeps += shared->worker[w].sleeps;
    timeline_fact(timeline, "sleeps of the workers", sleeps);
    timeline_fact_time(timeline, "last block after", last - timeline->start);
}

/* start_now() is the submit: one close(), and all workers run. */
static void read_all(const struct blocks *blocks, struct timeline *timeline,
                     void *context)
{
    struct reader *r = context;

    (void)blocks; /* The workers have them already. */
    timeline_call(timeline, CALL_SUBMIT);
    start_now(&r->start);
    timeline_return(timeline);
    wait_for_workers(r, timeline);
    record(r, timeline);
}

/* A server has its workers before the work comes, and so have we. job_pass() drops the
   pages that the workers have just read, and starts the clock. The times of the rehearsal
   are nobody's business. */
static void pass(struct job *job, const char *title, struct reader *r)
{
    memset(r->shared, 0, sizeof(*r->shared));
    for (unsigned w = 0; w < workers; w++)
        r->shared->worker[w].res = 1; /* Nothing has failed. */
    start_workers(&r->start, workers, work, r);
    memset(r->shared->block, 0, sizeof(r->shared->block));
    job_pass(job, title, read_all, r);
    start_over(&r->start);
}

int main(int argc, char **argv)
{
    /* Whoever started us may ignore SIGCHLD, and we have inherited that. Then dead
       children vanish, and waitpid() finds none. */
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR)
        err(1, "setting what SIGCHLD does");

    struct job *job = job_open(argc, argv, &program);
    struct blocks *blocks = job_blocks(job);
    size_t bytes = blocks->count * blocks->size;
    void *data = share(bytes);
    struct shared *shared = share(sizeof(*shared));
    struct reader plain = {.blocks = blocks, .shared = shared};
    struct reader advised = {
        .blocks = blocks, .shared = shared, .distance = distance};

    blocks_move(blocks, data);
    pass(job, "plain", &plain);
    pass(job, "advised", &advised);
    int status = job_close(job);
    if (munmap(data, bytes) || munmap(shared, sizeof(*shared)))
        err(1, "unmapping the shared memory");
    return status;
}
