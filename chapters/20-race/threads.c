/* threads: a pool of `depth` threads, each in pread(2), as in chapter 05. It
   has no queue: each thread takes the next block from the heat itself. */
#include "race.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pool {
    sem_t go;   /* One for each thread: the heat begins, or there is none. */
    sem_t done; /* One from each thread: it has no more to do. */
    sem_t end;  /* One for each thread. Not `go`: the first to be done would
                   take that of a thread that has not begun yet. */
    bool called_off;
    unsigned threads;
    pthread_t thread[MAX_DEPTH];
};

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore))
        if (errno != EINTR)
            err(1, "threads: waiting for a semaphore");
}

static void post(sem_t *semaphore, unsigned times)
{
    while (times-- > 0)
        if (sem_post(semaphore))
            err(1, "threads: posting a semaphore");
}

/* A thread has one lane, and the slot of the same number. */
static void *work(void *argument)
{
    struct lane *lane = argument;
    struct heat *heat = lane->heat;
    const struct course *course = heat->course;
    struct slot *slot = &heat->slots[lane - heat->lanes];
    struct pool *pool = heat->own;

    wait_for(&pool->go);
    if (pool->called_off)
        return NULL;
    for (lane_look(lane); lane_begin(lane, slot);) {
        ssize_t n = pread(course->fd, slot->data, course->size, slot->offset);
        lane->calls++;
        lane_look(lane);
        lane_end(lane, slot, n < 0 ? -errno : n);
    }
    post(&pool->done, 1);
    wait_for(&pool->end); /* To end is not part of the heat. */
    return NULL;
}

static void threads_close(struct heat *heat)
{
    struct pool *pool = heat->own;

    pool->called_off = true; /* If there was a heat, nobody looks any more. */
    post(&pool->go, pool->threads);
    post(&pool->end, pool->threads);
    for (unsigned i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    sem_destroy(&pool->go);
    sem_destroy(&pool->done);
    sem_destroy(&pool->end);
    free(pool);
}

static bool threads_open(struct heat *heat)
{
    struct pool *pool = heat_own(heat, sizeof(*pool));
    pthread_attr_t small;

    /* By default 256 of them would take 2 GiB of addresses for their stacks. */
    if (pthread_attr_init(&small) ||
        pthread_attr_setstacksize(&small, 256 << 10))
        errx(1, "threads: asking for small stacks");
    if (sem_init(&pool->go, 0, 0) || sem_init(&pool->done, 0, 0) ||
        sem_init(&pool->end, 0, 0))
        err(1, "threads: making a semaphore");
    while (pool->threads < heat->course->depth) {
        unsigned i = pool->threads;
        int error =
            pthread_create(&pool->thread[i], &small, work, &heat->lanes[i]);
        if (error) {
            pthread_attr_destroy(&small);
            threads_close(heat);
            return heat_refused(
                heat, "starting a thread: %s; see ulimit -u, and pids.max",
                strerror(error));
        }
        pool->threads++;
    }
    pthread_attr_destroy(&small);
    return true;
}

static void threads_run(struct heat *heat)
{
    struct pool *pool = heat->own;

    post(&pool->go, pool->threads);
    for (unsigned i = 0; i < pool->threads; i++)
        wait_for(&pool->done);
}

const struct engine engine_threads = {"threads", threads_open, threads_run,
                                      threads_close};
