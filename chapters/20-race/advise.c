/* advise: the kernel is told which blocks will be wanted, `depth` of them
   ahead; then pread(2) gets them, one after the other, as in chapter 03. */
#include "race.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool advise_open(struct heat *heat)
{
    if (heat->course->mode == DIRECT)
        return heat_refused(heat, "O_DIRECT passes by the page cache");
    return true;
}

/* Advice may be refused. Then the read has more to wait for, no more. */
static bool advise(struct lane *lane, struct slot *slot)
{
    const struct course *course = lane->heat->course;

    if (!lane_begin(lane, slot))
        return false;
    posix_fadvise(course->fd, slot->offset, course->size, POSIX_FADV_WILLNEED);
    lane->calls++;
    lane_look(lane);
    return true;
}

static void advise_run(struct heat *heat)
{
    const struct course *course = heat->course;
    struct lane *lane = &heat->lanes[0];
    unsigned ahead = 0;

    lane_look(lane);
    while (ahead < course->depth && advise(lane, &heat->slots[ahead]))
        ahead++;
    /* Around the slots: the oldest advice is read, its slot gets a new one. */
    for (unsigned i = 0; lane->in_flight > 0; i = (i + 1) % course->depth) {
        struct slot *slot = &heat->slots[i];
        ssize_t n = pread(course->fd, slot->data, course->size, slot->offset);
        lane->calls++;
        lane_look(lane);
        lane_end(lane, slot, n < 0 ? -errno : n);
        advise(lane, slot);
    }
}

const struct engine engine_advise = {"advise", advise_open, advise_run, NULL};
