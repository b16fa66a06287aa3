/*
 * 05 · A thread pool
 *
 * An event loop has a timer that ticks every 50 microseconds. Now it also has eight
 * cold blocks to read. It reads them twice. "loop": the loop itself calls pread(2).
 * "pool": four other threads do, and an eventfd(2) wakes the loop when a block is there.
 *
 * Watch for: "ticks during the reads", which is 0 in "loop". In "pool" the loop handles
 * ticks while blocks are in flight, and it sleeps in no submit. At most four blocks are
 * in flight, because a thread makes one read at a time.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/05-thread-pool/thread-pool.c common/?*.c -lz -pthread \
 *           -o 05-thread-pool
 *
 * Needs: Linux 2.6.27, for the flags of eventfd(2) and timerfd_create(2).
 * Manual pages: pthreads(7), pthread_cond_wait(3), eventfd(2), epoll(7),
 * timerfd_create(2).
 */
#include "job.h"
#include "ready.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MAX_THREADS = READY_MAX_THREADS, TICK = 50000 /* Nanoseconds. */ };

static unsigned threads = 4;

/* For --check: may this process have so many threads? If not, it says so and ends. */
static void ready(const struct args *args)
{
    (void)args;
    ready_threads(threads);
}

static const struct program program = {
    .name = "05-thread-pool",
    .does = "Reads blocks in an event loop, and then in a pool of threads.",
    .ready = ready,
    .facts = FACT_TICKS | FACT_SLEEPS | FACT_IN_FLIGHT | FACT_SLEEPS_IN_SUBMIT |
             FACT_ORDER,
    .options =
        (const struct program_option[]){OPTION_NUMBER("threads",
                                                      "threads in the pool",
                                                      &threads, 1, MAX_THREADS),
                                        JOB_WARM, OPTION_END},
};

/* --- What all threads share ------------------------------------------------ */

struct pool {
    const struct blocks *blocks;

    /* A lock that one thread has at a time. It guards all fields down to `stop`. Without
       it two threads could see the same `next` at the same time, and take the same
       block. */
    pthread_mutex_t mutex;

    /* The queue to the threads. Blocks are handed over in their order, so two numbers
       say which of them wait: `next` and those after it, up to `handed`. */
    unsigned next, handed;

    /* The queue back: the blocks that are done, in the order in which they came. */
    unsigned order[MAX_BLOCKS], done;

    bool stop; /* The threads are to end. */

    /* News for the threads: look at `handed` and `stop`. Whoever finds nothing to do
       sleeps on this until it is woken. */
    pthread_cond_t work;

    /* News for the loop: look at `done`. An eventfd, because epoll_wait() can wait for a
       descriptor, and for no condition variable. */
    int wake;

    pthread_t thread[MAX_THREADS];

    /* One for each block, and no lock for them. A result belongs to one thread at a
       time: to the one that has taken the block, and after give_back() to the main
       thread. So does the memory of the block. Nobody may free that before the result
       is back. */
    struct result {
        int64_t res;        /* Bytes, or -errno. */
        int64_t begin, end; /* When the read was made; timeline_now(). */
        long sleeps;        /* How often the thread slept in it. */
    } result[MAX_BLOCKS];
};

/* One block, in whichever thread this is. blocks_read() is the loop around pread() of
   chapter 01.

   If the read fails, nobody prints that here. The main thread has asked for the block, so
   the main thread decides what to do. errno would not get there, because each thread has
   its own. So the error goes where the number of bytes would: below 0. */
static void read_block(struct pool *pool, unsigned i)
{
    struct result *result = &pool->result[i];
    long sleeps = timeline_sleeps();

    result->begin = timeline_now();
    result->res = blocks_read(pool->blocks, i);
    result->end = timeline_now();
    result->sleeps = timeline_sleeps() - sleeps;
}

/* --- In the threads of the pool -------------------------------------------- */

/* Wait for a block to read, and take it. False: the thread is to end.

   pthread_cond_wait() gives the mutex back and goes to sleep, in one step. If these were
   two steps, a wake-up could come between them and be lost. When it returns, it has the
   mutex again.

   It stands in a loop. When a thread wakes up, another thread may already have taken the
   block. And POSIX lets it wake up for no reason at all. */
static bool take(struct pool *pool, unsigned *i)
{
    pthread_mutex_lock(&pool->mutex);
    while (pool->next == pool->handed && !pool->stop)
        pthread_cond_wait(&pool->work, &pool->mutex);
    bool taken = !pool->stop;
    if (taken)
        *i = pool->next++;
    pthread_mutex_unlock(&pool->mutex);
    return taken;
}

/* The counter of an eventfd grows by 1. While it is not 0, the descriptor is readable,
   and epoll_wait() says so.

   No err() here: it calls exit(), and C leaves open what happens when two threads do
   that. */
static void wake_loop(const struct pool *pool)
{
    while (eventfd_write(pool->wake, 1))
        if (errno != EINTR) {
            warn("waking the event loop");
            _exit(1);
        }
}

/* First the block goes into the queue, then the loop is woken. A loop that wakes up must
   find what it was woken for.

   And the mutex is free by then. Otherwise the loop could wake up at once, and would have
   to wait for us: 05-cost shows what that costs. */
static void give_back(struct pool *pool, unsigned i)
{
    pthread_mutex_lock(&pool->mutex);
    pool->order[pool->done++] = i;
    pthread_mutex_unlock(&pool->mutex);
    wake_loop(pool);
}

/* The life of a thread in the pool. It has no mutex while it reads, so nobody waits for
   its sleep. */
static void *work(void *argument)
{
    struct pool *pool = argument;
    unsigned i;

    while (take(pool, &i)) {
        read_block(pool, i);
        give_back(pool, i);
    }
    return NULL;
}

/* --- The pool, from the main thread ---------------------------------------- */

/* The pthread functions return their error, and leave errno alone. */
static void pool_start(struct pool *pool)
{
    for (unsigned t = 0; t < threads; t++) {
        int error = pthread_create(&pool->thread[t], NULL, work, pool);
        if (error)
            errx(1, "starting thread %u: %s%s", t, strerror(error),
                 why_no_thread(error));
    }
}

/* All blocks at once. This thread has the mutex for as long as it takes to write one
   number, and the others have it for hardly longer. So submit does not wait for the disk.

   Broadcast wakes all threads of the pool, since there is work for all of them. For a
   single request pthread_cond_signal() would do: it wakes one.

   The broadcast comes after the unlock, and is not late. A thread that takes the mutex
   between the two sees the new number, and does not go to sleep. One that had the mutex
   before us has given it back by falling asleep, and is woken. */
static void pool_submit(struct pool *pool, unsigned blocks)
{
    pthread_mutex_lock(&pool->mutex);
    pool->handed = blocks;
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_broadcast(&pool->work);
}

/* `stop` is set with the mutex. Otherwise a thread could have looked at it a moment ago,
   and go to sleep a moment later. That one would miss the broadcast, and sleep for ever.

   A thread finishes the block that it has, and takes no other one. Here the queue is
   empty by then.

   To join a thread is to wait until it has ended. Only then is it safe to free what it
   worked with. It can fail only for a thread that is none, or not ours to join. */
static void pool_stop(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_broadcast(&pool->work);
    for (unsigned t = 0; t < threads; t++)
        pthread_join(pool->thread[t], NULL);
}

/* The next entry in the queue back. The loop has found `complete` of them so far. False:
   there is no more. */
static bool next_result(struct pool *pool, unsigned complete, unsigned *i)
{
    pthread_mutex_lock(&pool->mutex);
    bool there = complete < pool->done;
    if (there)
        *i = pool->order[complete];
    pthread_mutex_unlock(&pool->mutex);
    return there;
}

/* --- The event loop -------------------------------------------------------- */

struct loop {
    struct pool pool;
    struct timeline *timeline; /* It belongs to the main thread. */
    int epoll, timer;
    unsigned complete; /* So many blocks were found complete. */
};

/* Take the number that an eventfd or a timer holds, which makes it 0 again. Otherwise
   epoll_wait() would report the descriptor at once, again and again.

   epoll_wait() has said that there is a number, and nobody else takes it. So this does
   not wait, although the descriptor is a blocking one. */
static void drain(int fd)
{
    uint64_t number;

    while (read(fd, &number, sizeof(number)) < 0)
        if (errno != EINTR)
            err(1, "reading an eventfd or a timer");
}

/* Stands for all that the loop has to do for others, as in chapter 04. Several ticks may
   be due by now. The timer adds them up, so they are handled as one. */
static void on_tick(struct loop *loop)
{
    timeline_call(loop->timeline, CALL_LOOK); /* A dot in the picture. */
    drain(loop->timer);
    timeline_return(loop->timeline);
}

static void finish(struct loop *loop, unsigned i)
{
    const struct result *result = &loop->pool.result[i];

    if (result->res <= 0)
        blocks_failed(loop->pool.blocks, i, result->res);
    timeline_read(loop->timeline, i, result->begin, result->end);
    loop->complete++;
}

/* First the counter, then the queue. In the other order, a block could come between the
   two. drain() would clear its wake-up, and nobody would come for the block.

   And all that is in the queue: when three threads have written, the counter is 3, and
   the loop wakes up once. */
static void on_results(struct loop *loop)
{
    unsigned i;

    drain(loop->pool.wake);
    while (next_result(&loop->pool, loop->complete, &i))
        finish(loop, i);
}

/* One turn of the loop: wait for whatever happens next, and handle it. A signal may end
   the wait (EINTR). Then there are no events, and whoever has called us waits again. */
static void turn(struct loop *loop, int timeout)
{
    struct epoll_event event[2];

    timeline_call(loop->timeline, CALL_WAIT);
    int n = epoll_wait(loop->epoll, event, 2, timeout);
    timeline_return(loop->timeline);
    if (n < 0 && errno != EINTR)
        err(1, "waiting for events");
    for (int k = 0; k < n; k++)
        if (event[k].data.fd == loop->timer)
            on_tick(loop);
        else
            on_results(loop);
}

/* --- The two passes -------------------------------------------------------- */

/* The timer begins anew with each pass. It ticks from now on, whether or not anybody
   handles that. */
static void start_pass(struct loop *loop, struct timeline *timeline)
{
    struct itimerspec every = {{0, TICK}, {0, TICK}};

    loop->timeline = timeline;
    loop->complete = 0;
    if (timerfd_settime(loop->timer, 0, &every, NULL))
        err(1, "setting the timer");
}

/* What chapter 04 warned of. Between two blocks the loop looks whether anybody else wants
   something. While it reads, nobody looks. */
static void read_in_loop(const struct blocks *blocks, struct timeline *timeline,
                         void *context)
{
    struct loop *loop = context;

    start_pass(loop, timeline);
    for (unsigned i = 0; i < blocks->count; i++) {
        timeline_call(timeline, CALL_SUBMIT);
        read_block(&loop->pool, i);
        timeline_return(timeline);
        finish(loop, i);
        turn(loop, 0); /* 0: do not wait for anything. */
    }
    timeline_facts_of_ticks(timeline);
}

/* The same reads, handed over. From here on the loop only waits for events, and a block
   that is there is one of them. */
static void read_in_pool(const struct blocks *blocks, struct timeline *timeline,
                         void *context)
{
    struct loop *loop = context;
    long sleeps = 0;

    start_pass(loop, timeline);
    timeline_call(timeline, CALL_SUBMIT);
    pool_submit(&loop->pool, blocks->count);
    timeline_return(timeline);
    while (loop->complete < blocks->count)
        turn(loop, -1); /* -1: for as long as it takes. */
    timeline_facts_of_ticks(timeline);
    for (unsigned i = 0; i < blocks->count; i++)
        sleeps += loop->pool.result[i].sleeps;
    timeline_fact(timeline, "sleeps of the workers", sleeps);
}

/* epoll watches two descriptors. `data` comes back with the event, and says which. */
static void loop_open(struct loop *loop)
{
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    loop->pool.wake = eventfd(0, EFD_CLOEXEC);
    if (loop->epoll < 0 || loop->timer < 0 || loop->pool.wake < 0)
        err(1, "making epoll, a timer and an eventfd");

    struct epoll_event timer = {.events = EPOLLIN, .data.fd = loop->timer};
    struct epoll_event wake = {.events = EPOLLIN, .data.fd = loop->pool.wake};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->timer, &timer) ||
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->pool.wake, &wake))
        err(1, "adding the timer and the eventfd to epoll");
}

int main(int argc, char **argv)
{
    static struct loop loop = {.pool = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                                        .work = PTHREAD_COND_INITIALIZER}};
    struct job *job = job_open(argc, argv, &program);

    loop.pool.blocks = job_blocks(job);
    loop_open(&loop);
    job_pass(job, "loop", read_in_loop, &loop);
    pool_start(&loop.pool); /* Before the clock starts, as in a server. */
    job_pass(job, "pool", read_in_pool, &loop);
    pool_stop(&loop.pool);
    if (close(loop.pool.wake) || close(loop.timer) || close(loop.epoll))
        err(1, "closing the event loop");
    return job_close(job);
}
