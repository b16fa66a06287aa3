/*
 * 05-cost · What a read costs through a thread
 *
 * Reads single pages of a file, one after the other, in five ways. In the first the event
 * loop calls pread(2) itself. In the others a thread does it for the loop, as in the
 * lesson. They differ in one thing: whether a thread has the mutex while it wakes
 * another one. The pages are in the cache, or with --cold they are not.
 *
 * The program keeps to one processor, with sched_setaffinity(2). There a thread that is
 * woken runs at once, in place of the one that woke it. On two processors both run, and
 * who gets to the mutex first is a race: --anywhere.
 *
 * Watch for: the switches. A warm pread() has none of them. To hand it over and to get it
 * back takes two, and up to four where the mutex is in the way.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/05-thread-pool/cost.c \
 *           common/?*.c -lz -pthread -o 05-cost
 *
 * Needs: Linux 2.6.27, for the flags of eventfd(2).
 * Manual pages: pthread_cond_signal(3), eventfd(2), getrusage(2), sched_setaffinity(2).
 */
#define _GNU_SOURCE /* sched_setaffinity() */
#include "cost.h"
#include "args.h"
#include "blocks.h"
#include "ready.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { READS = 64, MAX_ROUNDS = 1000 };

static unsigned rounds = 21, cold, anywhere;

static void ready(const struct args *args)
{
    (void)args;
    ready_threads(1);
}

static const struct program program = {
    .name = "05-cost",
    .page = "05-thread-pool",
    .does = "Counts what a read costs that a thread makes for an event loop.",
    .takes_file = true,
    .ready = ready,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("rounds", "how often each way runs", &rounds, 1,
                          MAX_ROUNDS),
            OPTION_SWITCH("cold", "drop the pages before", &cold),
            OPTION_SWITCH("anywhere", "on all processors", &anywhere),
            OPTION_END},
};

static const struct way {
    const char *name;
    bool handed_over; /* A thread reads. */
    bool held_to_ask; /* The loop wakes the thread with the mutex held. */
    bool held_to_say; /* The thread wakes the loop with the mutex held. */
} ways[] = {
    {"the loop reads", false, false, false},
    {"a thread reads", true, false, false},
    {"  asked with the mutex held", true, true, false},
    {"  answers with the mutex held", true, false, true},
    {"  both, as libuv does", true, true, true},
};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

/* The lesson's pool with one thread, for one request at a time. */
static struct {
    struct blocks blocks;
    pthread_mutex_t mutex; /* Guards the five below. */
    const struct way *way;
    bool asked, stop;
    unsigned i;  /* Which block is asked for. */
    int64_t res; /* What its read has returned. */
    pthread_cond_t work;
    int wake, epoll;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

/* --- There and back --------------------------------------------------------- */

static void wake_loop(void)
{
    while (eventfd_write(pool.wake, 1))
        if (errno != EINTR) {
            warn("waking the event loop");
            _exit(1);
        }
}

/* The thread. Without held_to_say the loop wakes up when the mutex is free. With it, the
   loop may run before the thread has given the mutex back. Then it goes to sleep again,
   for the mutex, and has to be woken a second time. */
static void *work(void *unused)
{
    pthread_mutex_lock(&pool.mutex);
    for (;;) {
        while (!pool.asked && !pool.stop)
            pthread_cond_wait(&pool.work, &pool.mutex);
        if (pool.stop)
            break;
        const struct way *way = pool.way;
        unsigned i = pool.i;
        pool.asked = false;
        pthread_mutex_unlock(&pool.mutex);

        int64_t res = blocks_read(&pool.blocks, i);

        pthread_mutex_lock(&pool.mutex);
        pool.res = res;
        if (way->held_to_say)
            wake_loop();
        pthread_mutex_unlock(&pool.mutex);
        if (!way->held_to_say)
            wake_loop();
        pthread_mutex_lock(&pool.mutex);
    }
    pthread_mutex_unlock(&pool.mutex);
    return unused;
}

/* The loop, which has nothing else to do. held_to_ask does to the thread what held_to_say
   does to the loop. pthread_cond_wait() can't return before it has the mutex again. So a
   thread that is woken too early sleeps once more. POSIX allows both ways to signal. */
static int64_t hand_over(const struct way *way, unsigned i)
{
    struct epoll_event event;
    eventfd_t count;
    int n;

    pthread_mutex_lock(&pool.mutex);
    pool.way = way;
    pool.i = i;
    pool.asked = true;
    if (way->held_to_ask)
        pthread_cond_signal(&pool.work);
    pthread_mutex_unlock(&pool.mutex);
    if (!way->held_to_ask)
        pthread_cond_signal(&pool.work);

    do
        n = epoll_wait(pool.epoll, &event, 1, -1);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        err(1, "waiting for the thread");
    while (eventfd_read(pool.wake, &count))
        if (errno != EINTR)
            err(1, "reading the eventfd");
    pthread_mutex_lock(&pool.mutex);
    int64_t res = pool.res;
    pthread_mutex_unlock(&pool.mutex);
    return res;
}

/* --- The measurement -------------------------------------------------------- */

/* What one read took, in each round: microseconds, and switches of the process. A switch:
   a processor turned away from one of our threads, because it went to sleep, or because
   another one was to run in its place. */
static struct {
    double us[MAX_ROUNDS], switches[MAX_ROUNDS];
} results[WAYS];

static void read_all(const struct way *way)
{
    const struct blocks *blocks = &pool.blocks;

    for (unsigned i = 0; i < blocks->count; i++) {
        int64_t res =
            way->handed_over ? hand_over(way, i) : blocks_read(blocks, i);
        if (res <= 0)
            blocks_failed(blocks, i, res);
    }
}

static void measure(unsigned w, unsigned round)
{
    long before = timeline_switches();
    int64_t start = timeline_now();

    read_all(&ways[w]);
    results[w].us[round] =
        (double)(timeline_now() - start) / 1e3 / pool.blocks.count;
    results[w].switches[round] =
        (double)(timeline_switches() - before) / pool.blocks.count;
}

/* Both threads stay on the processor on which this one runs now. A thread inherits that
   from the one that makes it. */
static void keep_to_one_processor(void)
{
    unsigned here;
    cpu_set_t *set;

    if (getcpu(&here, NULL) || !(set = CPU_ALLOC(here + 1)))
        err(1, "asking for the processor");
    CPU_ZERO_S(CPU_ALLOC_SIZE(here + 1), set);
    CPU_SET_S(here, CPU_ALLOC_SIZE(here + 1), set);
    if (sched_setaffinity(0, CPU_ALLOC_SIZE(here + 1), set))
        err(1, "keeping to processor %u", here);
    CPU_FREE(set);
}

static void set_up(pthread_t *thread)
{
    struct epoll_event event = {.events = EPOLLIN};

    pool.epoll = epoll_create1(EPOLL_CLOEXEC);
    pool.wake = eventfd(0, EFD_CLOEXEC);
    if (pool.epoll < 0 || pool.wake < 0 ||
        epoll_ctl(pool.epoll, EPOLL_CTL_ADD, pool.wake, &event))
        err(1, "making epoll and an eventfd");
    int error = pthread_create(thread, NULL, work, NULL);
    if (error)
        errx(1, "starting the thread: %s%s", strerror(error),
             why_no_thread(error));
}

static void stop(pthread_t thread)
{
    pthread_mutex_lock(&pool.mutex);
    pool.stop = true;
    pthread_mutex_unlock(&pool.mutex);
    pthread_cond_signal(&pool.work);
    pthread_join(thread, NULL);
    if (close(pool.wake) || close(pool.epoll))
        err(1, "closing the eventfd and epoll");
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    pthread_t thread;

    args.count = READS;
    args.size = (size_t)sysconf(_SC_PAGESIZE);
    blocks_open(&pool.blocks, &args);
    if (!anywhere)
        keep_to_one_processor();
    set_up(&thread);
    if (cold) {
        blocks_drop(&pool.blocks);
        blocks_announce(&pool.blocks);
    } else {
        read_all(&ways[0]);
        printf("%u page%s, warm: each was read once before\n\n",
               pool.blocks.count, pool.blocks.count == 1 ? "" : "s");
    }

    /* All ways in each round: a quiet moment is one for all of them. */
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned w = 0; w < WAYS; w++) {
            if (cold)
                blocks_drop(&pool.blocks);
            measure(w, round);
        }

    printf("%-29s%12s%12s\n", "one read", "time", "switches");
    for (unsigned w = 0; w < WAYS; w++)
        printf("%-29s%9.1f us%12.1f\n", ways[w].name,
               cost_median(results[w].us, rounds),
               cost_median(results[w].switches, rounds));
    stop(thread);
    blocks_close(&pool.blocks);
    return 0;
}
