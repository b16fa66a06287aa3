/*
 * An event source: what the server knows of aio, epoll and poll. It says which
 * of the server's descriptors is ready, over and over for as long as it is:
 * level-triggered, as poll(2) is.
 */
#ifndef EVENTS_H
#define EVENTS_H

/* The most descriptors that are watched at once. */
enum { MAX_WATCHES = 1026 };

/* A descriptor, what its owner wants to do with it, and whom to call when that
   can be done, or has failed. */
struct watch {
    int fd;
    short want; /* POLLIN or POLLOUT, as in poll(2). */
    void (*ready)(struct watch *watch);
    struct request *request; /* For events-aio.c alone. */
    unsigned place;          /* For events-poll.c alone. */
};

struct events {
    const char *name;
    void (*open)(void);
    void (*add)(struct watch *watch);
    /* Called from the watch's ready() only. */
    void (*change)(struct watch *watch, short want);
    /* Once this returns the owner may close the descriptor, and free the
       watch: nothing will be heard of it again. */
    void (*remove)(struct watch *watch);
    /* Wait, and say who is ready: room for MAX_WATCHES, each at most once.
       None at all can happen. */
    unsigned (*wait)(struct watch **ready);
    void (*close)(void); /* Nothing is watched any more. */
};

extern const struct events events_aio, events_epoll, events_poll;

/* Let events_aio collect by io_getevents() alone. */
extern unsigned events_aio_no_ring;

/* System calls made, counted where they are made: COUNTED(recv(...)). */
extern unsigned long calls;
#define COUNTED(call) (calls++, (call))

#endif
