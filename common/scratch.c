#define _GNU_SOURCE
#include "scratch.h"

#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *scratch_folder(void)
{
    const char *folder = getenv("TMPDIR");

    return folder && *folder ? folder : "/var/tmp";
}

int scratch_open(int flags)
{
    char path[PATH_MAX];
    sigset_t all, before;

    snprintf(path, sizeof(path), "%s/in-circles.XXXXXX", scratch_folder());
    /* A signal that ended us now would leave the file behind. (O_TMPFILE makes
       one without a name, where the file system can.) */
    sigfillset(&all);
    if (sigprocmask(SIG_BLOCK, &all, &before))
        err(1, "blocking signals");
    int fd = mkostemp(path, O_CLOEXEC | flags);
    if (fd < 0 || unlink(path))
        err(1, "creating a scratch file %s", path);
    if (sigprocmask(SIG_SETMASK, &before, NULL))
        err(1, "letting signals in again");
    return fd;
}
