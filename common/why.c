#include "why.h"

#include "args.h"

#include <ctype.h>
#include <err.h>
#include <errno.h>
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

bool why_filtered(void)
{
    return number_in("/proc/self/status", "Seccomp:") == 2;
}

/* --- Who says no ----------------------------------------------------------- */

static long uring_disabled(void)
{
    return number_in("/proc/sys/kernel/io_uring_disabled", "");
}

static bool for_nobody(void)
{
    return uring_disabled() == 2;
}

static bool for_a_group(void)
{
    return uring_disabled() == 1;
}

/* Yama stands in the way from 1 on: see LSM/Yama.rst. */
static bool yama(void)
{
    return number_in("/proc/sys/kernel/yama/ptrace_scope", "") > 0;
}

/* --- What to do about it ---------------------------------------------------- */

/* SELinux answers EACCES, AppArmor EACCES or EPERM. Both write what they refuse into the audit
   log as messages of the type AVC: common_lsm_audit() in the kernel. */
#define POLICY(who)                                                            \
    "a security policy of this machine refuses it, as " who " may."            \
    "\nAs root: ausearch -m avc -ts recent shows the rule. Or use a virtual "  \
    "machine"
#define OTHER_KERNEL "\nBoot a newer kernel, or use a virtual machine"
#define SANDBOX      "this is a sandbox that has no such thing." OTHER_KERNEL

/* --- The table -------------------------------------------------------------- */

#define BIT(interface) (1U << (interface))

enum {
    RING = BIT(URING_SETUP) | BIT(URING_ENTER) | BIT(URING_REGISTER),
    AIO = BIT(AIO_SETUP) | BIT(AIO_SUBMIT),
    PERF = BIT(PERF_EVENTS),
    TRACE = BIT(TRACING),
    MOUNT = BIT(MOUNTING),
    ALL = RING | AIO | PERF | TRACE | MOUNT
};

/* One way to be refused. The first row that fits is the answer. */
static const struct refusal {
    unsigned interfaces; /* BIT()s. */
    int error;
    bool (*holds)(void); /* And only if this holds; NULL: always. */
    const char *why;     /* A "%ld" in it is the number in... */
    const char *number;  /* ...this file. */
} refusals[] = {
    {BIT(URING_SETUP), EPERM, for_nobody,
     "kernel.io_uring_disabled is 2: switched off for everybody."
     "\nAs root: sysctl kernel.io_uring_disabled=0",
     NULL},
    {BIT(URING_SETUP), EPERM, for_a_group,
     "kernel.io_uring_disabled is 1: only for CAP_SYS_ADMIN and the group in "
     "kernel.io_uring_group."
     "\nAs root: sysctl kernel.io_uring_disabled=0, or join the group",
     NULL},
    {BIT(URING_SETUP) | BIT(URING_REGISTER), ENOMEM, NULL,
     "no memory for the rings, or the memlock limit is too low for them."
     "\nRaise it: ulimit -l, or memlock in limits.conf(5)",
     NULL},
    {BIT(AIO_SETUP), EAGAIN, NULL,
     "too few of the %ld requests that fs.aio-max-nr allows are left "
     "(fs.aio-nr counts those in use)."
     "\nAs root: sysctl fs.aio-max-nr=1048576",
     "/proc/sys/fs/aio-max-nr"},

    {TRACE, EPERM, yama,
     "kernel.yama.ptrace_scope is %ld: nobody may trace what is not his child."
     "\nAs root: sysctl kernel.yama.ptrace_scope=0 (after a 3: reboot)",
     "/proc/sys/kernel/yama/ptrace_scope"},
    {RING, ENOSYS, NULL,
     "this kernel has no io_uring: older than 5.1, built without "
     "CONFIG_IO_URING, or a sandbox that emulates one." OTHER_KERNEL
     " (WSL 2, not 1)",
     NULL},
    {RING, EINVAL, NULL,
     "this kernel's io_uring is too old for what is asked of "
     "it." OTHER_KERNEL,
     NULL},
    {AIO, ENOSYS, NULL,
     "this kernel has no Linux AIO: built without CONFIG_AIO, or a sandbox "
     "that emulates one." OTHER_KERNEL,
     NULL},
    {AIO, EINVAL, NULL,
     "this kernel's Linux AIO does not know what is asked of "
     "it." OTHER_KERNEL,
     NULL},

    {PERF, EPERM, NULL,
     "kernel.perf_event_paranoid is %ld: not for us."
     "\nAs root: sysctl kernel.perf_event_paranoid=1",
     "/proc/sys/kernel/perf_event_paranoid"},
    {PERF, EACCES, NULL,
     "kernel.perf_event_paranoid is %ld: not for us."
     "\nAs root: sysctl kernel.perf_event_paranoid=1",
     "/proc/sys/kernel/perf_event_paranoid"},
    {PERF, ENOENT, NULL,
     "this processor does not count that, or its virtual machine does not "
     "let us see it."
     "\nUse a machine of its own, or a virtual one with a PMU",
     NULL},
    {PERF, ENOSYS, NULL,
     "this kernel counts nothing: built without "
     "CONFIG_PERF_EVENTS." OTHER_KERNEL,
     NULL},
    {PERF, EINVAL, NULL, "this kernel does not know that event." OTHER_KERNEL,
     NULL},

    {MOUNT, EPERM, NULL,
     "this user may not mount."
     "\nAs root; or in a user namespace of your own: unshare -rm",
     NULL},
    {MOUNT, ENODEV, NULL,
     "this kernel does not know that file system."
     "\nAs root: modprobe, with its name",
     NULL},

    {ALL, EPERM, NULL, POLICY("AppArmor"), NULL},
    {ALL, EACCES, NULL, POLICY("SELinux or AppArmor"), NULL},
    {ALL, ENOSYS, NULL, SANDBOX, NULL},
    {ALL, ENODEV, NULL, SANDBOX, NULL},
    {ALL, EOPNOTSUPP, NULL, SANDBOX, NULL},
};

/* Errors that no filter would choose to say no with: they come of what a program
   does, or pass. */
static bool is_failure(int error)
{
    static const int failures[] = {EMFILE, ENFILE, EFAULT, EBADF, EBUSY,
                                   EINTR,  EAGAIN, EIO,    ENOMEM};

    for (unsigned i = 0; i < sizeof(failures) / sizeof(*failures); i++)
        if (error == failures[i])
            return true;
    return false;
}

static bool fits(const struct refusal *row, enum interface interface, int error)
{
    return row->interfaces & BIT(interface) && row->error == error &&
           (!row->holds || row->holds());
}

static const struct refusal *find_row(enum interface interface, int error)
{
    for (unsigned i = 0; i < sizeof(refusals) / sizeof(*refusals); i++)
        if (fits(&refusals[i], interface, error))
            return &refusals[i];
    return NULL;
}

static void put_row(char *to, size_t size, const struct refusal *row)
{
    const char *place = row->number ? strstr(row->why, "%ld") : NULL;

    if (place)
        snprintf(to, size, "%.*s%ld%s", (int)(place - row->why), row->why,
                 number_in(row->number, ""), place + 3);
    else
        snprintf(to, size, "%s", row->why);
}

/* A filter can answer with any errno, also with one that the kernel would give. We see
   that there is a filter, but not which calls it refuses. So it is one of two causes,
   and `other` is the other one, with what to do in its second line. It may be empty.
   Both lines then have two parts: "A filter. Or this kernel", "unconfined. Or boot". */
static void put_filter(char *to, size_t size, enum interface interface,
                       char *other)
{
    char *remedy = strchr(other, '\n');

    if (remedy) {
        *remedy++ = '\0';
        *remedy = (char)tolower((unsigned char)*remedy);
    }
    snprintf(to, size, FILTER_IN_FORCE "%s%s%s%s%s", remedy ? " Or " : "",
             other,
             interface == MOUNTING ? "\nDocker, Podman: run the container with "
                                     "--privileged"
                                   : CONTAINER_ADVICE,
             remedy ? ". Or " : "", remedy ? remedy : "");
}

const char *why_refused(enum interface interface, int error)
{
    static char why[600];
    char other[400] = "";
    const struct refusal *row = find_row(interface, error);

    if (row)
        put_row(other, sizeof(other), row);
    /* Where a sysctl stands in the way, it does so with a filter or without. */
    if ((row && row->holds) || is_failure(error) || !why_filtered())
        return row ? strcpy(why, other) : NULL;
    put_filter(why, sizeof(why), interface, other);
    return why;
}

void refused(enum interface interface, int error)
{
    static const char *const doing[] = {
        [URING_SETUP] = "setting up io_uring",
        [URING_ENTER] = "entering io_uring",
        [URING_REGISTER] = "registering with io_uring",
        [AIO_SETUP] = "setting up Linux AIO",
        [AIO_SUBMIT] = "submitting to Linux AIO",
        [PERF_EVENTS] = "counting events",
        [TRACING] = "tracing a process",
        [MOUNTING] = "mounting a file system",
    };
    const char *why = why_refused(interface, error);

    if (why)
        cannot_show("%s: %s: %s", doing[interface], strerror(error), why);
    errno = error;
    err(1, "%s", doing[interface]);
}
