/**
 * @file why.h
 * Why a machine refuses an interface, and what to do about it.
 */
#ifndef WHY_H
#define WHY_H

#include <errno.h>
#include <stdbool.h>
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

/** The way out of a container's filter. */
#define CONTAINER_WAY_OUT                                                      \
    "Docker, Podman: run the container with "                                  \
    "--security-opt seccomp=unconfined"

/** The same behind a cause, on a line of its own. */
#define CONTAINER_ADVICE "\n" CONTAINER_WAY_OUT

/** A cause, where a filter may be one, and nobody can tell. */
#define FILTER_IN_FORCE                                                        \
    "a seccomp filter is in force, as in a container, and may have answered."

/** Is there a seccomp filter that decides which system calls reach the kernel?
 *  Mode 2 in proc(5). */
bool why_filtered(void);

/** What a machine may refuse: a system call, by what a program wants of it. */
enum interface {
    URING_SETUP,    /**< io_uring_setup(2), and mmap(2) of the ring. */
    URING_ENTER,    /**< io_uring_enter(2). */
    URING_REGISTER, /**< io_uring_register(2). */
    AIO_SETUP,      /**< io_setup(2). */
    AIO_SUBMIT,     /**< io_submit(2). */
    PERF_EVENTS,    /**< perf_event_open(2). */
    TRACING,        /**< ptrace(2). */
    MOUNTING        /**< mount(2). */
};

/**
 * Why this machine refuses an interface to us, and the way out.
 *
 * A seccomp filter may answer with any errno. Where one is in force, it is named first,
 * and then what else this errno means. SELinux answers EACCES, AppArmor
 * EACCES or EPERM, a sysctl EPERM or EACCES, an old kernel ENOSYS or EINVAL, and
 * a limit ENOMEM or EAGAIN. What is left is no refusal but a failure: EMFILE and
 * ENFILE, say.
 *
 * Sources: the manual pages of the calls; seccomp(2); proc(5); in the kernel's
 * Documentation/admin-guide: sysctl/kernel.rst (io_uring_disabled,
 * perf_event_paranoid), sysctl/fs.rst (aio-max-nr), LSM/Yama.rst (ptrace_scope).
 *
 * @param interface  What was asked for.
 * @param error      The errno of the call.
 * @return the cause; then a newline and what to do about it. NULL: a failure. It
 *         is valid until the next call.
 */
const char *why_refused(enum interface interface, int error);

/**
 * Exit: with status 77, the error and why_refused()'s answer if it has one; else
 * with status 1 and the error. For the first call of its kind, before anything
 * is shown.
 *
 * @param interface  What was asked for.
 * @param error      The errno of the call.
 */
__attribute__((noreturn)) void refused(enum interface interface, int error);

#endif
