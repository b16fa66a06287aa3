/*
 * 20 · The race: what all engines call for each read.
 */
#include "race.h"

#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void lane_look(struct lane *lane)
{
    lane->now = timeline_now();
}

bool lane_begin(struct lane *lane, struct slot *slot)
{
    struct heat *heat = lane->heat;
    const struct course *course = heat->course;

    /* Everybody has one read at least, however late it is. */
    if (lane->now >= heat->deadline && lane->most_in_flight > 0)
        return false;
    /* All threads of an engine draw from one counter. */
    uint64_t read =
        atomic_fetch_add_explicit(&heat->next, 1, memory_order_relaxed);
    if (read >= heat->last)
        return false;
    slot->place = (unsigned)(read % course->count);
    slot->offset = course->offsets[slot->place];
    slot->began = lane->now;
    if (++lane->in_flight > lane->most_in_flight)
        lane->most_in_flight = lane->in_flight;
    return true;
}

uint64_t sum_of(const unsigned char *data, size_t bytes)
{
    uint64_t sum = 0, word;

    for (size_t at = 0; at + sizeof(word) <= bytes; at += 64) {
        memcpy(&word, data + at, sizeof(word));
        sum = sum * 31 + word;
    }
    return sum;
}

/* err(only_one(errno), ...): of threads that fail at once, one says so and exits;
   a second exit() meanwhile is undefined (exit(3)). */
static int only_one(int error)
{
    static atomic_flag exiting = ATOMIC_FLAG_INIT;

    while (atomic_flag_test_and_set(&exiting))
        pause();
    errno = error;
    return 1;
}

unsigned course_read(const struct course *course, const char *who, off_t offset,
                     unsigned char *data, size_t done)
{
    unsigned calls = 0;

    while (done < course->size) {
        ssize_t n = pread(course->fd, data + done, course->size - done,
                          offset + (off_t)done);
        calls++;
        if (n == 0)
            errx(only_one(0),
                 "%s: reading %s: it ends sooner than its size said", who,
                 course->path);
        if (n < 0 && errno == EINVAL && course->mode == DIRECT)
            errx(only_one(0),
                 "%s: reading %s: O_DIRECT wants a --size that is a "
                 "multiple of the disk's block size",
                 who, course->path);
        if (n < 0 && errno != EINTR)
            err(only_one(errno), "%s: reading %s", who, course->path);
        done += n > 0 ? (size_t)n : 0;
    }
    return calls;
}

void lane_end(struct lane *lane, struct slot *slot, int64_t res)
{
    const struct course *course = lane->heat->course;

    if (res < 0 && res != -EINTR && res != -EAGAIN)
        errx(only_one(0), "%s: reading %s: %s", lane->heat->name, course->path,
             request_error((int)-res));
    if (res < (int64_t)course->size) { /* Rare. */
        lane->calls += course_read(course, lane->heat->name, slot->offset,
                                   slot->data, res > 0 ? (size_t)res : 0);
        lane_look(lane);
    }
    lane->in_flight--;
    lane->reads++;
    histogram_add(&lane->latencies, lane->now - slot->began);
    if (slot->place % CHECKED == 0 && sum_of(slot->data, course->size) !=
                                          course->right[slot->place / CHECKED])
        errx(only_one(0),
             "%s: at byte %jd of %s: other bytes than before the race",
             lane->heat->name, (intmax_t)slot->offset, course->path);
}

bool heat_refused(struct heat *heat, const char *why, ...)
{
    va_list arguments;

    va_start(arguments, why);
    vsnprintf(heat->why, WHY, why, arguments);
    va_end(arguments);
    return false;
}

bool heat_refused_by(struct heat *heat, enum interface interface, int error)
{
    const char *what = interface == URING_SETUP      ? "setting up a ring"
                       : interface == URING_ENTER    ? "entering the ring"
                       : interface == URING_REGISTER ? "registering with it"
                       : interface == AIO_SETUP      ? "setting up Linux AIO"
                                                     : "submitting";
    const char *why = why_refused(interface, error);
    /* The cause alone, without the dot: it is one line of a table. */
    int length = why ? (int)strcspn(why, "\n") - 1 : 0;

    return heat_refused(heat, "%s: %s; %.*s%schapter 00 tells more", what,
                        strerror(error), length, why ? why : "",
                        why ? "; " : "");
}

void *heat_own(struct heat *heat, size_t bytes)
{
    heat->own = calloc(1, bytes);
    if (!heat->own)
        err(1, "%s: allocating %zu bytes", heat->name, bytes);
    return heat->own;
}
