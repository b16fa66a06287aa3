#define _GNU_SOURCE
#include "scratch.h"

#include <err.h>
#include <fcntl.h>
#include <limits.h>
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

    snprintf(path, sizeof(path), "%s/in-circles.XXXXXX", scratch_folder());
    int fd = mkostemp(path, O_CLOEXEC | flags);
    if (fd < 0 || unlink(path))
        err(1, "creating a scratch file %s", path);
    return fd;
}
