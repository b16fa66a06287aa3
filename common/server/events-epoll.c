/*
 * 10 · An event source made of epoll(7)
 *
 * The kernel keeps the list of what is watched. A descriptor goes on it once,
 * and stays until it is taken off.
 */
#include "events.h"

#include <err.h>
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

static int epoll_fd;

static void control(int operation, struct watch *watch)
{
    /* EPOLLIN and EPOLLOUT have the values of POLLIN and POLLOUT. */
    struct epoll_event event = {.events = (unsigned)watch->want,
                                .data.ptr = watch};

    if (COUNTED(epoll_ctl(epoll_fd, operation, watch->fd, &event)))
        err(1, "epoll_ctl on descriptor %d", watch->fd);
}

static void epoll_add(struct watch *watch)
{
    control(EPOLL_CTL_ADD, watch);
}

/* A system call for each change. */
static void epoll_change(struct watch *watch, short want)
{
    watch->want = want;
    control(EPOLL_CTL_MOD, watch);
}

static void epoll_remove(struct watch *watch)
{
    control(EPOLL_CTL_DEL, watch);
}

static unsigned epoll_ready(struct watch **ready)
{
    static struct epoll_event events[MAX_WATCHES];
    int n;

    do
        n = COUNTED(epoll_wait(epoll_fd, events, MAX_WATCHES, -1));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        err(1, "waiting for events");
    for (int k = 0; k < n; k++)
        ready[k] = events[k].data.ptr;
    return (unsigned)n;
}

static void epoll_open(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        err(1, "epoll_create1");
}

static void epoll_close(void)
{
    if (COUNTED(close(epoll_fd)))
        err(1, "closing the epoll descriptor");
}

const struct events events_epoll = {
    "epoll",      epoll_open,  epoll_add,   epoll_change,
    epoll_remove, epoll_ready, epoll_close,
};
