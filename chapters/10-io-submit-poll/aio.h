/*
 * The system calls of Linux AIO, for which glibc has no wrappers: see chapter
 * 08. They are in events-aio.c.
 */
#ifndef AIO_H
#define AIO_H

#include <linux/aio_abi.h>
#include <time.h>

int io_setup(unsigned requests, aio_context_t *context);
int io_submit(aio_context_t context, long n, struct iocb **iocbs);
int io_getevents(aio_context_t context, long min, long max,
                 struct io_event *events, struct timespec *timeout);
int io_cancel(aio_context_t context, struct iocb *iocb, struct io_event *event);
int io_destroy(aio_context_t context);

/* May we submit to it at all? Else say so, and exit. */
void try_submit(aio_context_t context);

/* io_submit() did not take a poll request: say so, and exit. */
__attribute__((noreturn)) void poll_refused(void);

#endif
