/* posix-aio: glibc's aio_read(3), as in chapter 07: a pool of threads as well,
   but one behind an interface. */
#define _GNU_SOURCE /* aio_init() */
#include "race.h"

#include "why.h"

#include <aio.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct requests {
    struct aiocb cb[MAX_DEPTH];
    const struct aiocb *list[MAX_DEPTH]; /* In flight; else NULL. */
    const struct aiocb *mark; /* The last but some; see posix_aio_run(). */
    unsigned submitted;
};

/* Those of the first `n` slots. */
static void posix_aio_close_first(struct heat *heat, unsigned n)
{
    struct requests *r = heat->own;

    for (unsigned i = 0; i < n; i++)
        if (close(r->cb[i].aio_fildes))
            err(1, "posix-aio: closing a descriptor");
    free(r);
}

/* What goes through one descriptor, glibc does one after the other. So each
   slot has its own, and there are as many threads as have work. But a thread is
   for waiting: where no read has to wait, a second one would only cost
   wake-ups. aio_init() counts once, in front of the first read. */
static bool posix_aio_open(struct heat *heat)
{
#ifdef __SANITIZE_THREAD__
    return heat_refused(heat, "ThreadSanitizer crashes in the threads that "
                              "glibc starts");
#endif
    struct requests *r = heat_own(heat, sizeof(*r));
    unsigned depth = heat->course->depth;
    bool warm = heat->course->mode == WARM;

    aio_init(&(struct aioinit){.aio_threads = warm ? 1 : MAX_DEPTH,
                               .aio_num = MAX_DEPTH,
                               .aio_idle_time = 1});
    for (unsigned i = 0; i < depth; i++) {
        r->cb[i].aio_fildes = fcntl(heat->course->fd, F_DUPFD_CLOEXEC, 0);
        if (r->cb[i].aio_fildes < 0) {
            int error = errno;
            posix_aio_close_first(heat, i);
            return heat_refused(heat,
                                "duplicating a descriptor: %s; see "
                                "ulimit -n",
                                strerror(error));
        }
    }
    return true;
}

static void submit(struct lane *lane, unsigned i)
{
    struct heat *heat = lane->heat;
    struct requests *r = heat->own;
    struct aiocb *cb = &r->cb[i];

    cb->aio_buf = heat->slots[i].data;
    cb->aio_nbytes = heat->course->size;
    cb->aio_offset = heat->slots[i].offset;
    cb->aio_sigevent.sigev_notify = SIGEV_NONE;
    if (aio_read(cb)) /* Without any thread it is EAGAIN. */
        errx(1, "posix-aio: submitting a read: %s%s", strerror(errno),
             why_no_thread(errno));
    lane->calls++; /* The pread() of glibc's thread. */
    r->list[i] = cb;
    if (r->submitted++ % ((heat->course->depth + 1) / 2) == 0)
        r->mark = cb;
}

/* Nobody tells which are complete: each is asked. */
static void collect(struct lane *lane)
{
    struct heat *heat = lane->heat;
    struct requests *r = heat->own;

    lane_look(lane);
    for (unsigned i = 0; i < heat->course->depth; i++) {
        int error = r->list[i] ? aio_error(r->list[i]) : EINPROGRESS;
        if (error == EINPROGRESS)
            continue;
        ssize_t res = aio_return(&r->cb[i]);
        r->list[i] = NULL;
        lane_end(lane, &heat->slots[i], error ? -error : res);
        if (lane_begin(lane, &heat->slots[i]))
            submit(lane, i);
    }
}

static void posix_aio_run(struct heat *heat)
{
    int depth = (int)heat->course->depth;
    struct lane *lane = &heat->lanes[0];
    struct requests *r = heat->own;

    lane_look(lane);
    for (int i = 0; i < depth; i++)
        if (lane_begin(lane, &heat->slots[i]))
            submit(lane, (unsigned)i);
    while (lane->in_flight > 0) {
        /* To take many at once, wait for one that was submitted some time ago:
           it comes when half of them have. */
        bool many = heat->course->batch >= heat->course->depth;
        int failed = many ? aio_suspend(&r->mark, 1, NULL)
                          : aio_suspend(r->list, depth, NULL);
        if (failed && errno != EINTR)
            err(1, "posix-aio: waiting for reads");
        collect(lane);
    }
}

static void posix_aio_close(struct heat *heat)
{
    posix_aio_close_first(heat, heat->course->depth);
}

const struct engine engine_posix_aio = {"posix-aio", posix_aio_open,
                                        posix_aio_run, posix_aio_close};
