/*
 * The pool. Two queues: one takes the blocks to the threads, the other brings them back.
 * See pool.h.
 */
#include "pool.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* One block, in whichever thread this is. blocks_read() is the loop around pread() of
   chapter 01.

   If the read fails, nobody prints that here. The main thread has asked for the block, so
   the main thread decides what to do. errno would not get there, because each thread has
   its own. So the error goes where the number of bytes would: below 0. */
void read_block(struct pool *pool, unsigned i)
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
void pool_start(struct pool *pool)
{
    for (unsigned t = 0; t < pool->threads; t++) {
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
void pool_submit(struct pool *pool, unsigned blocks)
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
void pool_stop(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_broadcast(&pool->work);
    for (unsigned t = 0; t < pool->threads; t++)
        pthread_join(pool->thread[t], NULL);
}

/* The next entry in the queue back. The loop has found `complete` of them so far. False:
   there is no more. */
bool next_result(struct pool *pool, unsigned complete, unsigned *i)
{
    pthread_mutex_lock(&pool->mutex);
    bool there = complete < pool->done;
    if (there)
        *i = pool->order[complete];
    pthread_mutex_unlock(&pool->mutex);
    return there;
}
