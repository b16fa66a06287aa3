/*
 * rings: look on at how a program uses its ring, and say no where strace can't.
 *
 *     LD_PRELOAD=build/librings.so RINGS_LOG=log build/bin/13-uring-read
 *
 * What is in a ring is in memory, where strace does not look; and strace can
 * refuse io_uring_enter(2), but not those calls alone that submit. So this
 * library steps in front of the functions that submit and wait, in liburing and
 * in a program that has a ring of its own. It is told what to do by:
 *
 *   RINGS_LOG=FILE         write a line for each of these calls to FILE (below)
 *   RINGS_REFUSE="E F N"   N submits, from the Fth on, fail with errno E; with a
 *                          fourth number, P, so again P submits later, and so on
 *   RINGS_HURRY=1          a submit does not wait, as if a signal had come
 *   RINGS_TWICE=1          a submit finds one entry more, the same again: in a ring
 *                          by hand
 *   RINGS_BREAK=OPCODE     all requests of that kind fail with -EBADF
 *   RINGS_RES="N R"        the Nth completion says R, whatever came of its request
 *   RINGS_FEWER=1          a submit of several entries takes one: in a ring by hand
 *   RINGS_LATE=1           write a line "late" whenever a checksum is begun, and the
 *                          completion queue is not empty: in a ring by hand
 *
 * The lines are
 *
 *   submit RESULT REAPED
 *   wait TAKEN REAPED QUEUED SQ CQ
 *
 * TAKEN requests were taken by the kernel so far and REAPED completions by the
 * program, QUEUED entries are in the submission queue, and the queues have SQ and
 * CQ places.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

/* The function that the program would have called. */
#define REAL(name) (__extension__(__typeof__(name) *) dlsym(RTLD_NEXT, #name))

/* As in liburing's struct, of a ring that was mapped by hand. */
static struct {
    int fd;
    struct io_uring_params params;
    char *sq, *cq;
    struct io_uring_sqe *sqes;
} own = {.fd = -1};

static void note(const char *format, ...)
{
    const char *path = getenv("RINGS_LOG");
    int error = errno,
        fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    va_list more;

    if (fd < 0)
        return;
    va_start(more, format);
    vdprintf(fd, format, more);
    va_end(more);
    close(fd);
    errno = error;
}

/* 0, or the errno with which this submit is to fail. */
static int refused(void)
{
    static unsigned submits;
    const char *how = getenv("RINGS_REFUSE");
    unsigned from, times, period = 0;
    int error;

    submits++;
    if (!how ||
        sscanf(how, "%d %u %u %u", &error, &from, &times, &period) < 3 ||
        submits < from)
        return 0;
    unsigned since = submits - from;
    return (period ? since % period : since) < times ? error : 0;
}

static void break_some(struct io_uring_sqe *sqes, unsigned n)
{
    const char *opcode = getenv("RINGS_BREAK");

    for (unsigned i = 0; opcode && i < n; i++)
        if (sqes[i].opcode == atoi(opcode))
            sqes[i].fd = -1;
}

static void note_wait(unsigned taken, unsigned reaped, unsigned tail,
                      unsigned sq, unsigned cq)
{
    note("wait %u %u %u %u %u\n", taken, reaped, tail - taken, sq, cq);
}

/* Completions that have come since the last call. */
static void change_results(struct io_uring_cqe *cqes, unsigned tail,
                           unsigned mask)
{
    static unsigned seen;
    const char *how = getenv("RINGS_RES");
    unsigned nth;
    int res;

    if (!how || sscanf(how, "%u %d", &nth, &res) != 2)
        return;
    for (; seen != tail; seen++)
        if (seen + 1 == nth)
            cqes[seen & mask].res = res;
}

/* --- liburing ------------------------------------------------------------- */

static void came(const struct io_uring *ring)
{
    change_results(ring->cq.cqes,
                   __atomic_load_n(ring->cq.ktail, __ATOMIC_ACQUIRE),
                   ring->cq.ring_entries - 1);
}

static void waits(const struct io_uring *ring)
{
    note_wait(__atomic_load_n(ring->sq.khead, __ATOMIC_ACQUIRE),
              *ring->cq.khead, ring->sq.sqe_tail, ring->sq.ring_entries,
              ring->cq.ring_entries);
}

int io_uring_submit(struct io_uring *ring)
{
    break_some(ring->sq.sqes, ring->sq.ring_entries);
    int error = refused();
    int result = error ? -error : REAL(io_uring_submit)(ring);
    came(ring);
    note("submit %d %u\n", result, *ring->cq.khead);
    return result;
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
    break_some(ring->sq.sqes, ring->sq.ring_entries);
    int error = refused();
    int result = error ? -error
                 : getenv("RINGS_HURRY")
                     ? io_uring_submit_and_get_events(ring)
                     : REAL(io_uring_submit_and_wait)(ring, n);
    note("submit %d %u\n", result, *ring->cq.khead);
    return result;
}

/* What io_uring_wait_cqe() calls. */
int __io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe,
                       unsigned submit, unsigned n, sigset_t *mask)
{
    waits(ring);
    int result = REAL(__io_uring_get_cqe)(ring, cqe, submit, n, mask);
    came(ring);
    return result;
}

int io_uring_wait_cqes(struct io_uring *ring, struct io_uring_cqe **cqe,
                       unsigned n, struct __kernel_timespec *time,
                       sigset_t *mask)
{
    waits(ring);
    return REAL(io_uring_wait_cqes)(ring, cqe, n, time, mask);
}

int io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                              struct __kernel_timespec *time)
{
    waits(ring);
    return REAL(io_uring_wait_cqe_timeout)(ring, cqe, time);
}

/* --- A ring by hand ------------------------------------------------------- */

void *mmap(void *at, size_t bytes, int protection, int flags, int fd,
           off_t offset)
{
    /* _FILE_OFFSET_BITS=64 has given it, and ours, this name. */
    void *map = REAL(mmap64)(at, bytes, protection, flags, fd, offset);

    if (fd == own.fd && fd >= 0 && map != MAP_FAILED) {
        if (offset == IORING_OFF_SQ_RING)
            own.sq = own.cq = map;
        if (offset == IORING_OFF_CQ_RING)
            own.cq = map;
        if (offset == IORING_OFF_SQES)
            own.sqes = map;
    }
    return map;
}

static unsigned counter(const char *ring, unsigned offset)
{
    return __atomic_load_n((const unsigned *)(const void *)(ring + offset),
                           __ATOMIC_ACQUIRE);
}

long syscall(long number, ...)
{
    const struct io_uring_params *p = &own.params;
    va_list more;
    long a[6];

    va_start(more, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(more, long);
    va_end(more);

    bool enters = number == SYS_io_uring_enter;
    bool submits = enters && a[1] > 0;
    if (enters && !submits && a[2] > 0)
        note_wait(
            counter(own.sq, p->sq_off.head), counter(own.cq, p->cq_off.head),
            counter(own.sq, p->sq_off.tail), p->sq_entries, p->cq_entries);
    if (submits && getenv("RINGS_TWICE")) {
        _Atomic unsigned *tail = (void *)(own.sq + p->sq_off.tail);
        unsigned *indices = (void *)(own.sq + p->sq_off.array);
        unsigned mask = counter(own.sq, p->sq_off.ring_mask);
        indices[*tail & mask] = indices[(*tail - 1) & mask];
        ++*tail;
    }
    if (submits)
        break_some(own.sqes, p->sq_entries);

    if (submits && a[1] > 1 && getenv("RINGS_FEWER"))
        a[1] = 1;
    int error = submits ? refused() : 0;
    long result = -1;
    if (error)
        errno = error;
    else
        result = REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (number == SYS_io_uring_setup && result >= 0) {
        own.fd = (int)result;
        own.params = *(struct io_uring_params *)a[1];
    }
    if (enters && own.cq)
        change_results((void *)(own.cq + p->cq_off.cqes),
                       counter(own.cq, p->cq_off.tail),
                       counter(own.cq, p->cq_off.ring_mask));
    if (submits)
        note("submit %ld %u\n", result < 0 ? -errno : result,
             counter(own.cq, p->cq_off.head));
    return result;
}

/* Work of a program's own. */
uLong crc32(uLong sum, const Bytef *bytes, uInt length)
{
    if (getenv("RINGS_LATE") && own.cq &&
        counter(own.cq, own.params.cq_off.tail) !=
            counter(own.cq, own.params.cq_off.head))
        note("late\n");
    return REAL(crc32)(sum, bytes, length);
}
