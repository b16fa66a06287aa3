#include "ring.h"

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *map(int fd, size_t bytes, off_t what)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                fd, what);
}

static void unmap(void *at, size_t bytes)
{
    if (at != MAP_FAILED && munmap(at, bytes))
        err(1, "unmapping the ring");
}

/* A field of the ring that the kernel placed `offset` bytes into the map. */
static void *field(void *ring, unsigned offset)
{
    return (char *)ring + offset;
}

/* Map the three parts. The second lies in the first since Linux 5.4. */
static int map_all(struct ring *ring, const struct io_uring_params *p)
{
    bool single = p->features & IORING_FEAT_SINGLE_MMAP;

    ring->sq_bytes = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    ring->cq_bytes =
        p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    if (single && ring->sq_bytes < ring->cq_bytes)
        ring->sq_bytes = ring->cq_bytes;

    ring->features = p->features;
    ring->sq_entries = p->sq_entries;
    ring->cq_entries = p->cq_entries;
    ring->sq_map = map(ring->fd, ring->sq_bytes, IORING_OFF_SQ_RING);
    ring->cq_map = single ? ring->sq_map
                          : map(ring->fd, ring->cq_bytes, IORING_OFF_CQ_RING);
    ring->sqes =
        map(ring->fd, p->sq_entries * sizeof(*ring->sqes), IORING_OFF_SQES);
    return ring->sq_map == MAP_FAILED || ring->cq_map == MAP_FAILED ||
                   ring->sqes == MAP_FAILED
               ? -1
               : 0;
}

int ring_open(struct ring *ring, unsigned entries)
{
    struct io_uring_params p = {0};

    *ring = (struct ring){.fd = -1};
    ring->fd = (int)syscall(SYS_io_uring_setup, entries, &p);
    if (ring->fd < 0)
        return -1;
    if (map_all(ring, &p)) {
        int error = errno; /* SELinux has a say in this, and limits have. */
        ring_close(ring);
        errno = error;
        return -1;
    }
    ring->sq_head = field(ring->sq_map, p.sq_off.head);
    ring->sq_tail = field(ring->sq_map, p.sq_off.tail);
    ring->sq_mask = *(unsigned *)field(ring->sq_map, p.sq_off.ring_mask);
    ring->sq_array = field(ring->sq_map, p.sq_off.array);
    ring->cq_head = field(ring->cq_map, p.cq_off.head);
    ring->cq_tail = field(ring->cq_map, p.cq_off.tail);
    ring->cq_mask = *(unsigned *)field(ring->cq_map, p.cq_off.ring_mask);
    ring->cqes = field(ring->cq_map, p.cq_off.cqes);
    return 0;
}

int ring_enter(const struct ring *ring, unsigned to_submit, unsigned wait_for)
{
    unsigned flags = wait_for ? IORING_ENTER_GETEVENTS : 0;

    return (int)syscall(SYS_io_uring_enter, ring->fd, to_submit, wait_for,
                        flags, NULL, 0UL);
}

void ring_close(struct ring *ring)
{
    unmap(ring->sqes, ring->sq_entries * sizeof(*ring->sqes));
    if (ring->cq_map != ring->sq_map)
        unmap(ring->cq_map, ring->cq_bytes);
    unmap(ring->sq_map, ring->sq_bytes);
    if (close(ring->fd))
        err(1, "closing the ring");
}
