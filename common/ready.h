/**
 * @file ready.h
 * Can this machine show it? For `ready` in struct program: each of these returns
 * where what it stands for works, and else ends the program with status 77 and the
 * reason. They do what a run will do, and leave nothing open.
 *
 * In a run they do nothing but with NULL for the arguments: the run's own calls
 * will tell (why.h), and who looks on with strace sees those calls alone. Whoever
 * prints before it makes them passes NULL.
 */
#ifndef READY_H
#define READY_H

#include "args.h"

/** io_uring: a ring is set up, mapped, and entered with a request. Linux 5.1. */
void ready_uring(const struct args *args);

/** The same, and it knows IORING_OP_READ and IORING_OP_WRITE: Linux 5.6. */
void ready_uring_read(const struct args *args);

/**
 * The run's own ring: does it know IORING_OP_READ and IORING_OP_WRITE?
 *
 * @param features  IORING_FEAT_ bits, from io_uring_setup(2).
 */
void ready_to_read(unsigned features);

/**
 * The run's own ring, before anything is shown: may it be entered? A filter can
 * let io_uring_setup(2) through, and not io_uring_enter(2). This one submits
 * nothing and waits for nothing. Where that fails for another reason, it returns:
 * the run will tell.
 *
 * @param fd  The ring's descriptor.
 */
void ready_enter(int fd);

/**
 * A ring of its own that tells which requests it knows: io_uring_register(2) is
 * let through too. For a program that registers something. Linux 5.6.
 */
void ready_uring_register(void);

/**
 * As ready_uring_read(NULL), and in that ring the kernel may make a thread for a
 * request that needs one. With `ulimit -u`, or `pids.max` of a cgroup, it may not,
 * and would cancel each request that does: a write or an fsync to most file
 * systems, a rename, a splice. The names of such threads begin with iou-wrk, and
 * they belong to the process.
 *
 * @param what  What needs the thread, for the message.
 */
void ready_uring_worker(const char *what);

/** The most that ready_threads() can be asked for. */
enum { READY_MAX_THREADS = 64 };

/**
 * So many threads besides this one, READY_MAX_THREADS at most. `ulimit -u` and
 * `pids.max` count processes as they count threads, so children are made, all at
 * once, and are gone again.
 */
void ready_threads(unsigned threads);

/** posix_fadvise(2), which a kernel may be built without. In a run, too: this call
 *  is about no file, and opens nothing. */
void ready_advice(const struct args *args);

/** Linux AIO: a context is set up, and takes a request. Linux 2.6. */
void ready_aio(const struct args *args);

/**
 * As ready_enter(), for the run's own context and io_submit(2).
 *
 * @param context  From io_setup(2): an aio_context_t.
 */
void ready_submit(unsigned long context);

#endif
