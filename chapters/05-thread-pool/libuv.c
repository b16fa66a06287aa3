/*
 * 05-libuv · The same job with libuv
 *
 * Reads the eight blocks with uv_fs_read(), which Node.js and others use, on
 * libuv's own pool of threads. Beside it the same timer ticks in libuv's loop.
 *
 * Watch for: the facts of our own pool, number by number; and
 * UV_THREADPOOL_SIZE=2 in front of the command.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/05-thread-pool/libuv.c \
 *           common/?*.c -lz -luv -o 05-libuv
 *
 * Needs: libuv 1.x.
 * Manual pages: none; the reference is at https://docs.libuv.org.
 */
#define _GNU_SOURCE /* pread64(), RTLD_NEXT */
#include "args.h"
#include "blocks.h"
#include "timeline.h"

#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

enum { TICK = 50 * 1000 /* Nanoseconds. */ };

static const struct program program = {
    .name = "05-libuv",
    .page = "05-thread-pool",
    .does = "Reads blocks of a file with uv_fs_read(), in libuv's pool.",
    .reads_blocks = true,
    .takes_file = true,
};

/* One block's way through libuv. */
struct request {
    uv_fs_t fs;         /* libuv's own request; `data` leads back to us. */
    size_t done;        /* Bytes read so far. */
    int64_t begin, end; /* When a thread was at it; CLOCK_MONOTONIC. */
};

/* Global, since pread64() below has no argument that could bring it. */
static struct reader {
    struct blocks blocks;
    struct timeline *timeline;
    struct request *requests; /* One for each block. */
    uv_loop_t loop;
    uv_prepare_t before_wait;
    uv_check_t after_wait;
    uv_poll_t tick;
    enum call call; /* What the loop's next wait is. */
    bool waiting;
    int timer;
    unsigned ticks;
    atomic_uint reading; /* How many threads are in pread64(). */
} r;

/* libuv returns -errno, as the kernel does, and -errno has a text. */
static void must(int result, const char *doing)
{
    if (result < 0)
        errx(1, "%s: %s", doing, uv_strerror(result));
}

/* --- A look into libuv's threads ----------------------------------------- */

/* libuv tells when a read has ended, but not when a thread has begun with it.
   So we stand in its way: a function that the program defines comes before the
   one of the same name in a library (ld.so(8) looks there first), and where
   libuv calls pread64(), it gets here. So do we where we call pread(), which
   _FILE_OFFSET_BITS=64 has given this name. libc's own is the next of that name:
   dlsym(3). */
static ssize_t (*libc_pread64)(int, void *, size_t, off64_t);

ssize_t pread64(int fd, void *data, size_t bytes, off64_t offset)
{
    if (fd != r.blocks.fd)
        return libc_pread64(fd, data, bytes, offset);
    size_t at = (size_t)((unsigned char *)data - r.blocks.memory);
    struct request *request = &r.requests[at / r.blocks.size];

    atomic_fetch_add(&r.reading, 1);
    if (request->begin == 0) /* Else it is the rest of a short read. */
        request->begin = (int64_t)uv_hrtime();
    ssize_t n = libc_pread64(fd, data, bytes, offset);
    request->end = (int64_t)uv_hrtime();
    atomic_fetch_sub(&r.reading, 1);
    return n;
}

/* --- In the main thread -------------------------------------------------- */

/* libuv waits in epoll_wait(2) deep inside uv_run(). It calls these before and
   after, but callbacks come even before that: so each of them says it, too. */
static void before_wait(uv_prepare_t *handle)
{
    (void)handle;
    timeline_call(r.timeline, r.call);
    r.waiting = true;
}

static void woken(void)
{
    if (r.waiting)
        timeline_return(r.timeline);
    r.waiting = false;
}

static void after_wait(uv_check_t *handle)
{
    (void)handle;
    woken();
}

static void on_tick(uv_poll_t *handle, int status, int events)
{
    uint64_t times;

    (void)handle, (void)events;
    woken();
    must(status, "watching the timer");
    if (read(r.timer, &times, sizeof(times)) < 0 && errno != EAGAIN &&
        errno != EINTR) /* Then it is still readable: in the next turn. */
        err(1, "reading the timer");
    if (atomic_load(&r.reading) > 0)
        r.ticks++;
}

static void on_read(uv_fs_t *fs);

static void submit(unsigned i)
{
    struct request *request = &r.requests[i];
    const struct block *block = &r.blocks.block[i];

    /* libuv copies `rest`, but not the memory that it describes. */
    uv_buf_t rest = uv_buf_init((char *)block->data + request->done,
                                (unsigned)(block->length - request->done));
    request->fs.data = request;
    must(uv_fs_read(&r.loop, &request->fs, r.blocks.fd, &rest, 1,
                    block->offset + (off_t)request->done, on_read),
         "handing a read to libuv");
}

/* On the loop, in the main thread: the result of a read has come. */
static void on_read(uv_fs_t *fs)
{
    struct request *request = fs->data;
    unsigned i = (unsigned)(request - r.requests);
    ssize_t n = fs->result; /* Bytes, or -errno. */

    woken();
    uv_fs_req_cleanup(fs);
    if (n == UV_EINTR)
        n = 0; /* libuv leaves it to us to ask again. */
    else if (n <= 0)
        blocks_failed(&r.blocks, i, n);
    request->done += (size_t)n;
    if (request->done < r.blocks.block[i].length) {
        submit(i);
        return;
    }
    if (request->begin == 0)
        cannot_show("when a thread reads: libuv %s does it without pread64()",
                    uv_version_string());
    timeline_completed(r.timeline, i);
    struct bar *bar = &r.timeline->block[i];
    bar->begin = request->begin - r.timeline->start;
    bar->end = request->end - r.timeline->start;
}

static void run(uv_run_mode mode)
{
    r.call = mode == UV_RUN_NOWAIT ? CALL_LOOK : CALL_WAIT;
    uv_run(&r.loop, mode);
}

static void set_timer(long nanoseconds)
{
    struct itimerspec every = {.it_value.tv_nsec = nanoseconds,
                               .it_interval.tv_nsec = nanoseconds};

    if (timerfd_settime(r.timer, 0, &every, NULL))
        err(1, "setting the timer");
}

static void read_all(void)
{
    blocks_clear(&r.blocks);
    set_timer(TICK);
    timeline_start(r.timeline);
    timeline_call(r.timeline, CALL_SUBMIT);
    for (unsigned i = 0; i < r.blocks.count; i++) {
        timeline_submitted(r.timeline, i);
        submit(i);
    }
    timeline_return(r.timeline);
    run(UV_RUN_NOWAIT);
    run(UV_RUN_DEFAULT); /* Until the last request has come back. */
    timeline_stop(r.timeline);
    timeline_threads(r.timeline);
    set_timer(0);
}

static void count_switches(void)
{
    unsigned count = r.blocks.count;

    memset(r.requests, 0, count * sizeof(*r.requests));
    timeline_start(r.timeline);
    long before = timeline_switches();
    for (unsigned i = 0; i < count; i++) {
        timeline_submitted(r.timeline, i);
        submit(i);
        run(UV_RUN_DEFAULT);
    }
    long switches = timeline_switches() - before;
    timeline_stop(r.timeline);
    printf("context switches: %ld for %u warm reads, %.1f a read\n", switches,
           count, (double)switches / count);
}

/* --- Setting up ---------------------------------------------------------- */

/* Where the kernel refuses what libuv can't do without (an epoll_ctl(2), say),
   it calls abort(). Only what is safe in a signal handler may be done here. */
static void gave_up(int number)
{
    static const char text[] = "05-libuv: libuv has given up: a "
                               "system call failed, strace will say which. "
                               "If it is clone(2), see ulimit -u\n";

    (void)number;
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)n; /* Who could still be told of an error? */
    _exit(1);
}

static void nothing(uv_work_t *work)
{
    (void)work;
}

static void loop_open(void)
{
    uv_work_t first;

    /* Since 1.45 libuv can read through io_uring. Here it shall not. */
    if (setenv("UV_USE_IO_URING", "0", 1))
        err(1, "setting UV_USE_IO_URING");
    must(uv_loop_init(&r.loop), "setting up libuv's loop");
    must(uv_prepare_init(&r.loop, &r.before_wait), "making a prepare handle");
    must(uv_check_init(&r.loop, &r.after_wait), "making a check handle");
    must(uv_poll_init(&r.loop, &r.tick, r.timer), "watching the timer");

    /* libuv starts its threads with the first request, and waits until they
       run. That shall not be in the picture. */
    must(uv_queue_work(&r.loop, &first, nothing, NULL), "starting the pool");
    uv_run(&r.loop, UV_RUN_DEFAULT);

    must(uv_prepare_start(&r.before_wait, before_wait), "starting to prepare");
    must(uv_check_start(&r.after_wait, after_wait), "starting to check");
    must(uv_poll_start(&r.tick, UV_READABLE, on_tick), "watching the timer");
    /* Unref'd handles don't keep uv_run() from returning; requests do. */
    uv_unref((uv_handle_t *)&r.before_wait);
    uv_unref((uv_handle_t *)&r.after_wait);
    uv_unref((uv_handle_t *)&r.tick);
}

static void loop_close(void)
{
    uv_close((uv_handle_t *)&r.before_wait, NULL);
    uv_close((uv_handle_t *)&r.after_wait, NULL);
    uv_close((uv_handle_t *)&r.tick, NULL);
    uv_run(&r.loop, UV_RUN_DEFAULT); /* Closing takes a turn of the loop. */
    must(uv_loop_close(&r.loop), "closing libuv's loop");
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);

    libc_pread64 =
        __extension__(__typeof__(libc_pread64)) dlsym(RTLD_NEXT, "pread64");
    if (!libc_pread64)
        errx(1, "looking for libc's pread64(): %s", dlerror());
    signal(SIGABRT, gave_up);
    blocks_open(&r.blocks, &args);
    r.requests = calloc(r.blocks.count, sizeof(*r.requests));
    r.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (!r.requests || r.timer < 0)
        err(1, "setting up the timer");
    loop_open();

    blocks_drop(&r.blocks);
    blocks_announce(&r.blocks);
    struct timeline *cold = timeline_new("libuv", r.blocks.count);
    struct timeline *warm = timeline_new("warm", r.blocks.count);
    r.timeline = cold;
    read_all();
    timeline_draw(cold, cold);
    timeline_facts(cold, blocks_checksum(&r.blocks));
    printf("ticks during the reads: %u\n\n", r.ticks);

    r.timeline = warm;
    count_switches();

    loop_close();
    if (close(r.timer))
        err(1, "closing the timer");
    timeline_trace(args.trace, (struct timeline *[]){cold, warm, NULL});
    timeline_free(warm);
    timeline_free(cold);
    free(r.requests);
    blocks_close(&r.blocks);
    return 0;
}
