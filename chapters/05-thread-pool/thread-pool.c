/*
 * 05 · A thread pool
 *
 * An event loop has a timer that ticks every 50 microseconds. Now it also has eight
 * cold blocks to read. It does that twice. "loop": the loop itself calls pread(2).
 * "pool": four other threads do, and an eventfd(2) wakes the loop when a block is there.
 *
 * Watch for: who sleeps, and which ticks are missed. In "pool" the main thread sleeps in
 * no submit, and handles ticks while blocks are in flight. There are four of these at
 * most, because a thread waits for one read at a time.
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
             FACT_THREADS | FACT_COMPLETED | FACT_ORDER,
    .options =
        (const struct program_option[]){OPTION_NUMBER("threads",
                                                      "threads in the pool",
                                                      &threads, 1, MAX_THREADS),
                                        JOB_WARM, OPTION_END},
};

/* --- What all threads share ------------------------------------------------ */

/* A mutex is a lock that one thread has at a time. This one guards what stands below it,
   down to `stop`. Two threads that changed `next` at the same time could take the same
   block.

   The two queues are as simple as can be. Blocks are handed over in their order, so two
   numbers say which of them wait for a thread: `next` and those after it, up to
   `handed`. And order[] has the blocks that are done, in the order in which they came.

   The loop takes the mutex to look at `done`, and reads order[] below it without. That is
   safe. A thread fills an entry, and only then counts it in `done`, both with the mutex.
   After that nobody changes the entry. So who has seen `done` with the mutex finds all
   entries below it as they will be for ever.

   What is in result[i] needs no lock. It belongs to whoever has block i: to the main
   thread, then to the thread that took it, then to the main thread again. The memory of
   the block goes the same way. Until the result is back, nobody may free it. */
struct pool {
    const struct blocks *blocks;
    pthread_mutex_t mutex;
    unsigned next, handed;            /* The blocks that nobody has taken. */
    unsigned order[MAX_BLOCKS], done; /* The blocks that are there. */
    bool stop;                        /* The threads are to end. */
    pthread_cond_t work; /* News for the threads: look at these numbers. */
    int wake;            /* News for the loop, an eventfd: look at `done`. */
    pthread_t thread[MAX_THREADS];
    struct result {
        int64_t res;        /* Bytes, or -errno. */
        int64_t begin, end; /* When the read was made; timeline_now(). */
        long sleeps;        /* How often the thread slept in it. */
    } result[MAX_BLOCKS];
};

/* One block, in whichever thread this is. blocks_read() is the loop around pread() of
   chapter 01. If it fails, this is not the place to say so. Only the one who asked knows
   what the failure means, and that is another thread. errno would not get there, since
   each thread has its own. So the error goes where the number of bytes would: below 0. */
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

/* As err(), for a thread of the pool. err() calls exit(), and that is for one thread at
   a time: exit(3) says "MT-Unsafe". So this ends with _exit(). Several threads may come
   here at once, and only the first gets through. */
__attribute__((noreturn)) static void give_up(const char *doing)
{
    static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&first); /* And never unlocked. */
    warn("%s", doing);
    _exit(1);
}

/* An eventfd is a counter in the kernel, and eventfd_write(3) adds to it. While the
   counter is not 0, the descriptor is readable, and epoll_wait() says so. */
static void wake_loop(const struct pool *pool)
{
    while (eventfd_write(pool->wake, 1))
        if (errno != EINTR)
            give_up("waking the event loop");
}

/* The life of a thread in the pool. It sleeps in two places: in pthread_cond_wait(), for
   something to do, and in read_block(), for the disk. It has the mutex in neither.

   pthread_cond_wait() gives the mutex back and goes to sleep, in one step. If these were
   two steps, a signal between them would be lost. When it returns, it has the mutex
   again. It may return although there is nothing to do: another thread was quicker, or
   there was no signal at all. Therefore it stands in a loop.

   After the read, first order[], then wake_loop(). A loop that wakes up must find what it
   was woken for. And the mutex is given back before that. Otherwise the loop could wake
   up at once, and would have to wait for us: 05-cost shows what that costs. */
static void *work(void *argument)
{
    struct pool *pool = argument;

    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (pool->next == pool->handed && !pool->stop)
            pthread_cond_wait(&pool->work, &pool->mutex);
        if (pool->stop)
            break;
        unsigned i = pool->next++;
        pthread_mutex_unlock(&pool->mutex);

        read_block(pool, i); /* Here it sleeps, and nobody waits for it. */

        pthread_mutex_lock(&pool->mutex);
        pool->order[pool->done++] = i;
        pthread_mutex_unlock(&pool->mutex);
        wake_loop(pool);
        pthread_mutex_lock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
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

   The broadcast comes after the unlock, and is not late. A thread that looks between the
   two sees the new number, and does not go to sleep. One that looked before is asleep by
   then: it gave the mutex back in the step in which it fell asleep, or we could not have
   had it. */
static void pool_submit(struct pool *pool, unsigned blocks)
{
    pthread_mutex_lock(&pool->mutex);
    pool->handed = blocks;
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_broadcast(&pool->work);
}

/* `stop` is set with the mutex. Otherwise a thread could have looked at it a moment ago,
   and go to sleep a moment later: that one would miss the broadcast, and sleep for ever.

   A thread looks at `stop` before it takes a block. It finishes the block that it has,
   and what is still in the queue is read by nobody. Here nothing is: the loop has had
   all blocks.

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

/* --- The event loop -------------------------------------------------------- */

struct loop {
    struct pool pool;
    struct timeline *timeline; /* It belongs to the main thread. */
    int epoll, timer;
    unsigned complete; /* So many blocks were found complete. */
    long handled;      /* Calls of on_tick(). */
    long missed; /* Ticks that were due, and came along with a later one. */
    long sleeps; /* Of all reads. */
};

/* Take a descriptor's number, which makes it 0 again. Otherwise epoll_wait() would report
   the descriptor at once, again and again. An eventfd says how often somebody has added 1
   to it, a timer how often it has expired. */
static uint64_t drain(int fd)
{
    uint64_t number;

    while (read(fd, &number, sizeof(number)) < 0)
        if (errno != EINTR)
            err(1, "reading an eventfd or a timer");
    return number;
}

/* Stands for all that the loop has to do for others. Chapter 04 has it, too. Several ticks
   may have become due since the last look. They come as one number, so they are handled
   once: the others were missed. */
static void on_tick(struct loop *loop)
{
    timeline_call(loop->timeline, CALL_LOOK); /* A dot in the picture. */
    uint64_t due = drain(loop->timer);
    timeline_return(loop->timeline);
    loop->handled++;
    loop->missed += (long)due - 1;
}

static void finish(struct loop *loop, unsigned i)
{
    const struct result *result = &loop->pool.result[i];

    if (result->res <= 0)
        blocks_failed(loop->pool.blocks, i, result->res);
    timeline_read(loop->timeline, i, result->begin, result->end);
    loop->sleeps += result->sleeps;
    loop->complete++;
}

/* First the counter, then the queue. In the other order, a block that comes in between
   would be left in the queue, and its news would be gone with the counter.

   And all that is in the queue: when three threads have written, the counter is 3, and
   the loop wakes up once. */
static void on_results(struct loop *loop)
{
    struct pool *pool = &loop->pool;

    drain(pool->wake);
    pthread_mutex_lock(&pool->mutex);
    unsigned done = pool->done;
    pthread_mutex_unlock(&pool->mutex);
    while (loop->complete < done)
        finish(loop, pool->order[loop->complete]);
}

/* One turn of the loop: wait for whatever happens next, and handle it. */
static void turn(struct loop *loop, int timeout)
{
    struct epoll_event event[2];

    timeline_call(loop->timeline, CALL_WAIT);
    int n = epoll_wait(loop->epoll, event, 2, timeout);
    timeline_return(loop->timeline);
    if (n < 0 && errno != EINTR)
        err(1, "waiting for events");
    for (int k = 0; k < n; k++) {
        if (event[k].data.fd == loop->timer)
            on_tick(loop);
        else
            on_results(loop);
    }
}

/* The timer begins anew with each pass. It ticks from now on, whether or not anybody
   handles that. */
static void start(struct loop *loop, struct timeline *timeline)
{
    struct itimerspec every = {{0, TICK}, {0, TICK}};

    loop->timeline = timeline;
    loop->complete = 0;
    loop->handled = loop->missed = loop->sleeps = 0;
    if (timerfd_settime(loop->timer, 0, &every, NULL))
        err(1, "setting the timer");
}

static void facts_of_ticks(const struct loop *loop)
{
    timeline_fact(loop->timeline, "ticks handled", loop->handled);
    timeline_fact(loop->timeline, "ticks missed", loop->missed);
}

/* --- The two passes -------------------------------------------------------- */

/* What chapter 04 warned of. Between two blocks the loop looks whether anybody else wants
   something. While it reads, nobody looks. */
static void read_in_loop(const struct blocks *blocks, struct timeline *timeline,
                         void *context)
{
    struct loop *loop = context;

    start(loop, timeline);
    for (unsigned i = 0; i < blocks->count; i++) {
        timeline_call(timeline, CALL_SUBMIT);
        read_block(&loop->pool, i);
        timeline_return(timeline);
        finish(loop, i);
        turn(loop, 0); /* 0: do not wait for anything. */
    }
    facts_of_ticks(loop);
}

/* The same reads, handed over. From here on the loop only waits for events, and a block
   that is there is one of them. */
static void read_in_pool(const struct blocks *blocks, struct timeline *timeline,
                         void *context)
{
    struct loop *loop = context;

    start(loop, timeline);
    timeline_call(timeline, CALL_SUBMIT);
    pool_submit(&loop->pool, blocks->count);
    timeline_return(timeline);
    while (loop->complete < blocks->count)
        turn(loop, -1); /* -1: for as long as it takes. */
    facts_of_ticks(loop);
    timeline_fact(timeline, "sleeps of the workers", loop->sleeps);
}

/* epoll watches two descriptors. `data` comes back with the event, and says which. */
static void loop_open(struct loop *loop)
{
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    loop->pool.wake = eventfd(0, EFD_CLOEXEC);
    if (loop->epoll < 0 || loop->timer < 0 || loop->pool.wake < 0)
        err(1, "making epoll, a timer and an eventfd");

    int fds[] = {loop->timer, loop->pool.wake};
    for (int k = 0; k < 2; k++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[k]};
        if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fds[k], &event))
            err(1, "adding the timer and the eventfd to epoll");
    }
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
