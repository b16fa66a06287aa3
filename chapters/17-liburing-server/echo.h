/*
 * A TCP echo server on 127.0.0.1, on one ring. What it counts is in chapter
 * 10's server.h: connections, messages, bytes and system calls. A pause also
 * ends after 10 ms here.
 */
#ifndef ECHO_H
#define ECHO_H

struct io_uring;
struct io_uring_buf_ring;

struct echo_settings {
    unsigned entries; /* Of the submission queue; the CQ has twice as many. */
    unsigned buffers; /* In the buffer ring: how many recvs before a turn. */
    unsigned idle; /* Seconds until a silent connection is closed; 0 never. */
};

/* The server in pieces: start; serve this socket too; one turn: submit, wait
   and handle what has come; hang up on everybody. */
void echo_open(const struct echo_settings *settings);
void echo_adopt(int fd);
void echo_turn(void);
void echo_close(void);

/* All of it: serve this port, any where it is 0, until SIGINT or SIGTERM. */
void echo_run(const struct echo_settings *settings, unsigned port);

/* Map a buffer ring and register it with the ring, as group 0. */
struct io_uring_buf_ring *buffer_ring_open(struct io_uring *of,
                                           unsigned entries);
void buffer_ring_close(struct io_uring_buf_ring *buffers, unsigned entries);

/* liburing returns -errno: exit with a message when it is one. */
void check(int result, const char *what);

#endif
