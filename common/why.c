#include "why.h"

#include "args.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number from a file in /proc/sys; -1 where it can't be read. */
static long setting(const char *path)
{
    FILE *file = fopen(path, "re");
    long value = -1;

    if (!file)
        return -1;
    if (fscanf(file, "%ld", &value) != 1)
        value = -1;
    fclose(file);
    return value;
}

const char *why_no_uring(int error)
{
    switch (error) {
    case EPERM:
        switch (setting("/proc/sys/kernel/io_uring_disabled")) {
        case 2:
            return "kernel.io_uring_disabled is 2: switched off for everybody."
                   "\nAs root: sysctl kernel.io_uring_disabled=0";
        case 1:
            return "kernel.io_uring_disabled is 1: only for CAP_SYS_ADMIN and "
                   "the group in kernel.io_uring_group."
                   "\nAs root: sysctl kernel.io_uring_disabled=0, or join "
                   "the group";
        default:
            return "a seccomp filter refuses it, as containers have."
                   "\nDocker, Podman: run the container with "
                   "--security-opt seccomp=unconfined";
        }
    case ENOSYS:
        return "this kernel has no io_uring: older than 5.1, built without "
               "CONFIG_IO_URING, or a sandbox that plays kernel."
               "\nBoot a newer kernel, or use a virtual machine (WSL 2, not 1)";
    case ENOMEM:
        return "the rings don't fit the memlock limit (kernels before 5.12)."
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
        return "a seccomp filter refuses it, as sandboxes have."
               "\nDocker, Podman: run the container with "
               "--security-opt seccomp=unconfined";
    case ENOSYS:
        return "this kernel has no Linux AIO: built without CONFIG_AIO, or a "
               "sandbox that plays kernel."
               "\nUse another kernel, or a virtual machine";
    case EAGAIN:
        snprintf(full, sizeof(full),
                 "all %ld requests that fs.aio-max-nr allows are taken "
                 "(fs.aio-nr is %ld)."
                 "\nAs root: sysctl fs.aio-max-nr=1048576",
                 setting("/proc/sys/fs/aio-max-nr"),
                 setting("/proc/sys/fs/aio-nr"));
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
