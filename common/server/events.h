/**
 * @file events.h
 * An event source: what the server knows of aio, epoll and poll. It says which
 * of the server's descriptors is ready, over and over for as long as it is:
 * level-triggered, as poll(2) is. Chapter 10 teaches them. All of these
 * functions exit with a message on errors.
 */
#ifndef EVENTS_H
#define EVENTS_H

/** The most descriptors that are watched at once. */
enum { MAX_WATCHES = 1026 };

/** A descriptor, what its owner wants to do with it, and whom to call when that
 *  can be done, or has failed. */
struct watch {
    int fd;                             /**< The descriptor. */
    short want;                         /**< POLLIN or POLLOUT: poll(2). */
    void (*ready)(struct watch *watch); /**< Called by the server. */
    struct request *request;            /**< For events-aio.c alone. */
    unsigned place;                     /**< For events-poll.c alone. */
};

/** What an event source can do. */
struct events {
    const char *name;                 /**< "aio", "epoll" or "poll". */
    void (*open)(void);               /**< Comes first. */
    void (*add)(struct watch *watch); /**< Watch this one, too. */
    /** Watch for something else. Called from the watch's ready() only. */
    void (*change)(struct watch *watch, short want);
    /** Watch it no more. Once this returns the owner may close the descriptor,
     *  and free the watch: nothing will be heard of it again. */
    void (*remove)(struct watch *watch);
    /** Wait, and say who is ready: room for MAX_WATCHES, each at most once.
     *  None at all can happen. */
    unsigned (*wait)(struct watch **ready);
    void (*close)(void); /**< Comes last: nothing is watched any more. */
};

/** IOCB_CMD_POLL through io_submit(2). Exits with status 77 where the kernel has
 *  none. */
extern const struct events events_aio;
/** epoll(7). */
extern const struct events events_epoll;
/** poll(2). */
extern const struct events events_poll;

/** Not 0: let events_aio collect by io_getevents() alone, and not read its ring. */
extern unsigned events_aio_no_ring;

/** System calls made so far, by server and event source. */
extern unsigned long calls;
/** Counts a system call where it is made: `COUNTED(recv(...))`. */
#define COUNTED(call) (calls++, (call))

#endif
