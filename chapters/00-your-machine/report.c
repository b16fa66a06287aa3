/*
 * What --all prints besides the verdict. Each line is a question of its own, asked as
 * the programs are asked: ask() in your-machine.c. So what refuses or kills one of
 * them leaves the others alone.
 *
 * The trying itself is in common/probe.c, and why somebody refuses in common/why.c.
 */
#define _GNU_SOURCE /* CPU_COUNT() */
#include "args.h"
#include "ask.h"
#include "probe.h"
#include "ready.h"
#include "terminal.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

/* --- The kernel ------------------------------------------------------------- */

/* Printed, but nothing here is concluded from it. A distribution puts new features
   into an old kernel, and a new kernel can be told to refuse. */
static void find_release(const struct question *q)
{
    struct utsname names;

    (void)q;
    if (uname(&names))
        err(1, "asking for the kernel's release");
    found("%s (%s)", names.release, names.machine);
}

/* A process with a filter passes it on to all that it starts. So ours is also that of the
   programs that we ask. A filter sees each system call before the kernel does. It may
   answer in the kernel's place, or kill. It is the first suspect where something is
   missing. */
static void find_filter(const struct question *q)
{
    (void)q;
    found("%s", why_filtered() ? "in force: it can refuse what this kernel has"
                               : "none");
}

/* The first line of the file at q->path: a number. */
static void find_number(const struct question *q)
{
    FILE *file = fopen(q->path, "re");
    char line[64];

    if (!file || !fgets(line, sizeof(line), file))
        err(1, "reading %s", q->path);
    found("%s", line);
}

/* --- io_uring ---------------------------------------------------------------- */

/* A filter may let a program set up a ring, and not enter it. Then all seems well until
   the first submit. So a request that does nothing goes through this ring. */
static void find_ring(const struct question *q)
{
    (void)q;
    ready_uring(NULL);
    found("works");
}

/* io_uring_setup(2) sets a bit for each feature. The bits are the kernel's, only the
   names come from here. */
static void find_features(const struct question *q)
{
    unsigned bits = 0, newer = 0;
    int error = probe_ring(0, &bits);

    (void)q;
    if (error)
        refused(URING_SETUP, error);
    for (unsigned bit = 0; bit < 32; bit++)
        if (bits >> bit & 1 && probe_feature(bit))
            found("%s ", probe_feature(bit));
        else
            newer |= bits & 1U << bit;
    if (newer)
        found("and %#x, newer than this program", newer);
}

/* What is there, and then what is missing. EINVAL is what a kernel answers to a part
   that it does not know. Then a newer one helps. With any other error it is not the
   kernel's age. */
static void list_parts(const struct probe_part *part, probe_fn *probe)
{
    char missing[TEXT / 2] = "";
    size_t used = 0;

    for (; part->name && used < sizeof(missing); part++) {
        int error = probe(part);
        if (error == 0)
            found("%s ", part->name);
        else
            used += (size_t)snprintf(
                missing + used, sizeof(missing) - used,
                error == EINVAL ? " %s (Linux %s)" : " %s (%s)", part->name,
                error == EINVAL ? part->since : strerror(error));
    }
    if (used > 0)
        found("- missing:%s", missing);
}

/* For requests the kernel has a table, and shows it to whoever asks. */
static void find_opcodes(const struct question *q)
{
    int error = probe_table();

    (void)q;
    if (error)
        refused(URING_REGISTER, error);
    list_parts(probe_opcodes, probe_opcode);
}

/* For flags there is no table before Linux 6.18, whose IORING_REGISTER_QUERY shows it. So
   a ring is set up with each. */
static void find_flags(const struct question *q)
{
    int error = probe_ring(0, NULL);

    (void)q;
    if (error)
        refused(URING_SETUP, error);
    list_parts(probe_flags, probe_flag);
}

/* What io_uring keeps in memory counts against this limit: registered buffers always,
   the rings before Linux 5.12, and in newer ones again: somebody met that in 6.14
   (liburing's issue 1408). Root has no such limit. */
static void find_memlock(const struct question *q)
{
    struct rlimit limit;

    (void)q;
    if (getrlimit(RLIMIT_MEMLOCK, &limit))
        err(1, "asking for the memlock limit");
    if (limit.rlim_cur == RLIM_INFINITY)
        found("unlimited");
    else
        found("%ju KiB", (uintmax_t)limit.rlim_cur >> 10);
}

/* --- Linux AIO ---------------------------------------------------------------- */

/* A context is set up, takes a request, and is given back. All contexts of the machine
   share the number aio-max-nr. Where io_setup(2) says EAGAIN, nobody need be busy:
   others have reserved what there is. aio-nr counts that. */
static void find_aio(const struct question *q)
{
    (void)q;
    ready_aio(NULL);
    found("works");
}

/* Two requests came later. They are made for real: of files that need no disk, so
   that they are done at once. */
static void find_aio_requests(const struct question *q)
{
    (void)q;
    list_parts(probe_aio_requests, probe_aio);
}

/* --- Processors and locale ----------------------------------------------------- */

/* taskset(1), a container or a batch system may hand out fewer than there are. */
static void find_processors(const struct question *q)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t set;

    (void)q;
    if (sched_getaffinity(0, sizeof(set), &set)) /* More than 1024, say. */
        err(1, "asking which of %ld processors are allowed", online);
    found("%d allowed, %ld online", CPU_COUNT(&set), online);
}

/* The locale's character set decides how a timeline is drawn. */
static void find_locale(const struct question *q)
{
    (void)q;
    found("%s, %s: bars in %s", setlocale(LC_CTYPE, NULL), nl_langinfo(CODESET),
          terminal_in_utf8() ? "Unicode blocks" : "ASCII");
}

/* --- All of it -------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*find_out)(const struct question *question);
    const char *path; /* NULL: the file's. */
} lines[] = {
    {"kernel", find_release, NULL},
    {"seccomp filter", find_filter, NULL},
    {"io_uring", find_ring, NULL},
    {"features", find_features, NULL},
    {"opcodes", find_opcodes, NULL},
    {"set-up flags", find_flags, NULL},
    {"memlock limit", find_memlock, NULL},
    {"Linux AIO", find_aio, NULL},
    {"its requests", find_aio_requests, NULL},
    {"aio-nr", find_number, "/proc/sys/fs/aio-nr"},
    {"aio-max-nr", find_number, "/proc/sys/fs/aio-max-nr"},
    {"file system", find_file_system, NULL},
    {"alignment", find_alignment, NULL},
    {"processors", find_processors, NULL},
    {"locale", find_locale, NULL},
};

/* Here "missing" is not the verdict's word for a program. A line can be missing, and
   each chapter goes on without it. */
void report(const char *path)
{
    putchar('\n');
    for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct question q = {.name = lines[i].name,
                             .find_out = lines[i].find_out,
                             .path = lines[i].path ? lines[i].path : path};
        char *no = NULL;

        ask(&q);
        if (!q.yes && asprintf(&no, "missing, because %s", q.reason) < 0)
            err(1, "allocating an answer");
        say(stdout, q.name, no ? no : q.reason ? q.reason : "none");
        free(no);
    }
}
