/**
 * @file server.h
 * A TCP echo server on 127.0.0.1, on top of any event source. Chapter 10 teaches
 * it. Its functions exit with a message on errors, but those of a connection:
 * such a client is lost, and the others go on.
 */
#ifndef SERVER_H
#define SERVER_H

#include "events.h"
#include <stdint.h>

/** What a server has done. */
struct counts {
    unsigned long connections; /**< Accepted or adopted. */
    unsigned long open;        /**< Those that are still there. */
    unsigned long lost;        /**< Those that an error has ended. */
    unsigned long messages;    /**< What one recv() brought is a message. */
    uint64_t bytes;            /**< In all messages. */
    unsigned long pauses; /**< How often accepting had to wait for a close. */
};
/** Of this process's server, since it was opened. */
extern struct counts counts;

/** Start, with nobody to serve. */
void server_open(const struct events *events);
/** Serve this connected socket, too; the server closes it. */
void server_adopt(int fd);
/** Wait once, and handle all that is ready. */
void server_turn(void);
/** Hang up on everybody. */
void server_close(void);

/**
 * Make a socket that listens, and print on which port.
 *
 * @param port   Any port where it is 0.
 * @param flags  SOCK_NONBLOCK, or 0.
 */
int server_listen(unsigned port, int flags);

/** Serve this port until SIGINT or SIGTERM, for which it sets handlers. */
void server_run(const struct events *events, unsigned port);

#endif
