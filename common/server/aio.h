/**
 * @file aio.h
 * The system calls of Linux AIO, for which glibc has no wrappers: chapter 08.
 * They return -1 and set errno, as wrappers of glibc do.
 */
#ifndef AIO_H
#define AIO_H

#include <linux/aio_abi.h>
#include <time.h>

/** io_setup(2). */
int io_setup(unsigned requests, aio_context_t *context);
/** io_submit(2). */
int io_submit(aio_context_t context, long n, struct iocb **iocbs);
/** io_getevents(2). */
int io_getevents(aio_context_t context, long min, long max,
                 struct io_event *events, struct timespec *timeout);
/** io_cancel(2). */
int io_cancel(aio_context_t context, struct iocb *iocb, struct io_event *event);
/** io_destroy(2). */
int io_destroy(aio_context_t context);

/** May we submit to it at all? Else say so, and exit with status 77. */
void try_submit(aio_context_t context);

/** io_submit() did not take a poll request, and errno says why: exit with status
 *  77 where the kernel has no such request, else 1. */
__attribute__((noreturn)) void poll_refused(void);

#endif
