/*
 * 04 · The stalled loop
 *
 * An event loop handles the tick of a timer every millisecond. At one of them
 * it also reads 32 MiB of a cold file, with a plain pread(2). Then the usual
 * answers are tried on the same file: epoll, poll and O_NONBLOCK.
 *
 * Watch for: the gap in the row of dots, just as long as the read below it. No
 * tick is handled in there, though the timer has gone on expiring. And none of
 * the answers says that the pages are not there.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/04-stalled-loop/stalled-loop.c common/?*.c -lz \
 *           -o 04-stalled-loop
 *
 * Needs: Linux 2.6.27, for timerfd and epoll_create1().
 * Manual pages: epoll(7), epoll_ctl(2), timerfd_create(2), poll(2), open(2).
 */
#define _GNU_SOURCE
#include "args.h"
#include "blocks.h"
#include "timeline.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    TICK = 1000000, /* Nanoseconds. */
    BEFORE = 20,    /* Ticks before the read, and at least as long after it. */
    PROBE = 65536   /* Bytes that the read with O_NONBLOCK asks for. */
};

static unsigned mib = 32;

static const struct program program = {
    .name = "04-stalled-loop",
    .does = "Reads a cold file in an event loop, which stands still meanwhile.",
    .traces = true,
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("mib", "how many MiB of the file to read", &mib, 1,
                          1024),
            OPTION_END},
};

struct loop {
    int epoll, timer;
    const struct blocks *blocks; /* One block only: what is to be read. */
    struct timeline *timeline;   /* Each CALL_WAIT in it is a tick handled. */
    unsigned ticks;              /* So far. */
    uint64_t expirations; /* What the timer said at the first tick after the
                             read; 0 before. */
};

/* --- The loop, and the mistake in it ------------------------------------- */

static void read_file(const struct blocks *blocks)
{
    int64_t res = blocks_read(blocks, 0); /* pread(), in chapter 01's loop. */

    if (res <= 0)
        blocks_failed(blocks, 0, res);
}

/* Somebody wants the file. The mistake looks like any other line, and with the
   file in the page cache it is seldom noticed. */
static void on_request(struct loop *loop)
{
    timeline_submitted(loop->timeline, 0);
    timeline_call(loop->timeline, CALL_SUBMIT);
    read_file(loop->blocks);
    timeline_return(loop->timeline);
    timeline_completed(loop->timeline, 0);
}

static void on_timer(struct loop *loop)
{
    uint64_t expirations; /* Since the timer was last read. */
    ssize_t n;

    /* epoll_wait() has said that there is something to read, so this can't wait
       and can't come back with EAGAIN: nobody else reads this timer. */
    do
        n = read(loop->timer, &expirations, sizeof(expirations));
    while (n < 0 && errno == EINTR);
    if (n != sizeof(expirations))
        err(1, "reading the timer");

    loop->ticks++;
    if (loop->ticks == BEFORE)
        on_request(loop);
    else if (loop->ticks == BEFORE + 1)
        loop->expirations = expirations;
}

/* After the read, go on for as long as it took, to have both side by side. */
static bool finished(const struct loop *loop)
{
    const struct timeline *t = loop->timeline;
    const struct bar *read = &t->block[0];
    int64_t took = read->end - read->begin;

    if (took < BEFORE * (int64_t)TICK)
        took = BEFORE * (int64_t)TICK;
    return loop->ticks > BEFORE &&
           t->main[t->calls - 1].end >= read->end + took;
}

static void run(struct loop *loop)
{
    timeline_start(loop->timeline);
    while (!finished(loop)) {
        struct epoll_event event;
        int n;

        timeline_call(loop->timeline, CALL_WAIT);
        do /* A signal may end the wait before an event does. */
            n = epoll_wait(loop->epoll, &event, 1, -1);
        while (n < 0 && errno == EINTR);
        timeline_return(loop->timeline);
        if (n < 0)
            err(1, "waiting for events");
        on_timer(loop); /* The only descriptor that this loop watches. */
    }
    timeline_stop(loop->timeline);
}

static void start_timer(struct loop *loop)
{
    struct itimerspec every = {.it_value.tv_nsec = TICK,
                               .it_interval.tv_nsec = TICK};
    struct epoll_event event = {.events = EPOLLIN};

    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        err(1, "creating the epoll instance");
    loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->timer < 0)
        err(1, "creating the timer");
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->timer, &event))
        err(1, "adding the timer to epoll");
    if (timerfd_settime(loop->timer, 0, &every, NULL))
        err(1, "setting the timer");
}

/* --- The usual answers --------------------------------------------------- */

static void print_resident(const struct blocks *blocks)
{
    long resident = blocks_resident(blocks);

    if (resident == PAGES_UNKNOWN)
        puts("unknown how many pages cached");
    else
        printf("%ld of %ld pages cached\n", resident, blocks_pages(blocks));
}

/* "Let epoll tell us when the file can be read." */
static void ask_epoll(const struct loop *loop)
{
    struct epoll_event event = {.events = EPOLLIN};

    fputs("epoll_ctl(EPOLL_CTL_ADD): ", stdout);
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->blocks->fd, &event) == 0)
        puts("taken; this file system has a poll of its own, as FUSE does");
    else if (errno == EPERM)
        puts("EPERM");
    else
        err(1, "adding %s to epoll", loop->blocks->path);
}

/* "Then let poll tell us." Timeout 0: it looks, and does not wait. */
static void ask_poll(const struct blocks *blocks)
{
    struct pollfd file = {.fd = blocks->fd, .events = POLLIN};
    int n;

    do
        n = poll(&file, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        err(1, "polling %s", blocks->path);
    printf("poll, timeout 0: %s to read; ",
           n == 1 && (file.revents & POLLIN) ? "ready" : "not ready");
    print_resident(blocks);
}

/* "Then make the read fail instead of wait." A socket would say EAGAIN. */
static void try_nonblock(const struct blocks *blocks)
{
    struct blocks probe = *blocks;
    struct block first = blocks->block[0];

    probe.block = &first;
    if (first.length > PROBE)
        first.length = PROBE;
    if (fcntl(blocks->fd, F_SETFL, O_NONBLOCK))
        err(1, "setting O_NONBLOCK on %s", blocks->path);
    read_file(&probe);
    printf("pread, O_NONBLOCK set: all of %zu bytes; ", first.length);
    print_resident(blocks);
}

/* --- What happened ------------------------------------------------------- */

/* How many ticks were handled from one time on and before another. */
static unsigned ticks_in(const struct timeline *t, int64_t from, int64_t to)
{
    unsigned n = 0;

    for (unsigned i = 0; i < t->calls; i++)
        n += t->main[i].call == CALL_WAIT && t->main[i].end >= from &&
             t->main[i].end < to;
    return n;
}

static void print_facts(const struct loop *loop)
{
    const struct timeline *t = loop->timeline;
    int64_t begin = t->block[0].begin, end = t->block[0].end;

    printf("ticks before the read: %u\n", ticks_in(t, 0, begin));
    printf("ticks during the read: %u\n", ticks_in(t, begin, end));
    printf("ticks after it, in as much time: %u\n",
           ticks_in(t, end, end + (end - begin)));
    printf("expirations at the first tick after it: %" PRIu64 "\n",
           loop->expirations);
    /* The read is the call behind the waits for the first ticks. */
    printf("sleeps in submit: %ld\n", t->main[BEFORE].sleeps);
    printf("time in submit: %.2f ms\n", (double)(end - begin) / 1e6);
    printf("checksum: %08" PRIx32 "\n", blocks_checksum(loop->blocks));
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;
    struct loop loop = {.blocks = &blocks, .timeline = timeline_new("loop", 1)};

    args.count = 1;
    args.size = (size_t)mib << 20;
    blocks_open(&blocks, &args);
    blocks_clear(&blocks); /* The memory is there; only the file is cold. */
    blocks_drop(&blocks);
    blocks_announce(&blocks);

    start_timer(&loop);
    run(&loop);
    timeline_dots(loop.timeline, "ticks", CALL_WAIT); /* One a tick. */
    timeline_draw(loop.timeline, loop.timeline);
    print_facts(&loop);

    puts("\nThe usual answers, the pages dropped again:");
    blocks_drop(&blocks);
    ask_epoll(&loop);
    ask_poll(&blocks);
    try_nonblock(&blocks);

    timeline_trace(args.trace, (struct timeline *[]){loop.timeline, NULL});
    if (close(loop.timer) || close(loop.epoll))
        err(1, "closing the timer and epoll");
    blocks_close(&blocks);
    timeline_free(loop.timeline);
    return 0;
}
