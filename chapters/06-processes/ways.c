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
 * Needs: Linux 2.6.
 * Manual pages: fork(2), pthreads(7), prctl(2), getrusage(2).
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
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, WAYS = 4, MAX_ROUNDS = 1000 };

static unsigned rounds = 21;

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
    pthread_barrier_t barrier; /* All workers and the main thread meet here. */
    atomic_uint next;          /* The first block that nobody has taken. */
    atomic_long sleeps;        /* In reads of blocks, of everybody. */
    int64_t begin[MAX_BLOCKS], end[MAX_BLOCKS];
    int64_t res[MAX_BLOCKS]; /* What its read has returned. */
};

/* What is counted of one round of one way. */
enum { IN_FLIGHT, SLEEPS, MAIN_SLEEPS, MAKING, READING, COLUMNS };

static struct blocks blocks;
static struct shared *shared;
static pid_t pids[WORKERS];

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
    atomic_fetch_add(&shared->sleeps, timeline_sleeps() - sleeps);
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

/* What a worker does, be it a thread or a process. A barrier lets nobody through before
   all are there. The first time all are ready. The second time all blocks are there, and
   nobody has spent time on ending yet. */
static void *work(void *unused)
{
    unsigned i;

    pthread_barrier_wait(&shared->barrier);
    while ((i = atomic_fetch_add(&shared->next, 1)) < blocks.count)
        read_block(i);
    pthread_barrier_wait(&shared->barrier);
    return unused;
}

/* --- The four ways --------------------------------------------------------- */

/* Each way makes its workers first, if it has any. Until all of them are ready is MAKING.
   From then until all blocks are there is READING. */
static void start(double *result)
{
    pthread_barrier_wait(&shared->barrier);
    result[MAKING] = (double)timeline_now() - result[MAKING];
    result[READING] = (double)timeline_now();
}

static void stop(double *result)
{
    pthread_barrier_wait(&shared->barrier);
    result[READING] = (double)timeline_now() - result[READING];
}

static void one_by_one(double *result)
{
    start(result);
    for (unsigned i = 0; i < blocks.count; i++)
        read_block(i);
    stop(result);
    result[MAIN_SLEEPS] = (double)atomic_load(&shared->sleeps);
}

static void advice(double *result)
{
    start(result);
    for (unsigned i = 0; i < blocks.count; i++)
        advise(i);
    for (unsigned i = 0; i < blocks.count; i++)
        read_block(i);
    stop(result);
    result[MAIN_SLEEPS] = (double)atomic_load(&shared->sleeps);
}

/* Threads share all memory, and one table of open files. So there is nothing to map. */
static void threads(double *result)
{
    pthread_t thread[WORKERS];

    for (unsigned w = 0; w < WORKERS; w++)
        if ((errno = pthread_create(&thread[w], NULL, work, NULL)))
            errx(1, "making thread %u: %s%s", w, strerror(errno),
                 why_no_thread(errno));
    start(result);
    stop(result);
    for (unsigned w = 0; w < WORKERS; w++)
        if ((errno = pthread_join(thread[w], NULL)))
            err(1, "waiting for thread %u", w);
}

/* A barrier does not learn of the dead. Who waits there for a worker that was killed, waits
   for ever. So this handler ends the program. It may call only what signal-safety(7) lists,
   and the workers end with us. */
static void child_ended(int number, siginfo_t *info, void *context)
{
    static const char says[] = "06-ways: a worker has died\n";

    (void)number;
    (void)context;
    for (unsigned w = 0; w < WORKERS; w++)
        if (info->si_pid == pids[w] && info->si_status != 0)
            _exit(write(STDERR_FILENO, says, sizeof(says) - 1) > 0 ? 1 : 3);
}

/* prctl() and getppid() are the lesson's: the children end if we do. */
static void processes(double *result)
{
    pid_t parent = getpid();

    fflush(stdout);
    for (unsigned w = 0; w < WORKERS; w++) {
        pids[w] = fork();
        if (pids[w] < 0)
            errx(1, "forking worker %u: %s%s", w, strerror(errno),
                 why_no_thread(errno));
        if (pids[w] > 0)
            continue;
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
            _exit(1);
        blocks_clear(&blocks); /* Its page tables: see the lesson. */
        work(NULL);
        _exit(0);
    }
    start(result);
    stop(result);
    for (unsigned w = 0; w < WORKERS; w++)
        while (waitpid(pids[w], NULL, 0) < 0)
            if (errno != EINTR)
                err(1, "waiting for worker %u", w);
}

/* --- The table ------------------------------------------------------------- */

static const struct way {
    const char *name;
    void (*read)(double *result);
    unsigned workers; /* Besides the main thread. */
} ways[WAYS] = {
    {"one by one (01)", one_by_one, 0},
    {"advice (03)", advice, 0},
    {"four threads (05)", threads, WORKERS},
    {"four processes (06)", processes, WORKERS},
};

/* A block is in flight from when it is handed over to when all of it is there. The number
   grows only when a block is handed over, so it is enough to look at those moments. */
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

/* From a cold cache, as all chapters do. */
static void measure(const struct way *way, double *result)
{
    pthread_barrierattr_t attributes;

    blocks_drop(&blocks);
    memset(shared, 0, sizeof(*shared));
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->barrier, &attributes, 1 + way->workers);
    result[MAIN_SLEEPS] = 0;
    result[MAKING] = (double)timeline_now();
    way->read(result);
    result[SLEEPS] = (double)atomic_load(&shared->sleeps);
    result[IN_FLIGHT] = most_in_flight();
    for (unsigned i = 0; i < blocks.count; i++)
        if (shared->res[i] <= 0)
            blocks_failed(&blocks, i, shared->res[i]);
    pthread_barrier_destroy(&shared->barrier);
    pthread_barrierattr_destroy(&attributes);
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
    printf("%10.2f ms%10.2f ms\n", median[MAKING] / 1e6, median[READING] / 1e6);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = child_ended,
                               .sa_flags = SA_SIGINFO | SA_RESTART};

    if (sigaction(SIGCHLD, &action, NULL))
        err(1, "handling the end of a worker");

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

    printf("%36s%18s\n", "most in", "reads that slept");
    printf("%-20s%7s%9s%8s%9s%13s%13s\n", "", "workers", "flight", "all",
           "in main", "making them", "reading");
    for (unsigned w = 0; w < WAYS; w++)
        print_row(&ways[w], results[w]);

    if (munmap(data, bytes) || munmap(shared, sizeof(*shared)))
        err(1, "unmapping the shared memory");
    blocks_close(&blocks);
    return 0;
}
