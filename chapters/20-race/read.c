/* read: pread(2), one after the other, as in chapter 01. */
#include "race.h"

#include <errno.h>
#include <unistd.h>

static void read_run(struct heat *heat)
{
    const struct course *course = heat->course;
    struct lane *lane = &heat->lanes[0];
    struct slot *slot = &heat->slots[0];

    for (lane_look(lane); lane_begin(lane, slot);) {
        ssize_t n = pread(course->fd, slot->data, course->size, slot->offset);
        lane->calls++;
        lane_look(lane);
        lane_end(lane, slot, n < 0 ? -errno : n);
    }
}

const struct engine engine_read = {.name = "read", .run = read_run};
