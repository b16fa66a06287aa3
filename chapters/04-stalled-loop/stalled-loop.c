/*
 * 04 · The stalled loop
 *
 * An event loop handles a tick every millisecond. After 20 ms somebody wants 32 MiB
 * of a cold file, and the loop reads them with a plain pread(2).
 *
 * Watch for: the gap in the row of dots, right above the read. The first tick after
 * it is as late as the read was long, and stands for all that fell due meanwhile.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/04-stalled-loop/stalled-loop.c common/?*.c -lz \
 *           -o 04-stalled-loop
 *
 * Needs: Linux 2.6.27, for timerfd and epoll_create1().
 * Manual pages: epoll(7), timerfd_create(2), pread(2), clock_gettime(2).
 */
#include "args.h"
#include "blocks.h"
#include "timeline.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static unsigned mib = 32;

static const struct program program = {
    .name = "04-stalled-loop",
    .does = "Reads a cold file in an event loop, which stands still meanwhile.",
    .traces = true,
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("mib", "how many MiB to read, if the file has them",
                          &mib, 1, 1024),
            OPTION_END},
};

enum {
    SECOND = 1000000000, /* All of these are in nanoseconds. */
    TICK = 1000000,
    REQUEST = 20500000, /* When somebody wants the file: between two ticks. */
    LEAST = 20000000    /* At least so long the loop goes on after the read. */
};

/* Which tick comes next? It is BEFORE until on_request() has read the file. Then it is
   FIRST, once, and LATER ever after. */
enum phase { BEFORE, FIRST, LATER, PHASES };

struct loop {
    int epoll, tick, request;    /* Descriptors. */
    const struct blocks *blocks; /* One block only: what is to be read. */
    struct timeline *timeline;
    int64_t due;    /* When the oldest tick that was not handled yet is due. */
    int64_t until;  /* When the loop ends. */
    int64_t worked; /* Processor time that the read took. */
    enum phase phase;
    struct {
        int64_t late;   /* Nanoseconds. */
        uint64_t ticks; /* That came in one read of the timer. */
    } worst[PHASES];
};

/* --- A timer is a descriptor ----------------------------------------------- */

/* How often has this timer expired since it was last read? read(2) returns that
   number in eight bytes, and sets it back to 0. The timer goes on whether or not
   anybody looks. So after a stall there is one large number, and no queue.

   A handler has to read its timer, even if it does not need the number. epoll reports
   what is ready, and the timer stays ready until somebody has read it.

   epoll has said that the timer can be read. TFD_NONBLOCK guards against a mistake of
   ours: then read() fails with EAGAIN, and the loop does not hang. */
static uint64_t expirations(int timer)
{
    uint64_t n;
    ssize_t bytes;

    do
        bytes = read(timer, &n, sizeof(n));
    while (bytes < 0 && errno == EINTR);
    if (bytes < 0)
        err(1, "reading a timer");
    return n;
}

static struct timespec timespec_of(int64_t nanoseconds)
{
    return (struct timespec){nanoseconds / SECOND, nanoseconds % SECOND};
}

/* The timer expires at `first`, and after that once in each interval. `first` is a time
   of CLOCK_MONOTONIC, and not a span from now. So we know of each tick when it was
   due. */
static void set_timer(int timer, int64_t first, int64_t interval)
{
    struct itimerspec times = {.it_value = timespec_of(first),
                               .it_interval = timespec_of(interval)};

    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &times, NULL))
        err(1, "setting a timer");
}

/* A timer that the loop watches. `data` comes back with each event, and tells the loop
   which timer it was. */
static int add_timer(int epoll)
{
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

    if (timer < 0)
        err(1, "creating a timer");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = timer};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event))
        err(1, "adding a timer to epoll");
    return timer;
}

/* --- Two handlers, one of them with the mistake ---------------------------- */

/* How late was this tick? We know when it was due, and what time it is now. If it stands
   for several, `due` is the time of the oldest.

   The clock must not begin when epoll_wait() returns. A client does not care when the
   loop found time for a request. It counts from when it sent that request. */
static void keep_worst(struct loop *loop, uint64_t ticks)
{
    int64_t late = timeline_now() - loop->due;

    if (late > loop->worst[loop->phase].late)
        loop->worst[loop->phase].late = late;
    if (ticks > loop->worst[loop->phase].ticks)
        loop->worst[loop->phase].ticks = ticks;
}

/* Stands for all that the loop has to do for its other clients. */
static void on_tick(struct loop *loop)
{
    /* CALL_LOOK: a call that looks and does not wait. A dot in the picture. */
    timeline_call(loop->timeline, CALL_LOOK);
    uint64_t ticks = expirations(loop->tick);
    timeline_return(loop->timeline);

    keep_worst(loop, ticks);
    loop->due += (int64_t)ticks * TICK;
    if (loop->phase == FIRST)
        loop->phase = LATER;
}

/* The mistake looks like any other line. blocks_read() is the loop around pread() of
   chapter 01. Until it returns, nobody is in epoll_wait(), and there is no other thread
   that could be. */
static void read_file(struct loop *loop)
{
    timeline_submitted(loop->timeline, 0);
    timeline_call(loop->timeline, CALL_SUBMIT);
    int64_t res = blocks_read(loop->blocks, 0);
    timeline_return(loop->timeline);
    if (res <= 0)
        blocks_failed(loop->blocks, 0, res);
    timeline_completed(loop->timeline, 0);
}

/* Processor time of this thread, in its own code and in the kernel's. This clock stands
   still while the thread sleeps, or another one has the processor. */
static int64_t processor_time(void)
{
    struct timespec t;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t))
        err(1, "reading the clock of this thread");
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

/* How long the read took: its bar in the picture. */
static int64_t read_took(const struct loop *loop)
{
    const struct bar *read = &loop->timeline->block[0];

    return read->end - read->begin;
}

/* Somebody wants the file. In a server that would come by a socket. Here it is a timer
   that expires once, so that it comes at a known time. Its number is always 1. It is
   read all the same, or epoll would report the timer again.

   After the read the loop goes on for as long as the read took, to have a normal
   stretch beside it. */
static void on_request(struct loop *loop)
{
    expirations(loop->request);

    int64_t worked = processor_time();
    read_file(loop);
    loop->worked = processor_time() - worked;
    loop->phase = FIRST;

    int64_t took = read_took(loop);
    loop->until = timeline_now() + (took > LEAST ? took : LEAST);
}

/* --- The loop -------------------------------------------------------------- */

/* Wait for whatever happens next, handle it, and wait again. The wait is by choice:
   there is nothing else to do, and anything that happens ends it. A signal may end it
   before an event does.

   We ask for one event at a time. If both timers have expired, epoll_wait() reports one
   of them, and the next call reports the other and does not wait. Servers ask for many
   at once, and save calls. */
static void run(struct loop *loop)
{
    while (timeline_now() < loop->until) {
        struct epoll_event event;
        int n;

        timeline_call(loop->timeline, CALL_WAIT);
        do
            n = epoll_wait(loop->epoll, &event, 1, -1);
        while (n < 0 && errno == EINTR);
        timeline_return(loop->timeline);
        if (n < 0)
            err(1, "waiting for events");
        if (event.data.fd == loop->tick)
            on_tick(loop);
        else
            on_request(loop);
    }
}

/* How late was the worst tick, and how many came as one? */
static void print_worst(const struct loop *loop)
{
    static const char *const name[PHASES] = {[BEFORE] = "before the read",
                                             [FIRST] = "the first after it",
                                             [LATER] = "all later ones"};

    printf("%-20s%16s%22s\n", "which ticks", "late, at most",
           "at once, at most");
    for (enum phase i = 0; i < PHASES; i++)
        printf("%-20s%13.2f ms%22" PRIu64 "\n", name[i],
               (double)loop->worst[i].late / 1e6, loop->worst[i].ticks);
}

/* The first copy into fresh memory takes longer than a later one, and would look like a
   slow disk. So the block is read once before the clock runs, as in chapter 01. Then its
   pages are dropped. Its memory is zeroed, so that only the second read can fill it. */
static void rehearse(const struct blocks *blocks)
{
    int64_t res = blocks_read(blocks, 0);

    if (res <= 0)
        blocks_failed(blocks, 0, res);
    blocks_drop(blocks);
    blocks_clear(blocks);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct timeline *timeline = timeline_new("loop", 1);
    struct blocks blocks;
    struct loop loop = {
        .blocks = &blocks, .timeline = timeline, .until = INT64_MAX};

    args.count = 1; /* One block, as long as --mib says. */
    args.size = (size_t)mib << 20;
    timeline->facts = FACT_TICKS; /* And no counts. */
    blocks_open(&blocks, &args);
    rehearse(&blocks);
    blocks_announce(&blocks);

    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop.epoll < 0)
        err(1, "creating the epoll instance");
    loop.tick = add_timer(loop.epoll);
    loop.request = add_timer(loop.epoll);

    timeline_start(timeline);
    loop.due = timeline->start + TICK;
    set_timer(loop.tick, loop.due, TICK);
    set_timer(loop.request, timeline->start + REQUEST, 0);
    run(&loop);
    timeline_stop(timeline);

    timeline_draw(timeline, timeline);
    print_worst(&loop);
    printf("\nthe read: %.2f ms, %.2f ms of that on a processor\n",
           (double)read_took(&loop) / 1e6, (double)loop.worked / 1e6);
    timeline_facts(timeline, blocks_checksum(&blocks));

    timeline_trace(args.trace, (struct timeline *[]){timeline, NULL});
    if (close(loop.request) || close(loop.tick) || close(loop.epoll))
        err(1, "closing the timers and epoll");
    blocks_close(&blocks);
    timeline_free(timeline);
    return 0;
}
