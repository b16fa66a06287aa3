/*
 * 10 · An event source made of poll(2)
 *
 * The list of what is watched is ours. The kernel gets all of it in each call,
 * looks at each descriptor, and forgets it again.
 */
#include "events.h"

#include <err.h>
#include <errno.h>
#include <poll.h>

static struct pollfd list[MAX_WATCHES];
static struct watch *owners[MAX_WATCHES];
static unsigned count;

static void poll_open(void)
{
    count = 0;
}

static void poll_add(struct watch *watch)
{
    watch->place = count;
    list[count] = (struct pollfd){.fd = watch->fd, .events = watch->want};
    owners[count++] = watch;
}

static void poll_change(struct watch *watch, short want)
{
    watch->want = want;
    list[watch->place].events = want;
}

/* The last one takes its place. */
static void poll_remove(struct watch *watch)
{
    count--;
    list[watch->place] = list[count];
    owners[watch->place] = owners[count];
    owners[watch->place]->place = watch->place;
}

static unsigned poll_wait(struct watch **ready)
{
    unsigned n = 0;
    int result;

    do
        result = COUNTED(poll(list, count, -1));
    while (result < 0 && errno == EINTR);
    if (result < 0)
        err(1, "waiting for events");
    for (unsigned i = 0; i < count; i++)
        if (list[i].revents)
            ready[n++] = owners[i];
    return n;
}

static void poll_close(void)
{
}

const struct events events_poll = {
    "poll",      poll_open, poll_add,   poll_change,
    poll_remove, poll_wait, poll_close,
};
