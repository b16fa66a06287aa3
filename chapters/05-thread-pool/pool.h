/*
 * A pool of threads that reads blocks for somebody else: what all threads see, and what the
 * main thread may call.
 */
#ifndef POOL_H
#define POOL_H

#include "blocks.h"
#include "ready.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

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

    pthread_t thread[READY_MAX_THREADS];
    unsigned threads;

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

/* Read a block in the thread that calls this, and note the result. */
void read_block(struct pool *pool, unsigned i);

/* Start the threads of the pool. They wait for blocks. */
void pool_start(struct pool *pool);

/* Hand over so many blocks, all at once. It waits for no read. */
void pool_submit(struct pool *pool, unsigned blocks);

/* The next block that is done. `complete` were found so far. False: there is no more. */
bool next_result(struct pool *pool, unsigned complete, unsigned *i);

/* End the threads, and wait until they have ended. */
void pool_stop(struct pool *pool);

#endif
