/*
 * 05 · A thread pool
 *
 * An event loop has a timer that ticks every 50 microseconds. Now it also has eight
 * cold blocks to read. It reads them twice. "loop": the loop itself calls pread(2).
 * "pool": four other threads do, and an eventfd(2) wakes the loop when a block is there.
 *
 * Watch for: "late, at most". In "loop" a tick is as late as a read is long. In "pool" the
 * loop handles ticks while blocks are in flight, and it sleeps in no submit. At most four
 * blocks are in flight, because a thread makes one read at a time.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/05-thread-pool/thread-pool.c \
 *           chapters/05-thread-pool/pool.c common/?*.c -lz -pthread \
 *           -o 05-thread-pool
 *
 * Needs: Linux 2.6.27, for the flags of eventfd(2) and timerfd_create(2).
 * Manual pages: pthreads(7), pthread_cond_wait(3), eventfd(2), epoll(7),
 * timerfd_create(2).
 */
#include "job.h"
#include "pool.h"
#include "ready.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { TICK = 50000 }; /* Nanoseconds. */

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
        (const struct program_option[]){
            OPTION_NUMBER("threads", "threads in the pool", &threads, 1,
                          READY_MAX_THREADS),
            JOB_WARM, OPTION_END},
};

/* --- The event loop -------------------------------------------------------- */

struct loop {
    struct pool pool;
    struct timeline *timeline; /* It belongs to the main thread. */
    int epoll, timer;
    unsigned complete; /* So many blocks were found complete. */
    int64_t due;  /* When the oldest tick that was not handled yet is due. */
    int64_t late; /* Nanoseconds: how late the worst tick was. */
};

/* Take the number that an eventfd or a timer holds, which makes it 0 again. Otherwise
   epoll_wait() would report the descriptor at once, again and again.

   epoll_wait() has said that there is a number, and nobody else takes it. So this does
   not wait, although the descriptor is a blocking one. */
static uint64_t drain(int fd)
{
    uint64_t number;

    while (read(fd, &number, sizeof(number)) < 0)
        if (errno != EINTR)
            err(1, "reading an eventfd or a timer");
    return number;
}

/* Stands for all that the loop has to do for others, as in chapter 04. Several ticks may
   be due by now. The timer adds them up, so they are handled as one. `due` is when the
   oldest of them should have been handled. */
static void on_tick(struct loop *loop)
{
    timeline_call(loop->timeline, CALL_LOOK); /* A dot in the picture. */
    uint64_t ticks = drain(loop->timer);
    timeline_return(loop->timeline);
    int64_t late = timeline_now() - loop->due;
    if (late > loop->late)
        loop->late = late;
    loop->due += (int64_t)ticks * TICK;
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
   handles that. It begins at a time of the clock, so we know when each tick is due. */
static void start_pass(struct loop *loop, struct timeline *timeline)
{
    loop->timeline = timeline;
    loop->complete = 0;
    loop->late = 0;
    loop->due = timeline_now() + TICK;

    struct itimerspec every = {
        {0, TICK}, {loop->due / 1000000000, loop->due % 1000000000}};
    if (timerfd_settime(loop->timer, TFD_TIMER_ABSTIME, &every, NULL))
        err(1, "setting the timer");
}

static void end_pass(struct loop *loop, struct timeline *timeline)
{
    timeline_facts_of_ticks(timeline);
    timeline_fact_time(timeline, "late, at most", loop->late);
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
    end_pass(loop, timeline);
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
    end_pass(loop, timeline);
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
    loop.pool.threads = threads;
    loop_open(&loop);
    job_pass(job, "loop", read_in_loop, &loop);
    pool_start(&loop.pool); /* Before the clock starts, as in a server. */
    job_pass(job, "pool", read_in_pool, &loop);
    pool_stop(&loop.pool);
    if (close(loop.pool.wake) || close(loop.timer) || close(loop.epoll))
        err(1, "closing the event loop");
    return job_close(job);
}
