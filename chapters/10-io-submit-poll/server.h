/*
 * A TCP echo server on 127.0.0.1, on top of any event source.
 */
#ifndef SERVER_H
#define SERVER_H

#include "events.h"
#include <stdint.h>

/* What it has done. A message is what one recv() brought. */
struct counts {
    unsigned long connections; /* Accepted or adopted. */
    unsigned long open;        /* Those that are still there. */
    unsigned long lost;        /* Those that an error has ended. */
    unsigned long messages;
    uint64_t bytes;
    unsigned long pauses; /* How often accepting had to wait for a close. */
};
extern struct counts counts;

/* The server in pieces: start; serve this socket too; wait once and handle all
   that is ready; hang up on everybody. */
void server_open(const struct events *events);
void server_adopt(int fd);
void server_turn(void);
void server_close(void);

/* A socket that listens on this port, any where it is 0; prints which. `flags`:
   SOCK_NONBLOCK, or 0. */
int server_listen(unsigned port, int flags);

/* All of it: serve this port, any where it is 0, until SIGINT or SIGTERM. */
void server_run(const struct events *events, unsigned port);

#endif
