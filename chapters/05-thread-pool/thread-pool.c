/*
 * 05 · A thread pool
 *
 * Reads the eight blocks with pread(2) again, but not in the main thread. Four
 * threads take the requests from a queue and wait for the disk, an eventfd(2)
 * tells the event loop of results, and meanwhile a timer ticks in that loop.
 *
 * Watch for: no more than four bars side by side, since each thread waits for
 * one read at a time; and ticks that the loop handled during the reads, where
 * the loop of chapter 04 handled none.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/05-thread-pool/thread-pool.c common/?*.c -lz -pthread \
 *           -o 05-thread-pool
 *
 * Needs: Linux 2.6.27, for the flags of eventfd(2) and timerfd_create(2).
 * Manual pages: pthreads(7), pthread_cond_wait(3), eventfd(2), epoll(7),
 * timerfd_create(2), pthread_getattr_np(3).
 */
#define _GNU_SOURCE /* pthread_getattr_np() */
#include "args.h"
#include "blocks.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MAX_THREADS = 64, TICK = 50 * 1000 /* Nanoseconds. */ };

static unsigned threads = 4;

static const struct program program = {
    .name = "05-thread-pool",
    .does = "Reads blocks of a file in a pool of threads beside an event loop.",
    .reads_blocks = true,
    .takes_file = true,
    .options =
        (const struct program_option[]){OPTION_NUMBER("threads",
                                                      "threads in the pool",
                                                      &threads, 1, MAX_THREADS),
                                        OPTION_END},
};

/* One block's way through the pool. From push() until its result is taken it
   belongs to the pool, and the main thread must not touch it. */
struct request {
    struct request *next;
    const struct blocks *blocks;
    unsigned i;         /* Which of them. */
    int64_t res;        /* Bytes, or -errno. */
    int64_t begin, end; /* When a thread was at it; CLOCK_MONOTONIC. */
};

struct queue {
    struct request *first, *last;
};

struct pool {
    pthread_mutex_t mutex; /* Guards what stands between here ... */
    struct queue todo, done;
    bool stop;           /* ... and here. */
    pthread_cond_t work; /* There is something to do, or to stop. */
    int wake;            /* The eventfd: there is something in `done`. */
    atomic_uint reading; /* How many threads are in pread(). */
    pthread_t thread[MAX_THREADS];
};

/* Any thread of the pool may have to end the program, but exit(3) is for one at
   a time: "MT-Unsafe" says its manual page. The first one here gets through.
   (The main thread's err() does not come by here.) */
__attribute__((noreturn)) static void give_up(int error, const char *doing)
{
    static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&first); /* Never unlocked again. */
    errx(1, "%s: %s%s", doing, strerror(error), why_no_thread(error));
}

/* The pthread functions return the error and leave errno alone. */
static void must(int error, const char *doing)
{
    if (error)
        give_up(error, doing);
}

/* Used as they are here, the calls on a mutex and a condition of the default
   kind have no error to return. So they go unchecked. */
static void lock(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
}

static void unlock(struct pool *pool)
{
    pthread_mutex_unlock(&pool->mutex);
}

static void append(struct queue *queue, struct request *request)
{
    request->next = NULL;
    if (queue->first)
        queue->last->next = request;
    else
        queue->first = request;
    queue->last = request;
}

/* --- In the threads of the pool ------------------------------------------ */

/* The eventfd is a counter: this adds one, and the loop, which waits for it to
   be more than zero, wakes up. Eight bytes are written whole or not at all. */
static void wake_loop(const struct pool *pool)
{
    while (write(pool->wake, &(uint64_t){1}, sizeof(uint64_t)) < 0)
        if (errno != EINTR)
            give_up(errno, "waking the event loop");
}

static void *work(void *argument)
{
    struct pool *pool = argument;

    lock(pool);
    for (;;) {
        /* A loop: a thread may wake up although another one was quicker to
           the request, or for no reason at all. pthread_cond_wait() gives the
           mutex back while it sleeps, and has it again when it returns. */
        while (!pool->todo.first && !pool->stop)
            pthread_cond_wait(&pool->work, &pool->mutex);
        struct request *request = pool->todo.first;
        if (!request)
            break; /* To stop, and nothing is left to do. */
        pool->todo.first = request->next;
        unlock(pool); /* Nobody else shall wait while this thread reads. */

        atomic_fetch_add(&pool->reading, 1);
        request->begin = timeline_now();
        /* Chapter 01's loop. But this thread has nobody to complain to: an
           error goes back where a number of bytes would, negative. */
        request->res = blocks_read(request->blocks, request->i);
        request->end = timeline_now();
        atomic_fetch_sub(&pool->reading, 1);

        /* From append() on the request is the loop's again. The eventfd comes
           last: a loop that wakes up must find what it was woken for. */
        lock(pool);
        append(&pool->done, request);
        unlock(pool);
        wake_loop(pool);
        lock(pool);
    }
    unlock(pool);
    return NULL;
}

/* --- In the main thread: the pool from outside --------------------------- */

static void pool_start(struct pool *pool)
{
    *pool = (struct pool){.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (pool->wake < 0)
        err(1, "creating the eventfd");
    must(pthread_mutex_init(&pool->mutex, NULL), "making the mutex");
    must(pthread_cond_init(&pool->work, NULL), "making the condition");
    for (unsigned t = 0; t < threads; t++)
        must(pthread_create(&pool->thread[t], NULL, work, pool),
             "starting a thread of the pool");
}

static void push(struct pool *pool, struct request *request)
{
    lock(pool);
    append(&pool->todo, request);
    unlock(pool);
    pthread_cond_signal(&pool->work);
}

/* What the pool works on and with must stay until no thread can touch it, and
   that is so once all are joined. */
static void pool_stop(struct pool *pool)
{
    lock(pool);
    pool->stop = true;
    unlock(pool);
    pthread_cond_broadcast(&pool->work);
    for (unsigned t = 0; t < threads; t++)
        must(pthread_join(pool->thread[t], NULL), "waiting for a thread's end");
    must(pthread_cond_destroy(&pool->work), "destroying the condition");
    must(pthread_mutex_destroy(&pool->mutex), "destroying the mutex");
    if (close(pool->wake))
        err(1, "closing the eventfd");
}

/* --- In the main thread: the event loop ---------------------------------- */

struct reader {
    const struct blocks *blocks;
    struct timeline *timeline;
    struct pool pool;
    struct request *requests; /* One for each block. */
    int epoll, timer;
    unsigned finished, ticks;
};

static void submit(struct reader *r, unsigned i)
{
    r->requests[i] = (struct request){.blocks = r->blocks, .i = i};
    timeline_submitted(r->timeline, i);
    push(&r->pool, &r->requests[i]);
}

static void take_results(struct reader *r)
{
    struct pool *pool = &r->pool;
    uint64_t times;

    /* First the counter, then the queue. The other way round, a result that
       came in between would be left lying, with its wake-up used up. One read
       takes the whole counter: three results may come with one wake-up. */
    if (read(pool->wake, &times, sizeof(times)) < 0 && errno != EAGAIN &&
        errno != EINTR) /* Then it is still readable: in the next turn. */
        err(1, "reading the eventfd");
    lock(pool);
    struct request *request = pool->done.first;
    pool->done.first = NULL;
    unlock(pool);

    for (; request; request = request->next) {
        if (request->res <= 0)
            blocks_failed(r->blocks, request->i, request->res);
        timeline_completed(r->timeline, request->i);
        /* In flight means that a thread was at it, not that it was queued. */
        struct bar *bar = &r->timeline->block[request->i];
        bar->begin = request->begin - r->timeline->start;
        bar->end = request->end - r->timeline->start;
        r->finished++;
    }
}

static void tick(struct reader *r)
{
    uint64_t times;

    if (read(r->timer, &times, sizeof(times)) < 0 && errno != EAGAIN &&
        errno != EINTR)
        err(1, "reading the timer");
    /* Ticks before the first read and behind the last prove nothing. */
    if (atomic_load(&r->pool.reading) > 0)
        r->ticks++;
}

/* One turn of the loop. To look is to take what is there without waiting. */
static void turn(struct reader *r, enum call call)
{
    struct epoll_event events[2];

    timeline_call(r->timeline, call);
    int n = epoll_wait(r->epoll, events, 2, call == CALL_LOOK ? 0 : -1);
    timeline_return(r->timeline);
    if (n < 0 && errno != EINTR)
        err(1, "waiting for events");
    for (int k = 0; k < n; k++) {
        if (events[k].data.fd == r->timer)
            tick(r);
        else
            take_results(r);
    }
}

static void watch(const struct reader *r, int fd, const char *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event))
        err(1, "watching the %s", what);
}

static void set_timer(const struct reader *r, long nanoseconds)
{
    struct itimerspec every = {.it_value.tv_nsec = nanoseconds,
                               .it_interval.tv_nsec = nanoseconds};

    if (timerfd_settime(r->timer, 0, &every, NULL))
        err(1, "setting the timer");
}

/* The job: all blocks handed over at once, and a timer that ticks. */
static void read_all(struct reader *r)
{
    blocks_clear(r->blocks);
    set_timer(r, TICK);
    timeline_start(r->timeline);
    timeline_call(r->timeline, CALL_SUBMIT);
    for (unsigned i = 0; i < r->blocks->count; i++)
        submit(r, i);
    timeline_return(r->timeline);
    turn(r, CALL_LOOK);
    while (r->finished < r->blocks->count)
        turn(r, CALL_WAIT);
    timeline_stop(r->timeline);
    timeline_threads(r->timeline);
    set_timer(r, 0); /* Never again. */
}

/* --- What it costs ------------------------------------------------------- */

/* The same blocks, now in the page cache, one at a time. There is no disk to
   wait for, and no tick: what sleeps is due to the pool alone. */
static void count_switches(struct reader *r)
{
    unsigned count = r->blocks->count;

    r->finished = 0;
    timeline_start(r->timeline);
    long before = timeline_switches();
    for (unsigned i = 0; i < count; i++) {
        submit(r, i);
        while (r->finished <= i)
            turn(r, CALL_WAIT);
    }
    long switches = timeline_switches() - before;
    timeline_stop(r->timeline);
    printf("context switches: %ld for %u warm reads, %.1f a read\n", switches,
           count, (double)switches / count);
}

/* How much address space a thread's stack takes, and how much memory. */
static void measure_stack(const struct pool *pool)
{
    pthread_attr_t attributes;
    void *stack;
    size_t size, page = (size_t)sysconf(_SC_PAGESIZE), touched = 0;

    must(pthread_getattr_np(pool->thread[0], &attributes),
         "asking for a thread's attributes");
    must(pthread_attr_getstack(&attributes, &stack, &size),
         "asking for a thread's stack");
    must(pthread_attr_destroy(&attributes), "freeing a thread's attributes");

    printf("stack of a thread: %zu KiB reserved, ", size >> 10);
    unsigned char *in_core = malloc(size / page + 1);
    if (!in_core)
        err(1, "allocating the page map of a stack");
    /* mincore() can tell of memory as it tells of a file: chapter 01. */
    if (mincore(stack, size, in_core)) {
        puts("unknown how much is touched");
    } else {
        for (size_t i = 0; i < size / page; i++)
            touched += in_core[i] & 1U;
        printf("%zu KiB touched\n", touched * page >> 10);
    }
    free(in_core);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct reader r = {0};
    struct blocks blocks;

    blocks_open(&blocks, &args);
    r.blocks = &blocks;
    r.requests = calloc(blocks.count, sizeof(*r.requests));
    r.epoll = epoll_create1(EPOLL_CLOEXEC);
    r.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (!r.requests || r.epoll < 0 || r.timer < 0)
        err(1, "setting up the event loop");
    pool_start(&r.pool);
    watch(&r, r.pool.wake, "eventfd");
    watch(&r, r.timer, "timer");

    blocks_drop(&blocks);
    blocks_announce(&blocks);
    struct timeline *cold = timeline_new("pool", blocks.count);
    struct timeline *warm = timeline_new("warm", blocks.count);
    r.timeline = cold;
    read_all(&r);
    timeline_draw(cold, cold);
    timeline_facts(cold, blocks_checksum(&blocks));
    printf("ticks during the reads: %u\n\n", r.ticks);

    r.timeline = warm;
    count_switches(&r);
    measure_stack(&r.pool);

    pool_stop(&r.pool);
    if (close(r.timer) || close(r.epoll))
        err(1, "closing the event loop");
    timeline_trace(args.trace, (struct timeline *[]){cold, warm, NULL});
    timeline_free(warm);
    timeline_free(cold);
    free(r.requests);
    blocks_close(&blocks);
    return 0;
}
