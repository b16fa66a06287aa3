/*
 * 20 · The race: what the engines and the race around them share.
 *
 * An engine is a way to read. It gets a heat: a file, a depth, and a slot for
 * each read that may be in flight. Until the heat is over, it keeps all slots
 * in flight:
 *
 *     lane_begin()   which read is next, into which memory? The clock starts.
 *     ...            the engine's own work, each system call counted.
 *     lane_end()     it has come: the clock stops, now and then a look at the
 *                    bytes.
 */
#ifndef RACE_H
#define RACE_H

#include "histogram.h"
#include "why.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { WHY = 240, MAX_DEPTH = 256, CHECKED = 64 };

/* How the pages of the file are found. */
enum mode { COLD, WARM, DIRECT };

/* What is to be read: the same in all heats. */
struct course {
    const char *path;
    int fd;
    enum mode mode;
    unsigned size;   /* Bytes of a read. */
    unsigned depth;  /* Reads in flight. */
    unsigned batch;  /* Completions to take before the next are submitted. */
    unsigned count;  /* How many offsets. */
    off_t *offsets;  /* In random order, each one once. */
    uint64_t *right; /* sum_of() the bytes at each CHECKED-th of them. */
    int64_t time;    /* Of a heat, in nanoseconds. */
};

/* One read on its way, and its memory. */
struct slot {
    unsigned char *data; /* Room for `size` bytes, aligned to a page. */
    off_t offset;
    unsigned place; /* Which of the offsets. */
    int64_t began;  /* CLOCK_MONOTONIC, nanoseconds. */
};

/* What a thread of an engine does. Most engines have one thread: lanes[0]. */
struct lane {
    struct heat *heat;
    int64_t now; /* The time of the last look at the clock. */
    unsigned in_flight, most_in_flight;
    uint64_t reads;
    uint64_t calls; /* System calls; who makes one adds it. */
    struct histogram latencies;
};

struct heat {
    const struct course *course;
    const char *name;   /* The engine's. */
    struct slot *slots; /* `depth` of them. */
    struct lane *lanes; /* As many. */
    /* Which read is the next. i386 aligns it to 4 or 8, by the compiler. */
    alignas(8) _Atomic uint64_t next;
    uint64_t last;    /* And this one is not read any more. */
    int64_t deadline; /* No read begins after that. */
    char why[WHY];    /* Why open() has returned false. */
    void *own;        /* The engine's own. */
};

struct engine {
    const char *name;
    /* Set up all that a heat needs; may be NULL. False, with the reason in
       heat->why, where this machine or mode can't have it; then close() is not
       called. */
    bool (*open)(struct heat *heat);
    /* Keep `depth` reads in flight, until lane_begin() says that it is over and
       all have come. */
    void (*run)(struct heat *heat);
    void (*close)(struct heat *heat); /* May be NULL. */
};

/* Read a block with pread(2), whole, from byte `done` of it on. Returns in how
   many calls. `who` reads it, for messages; exits where that fails. */
unsigned course_read(const struct course *course, const char *who, off_t offset,
                     unsigned char *data, size_t done);

/* Look at the clock: after each system call that may have brought something. */
void lane_look(struct lane *lane);

/* Which read is the next? False: the heat is over. Since the last look no time
   has passed, as far as the race is concerned. */
bool lane_begin(struct lane *lane, struct slot *slot);

/* The read is there: `res` bytes of it, or -errno. What came back short, or not
   at all because of a signal, is finished here with pread(2). Exits with a
   message where it failed, or where the bytes are wrong. */
void lane_end(struct lane *lane, struct slot *slot, int64_t res);

/* open() says no, and why; printf() style. Returns false. */
__attribute__((format(printf, 2, 3))) bool heat_refused(struct heat *heat,
                                                        const char *why, ...);

/* The same, where the machine refuses an interface: the error, and the cause
   where there is one to be known (why.h). */
bool heat_refused_by(struct heat *heat, enum interface interface, int error);

/* Memory for the engine's own; exits where there is none. */
void *heat_own(struct heat *heat, size_t bytes);

/* A number for some bytes. One word of each 64 bytes: enough to tell the bytes
   of one place from those of another, and next to no work. */
uint64_t sum_of(const unsigned char *data, size_t bytes);

#endif
