/*
 * What --all prints besides the verdict. Each line is a question of its own, asked as
 * the programs are asked: ask() in your-machine.c. So what refuses or kills one of
 * them leaves the others alone.
 *
 * The trying itself is in common/probe.c, and why somebody refuses in common/why.c.
 */
#define _GNU_SOURCE /* asprintf() */
#include "args.h"
#include "ask.h"
#include "probe.h"
#include "ready.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

/* Most questions here are not about the file, and need nothing but to be asked. */
#define UNUSED __attribute__((unused))

/* --- The kernel ------------------------------------------------------------- */

/* Printed, but nothing here is concluded from it. A distribution puts new features
   into an old kernel, and a new kernel can be told to refuse. */
static void find_release(UNUSED const struct question *q)
{
    struct utsname names;

    if (uname(&names))
        err(1, "asking for the kernel's release");
    tell("%s (%s)", names.release, names.machine);
}

/* A process with a filter passes it on to all that it starts. So ours is also that of the
   programs that we ask. A filter looks at each system call before the kernel carries it
   out. It may answer with an error, or kill. It is the first suspect where something is
   missing. */
static void find_filter(UNUSED const struct question *q)
{
    tell("%s", why_filtered() ? "in force: it can refuse what this kernel has"
                              : "none");
}

/* --- io_uring ---------------------------------------------------------------- */

/* A filter may let a program set up a ring, and not enter it. Then all seems well until
   the first submit. So a request that does nothing goes through this ring. */
static void find_ring(UNUSED const struct question *q)
{
    ready_uring(NULL);
    tell("works");
}

/* io_uring_setup(2) sets a bit for each feature. The bits are the kernel's, only the
   names come from here. */
static void find_features(UNUSED const struct question *q)
{
    unsigned bits = 0, newer = 0;
    int error = probe_ring(0, &bits);

    if (error)
        refused(URING_SETUP, error);
    for (unsigned bit = 0; bit < 32; bit++)
        if (bits >> bit & 1 && probe_feature(bit))
            tell("%s ", probe_feature(bit));
        else
            newer |= bits & 1U << bit;
    if (newer)
        tell("and %#x, newer than this program", newer);
}

/* Print what is there, and then what is missing. EINVAL: this kernel does not know the
   part, so name the Linux that does. Any other error: print it. */
static void list_parts(const struct probe_part *part, probe_fn *probe)
{
    char missing[TEXT_SIZE / 2] = "";
    size_t used = 0;

    for (; part->name && used < sizeof(missing); part++) {
        char *to = missing + used;
        size_t room = sizeof(missing) - used;
        int error = probe(part);

        if (error == 0)
            tell("%s ", part->name);
        else if (error == EINVAL)
            used += (size_t)snprintf(to, room, " %s (Linux %s)", part->name,
                                     part->since);
        else
            used += (size_t)snprintf(to, room, " %s (%s)", part->name,
                                     strerror(error));
    }
    if (used > 0)
        tell("- missing:%s", missing);
}

/* For requests the kernel has a table, and shows it to whoever asks. */
static void find_opcodes(UNUSED const struct question *q)
{
    int error = probe_table();

    if (error)
        refused(URING_REGISTER, error);
    list_parts(probe_opcodes, probe_opcode);
}

/* For flags there is no table before Linux 6.18, whose IORING_REGISTER_QUERY shows it. So
   a ring is set up with each. */
static void find_flags(UNUSED const struct question *q)
{
    int error = probe_ring(0, NULL);

    if (error)
        refused(URING_SETUP, error);
    list_parts(probe_flags, probe_flag);
}

/* What io_uring keeps in memory counts against this limit: registered buffers always,
   the rings before Linux 5.12, and in newer ones again: somebody met that in 6.14
   (liburing's issue 1408). Root has no such limit. */
static void find_memlock(UNUSED const struct question *q)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit))
        err(1, "asking for the memlock limit");
    if (limit.rlim_cur == RLIM_INFINITY)
        tell("unlimited");
    else
        tell("%ju KiB", (uintmax_t)limit.rlim_cur >> 10);
}

/* --- Linux AIO ---------------------------------------------------------------- */

/* A context is set up, takes a request, and is given back. All contexts of the machine
   share the number aio-max-nr. Where io_setup(2) says EAGAIN, nobody need be busy:
   others have reserved what there is. aio-nr counts that. */
static void find_aio(UNUSED const struct question *q)
{
    ready_aio(NULL);
    tell("works");
}

/* Two requests came later. They are made for real: of files that need no disk, so
   that they are done at once. */
static void find_aio_requests(UNUSED const struct question *q)
{
    list_parts(probe_aio_requests, probe_aio);
}

/* --- All of it -------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*find_out)(const struct question *question);
} lines[] = {
    {"kernel", find_release},
    {"seccomp filter", find_filter},
    {"io_uring", find_ring},
    {"features", find_features},
    {"opcodes", find_opcodes},
    {"set-up flags", find_flags},
    {"memlock limit", find_memlock},
    {"Linux AIO", find_aio},
    {"its requests", find_aio_requests},
    {"file system", find_file_system},
    {"alignment", find_alignment},
};

/* Here "missing" is not the verdict's word for a program. A line can be missing, and
   each chapter goes on without it. */
void report(const char *path)
{
    putchar('\n');
    for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct question q = {
            .name = lines[i].name, .find_out = lines[i].find_out, .path = path};
        char *no = NULL;

        ask(&q);
        if (!q.yes && asprintf(&no, "missing, because %s", q.reason) < 0)
            err(1, "allocating an answer");
        say(stdout, q.name, no ? no : q.found ? q.found : "none");
        free(no);
    }
}
