/*
 * short: make transfers short, as the manual says they may be.
 *
 *     LD_PRELOAD=build/libshort.so build/bin/13-uring-read
 *
 * A local disk hardly ever reads less than it is asked for, and strace can make
 * a call fail but not be short. This library steps between the program and the
 * kernel and cuts each read of more than a page down to one page less than was
 * asked for, whichever way it is asked for, and writes through a ring as well.
 * What comes back is a true short read: right bytes, too few of them.
 */
#define _GNU_SOURCE
#include <aio.h>
#include <dlfcn.h>
#include <liburing.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096 };

static size_t cut(size_t bytes)
{
    return bytes > PAGE ? bytes - PAGE : bytes;
}

/* The function that the program would have called. Where an off_t is in the play,
   _FILE_OFFSET_BITS=64 has given it, and ours, a name with a 64. */
#define REAL_AS(name, as)                                                      \
    (__extension__(__typeof__(name) *) dlsym(RTLD_NEXT, as))
#define REAL(name)   REAL_AS(name, #name)
#define REAL64(name) REAL_AS(name, #name "64")

ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    return REAL64(pread)(fd, data, cut(bytes), offset);
}

/* glibc's threads call no pread() that could be replaced. */
int aio_read(struct aiocb *request)
{
    request->aio_nbytes = cut(request->aio_nbytes);
    return REAL64(aio_read)(request);
}

/* The SQEs of a ring that was mapped by hand. Cutting those as well that are
   not in use does no harm. */
static struct io_uring_sqe *sqes;
static size_t sqes_count;

static void cut_sqes(struct io_uring_sqe *sqe, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (sqe[i].opcode == IORING_OP_READ ||
            sqe[i].opcode == IORING_OP_READ_FIXED ||
            sqe[i].opcode == IORING_OP_WRITE)
            sqe[i].len = (unsigned)cut(sqe[i].len);
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd,
           off_t offset)
{
    void *map = REAL64(mmap)(at, bytes, protection, flags, fd, offset);

    if (fd >= 0 && offset == (off_t)IORING_OFF_SQES && map != MAP_FAILED) {
        sqes = map;
        sqes_count = bytes / sizeof(*sqes);
    }
    return map;
}

long syscall(long number, ...)
{
    va_list more;
    long a[6];

    va_start(more, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(more, long);
    va_end(more);

    if (number == SYS_io_submit) {
        struct iocb **iocbs = (struct iocb **)a[2];
        for (long i = 0; i < a[1]; i++)
            if (iocbs[i]->aio_lio_opcode == IOCB_CMD_PREAD)
                iocbs[i]->aio_nbytes = cut((size_t)iocbs[i]->aio_nbytes);
    }
    if (number == SYS_io_uring_enter && a[1] > 0)
        cut_sqes(sqes, sqes_count);
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int io_uring_submit(struct io_uring *ring)
{
    cut_sqes(ring->sq.sqes, ring->sq.ring_entries);
    return REAL(io_uring_submit)(ring);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
    cut_sqes(ring->sq.sqes, ring->sq.ring_entries);
    return REAL(io_uring_submit_and_wait)(ring, n);
}
