#include "why.h"

#include "args.h"

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number in a file of /proc, in the line that begins with `key`; -1 where
   it can't be read. */
static long number_in(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[256];
    long value = -1;

    while (file && value < 0 && fgets(line, sizeof(line), file))
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtol(line + strlen(key), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

/* Is there a seccomp filter that decides which system calls reach the kernel?
   Mode 2 in proc(5). */
static bool filtered(void)
{
    return number_in("/proc/self/status", "Seccomp:") == 2;
}

#define CONTAINER_ADVICE                                                       \
    "\nDocker, Podman: run the container with "                                \
    "--security-opt seccomp=unconfined"
#define OTHER_KERNEL "\nBoot a newer kernel, or use a virtual machine"

const char *why_no_uring(int error)
{
    switch (error) {
    case EPERM:
        switch (number_in("/proc/sys/kernel/io_uring_disabled", "")) {
        case 2:
            return "kernel.io_uring_disabled is 2: switched off for everybody."
                   "\nAs root: sysctl kernel.io_uring_disabled=0";
        case 1:
            return "kernel.io_uring_disabled is 1: only for CAP_SYS_ADMIN and "
                   "the group in kernel.io_uring_group."
                   "\nAs root: sysctl kernel.io_uring_disabled=0, or join "
                   "the group";
        }
        if (filtered())
            return "a seccomp filter refuses it, "
                   "as containers have." CONTAINER_ADVICE;
        return "a security policy of this machine refuses it."
               "\nAsk its administrator, or use a virtual machine";
    case ENOSYS:
        if (filtered())
            return "a seccomp filter hides it, as Podman's does, or this "
                   "kernel has none: older than 5.1, or a "
                   "sandbox." CONTAINER_ADVICE;
        return "this kernel has no io_uring: older than 5.1, built without "
               "CONFIG_IO_URING, or a sandbox that emulates one." OTHER_KERNEL
               " (WSL 2, not 1)";
    case ENOMEM:
        return "no memory for the rings, or the memlock limit is too low for "
               "them."
               "\nRaise it: ulimit -l, or memlock in limits.conf(5)";
    default:
        return NULL;
    }
}

const char *why_no_aio(int error)
{
    static char full[200];

    switch (error) {
    case EPERM:
        return "a seccomp filter or a security policy refuses "
               "it." CONTAINER_ADVICE;
    case ENOSYS:
        return "this kernel has no Linux AIO: built without CONFIG_AIO, or a "
               "sandbox that emulates one." OTHER_KERNEL;
    case EAGAIN:
        snprintf(full, sizeof(full),
                 "too few of the %ld requests that fs.aio-max-nr allows are "
                 "left (fs.aio-nr is %ld)."
                 "\nAs root: sysctl fs.aio-max-nr=1048576",
                 number_in("/proc/sys/fs/aio-max-nr", ""),
                 number_in("/proc/sys/fs/aio-nr", ""));
        return full;
    default:
        return NULL;
    }
}

__attribute__((noreturn)) static void refused(const char *call, int error,
                                              const char *why)
{
    if (why)
        cannot_show("%s: %s: %s", call, strerror(error), why);
    errno = error;
    err(1, "%s", call);
}

void uring_refused(int error)
{
    refused("setting up io_uring", error, why_no_uring(error));
}

void aio_refused(int error)
{
    refused("setting up Linux AIO", error, why_no_aio(error));
}
