/**
 * @file why.h
 * Why a machine refuses an interface, and what to do about it.
 */
#ifndef WHY_H
#define WHY_H

#include <errno.h>
#include <string.h>

/** Why there may be no more threads or processes, and what to do about it. */
#define NO_MORE_THREADS                                                        \
    "the limit of processes and threads is reached."                           \
    "\nRaise it: ulimit -u, or pids.max of the cgroup "                        \
    "(Docker, Podman: --pids-limit)"

/**
 * What to print behind the error of fork(2), pthread_create(3), or another call
 * that makes a thread: the cause and the way out, where there is more to say.
 */
static inline const char *why_no_thread(int error)
{
    return error == EAGAIN ? ": " NO_MORE_THREADS : "";
}

/**
 * strerror(3) for a request in a ring that nobody has canceled. If it ends with
 * ECANCELED all the same, it needed a thread of the kernel's (ready.h), and there
 * was none to be had: io_wq_create_worker() in the kernel's io_uring/io-wq.c.
 */
static inline const char *request_error(int error)
{
    return error == ECANCELED
               ? "the kernel could make no thread for it: " NO_MORE_THREADS
               : strerror(error);
}

/**
 * Why io_uring can't be set up on this machine.
 *
 * Sources: io_uring_setup(2); kernel.io_uring_disabled in the kernel's
 * Documentation/admin-guide/sysctl/kernel.rst.
 *
 * @param error  errno of io_uring_setup(2).
 * @return a text with the cause and the way out; NULL where the error does not
 *         come from the machine's settings (EMFILE, say).
 */
const char *why_no_uring(int error);

/**
 * Why Linux AIO can't be set up on this machine. Sources: io_setup(2);
 * fs.aio-max-nr in the kernel's Documentation/admin-guide/sysctl/fs.rst.
 *
 * @param error  errno of io_setup(2).
 * @return as why_no_uring().
 */
const char *why_no_aio(int error);

/** Exit: status 77 with why_no_uring()'s answer if it has one, else 1. */
__attribute__((noreturn)) void uring_refused(int error);

/** Exit: status 77 with why_no_aio()'s answer if it has one, else 1. */
__attribute__((noreturn)) void aio_refused(int error);

#endif
