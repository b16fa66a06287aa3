/*
 * Is this a container? Then its filter is the first suspect, and Docker's option helps.
 * Elsewhere that advice would lead nowhere.
 */
#define _GNU_SOURCE /* memmem() */
#include "ask.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* systemd-nspawn, LXC and Podman tell process 1 by a variable, `container`. Only root, and
   whoever process 1 belongs to, may read that. */
static bool told_to_init(void)
{
    static const char key[] = "\0container=";
    /* A 0 stands before each variable but the first. So it begins with one. */
    char text[8192] = "";
    int fd = open("/proc/1/environ", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text + 1, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    return n > 0 && memmem(text, (size_t)n + 1, key, sizeof(key) - 1);
}

/* Podman and Docker leave a file. It is a sign and no proof: somebody may have copied it
   out of there, and Kubernetes leaves none. So what we print names the other suspects
   where nothing is seen, and does not say that there is no container. */
bool in_container(void)
{
    return access("/run/.containerenv", F_OK) == 0 ||
           access("/.dockerenv", F_OK) == 0 || told_to_init();
}
