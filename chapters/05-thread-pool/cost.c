/*
 * 05-cost · What a read costs through a thread
 *
 * Reads single pages of a file, one after the other, in two ways. First the event loop
 * calls pread(2) itself. Then a thread does it for the loop, as in the lesson. The pages
 * are in the cache, or with --cold they are not.
 *
 * Watch for: the switches. A warm pread() has none. Through a thread it has two, because
 * the processor turns from the loop to the thread, and back. --held wakes as libuv does,
 * and then it has four.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/05-thread-pool/cost.c \
 *           common/?*.c -lz -pthread -o 05-cost
 *
 * Needs: Linux 2.6.27, for the flags of eventfd(2).
 * Manual pages: pthread_cond_signal(3), eventfd(2), getrusage(2), sched_setaffinity(2).
 */
#define _GNU_SOURCE /* sched_getcpu() */
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

static unsigned rounds = 21, cold, held;

/* For --check: may this process have a thread? If not, it says so and ends. */
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
            OPTION_SWITCH("held", "wake with the mutex held", &held),
            OPTION_END},
};

/* The lesson's pool with one thread, for one request at a time. */
static struct {
    struct blocks blocks;
    pthread_mutex_t mutex; /* Guards the four below. */
    bool asked, stop;
    unsigned i;  /* Which block is asked for. */
    int64_t res; /* What its read has returned. */
    pthread_cond_t work;
    int wake, epoll;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

/* --- There and back --------------------------------------------------------- */

/* See the lesson. */
static void wake_loop(void)
{
    while (eventfd_write(pool.wake, 1))
        if (errno != EINTR) {
            warn("waking the event loop");
            _exit(1);
        }
}

static void wake_thread(void)
{
    pthread_cond_signal(&pool.work);
}

/* Whoever wakes up needs the mutex. So first give it back, then wake.

   --held does it the other way round. POSIX allows that, and libuv does it. If the one
   that is woken runs at once, it finds the mutex taken. It goes to sleep again, and has
   to be woken a second time. */
static void unlock_and(void (*wake)(void))
{
    if (held)
        wake();
    pthread_mutex_unlock(&pool.mutex);
    if (!held)
        wake();
}

/* In the thread: wait for a request. False: the thread is to end. */
static bool take(unsigned *i)
{
    pthread_mutex_lock(&pool.mutex);
    while (!pool.asked && !pool.stop)
        pthread_cond_wait(&pool.work, &pool.mutex);
    *i = pool.i;
    pool.asked = false;
    bool taken = !pool.stop;
    pthread_mutex_unlock(&pool.mutex);
    return taken;
}

static void *work(void *unused)
{
    unsigned i;

    while (take(&i)) {
        int64_t res = blocks_read(&pool.blocks, i);

        pthread_mutex_lock(&pool.mutex);
        pool.res = res;
        unlock_and(wake_loop);
    }
    return unused;
}

/* In the loop. */
static void ask(unsigned i)
{
    pthread_mutex_lock(&pool.mutex);
    pool.i = i;
    pool.asked = true;
    unlock_and(wake_thread);
}

/* The loop has nothing else to do, so the next event is the answer. */
static int64_t wait_for_answer(void)
{
    struct epoll_event event;
    uint64_t count;
    int n;

    do
        n = epoll_wait(pool.epoll, &event, 1, -1);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        err(1, "waiting for the thread");
    while (read(pool.wake, &count, sizeof(count)) < 0)
        if (errno != EINTR)
            err(1, "reading the eventfd");
    pthread_mutex_lock(&pool.mutex);
    int64_t res = pool.res;
    pthread_mutex_unlock(&pool.mutex);
    return res;
}

/* --- The measurement -------------------------------------------------------- */

enum { LOOP, THREAD, WAYS };

static const char *const names[WAYS] = {"the loop reads", "a thread reads"};

/* What one read took, in each round: microseconds, and switches of the process. A switch:
   a processor stops running one of our threads. Either the thread goes to sleep, or the
   kernel puts another thread in its place. */
static struct {
    double us[MAX_ROUNDS], switches[MAX_ROUNDS];
} results[WAYS];

static int64_t read_page(int way, unsigned i)
{
    if (way == LOOP)
        return blocks_read(&pool.blocks, i);
    ask(i);
    return wait_for_answer();
}

static void read_all(int way)
{
    for (unsigned i = 0; i < pool.blocks.count; i++) {
        int64_t res = read_page(way, i);
        if (res <= 0)
            blocks_failed(&pool.blocks, i, res);
    }
}

static void measure(int way, unsigned round)
{
    long before = timeline_switches();
    int64_t start = timeline_now();

    read_all(way);
    results[way].us[round] =
        (double)(timeline_now() - start) / 1e3 / pool.blocks.count;
    results[way].switches[round] =
        (double)(timeline_switches() - before) / pool.blocks.count;
}

/* Both threads stay on the processor on which this one runs now. A thread inherits that
   from the one that makes it. On two processors it would depend on luck who runs when,
   and so would the number of switches. */
static void keep_to_one_processor(void)
{
    int here = sched_getcpu();
    cpu_set_t set;

    if (here < 0)
        err(1, "asking for the processor");
    CPU_ZERO(&set);
    CPU_SET((unsigned)here, &set);
    if (sched_setaffinity(0, sizeof(set), &set))
        err(1, "keeping to processor %d", here);
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
    unlock_and(wake_thread);
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
    keep_to_one_processor();
    set_up(&thread);
    if (cold) {
        blocks_drop(&pool.blocks);
        blocks_announce(&pool.blocks);
    } else {
        read_all(LOOP);
        printf("%u page%s, warm: each was read once before\n\n",
               pool.blocks.count, pool.blocks.count == 1 ? "" : "s");
    }

    /* Both ways in each round: a quiet moment is one for both of them. */
    for (unsigned round = 0; round < rounds; round++)
        for (int way = LOOP; way < WAYS; way++) {
            if (cold)
                blocks_drop(&pool.blocks);
            measure(way, round);
        }

    printf("%-16s%12s%12s\n", "one read", "time", "switches");
    for (int way = LOOP; way < WAYS; way++)
        printf("%-16s%9.1f us%12.1f\n", names[way],
               cost_median(results[way].us, rounds),
               cost_median(results[way].switches, rounds));
    stop(thread);
    blocks_close(&pool.blocks);
    return 0;
}
