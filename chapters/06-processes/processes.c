/*
 * 06 · Processes
 *
 * Reads the eight blocks with four processes, the way PostgreSQL did before
 * version 18: each reads with pread(2) and sleeps, but they sleep side by side,
 * and each advises the kernel of the blocks that come next. Then one process
 * alone, looking 0, 1, 4 and 8 blocks ahead.
 *
 * Watch for: four bars at a time, and a main thread that only waits. In the
 * table below, what advice alone does: the pages are there before the read.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/06-processes/processes.c \
 *           common/?*.c -lz -o 06-processes
 *
 * Needs: any Linux.
 * Manual pages: fork(2), mmap(2), posix_fadvise(2), prctl(2), waitpid(2).
 */
#include "args.h"
#include "blocks.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_WORKERS = 64, NO_BLOCK = MAX_BLOCKS };

static unsigned workers = 4, distance = 4;

static const struct program program = {
    .name = "06-processes",
    .does = "Reads blocks of a file with several processes and advice ahead.",
    .reads_blocks = true,
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("workers", "processes that read", &workers, 1,
                          MAX_WORKERS),
            OPTION_NUMBER("distance", "blocks to advise ahead", &distance, 0,
                          64),
            OPTION_END},
};

/* All that the processes share, but for the blocks' data. After a fork() each
   process has its own copy of every variable; only this is the same memory. */
struct shared {
    atomic_uint next; /* The first block that nobody has taken. */
    struct worker {
        atomic_uint block; /* Which one it is at, or NO_BLOCK. */
        int64_t res;       /* What its last read has returned. */
        unsigned advice;   /* Calls of posix_fadvise(). */
        long sleeps;       /* Voluntary context switches. */
    } worker[MAX_WORKERS];
    struct {
        int64_t begin, end; /* CLOCK_MONOTONIC: one clock for all processes. */
        long resident;      /* Pages in the cache when its read began. */
    } block[MAX_BLOCKS];
};

/* An atomic that is made with a lock may keep the lock elsewhere, in memory
   that is not shared. The lock-free ones should do: C17, 7.17.5. */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "atomic_uint takes a lock here");

struct job {
    struct blocks *blocks;
    struct shared *shared;
    unsigned workers, distance;
    bool look; /* Before each read, at what is in the cache? */
    pid_t pid[MAX_WORKERS];
    int ready[2], go[2]; /* Two pipes: see end_of(). */
};

static void *share(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        err(1, "mapping %zu bytes of shared memory", bytes);
    return memory;
}

/* Nothing is ever written to these pipes. A read returns 0, the end, once the
   last process that could write has closed its end: on `ready` the parent waits
   for all workers, on `go` all workers wait for the parent. Who dies closes. */
static bool end_of(int pipe)
{
    char byte;
    ssize_t n;

    do
        n = read(pipe, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 0;
}

/* --- In a worker --------------------------------------------------------- */

/* What err() does, but for its exit(): that would run the parent's exit
   handlers in here. A forked process ends with _exit(). */
__attribute__((noreturn)) static void give_up(const char *doing)
{
    warn("%s", doing);
    _exit(1);
}

/* When block `i` is taken, all up to `distance` behind it are to be on their
   way. Those nearer than that were advised with the blocks before it, so each
   block but the first gets one call in all. */
static void advise_ahead(const struct job *job, struct worker *me, unsigned i)
{
    const struct blocks *blocks = job->blocks;
    unsigned far = i + job->distance;

    if (job->distance == 0)
        return;
    for (unsigned k = i == 0 ? 1 : far; k <= far && k < blocks->count; k++) {
        const struct block *ahead = &blocks->block[k];

        do /* It returns the error. PostgreSQL has met EINTR here, the manual
              has not. */
            errno = posix_fadvise(blocks->fd, ahead->offset,
                                  (off_t)ahead->length, POSIX_FADV_WILLNEED);
        while (errno == EINTR);
        if (errno)
            give_up("advising the kernel of a block");
        me->advice++;
    }
}

/* How many pages of this one block are in the cache. */
static long resident(const struct blocks *blocks, unsigned i)
{
    struct blocks one = *blocks;

    one.block += i;
    one.count = 1;
    return blocks_resident(&one);
}

__attribute__((noreturn)) static void work(struct job *job, unsigned w,
                                           pid_t parent)
{
    struct shared *shared = job->shared;
    struct worker *me = &shared->worker[w];

    /* When the parent dies, be it by SIGKILL, so shall we. But it may have
       died before this call, and then no signal will ever come: so look who
       the parent is, after the call and not before it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL))
        give_up("asking for a signal when the parent dies");
    if (getppid() != parent)
        _exit(1);

    /* We have a copy of the parent's end, too. Left open, it would keep all
       of us waiting for ever. */
    if (close(job->go[1]) || close(job->ready[1]) || !end_of(job->go[0]))
        give_up("waiting for the start");

    long sleeps = timeline_sleeps();
    for (;;) {
        /* Nobody else gets this number: that is what the atomic is for. It
           orders nothing else, and need not. */
        unsigned i =
            atomic_fetch_add_explicit(&shared->next, 1, memory_order_relaxed);
        if (i >= job->blocks->count)
            break;
        atomic_store(&me->block, i); /* Should we die, the parent looks. */
        shared->block[i].begin = timeline_now();
        advise_ahead(job, me, i);
        if (job->look)
            shared->block[i].resident = resident(job->blocks, i);
        me->res = blocks_read(job->blocks, i); /* pread(), and sleep. */
        if (me->res <= 0)
            _exit(1); /* The parent tells it, once for all of us. */
        shared->block[i].end = timeline_now();
        atomic_store(&me->block, NO_BLOCK);
    }
    me->sleeps = timeline_sleeps() - sleeps;
    _exit(0);
}

/* --- In the parent ------------------------------------------------------- */

/* Kill those that are left, and wait for each: until its parent has taken
   notice, a dead process stays in the table of processes, a zombie. */
static void stop_workers(struct job *job)
{
    for (unsigned w = 0; w < job->workers; w++) {
        if (job->pid[w] == 0)
            continue;
        if (kill(job->pid[w], SIGKILL) ||
            waitpid(job->pid[w], NULL, 0) != job->pid[w])
            warn("stopping worker %u", w);
        job->pid[w] = 0;
    }
}

static void start_workers(struct job *job)
{
    pid_t parent = getpid();

    if (pipe(job->ready) || pipe(job->go))
        err(1, "making a pipe");
    /* What is in stdout's buffer now would be in each worker's, too, and come
       out again where one calls exit() after all: a helper that fails does. */
    fflush(stdout);
    for (unsigned w = 0; w < job->workers; w++) {
        pid_t pid = fork();
        if (pid < 0) {
            warnx("forking worker %u: %s%s", w, strerror(errno),
                  why_no_thread(errno));
            stop_workers(job);
            exit(1);
        }
        if (pid == 0)
            work(job, w, parent);
        job->pid[w] = pid;
    }
    if (close(job->ready[1]) || !end_of(job->ready[0]) ||
        close(job->ready[0]) || close(job->go[0]))
        err(1, "waiting for %u workers to be ready", job->workers);
}

/* Worker `w` is dead and has not done its work. What it leaves in the shared
   memory can't be relied on: stop the others, and say which block it was. */
__attribute__((noreturn)) static void died(struct job *job, unsigned w,
                                           pid_t pid, int status)
{
    const struct worker *worker = &job->shared->worker[w];
    unsigned block = atomic_load(&worker->block);
    char at[32] = "no block";

    stop_workers(job);
    if (worker->res <= 0)
        blocks_failed(job->blocks, block, worker->res);
    if (block != NO_BLOCK)
        snprintf(at, sizeof(at), "block %u", block);
    errx(1, "worker %u (process %d), at %s of %s: %s", w, pid, at,
         job->blocks->path,
         WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it gave up");
}

static void wait_for_workers(struct job *job, struct timeline *timeline)
{
    for (unsigned left = job->workers; left > 0;) {
        unsigned w = 0;
        int status;

        /* For any one of them. Waiting for worker 0 first, we would not hear
           of worker 3's death before 0 is done. */
        timeline_call(timeline, CALL_WAIT);
        pid_t pid = waitpid(-1, &status, 0);
        timeline_return(timeline);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0)
            err(1, "waiting for %u workers", left);
        while (w < job->workers && job->pid[w] != pid)
            w++;
        if (w == job->workers)
            continue; /* Not ours: who exec'ed us may have had children. */
        job->pid[w] = 0;
        if (status != 0)
            died(job, w, pid, status);
        left--;
    }
}

static void read_all(struct job *job, struct timeline *timeline)
{
    struct shared *shared = job->shared;

    memset(shared, 0, sizeof(*shared));
    for (unsigned w = 0; w < job->workers; w++) {
        shared->worker[w].block = NO_BLOCK;
        shared->worker[w].res = 1; /* Nothing has failed. */
    }
    blocks_clear(job->blocks);

    /* A server has its workers before the work comes, and so have we. The
       clock starts when they do. */
    start_workers(job);
    timeline_start(timeline);
    timeline_call(timeline, CALL_SUBMIT);
    int failed = close(job->go[1]);
    timeline_return(timeline);
    if (failed)
        err(1, "starting the workers");
    wait_for_workers(job, timeline);
    timeline_stop(timeline);
    timeline_threads(timeline);

    for (unsigned i = 0; i < job->blocks->count; i++) {
        struct bar *bar = &timeline->block[i];

        bar->begin = shared->block[i].begin - timeline->start;
        bar->end = shared->block[i].end - timeline->start;
        timeline
            ->came[bar->end < timeline->main[0].end ? IN_SUBMIT : IN_WAIT]++;
    }
}

/* The main thread's sleeps are in the timeline, the workers' where all can
   see them. */
static void print_processes(const struct job *job,
                            const struct timeline *timeline)
{
    long theirs = 0;

    for (unsigned w = 0; w < job->workers; w++)
        theirs += job->shared->worker[w].sleeps;
    printf("processes: %u\n", 1 + job->workers);
    printf("sleeps: %ld in the parent, %ld in the workers\n",
           timeline_slept(timeline), theirs);
}

static void print_row(const struct job *job)
{
    const struct worker *worker = &job->shared->worker[0];
    const unsigned max = 8; /* What fits a line. */

    printf("distance %u %10u %7ld ", job->distance, worker->advice,
           worker->sleeps);
    for (unsigned i = 0; i < job->blocks->count && i < max; i++)
        if (job->shared->block[i].resident == PAGES_UNKNOWN)
            printf("    ?");
        else
            printf(" %4ld", job->shared->block[i].resident);
    puts(job->blocks->count > max ? " ..." : "");
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    static const unsigned distances[] = {0, 1, 4, 8};
    struct blocks blocks;

    blocks_open(&blocks, &args);
    size_t bytes = (size_t)blocks.count * blocks.size;
    void *data = share(bytes);
    blocks_move(&blocks, data);
    struct timeline *timeline = timeline_new("processes", blocks.count);
    struct job job = {.blocks = &blocks,
                      .shared = share(sizeof(struct shared)),
                      .workers = workers,
                      .distance = distance};

    /* Who started us may have told the kernel to forget dead children, and that
       is inherited. Then waitpid() would find none. */
    signal(SIGCHLD, SIG_DFL);
    blocks_drop(&blocks);
    blocks_announce(&blocks);
    read_all(&job, timeline);
    timeline_draw(timeline, timeline);
    timeline_facts(timeline, blocks_checksum(&blocks));
    print_processes(&job, timeline);

    puts("\nOne worker; no page cached before each row:\n"
         "               advice  sleeps  pages cached when each read began");
    job.workers = 1;
    job.look = true;
    for (unsigned i = 0; i < sizeof(distances) / sizeof(*distances); i++) {
        struct timeline *row = timeline_new("", blocks.count);

        job.distance = distances[i];
        blocks_drop(&blocks);
        read_all(&job, row);
        print_row(&job);
        timeline_free(row);
    }

    timeline_trace(args.trace, (struct timeline *[]){timeline, NULL});
    timeline_free(timeline);
    blocks_close(&blocks);
    if (munmap(data, bytes) || munmap(job.shared, sizeof(struct shared)))
        err(1, "unmapping the shared memory");
    return 0;
}
