/*
 * 06-ways · Four ways, side by side
 *
 * Part I has four ways to read the same eight blocks: one after the other, with advice,
 * with four threads, and with four processes. This program does all of them, from a
 * cold cache, in many rounds. It counts the same things in each.
 *
 * Watch for: where the sleeps are. Threads and processes sleep as often as the first
 * way does, but the main thread does not. Advice sleeps less, and in the main thread.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/06-processes/ways.c \
 *           chapters/06-processes/start.c common/?*.c -lz -pthread -o 06-ways
 *
 * Needs: Linux 2.6.27, for pipe2(2).
 * Manual pages: fork(2), pthreads(7), pthread_barrier_wait(3), getrusage(2).
 */
#include "args.h"
#include "blocks.h"
#include "cost.h"
#include "ready.h"
#include "start.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, WAYS = 4, MAX_ROUNDS = 1000 };

static unsigned rounds = 21;

/* For --check, as in the lesson. */
static void ready(const struct args *args)
{
    ready_advice(args);
    ready_threads(WORKERS);
}

static const struct program program = {
    .name = "06-ways",
    .page = "06-processes",
    .does = "Reads the same blocks in the four ways of part I.",
    .takes_file = true,
    .ready = ready,
    .options =
        (const struct program_option[]){OPTION_NUMBER("rounds",
                                                      "how often each way runs",
                                                      &rounds, 1, MAX_ROUNDS),
                                        OPTION_END},
};

/* In memory that processes share. Threads share all memory anyway. */
struct shared {
    atomic_uint next; /* The first that nobody has taken. */
    atomic_long worker_sleeps, main_sleeps; /* In reads of blocks. */
    _Atomic int64_t begin[MAX_BLOCKS], end[MAX_BLOCKS];
    _Atomic int64_t res[MAX_BLOCKS]; /* What its read has returned. */
};

/* What is counted of one round of one way. */
enum { IN_FLIGHT, SLEEPS, MAIN_SLEEPS, MAKING, READING, COLUMNS };

static struct blocks blocks;
static struct shared *shared;
static pthread_barrier_t barrier; /* The threads meet here, and main. */
static pthread_t thread[WORKERS];
static struct start start; /* The processes. */

/* Is this a worker? Each thread has this variable for itself, and each process. */
static _Thread_local bool is_worker;

/* --- One block ------------------------------------------------------------- */

/* The sleeps of this one read count, of whichever thread makes it. Whatever else a
   thread waits for is not in here: a start, or another's end. */
static void read_block(unsigned i)
{
    long sleeps = timeline_sleeps();

    if (shared->begin[i] == 0) /* Else an advice has handed it over. */
        shared->begin[i] = timeline_now();
    shared->res[i] = blocks_read(&blocks, i);
    shared->end[i] = timeline_now();
    atomic_fetch_add(is_worker ? &shared->worker_sleeps : &shared->main_sleeps,
                     timeline_sleeps() - sleeps);
}

/* From here on the block is in flight, as in chapter 03. */
static void advise(unsigned i)
{
    const struct block *block = &blocks.block[i];

    shared->begin[i] = timeline_now();
    errno = posix_fadvise(blocks.fd, block->offset, (off_t)block->length,
                          POSIX_FADV_WILLNEED);
    if (errno) /* It returns the error, and leaves errno alone. */
        err(1, "giving advice on %s", blocks.path);
}

/* What a worker does, be it a thread or a process. */
static void work(void)
{
    unsigned i;

    is_worker = true;
    while ((i = atomic_fetch_add(&shared->next, 1)) < blocks.count)
        read_block(i);
}

/* --- The four ways --------------------------------------------------------- */

static void one_by_one(void)
{
    for (unsigned i = 0; i < blocks.count; i++)
        read_block(i);
}

static void advice(void)
{
    for (unsigned i = 0; i < blocks.count; i++)
        advise(i);
    one_by_one();
}

/* A barrier lets nobody through before all are there. The workers and main meet three
   times: when all are ready, at the start, and when nobody reads any more. */
static void *thread_work(void *unused)
{
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    work();
    pthread_barrier_wait(&barrier);
    return unused;
}

/* The pthread functions return their error, and leave errno alone. */
static void make_threads(void)
{
    errno = pthread_barrier_init(&barrier, NULL, 1 + WORKERS);
    if (errno)
        err(1, "making a barrier");
    for (unsigned w = 0; w < WORKERS; w++) {
        errno = pthread_create(&thread[w], NULL, thread_work, NULL);
        if (errno)
            errx(1, "making thread %u: %s%s", w, strerror(errno),
                 why_no_thread(errno));
    }
    pthread_barrier_wait(&barrier);
}

static void threads(void)
{
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
}

static void end_threads(void)
{
    for (unsigned w = 0; w < WORKERS; w++) {
        errno = pthread_join(thread[w], NULL);
        if (errno)
            err(1, "waiting for thread %u", w);
    }
    pthread_barrier_destroy(&barrier);
}

/* Threads share the page tables that main has filled in its rehearsal. A process has its
   own, so each one rehearses: see the lesson. */
static void process_work(void *unused, unsigned w)
{
    (void)unused;
    (void)w;
    for (unsigned i = 0; i < blocks.count; i++)
        read_block(i);
    start_wait(&start);
    work();
    start_done(&start);
}

static void make_processes(void)
{
    start_workers(&start, WORKERS, process_work, NULL);
}

static void processes(void)
{
    start_now(&start);
    start_over(&start);
}

static void end_processes(void)
{
    for (unsigned w = 0; w < WORKERS; w++) {
        int status;

        while (waitpid(start.pid[w], &status, 0) < 0)
            if (errno != EINTR)
                err(1, "waiting for worker %u", w);
        if (status != 0)
            errx(1, "worker %u has died", w);
    }
}

/* --- The table ------------------------------------------------------------- */

static void nobody(void)
{
}

static const struct way {
    const char *name;
    void (*make)(void), (*read)(void), (*end)(void);
    unsigned workers; /* Besides the main thread. */
} ways[WAYS] = {
    {"one by one (01)", nobody, one_by_one, nobody, 0},
    {"advice (03)", nobody, advice, nobody, 0},
    {"four threads (05)", make_threads, threads, end_threads, WORKERS},
    {"four processes (06)", make_processes, processes, end_processes, WORKERS},
};

/* A block is in flight from when it is handed over to when its reader has all of it. The
   number grows only when a block is handed over, so it is enough to look at those
   moments. */
static unsigned most_in_flight(void)
{
    unsigned most = 0;

    for (unsigned i = 0; i < blocks.count; i++) {
        int64_t now = shared->begin[i];
        unsigned n = 0;

        for (unsigned k = 0; k < blocks.count; k++)
            n += shared->begin[k] <= now && now < shared->end[k];
        if (n > most)
            most = n;
    }
    return most;
}

/* From a cold cache, as all chapters do. The pages are dropped after the rehearsal of the
   workers. READING is from the start to when all blocks are there. Whatever the workers
   cost before and after that is MAKING. */
static void measure(const struct way *way, double *result)
{
    int64_t begin = timeline_now();
    way->make();
    int64_t ready = timeline_now();
    blocks_drop(&blocks);
    memset(shared, 0, sizeof(*shared));
    int64_t go = timeline_now(), last = 0;
    way->read();
    int64_t over = timeline_now();
    way->end();
    int64_t end = timeline_now();

    for (unsigned i = 0; i < blocks.count; i++)
        if (shared->res[i] <= 0)
            blocks_failed(&blocks, i, shared->res[i]);
        else if (shared->end[i] > last)
            last = shared->end[i];
    long in_main = atomic_load(&shared->main_sleeps);
    result[IN_FLIGHT] = most_in_flight();
    result[SLEEPS] = (double)(in_main + atomic_load(&shared->worker_sleeps));
    result[MAIN_SLEEPS] = (double)in_main;
    result[MAKING] = (double)(ready - begin + end - over);
    result[READING] = (double)(last - go);
}

/* Each number is a median of its own. A mean would be that of the few rounds in which
   somebody else had the disk. */
static void print_row(const struct way *way, double (*results)[COLUMNS])
{
    double of[MAX_ROUNDS], median[COLUMNS];

    for (int column = 0; column < COLUMNS; column++) {
        for (unsigned i = 0; i < rounds; i++)
            of[i] = results[i][column];
        median[column] = cost_median(of, rounds);
    }
    printf("%-20s%7u%9.0f%8.0f%9.0f", way->name, way->workers,
           median[IN_FLIGHT], median[SLEEPS], median[MAIN_SLEEPS]);
    if (way->workers > 0)
        printf("%10.2f ms", median[MAKING] / 1e6);
    else
        printf("%13s", "-");
    printf("%10.2f ms\n", median[READING] / 1e6);
}

int main(int argc, char **argv)
{
    /* See the lesson. */
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR)
        err(1, "setting what SIGCHLD does");

    struct args args = args_parse(argc, argv, &program);
    static double results[WAYS][MAX_ROUNDS][COLUMNS];

    blocks_open(&blocks, &args);
    size_t bytes = blocks.count * blocks.size;
    void *data = share(bytes);
    shared = share(sizeof(*shared));
    blocks_move(&blocks, data);
    for (unsigned i = 0; i < blocks.count; i++) /* A rehearsal: chapter 01. */
        read_block(i);
    blocks_drop(&blocks);
    blocks_announce(&blocks);

    /* All ways in each round: a quiet moment is one for all of them. */
    for (unsigned i = 0; i < rounds; i++)
        for (unsigned w = 0; w < WAYS; w++)
            measure(&ways[w], results[w][i]);

    printf("%36s%18s%13s\n", "most in", "sleeps in reads", "to make");
    printf("%-20s%7s%9s%8s%9s%13s%13s\n", "", "workers", "flight", "all",
           "in main", "and end them", "to read");
    for (unsigned w = 0; w < WAYS; w++)
        print_row(&ways[w], results[w]);

    if (munmap(data, bytes) || munmap(shared, sizeof(*shared)))
        err(1, "unmapping the shared memory");
    blocks_close(&blocks);
    return 0;
}
