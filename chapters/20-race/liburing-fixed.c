/* liburing-fixed: with all that chapter 18 has found worth it. The reads go as
   in liburing.c; what differs is told to the kernel once, in front. */
#include "liburing-engines.h"

static bool fixed_open(struct heat *heat)
{
    return liburing_set_up(
               heat, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
               "it needs Linux 6.1") &&
           liburing_register(heat);
}

const struct engine engine_liburing_fixed = {"liburing-fixed", fixed_open,
                                             liburing_run, liburing_close};
